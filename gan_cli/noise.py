"""Every random number of a turn. Randomness is a function of (seed, step, turn), not a state to be saved.

`begin_turn` seeds torch's default generator, so that the prior, the epsilons of a penalty and dropout all follow from
where the run is, and from nothing that happened before: a resumed run draws what the uninterrupted one would have
drawn, and evaluation or sampling in between cannot disturb it.
"""

import torch
from torch import Tensor

_MASK = (1 << 64) - 1


def mix(*position: int | str) -> int:
    """A well-spread 64-bit number from a position: splitmix64 over the sequence (Steele et al., 2014)."""
    state = 0
    for part in position:
        number = part if isinstance(part, int) else int.from_bytes(part.encode())
        state = (state + 0x9E3779B97F4A7C15 + number) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def begin_turn(*position: int | str) -> None:
    """Seed every default generator from a position such as ("turn", seed, step, turn)."""
    seed = mix(*position) & 0xFFFFFFFF  # the CPU generator uses 32 bits
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def generator(*position: int | str) -> torch.Generator:
    """A generator of its own for a position: ("order", seed, epoch), ("sample", seed), ("points", part)."""
    return torch.Generator().manual_seed(mix(*position) & 0xFFFFFFFF)


def per_sample_uniform(x: Tensor) -> Tensor:
    """One number in [0, 1) a sample, shaped (N, 1, ..., 1) to broadcast against `x` of any rank."""
    return torch.rand(len(x), *[1] * (x.dim() - 1), device=x.device, dtype=x.dtype)
