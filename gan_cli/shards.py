"""A batch in equal parts, played one after the other: the turn of a large batch in little memory.

What a turn computes over a batch is the mean of what it computes over its shards: gradients, terms, and how far each
float buffer moved. Every shard starts from the same buffers, and draws its own rows of the numbers that the whole batch
draws, so that with per-sample means, and without batch statistics or dropout, S shards give the turn of one.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from gan_cli.errors import UserError

Terms = dict[str, Tensor]


def check(batch_size: int, shards: int) -> None:
    """Shards must be equal. Raises UserError."""
    if batch_size % shards:
        raise UserError(
            f"hardware.shards={shards}: does not divide batch_size={batch_size}; choose another of the two."
        )


def play(shards: int, network: nn.Module, weights: Iterable[Tensor], part: Callable[[int], Terms]) -> Terms:
    """Play every shard and leave the means in the weights' gradients and the network's float buffers.

    Args:
        shards: how many there are.
        network: holds the buffers that a turn may change.
        weights: those that learn; their gradients must be empty.
        part: plays one shard, backward included, and returns its terms.
    """
    if shards == 1:
        return part(0)
    buffers = list(network.buffers())
    before = [buffer.clone() for buffer in buffers]
    moved = [torch.zeros_like(buffer) for buffer in buffers]
    played = []
    for shard in range(shards):
        for buffer, start in zip(buffers, before, strict=True):
            buffer.copy_(start)
        played.append(part(shard))
        for total, buffer, start in zip(moved, buffers, before, strict=True):
            total += buffer - start
    for buffer, start, total in zip(buffers, before, moved, strict=True):
        if buffer.is_floating_point():  # counters, which every shard moves alike, stay as the last shard left them
            buffer.copy_(start + total / shards)
    for weight in weights:
        if weight.grad is not None:
            weight.grad /= shards
    return {name: torch.stack([terms[name] for terms in played]).mean() for name in played[0]}
