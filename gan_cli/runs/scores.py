"""The hook that evaluates a run."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gan_cli.data.dataset import FEW, Dataset
from gan_cli.data.decoded import heldout_of
from gan_cli.errors import UserError
from gan_cli.game import Game
from gan_cli.metrics.scoring import scored
from gan_cli.runs.intervals import due
from gan_cli.runs.recorder import Recorder
from gan_cli.training.rendering import fixed_latents, own_scores, rendered_parts
from gan_cli.training.trainer import Hook, Trainer

log = logging.getLogger(__name__)


class Scores(Hook):
    """The metric's scores, on the same latents each time, and the game's own; all go to the
    trainer's scoreboard.

    Args:
        metric: None where the data has none, or the game makes no samples.
        objective: null takes the metric's, or the game's first one.
    """

    def __init__(
        self, recorder: Recorder, metric: Any, every: int, objective: str | None, dataset: Dataset
    ) -> None:
        self.recorder, self.metric, self.every, self.objective = recorder, metric, every, objective
        self.heldout = heldout_of(dataset)
        self.latents: Tensor | None = None

    def start(self, trainer: Trainer) -> None:
        """Refuse an objective that this data and model do not give; a few samples show it."""
        if self.objective and not trainer.finished:
            self._check_objective(self._scores(trainer.eval_game, FEW))
        own = type(trainer.game).objectives
        self.objective = self.objective or (
            self.metric.objective if self.metric else next(iter(own), None)
        )

    def after_round(self, trainer: Trainer) -> None:
        if not due(self.every, trainer):
            return

        scores = self._scores(trainer.eval_game, None)
        self._check_objective(scores)
        lower = (*getattr(self.metric, "lower_is_better", ()), *type(trainer.game).lower_is_better)
        trainer.scoreboard.record(trainer.step, scores, self.objective, self.objective in lower)

        self.recorder.scalars({f"metrics/{name}": value for name, value in scores.items()})
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        log.info("step %d: %s", trainer.step, shown)

    def _scores(self, game: Game, few: int | None) -> dict[str, float]:
        """All scores.

        Args:
            few: use only so many samples.
        """
        own = own_scores(game, self.heldout)
        if self.metric is None:
            return own

        if self.latents is None:
            self.latents = fixed_latents(game, self.metric.samples)
        samples = rendered_parts(game, self.latents[:few], self.heldout.dataset.spec)
        return {**scored({"data": self.metric}, samples)["data"], **own}

    def _check_objective(self, scores: Mapping[str, float]) -> None:
        if self.objective and self.objective not in scores:
            raise UserError(
                f"objective={self.objective}: this data and model give no such score; they give "
                f"{', '.join(scores)}."
            )
