"""Shards: equal parts of a batch, for a large batch in little memory, or for several processes.

What a turn computes over a batch is the mean of what it computes over its shards: gradients, terms,
and how far each averaged buffer moved. Every shard starts from the same weights, and draws its own
rows of the numbers that the whole batch draws, so that with per-sample means, and without batch
statistics or dropout, S shards give the turn of one (law B). Two processes give, bit for bit, what
one process gives that plays the shards of both (law A), where each has a power of two of them;
other numbers add in another order, which rounding shows.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gan_cli.devices.processes import World
from gan_cli.errors import UserError
from gan_cli.game import Terms
from gan_cli.networks.layers import BATCH_NORMS

RULES = ("averaged", "same", "shard")
"""Rules for a buffer that a turn changes: the mean of its changes over the shards (statistics); the
same in every shard (counters, functions of the round); one for each shard (pools of samples)."""
STATISTICS = (
    *BATCH_NORMS, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
    parametrizations._SpectralNorm,  # torch has no public name for it
)  # fmt: skip
"""Layers of torch whose buffers are averaged; another module states its own rules, such as
`sharding = {"average": "averaged"}`."""


def rules(network: nn.Module) -> dict[str, str]:
    """The rule of every buffer, by its complete name.

    Raises:
        UserError: a module states no rule for one of its buffers, or an unknown one.
    """
    found: dict[str, str] = {}
    for path, module in network.named_modules():
        default = "averaged" if isinstance(module, STATISTICS) else None
        for name, buffer in module.named_buffers(recurse=False):
            rule = getattr(module, "sharding", {}).get(name, default)
            if rule not in RULES:
                raise UserError(
                    f"hardware.shards: {type(module).__name__} does not say how shards keep its "
                    f"buffer {name}; write "
                    f'sharding = {{"{name}": "averaged"}} into the class, or one of '
                    f"{', '.join(RULES[1:])}."
                )
            # every shard counts alike
            counts = rule == "averaged" and not buffer.is_floating_point()
            found[f"{path}.{name}".lstrip(".")] = "same" if counts else rule
    return found


class Shards:
    """The parts of a batch, and those of them that this process computes.

    Args:
        count: parts over all processes; a multiple of the number of processes.
        world: the processes.
        reduce_dtype: the type in which gradients are sent; `bf16` rounds them and halves the bytes.

    Attributes:
        state: of every buffer that each shard has for itself, what each has, (count, *shape); part
            of a checkpoint.
    """

    def __init__(
        self, count: int = 1, world: World | None = None, reduce_dtype: str = "fp32"
    ) -> None:
        self.count, self.world, self.reduce_dtype = count, world or World(), reduce_dtype
        each = count // self.world.size
        self.own = range(self.world.rank * each, (self.world.rank + 1) * each)
        self.state: dict[str, Tensor] = {}
        self._rules: dict[str, str] = {}

    def check(self, network: nn.Module) -> dict[str, str]:
        """The rule of every buffer of the network; see `rules`, which may refuse it."""
        self._rules = {} if self.count == 1 else rules(network)
        return self._rules

    def play(
        self, network: nn.Module, weights: Sequence[Tensor], part: Callable[[int], Terms]
    ) -> Terms:
        """Play this process's shards; leave the means over all shards in the gradients and in the
        averaged buffers.

        Args:
            network: holds the buffers that a turn may change. One that each shard has for itself is
                left as that of the first shard.
            weights: those that learn; their gradients must be empty.
            part: plays one shard, backward included, and returns its terms.

        Raises:
            PeerLostError: another process is gone.
        """
        if self.count == 1:
            return part(0)
        kept, buffers = self._rules or self.check(network), dict(network.named_buffers())
        before = [buffer.clone() for buffer in buffers.values()]
        drifting = [
            (buffer, start)
            for (name, buffer), start in zip(buffers.items(), before, strict=True)
            if kept[name] == "averaged"
        ]
        apart = {name: buffer for name, buffer in buffers.items() if kept[name] == "shard"}
        states = {name: self._states(name, buffer) for name, buffer in apart.items()}
        total, terms = PairwiseSum(), Terms()
        for shard in self.own:
            for weight in weights:
                weight.grad = None
            for buffer, start in zip(buffers.values(), before, strict=True):
                buffer.copy_(start)
            for name, buffer in apart.items():
                buffer.copy_(states[name][shard])
            terms = part(shard)
            for name, buffer in apart.items():
                states[name][shard] = buffer
            drift = [buffer - start for buffer, start in drifting]
            total.add(_flat([*_gradients(weights), *terms.values(), *drift]))
        mean = (
            self._over_all(total.value(), sum(gradient.numel() for gradient in _gradients(weights)))
            / self.count
        )
        pieces = _cut(
            mean, [*_gradients(weights), *terms.values(), *(start for _, start in drifting)]
        )
        for weight in weights:
            weight.grad = None if weight.grad is None else next(pieces)
        averaged = {name: next(pieces) for name in terms}
        for buffer, start in drifting:
            buffer.copy_(start + next(pieces))
        for name, buffer in apart.items():
            self.state[name] = self._gathered(states[name])
            buffer.copy_(self.state[name][0])
        return averaged

    def _states(self, name: str, buffer: Tensor) -> Tensor:
        """The buffer of every shard, (count, *shape), to be written to; all are equal at the
        start."""
        if name not in self.state:
            return buffer.expand(self.count, *buffer.shape).clone()
        return self.state[name].clone()

    def _gathered(self, states: Tensor) -> Tensor:
        """The rows of all shards, those of other processes received from them."""
        if self.world.size == 1:
            return states
        rows = torch.zeros_like(
            states, dtype=torch.uint8 if states.dtype is torch.bool else states.dtype
        )
        rows[list(self.own)] = states[list(self.own)].to(rows.dtype)
        return self.world.sum(rows).to(states.dtype)

    def _over_all(self, own: Tensor, gradients: int) -> Tensor:
        """The sum over all processes; gradients come first."""
        if self.reduce_dtype == "fp32" or self.world.size == 1:
            return self.world.sum(own)
        rounded, rest = own[:gradients].bfloat16(), own[gradients:].clone()
        return torch.cat([self.world.sum(rounded).float(), self.world.sum(rest)])


class PairwiseSum:
    """A sum in the order of a binary tree; its halves are the sums of two processes with half of
    the shards each."""

    def __init__(self) -> None:
        # the sum of 2**level values each, at most one a level
        self._by_level: dict[int, Tensor] = {}

    def add(self, value: Tensor) -> None:
        """Add a value."""
        level = 0
        while level in self._by_level:
            value = self._by_level.pop(level) + value
            level += 1
        self._by_level[level] = value

    def value(self) -> Tensor:
        """The sum of all values."""
        first, *rest = (self._by_level[level] for level in sorted(self._by_level))
        return sum(rest, start=first)


def _gradients(weights: Sequence[Tensor]) -> list[Tensor]:
    return [weight.grad for weight in weights if weight.grad is not None]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """All tensors in one vector: one message to the other processes instead of hundreds."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _cut(flat: Tensor, like: Sequence[Tensor]) -> Iterator[Tensor]:
    """The inverse of `_flat`: views of `flat` in these tensors' shapes."""
    pieces = flat.split([tensor.numel() for tensor in like])
    return iter([piece.view_as(tensor) for piece, tensor in zip(pieces, like, strict=True)])
