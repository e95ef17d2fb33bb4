"""The hook that logs a run: terms of the players, diagnostics of the critic, learning rates."""

import logging
from collections.abc import Mapping
from math import isfinite

import torch
from torch import Tensor

from gan_cli import noise
from gan_cli.data.dataset import Dataset, count
from gan_cli.game import Game
from gan_cli.runs.intervals import due
from gan_cli.runs.recorder import Recorder
from gan_cli.training.rendering import at_rest
from gan_cli.training.trainer import Hook, Trainer

log = logging.getLogger(__name__)

MAX_TINY_WEIGHTS = 4  # weights of a tiny network, of which each is logged on its own


class Logs(Hook):
    """Terms of every player and diagnostics of the critic.

    They are copied from the device once per logged round.

    Args:
        every: interval of the scalars, in rounds; 0 logs none.
        sample_every: interval of the histograms, in rounds; 0 logs none.
        notes: texts for TensorBoard, by their tags.

    Attributes:
        latest: the finite scalars of the last logged round.
    """

    SAMPLES = 512  # for diagnostics, of training and held-out data each; the same in all rounds

    def __init__(
        self,
        recorder: Recorder,
        dataset: Dataset,
        every: int,
        sample_every: int,
        notes: Mapping[str, str],
    ):
        self.recorder = recorder
        self.every = every
        self.sample_every = sample_every
        self.notes = notes
        self.latest: dict[str, float] = {}

        n = min(self.SAMPLES, count(dataset.train), count(dataset.heldout))
        self.batches = [
            dataset.sample(fields, n, "observed") for fields in (dataset.train, dataset.heldout)
        ]

    def start(self, trainer: Trainer) -> None:
        for tag, text in self.notes.items():
            self.recorder.board("add_text", tag, text, trainer.step)

    def after_round(self, trainer: Trainer) -> None:
        scalars_due = due(self.every, trainer)
        histograms_due = due(self.sample_every, trainer)
        if not (scalars_due or histograms_due):
            return

        diagnostics = self._diagnostics(trainer)
        self.latest = self._finite_scalars(trainer, diagnostics)

        if scalars_due:
            ramps = trainer.ramps.values(trainer.position("ramps"))
            self.recorder.scalars(self.latest | _learning_rates(trainer) | ramps)
        if histograms_due:
            for tag, value in diagnostics.items():
                if value.dim():
                    self.recorder.board("add_histogram", tag, value.detach().cpu(), trainer.step)

    def _diagnostics(self, trainer: Trainer) -> dict[str, Tensor]:
        """Diagnostics of the game, in evaluation mode."""
        noise.begin_turn("observe", trainer.seed, trainer.step)
        with at_rest(trainer.game):
            return dict(trainer.game.diagnostics(*self.batches))

    def _finite_scalars(
        self, trainer: Trainer, diagnostics: Mapping[str, Tensor]
    ) -> dict[str, float]:
        """All scalars of the round that are finite; the others are named in a warning."""
        scalars = _recent_terms(trainer, self.every)
        scalars |= {tag: value for tag, value in diagnostics.items() if value.dim() == 0}
        scalars |= _average_distance(trainer)
        scalars |= tiny_network_weights(trainer.game)

        values = torch.stack(list(scalars.values())).tolist()  # one copy from the device
        finite = {tag: value for tag, value in zip(scalars, values, strict=True) if isfinite(value)}
        if not_finite := sorted(scalars.keys() - finite.keys()):
            log.warning(
                "step %d: %s: not finite on held-out data, not recorded",
                trainer.step,
                ", ".join(not_finite),
            )
        return finite


def _recent_terms(trainer: Trainer, every: int) -> dict[str, Tensor]:
    """Terms of the players that had a turn within the last `every` rounds."""
    oldest = trainer.step - max(1, every)
    return {
        f"{player}/{name}": term
        for player, terms in trainer.terms.items()
        if trainer.played[player] >= oldest
        for name, term in terms.items()
    }


def _learning_rates(trainer: Trainer) -> dict[str, float]:
    """Learning rate of each player in the last round."""
    return {
        f"{name}/learning_rate": float(optimizer.param_groups[0]["lr"])
        for name, optimizer in trainer.optimizers.items()
    }


def _average_distance(trainer: Trainer) -> dict[str, Tensor]:
    """Relative distance of the averaged weights: |average - trained| / |trained|, if averaged."""
    if trainer.ema is None:
        return {}

    trained = _averaged_weights(trainer.game)
    average = _averaged_weights(trainer.ema)
    return {"ema/distance": (average - trained).norm() / trained.norm()}


def _averaged_weights(game: Game) -> Tensor:
    """Weights of the networks that have an average, as one vector."""
    networks = [game.get_submodule(name) for name in game.averaged]
    return torch.cat(
        [weight.detach().flatten() for network in networks for weight in network.parameters()]
    )


def tiny_network_weights(game: Game) -> dict[str, Tensor]:
    """Every weight of the networks with at most MAX_TINY_WEIGHTS weights, for plots of their path.

    The tag of a weight ends with its index if its tensor has several.
    """
    scalars = {}
    for name in game.roles:
        weights = dict(game.get_submodule(name).named_parameters())
        if sum(values.numel() for values in weights.values()) > MAX_TINY_WEIGHTS:
            continue
        for weight, values in weights.items():
            for i, value in enumerate(values.detach().flatten()):
                index = f".{i}" if values.numel() > 1 else ""
                scalars[f"weights/{name}.{weight}{index}"] = value
    return scalars
