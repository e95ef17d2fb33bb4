"""The scores of a run, and the best value that its objective has had."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any


@dataclass
class Scoreboard:
    """The only owner of a run's scores; hooks record them here and read them from here.

    Attributes:
        scores: of the last evaluation.
        objective: the score that best.pt and searches go by; None before the first evaluation, or
            where there is none.
        best: the best value of the objective over all evaluations.
        evaluated_at: the step of the last evaluation; -1 before the first one.
        improved_at: the step whose evaluation was the best so far; -1 if there was none in this
            process.
    """

    scores: dict[str, float] = field(default_factory=dict)
    objective: str | None = None
    best: float | None = None
    evaluated_at: int = -1
    improved_at: int = -1
    _best_before: float | None = None

    def record(
        self, step: int, scores: dict[str, float], objective: str | None, lower_is_better: bool
    ) -> None:
        """Take over the scores of an evaluation; a value that is not finite is never the best.

        Args:
            objective: one of the scores, or None.
        """
        self.scores, self.objective, self._best_before = scores, objective, self.best
        self.evaluated_at = step
        if objective is None:
            return

        value, sign = scores[objective], -1 if lower_is_better else 1
        known = self.best is not None and isfinite(self.best)
        before = self.best if known and self.best is not None else -sign * inf
        if isfinite(value) and sign * value > sign * before:
            self.best, self.improved_at = value, step

    def withdraw(self) -> None:
        """Forget the last improvement, because its checkpoint could not be saved."""
        self.best = self._best_before

    def forget_best(self) -> None:
        """Begin anew, because the objective is another one now."""
        self.best = None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "best": self.best,
            "scores": self.scores,
            "objective": self.objective,
            "evaluated_at": self.evaluated_at,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The scores as `state_dict` gave them."""
        self.best, self.scores = state["best"], state["scores"]
        self.objective = state["objective"]
        self.evaluated_at = state.get("evaluated_at", -1)
