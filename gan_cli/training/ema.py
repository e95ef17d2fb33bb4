"""The exponential moving average of a game's networks."""

import torch
from torch import Tensor, nn

from gan_cli.networks.layers import batch_norms
from gan_cli.training.trainer import Hook, Trainer


class EMA(Hook):
    """Moves the averaged networks towards the trained ones, once a round; see `Game.averaging`.

    The running statistics of batch norm are averaged like weights; other buffers are copied.
    """

    def after_round(self, trainer: Trainer) -> None:
        game, ema = trainer.game, trainer.ema
        if ema is None or game.ema is None or not game.averaged:
            return

        averaged: dict[Tensor, Tensor] = {}  # networks may share weights, which are averaged once
        copied: list[tuple[Tensor, Tensor]] = []
        for name in game.averaged:
            trained, average = game.get_submodule(name), ema.get_submodule(name)
            followed = {id(value) for value in [*average.parameters(), *_statistics(average)]}
            for mean, new in zip(_values(average), _values(trained), strict=True):
                if id(mean) in followed:
                    averaged[mean] = new
                else:
                    copied.append((mean, new))

        with torch.no_grad():
            share = 1 - game.averaging(trainer.step)
            # one call for all weights; torch has no public function for it
            torch._foreach_lerp_(list(averaged), list(averaged.values()), share)
            for mean, new in copied:
                mean.copy_(new)


def _values(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _statistics(network: nn.Module) -> list[Tensor]:
    """Running means and variances of the batch norms of a network."""
    pairs = [(layer.running_mean, layer.running_var) for layer in batch_norms(network)]
    return [value for pair in pairs for value in pair if value is not None]
