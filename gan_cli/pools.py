"""Pools: samples that a game keeps from turn to turn."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_cli import noise


class Pool(nn.Module):
    """The last samples that were pushed, as many as it holds; part of a checkpoint.

    Nothing in it depends on the host, so that a turn that uses it can be recorded as a graph. Where
    a batch is played in shards, each has a pool of its own, whose samples are never averaged.

    Args:
        capacity: samples that it holds.
        shape: of a sample.
    """

    sharding: ClassVar[dict[str, str]] = {"samples": "shard", "filled": "same"}
    samples: Tensor
    filled: Tensor

    def __init__(self, capacity: int, *shape: int) -> None:
        super().__init__()
        self.register_buffer("samples", torch.zeros(capacity, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, x: Tensor) -> None:
        """Add samples, (n, *shape); the oldest ones leave."""
        capacity = len(self.samples)
        self.samples.copy_(torch.cat([x.to(self.samples), self.samples])[:capacity])
        self.filled.add_(len(x)).clamp_(max=capacity)

    def draw(self, n: int) -> Tensor:
        """n random samples of those that were pushed, (n, *shape); zeros while there are none.

        A sample may be drawn more than once; the random numbers are those of the turn.
        """
        place = noise.rows(torch.rand, n, device=self.samples.device) * self.filled
        return self.samples[place.long()]

    @torch.no_grad()
    def exchange(self, x: Tensor) -> Tensor:
        """Samples, (n, *shape), about half of them exchanged for kept ones at random, whose places
        they take; until the pool is full, all are kept and come back as they are.

        Of more samples than it holds, the last ones come back. Reference: Shrivastava et al., 2017,
        "Learning from Simulated and Unsupervised Images through Adversarial Training", arXiv
        1612.07828, section 2.3.
        """
        capacity = len(self.samples)
        new = x[:capacity].to(self.samples)
        n = len(new)
        coin, place, shift = (
            noise.rows(torch.rand, n, device=self.samples.device) for _ in range(3)
        )

        # a stretch of places for each sample, so that no two take the same one
        order = torch.arange(n, device=self.samples.device)
        stretch = capacity // n
        start = (shift[:1] * capacity).long()
        chosen = (start + order * stretch + (place * stretch).long()) % capacity

        full = self.filled >= capacity
        places = torch.where(full, chosen, (self.filled + order) % capacity)
        kept = self.samples[places]
        swapped = (full & (coin < 0.5)).view(-1, *[1] * (x.dim() - 1))
        self.samples[places] = torch.where(~full | swapped, new, kept)
        self.filled.add_(n).clamp_(max=capacity)
        return torch.cat([torch.where(swapped, kept, new).to(x), x[capacity:]])
