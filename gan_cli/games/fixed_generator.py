"""A critic against a fixed generator, to study an objective and a constraint by themselves."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gan_cli import noise
from gan_cli.augmentations import Augmentation
from gan_cli.game import Terms
from gan_cli.games.two_player import TwoPlayer
from gan_cli.registry import Positive, games


@games.register("fixed_generator")
class FixedGenerator(TwoPlayer):
    """The critic's turn of `two_player`; fake samples are real ones with normal noise added.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, section 4: figure 1b compares clipping and
    the penalty so.

    Args:
        deviation: of the noise; 1 in the paper.
    """

    roles: ClassVar[dict[str, str]] = {"D": "discriminator"}
    averaged: ClassVar[tuple[str, ...]] = ()
    renders: ClassVar[bool] = False

    def __init__(
        self,
        D: nn.Module,
        loss: Any,
        regularizer: Any,
        augmentation: Augmentation,
        deviation: Positive = 1.0,
        **two_player: Any,
    ) -> None:
        nothing = nn.Identity()
        super().__init__(nothing, D, loss, regularizer, augmentation, **two_player)
        self.deviation = deviation

    def sample_fakes(self, x: Tensor, *given: Tensor) -> Tensor:
        return x + self.deviation * noise.rows(torch.randn, *x.shape, device=x.device)

    def generator(self, x: Tensor, *given: Tensor) -> Terms:
        """No turn: the generator does not learn."""
        raise NotImplementedError
