"""A batch in equal parts: a large batch in little memory, or a part for each of several processes.

What a turn computes over a batch is the mean of what it computes over its shards: gradients, terms, and how far each
float buffer moved. Every shard starts from the same buffers, and draws its own rows of the numbers that the whole batch
draws, so that with per-sample means, and without batch statistics or dropout, S shards give the turn of one (law B).
Two processes give, bit for bit, what one process gives that plays the shards of both (law A), where each has a power of
two of them; other numbers add in another order, which rounding shows.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from gan_cli.processes import World

Terms = dict[str, Tensor]


class Shards:
    """The parts of a batch, and which of them this process plays.

    Args:
        count: how many there are, over all processes; a multiple of their number.
        world: the processes.
        travels: `bf16` sends the gradients to the other processes in half the bytes, rounded.
    """

    def __init__(self, count: int = 1, world: World | None = None, travels: str = "fp32") -> None:
        self.count, self.world, self.travels = count, world or World(), travels
        each = count // self.world.size
        self.own = range(self.world.rank * each, (self.world.rank + 1) * each)

    def play(self, network: nn.Module, weights: Sequence[Tensor], part: Callable[[int], Terms]) -> Terms:
        """Play this process's shards; leave the means over all shards in the gradients and in the float buffers.

        Args:
            network: holds the buffers that a turn may change. Integer ones are counters: every shard moves them alike.
            weights: those that learn; their gradients must be empty.
            part: plays one shard, backward included, and returns its terms.

        Raises:
            PeerLostError: another process is gone.
        """
        if self.count == 1:
            return part(0)
        buffers = list(network.buffers())
        before = [buffer.clone() for buffer in buffers]
        drifting = [(buffer, start) for buffer, start in zip(buffers, before, strict=True) if start.is_floating_point()]
        total, terms = PairwiseSum(), Terms()
        for shard in self.own:
            for weight in weights:
                weight.grad = None
            torch._foreach_copy_(buffers, before)
            terms = part(shard)
            drift = [buffer - start for buffer, start in drifting]
            total.add(_flat([*_gradients(weights), *terms.values(), *drift]))
        mean = self._over_all(total.value(), sum(gradient.numel() for gradient in _gradients(weights))) / self.count
        pieces = _cut(mean, [*_gradients(weights), *terms.values(), *(start for _, start in drifting)])
        for weight in weights:
            weight.grad = None if weight.grad is None else next(pieces)
        averaged = {name: next(pieces) for name in terms}
        for buffer, start in drifting:
            buffer.copy_(start + next(pieces))
        return averaged

    def _over_all(self, own: Tensor, gradients: int) -> Tensor:
        """The sum over all processes; the first so many numbers are gradients."""
        if self.travels == "fp32" or self.world.size == 1:
            return self.world.sum(own)
        rounded, rest = own[:gradients].bfloat16(), own[gradients:].clone()
        return torch.cat([self.world.sum(rounded).float(), self.world.sum(rest)])


class PairwiseSum:
    """A sum in the order of a binary tree, whose halves are the sums of two processes that hold half of it each."""

    def __init__(self) -> None:
        self._by_level: dict[int, Tensor] = {}  # the sum of 2**level values each, at most one a level

    def add(self, value: Tensor) -> None:
        """One more value."""
        level = 0
        while level in self._by_level:
            value = self._by_level.pop(level) + value
            level += 1
        self._by_level[level] = value

    def value(self) -> Tensor:
        """The sum of all that was added."""
        first, *rest = (self._by_level[level] for level in sorted(self._by_level))
        return sum(rest, start=first)


def _gradients(weights: Sequence[Tensor]) -> list[Tensor]:
    return [weight.grad for weight in weights if weight.grad is not None]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """All of them end to end: one message to the other processes instead of hundreds."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _cut(flat: Tensor, like: Sequence[Tensor]) -> Iterator[Tensor]:
    """The inverse of `_flat`: views of `flat` in these tensors' shapes."""
    pieces = flat.split([tensor.numel() for tensor in like])
    return iter([piece.view_as(tensor) for piece, tensor in zip(pieces, like, strict=True)])
