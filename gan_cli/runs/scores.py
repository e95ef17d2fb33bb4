"""The hook that computes the scores of a run."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gan_cli.data.dataset import FEW, Dataset
from gan_cli.data.decoded import heldout_of
from gan_cli.errors import UserError
from gan_cli.game import Game
from gan_cli.metrics.scoring import samples_to_score, scored
from gan_cli.runs.intervals import due
from gan_cli.runs.recorder import Recorder
from gan_cli.training.rendering import (
    LatentWalks,
    fixed_latents,
    own_scores,
    rendered_parts,
    scored_samples,
)
from gan_cli.training.trainer import Hook, Trainer

log = logging.getLogger(__name__)


class Scores(Hook):
    """Scores by metrics and by the game, for the scoreboard and the recorder.

    Every evaluation uses the same latents.

    Args:
        metrics: by name; none if the data have none, or if the game makes no samples.
        every: interval in rounds.
        objective: score to optimize; None takes that of the first metric, or else the game's
            first one.
    """

    def __init__(
        self,
        recorder: Recorder,
        metrics: Mapping[str, Any],
        every: int,
        objective: str | None,
        dataset: Dataset,
    ) -> None:
        self.recorder = recorder
        self.metrics = metrics
        self.every = every
        self.objective = objective
        self.heldout = heldout_of(dataset)
        self.latents: Tensor | None = None

    def start(self, trainer: Trainer) -> None:
        """Resolve the objective.

        Raises:
            UserError: neither a metric nor the game has the objective, checked on a few samples.
        """
        if self.objective and not trainer.finished:
            self._check_objective(self._scores(trainer.eval_game, FEW))

        if not self.objective and self.metrics:
            objectives = [getattr(metric, "objective", None) for metric in self.metrics.values()]
            self.objective = next(filter(None, objectives), None)
        elif not self.objective:
            self.objective = next(iter(type(trainer.game).objectives), None)

    def after_round(self, trainer: Trainer) -> None:
        if not due(self.every, trainer):
            return

        scores = self._scores(trainer.eval_game, None)
        self._check_objective(scores)
        lower_is_better = [
            score
            for judge in (*self.metrics.values(), type(trainer.game))
            for score in judge.lower_is_better
        ]
        trainer.scoreboard.record(
            trainer.step, scores, self.objective, self.objective in lower_is_better
        )

        self.recorder.scalars({f"metrics/{name}": value for name, value in scores.items()})
        text = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        log.info("step %d: %s", trainer.step, text)

    def _scores(self, game: Game, samples: int | None) -> dict[str, float]:
        """Scores by all metrics and by the game.

        Args:
            samples: number of samples to score; None for each metric's own number.
        """
        game_scores = own_scores(game, self.heldout)
        if not self.metrics:
            return game_scores

        if self.latents is None:
            count = scored_samples(game, samples_to_score(self.metrics), self.heldout)
            self.latents = fixed_latents(game, count)
        parts = rendered_parts(game, self.latents[:samples], self.heldout)
        walks = LatentWalks(game, samples)
        scores: dict[str, float] = {}
        for metric_scores in scored(self.metrics, parts, walks).values():
            scores |= metric_scores
        return scores | game_scores

    def _check_objective(self, scores: Mapping[str, float]) -> None:
        """Raise UserError if the objective is set and not among the scores."""
        if self.objective and self.objective not in scores:
            raise UserError(
                f"objective={self.objective}: this data and model give no such score; they give "
                f"{', '.join(scores)}."
            )
