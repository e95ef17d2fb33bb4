"""The exponential moving average of a game's networks."""

import torch
from torch import Tensor, nn

from gan_cli.networks.layers import batch_norms
from gan_cli.training.trainer import Hook, Trainer


class EMA(Hook):
    """Once a round, the averaged networks go a little towards the trained ones; see
    `Game.averaging`.

    Their batch norms' statistics go with the weights that they belong to; other buffers are copied.
    """

    def after_round(self, trainer: Trainer) -> None:
        if trainer.ema is None or trainer.game.ema is None or not trainer.game.averaged:
            return
        pairs = [
            (trainer.game.get_submodule(name), trainer.ema.get_submodule(name))
            for name in trainer.game.averaged
        ]
        weights, rest = {}, []
        for trained, average in pairs:
            followed = {id(value) for value in [*average.parameters(), *_statistics(average)]}
            for kept, new in zip(_values(average), _values(trained), strict=True):
                if id(kept) in followed:
                    weights[kept] = new  # networks may share weights, which are averaged once
                else:
                    rest.append((kept, new))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(weights), list(weights.values()), 1 - trainer.game.averaging(trainer.step)
            )
            for kept, new in rest:
                kept.copy_(new)


def _values(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _statistics(network: nn.Module) -> list[Tensor]:
    """The running means and variances of a network's batch norms."""
    kept = [(layer.running_mean, layer.running_var) for layer in batch_norms(network)]
    return [value for pair in kept for value in pair if value is not None]
