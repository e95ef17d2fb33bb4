"""Every random number of a turn. Randomness is a function of (seed, step, turn), not a state to be
saved.

`begin_turn` seeds torch's default generator, so that the prior, the epsilons of a penalty and
dropout all follow from where the run is, and from nothing that happened before: a resumed run draws
what the uninterrupted one would have drawn, and evaluation or sampling in between cannot disturb
it.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

_MASK = (1 << 64) - 1


def mix(*position: int | str) -> int:
    """A 64-bit hash of a position: splitmix64 over the sequence (Steele et al., 2014)."""
    state = 0
    for part in position:
        number = part if isinstance(part, int) else int.from_bytes(part.encode())
        state = (state + 0x9E3779B97F4A7C15 + number) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


class _Share:
    """The rows of the whole batch's random numbers that the current shard takes."""

    index, count, seed = 0, 1, 0
    whole: ClassVar[dict[torch.device, torch.Generator]] = {}


def begin_turn(*position: int | str, shard: int = 0, shards: int = 1) -> None:
    """Seed every default generator from a position such as ("turn", seed, step, turn).

    With several shards, `rows` draws from generators that all shards seed alike, and only what
    follows the default generators (dropout) differs from shard to shard.
    """
    seed = mix(*position) & 0xFFFFFFFF  # the CPU generator uses 32 bits
    _Share.index, _Share.count = shard, shards
    for device_generator in _Share.whole.values():
        device_generator.manual_seed(seed)
    _Share.seed = seed
    own = seed if shards == 1 else mix(*position, "shard", shard) & 0xFFFFFFFF
    torch.default_generator.manual_seed(own)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(own)


def rows(
    law: Callable[..., Tensor], n: int, *shape: int, device: torch.device, **options: Any
) -> Tensor:
    """`law(n, *shape)`: of the numbers that the whole batch draws, the rows of the shard in
    play."""
    if _Share.count == 1:
        return law(n, *shape, device=device, **options)
    if device not in _Share.whole:
        _Share.whole[device] = torch.Generator(device).manual_seed(_Share.seed)
    drawn = law(n * _Share.count, *shape, device=device, generator=_Share.whole[device], **options)
    return drawn[n * _Share.index : n * (_Share.index + 1)]


def whole(n: int) -> int:
    """Rows of the whole batch, of which the shard in play has n."""
    return n * _Share.count


def generator(*position: int | str) -> torch.Generator:
    """A random generator for a position such as ("order", seed, epoch) or ("sample", seed)."""
    return torch.Generator().manual_seed(mix(*position) & 0xFFFFFFFF)


def per_sample_uniform(x: Tensor) -> Tensor:
    """A uniform number in [0, 1) for each sample, (N, 1, ..., 1), which broadcasts against `x`."""
    return rows(torch.rand, len(x), *[1] * (x.dim() - 1), device=x.device, dtype=x.dtype)
