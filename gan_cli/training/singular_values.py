"""The first singular values of the weights of a game, by block power iteration."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_cli import noise
from gan_cli.game import Game
from gan_cli.networks.layers import SPECTRAL_NORM, TRANSPOSED, WEIGHTED
from gan_cli.training.rendering import at_rest

COUNT = 3  # singular values of a weight, and vectors that are iterated
COLD = 30  # iterations from random vectors
WARM = 4  # iterations from the vectors of the last call


class SingularValues:
    """The first three singular values of the weights of a game.

    Watched are linear, convolutional and embedding layers, and of these the weight that they
    multiply with: after spectral or weight norm, or after the factor of an equalised learning rate.
    That of a convolution is the matrix (out, rest). Spectral norm leaves 1 of the first value, so
    its layers have a fourth one: the first one of the weight before the norm.

    Each call goes on from the vectors of the last one, so that few iterations follow weights that
    move slowly. The vectors are on the device of the weights and in no checkpoint: they start from
    the same random numbers again. The networks, their buffers and all random numbers of a run stay
    as they are. An estimate never exceeds the value itself: it is that of the weight restricted to
    a subspace.

    References: Brock et al., 2019, "Large Scale GAN Training for High Fidelity Natural Image
    Synthesis", arXiv 1809.11096, section 4 and appendix F; Golub and Van Loan, 2013, "Matrix
    Computations", section 8.2.4, orthogonal iteration.
    """

    def __init__(self) -> None:
        self._vectors: dict[str, Tensor] = {}

    @torch.no_grad()
    def measure(self, game: Game) -> dict[str, float]:
        """The values by tag: `LAYER/1` to `LAYER/3`, and `LAYER/before_norm`.

        A matrix of one or two rows or columns has fewer, and one that is not finite has none. The
        host waits for the device once.
        """
        ranks, factors, before = {}, [], []
        with at_rest(game):  # in training mode spectral norm would move its own vectors
            for name, layer in weighted_layers(game):
                matrix = used_matrix(layer)
                ranks[name] = min(COUNT, *matrix.shape)
                factors.append(self._factor(name, matrix))
                before.append(_before_norm(layer, matrix))
        if not ranks:
            return {}

        told = torch.cat([torch.stack(factors).flatten(1), torch.stack(before)[:, None]], dim=1)
        rows = dict(zip(ranks, told.cpu(), strict=True))  # the only copy from the device

        values: dict[str, float] = {}
        for name, row in rows.items():
            if not row.isfinite().all():
                del self._vectors[name]
                continue
            found = torch.linalg.svdvals(row[:-1].view(COUNT, COUNT).double()).tolist()
            values |= {f"{name}/{i + 1}": found[i] for i in range(ranks[name])}
            if factor := row[-1].item():
                values[f"{name}/before_norm"] = factor * found[0]
        return values

    def _factor(self, name: str, matrix: Tensor) -> Tensor:
        """A small matrix with the first singular values of a large one, (COUNT, COUNT); 0 for those
        that it lacks."""
        count = min(COUNT, *matrix.shape)
        vectors, iterations = self._vectors.get(name), WARM
        if vectors is None:
            source = noise.generator("singular values", name)
            drawn = torch.randn(matrix.shape[1], count, generator=source)
            vectors, iterations = torch.linalg.qr(drawn.to(matrix)).Q, COLD

        # orthonormal on both sides: small values would be lost beside the squares of large ones
        for _ in range(iterations):
            outputs = torch.linalg.qr(matrix @ vectors).Q
            vectors = torch.linalg.qr(matrix.mT @ outputs).Q
        self._vectors[name] = vectors

        factor = matrix.new_zeros(COUNT, COUNT)
        factor[:count, :count] = torch.linalg.qr(matrix @ vectors).R
        return factor


def weighted_layers(game: Game) -> Iterator[tuple[str, nn.Module]]:
    """Linear, convolutional and embedding layers of a game's networks, and what else says its
    `used_weight`, by name, such as `G.layers.0`; one that networks share comes once."""
    seen: set[nn.Module] = set()
    for role in game.roles:
        for name, layer in game.get_submodule(role).named_modules(memo=seen, prefix=role):
            if isinstance(layer, (*WEIGHTED, nn.Embedding)) or hasattr(layer, "used_weight"):
                yield name, layer


def used_matrix(layer: nn.Module) -> Tensor:
    """The weight that a layer multiplies with in evaluation mode, (out, rest)."""
    own: Any = layer.weight
    weight: Tensor = getattr(layer, "used_weight", own)
    weight = weight.detach().float()
    return (weight.transpose(0, 1) if isinstance(layer, TRANSPOSED) else weight).flatten(1)


def _before_norm(layer: nn.Module, matrix: Tensor) -> Tensor:
    """The factor by which spectral norm divides a weight; 0 for a layer without it."""
    if not parametrize.is_parametrized(layer, "weight"):
        return matrix.new_zeros(())
    changes: Any = vars(layer)["_modules"]["parametrizations"]["weight"]
    if not any(isinstance(change, SPECTRAL_NORM) for change in changes):
        return matrix.new_zeros(())
    original: Tensor = changes.original
    return original.float().norm() / matrix.norm()
