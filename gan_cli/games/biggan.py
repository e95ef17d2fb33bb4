"""A conditional game at scale: networks that are told the class, and weights held orthogonal."""

from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from gan_cli.game import Terms, player
from gan_cli.games.conditional import Labelled
from gan_cli.registry import NonNegative, games


@games.register("biggan")
class BigGAN(Labelled):
    """The two-player game given y, with networks that take the class themselves.

    Reference: Brock et al., 2019, "Large Scale GAN Training for High Fidelity Natural Image
    Synthesis", arXiv 1809.11096. Under gan-sample a truncation t draws each number of z beyond t
    anew (section 3.1).

    Args:
        orthogonal: weight of the orthogonal regularisation of G (equation 3), see
            `non_orthogonality`; 1e-4 in the paper, 0 is none.
        labels_per_class: labelled training samples of each class, chosen by the seed; 0 is all of
            them. A game that does not learn from unlabelled ones sees no others.
    """

    classes_in_networks: ClassVar[tuple[str, ...]] = ("generator", "discriminator")
    redraws: ClassVar[bool] = True

    def __init__(
        self,
        orthogonal: NonNegative = 1e-4,
        labels_per_class: Annotated[int, Ge(0)] = 0,
        **labelled: Any,
    ) -> None:
        super().__init__(**labelled)
        self.orthogonal = orthogonal

    @player(moves="G")
    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        return {**super().generator(x, *given), **self.orthogonality()}

    def orthogonality(self) -> Terms:
        """The term of the regularisation of G, if it has a weight."""
        return (
            {"orthogonal": self.orthogonal * non_orthogonality(self.G)} if self.orthogonal else {}
        )


def non_orthogonality(network: nn.Module) -> Tensor:
    """The sum of |W W^T * (1 - I)|^2 over the weights W, as matrices (out, rest): 0 where the rows
    of each are orthogonal, of whatever norms.

    Reference: Brock et al., 2019, arXiv 1809.11096, equation 3. Its gradient is
    4 (W W^T * (1 - I)) W. The authors' code adds 2 (W W^T * (1 - I)) W in place of it, so that
    their strength of 1e-4 is 5e-5 here. As there, the vectors of classes are left out, and a
    weight under spectral norm is the one before it is divided.
    """
    shared = {
        id(weight)
        for module in network.modules()
        if isinstance(module, nn.Embedding)
        for weight in module.parameters()
    }
    weights = [
        weight.flatten(1)
        for weight in network.parameters()
        if weight.dim() >= 2 and id(weight) not in shared
    ]
    total = torch.zeros((), device=weights[0].device)
    for weight in weights:
        gram = weight @ weight.T
        total = total + (gram - gram.diagonal().diag()).square().sum()
    return total
