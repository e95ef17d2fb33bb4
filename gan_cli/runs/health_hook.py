"""The hook that reports on the health of a run at its end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset
from gan_cli.data.kinds import kind_of
from gan_cli.files import tolerated, write_json
from gan_cli.runs import health, rundir
from gan_cli.runs.recorder import Recorder
from gan_cli.training.rendering import fixed_latents, render
from gan_cli.training.trainer import Hook, Trainer


class Health(Hook):
    """Verdicts on the curves of a run, written to its card and to TensorBoard at the end."""

    SAMPLES = 256  # held-out and generated samples each, whose pairwise distances are computed
    MIN_REAL_SAMPLES = 8  # held-out samples; with fewer, their mean distance says nothing

    def __init__(
        self, recorder: Recorder, dataset: Dataset, config: Mapping[str, Any], folder: Path
    ) -> None:
        self.recorder = recorder
        self.dataset = dataset
        self.config = config
        self.folder = folder

    def after_round(self, trainer: Trainer) -> None:
        if not trainer.ending:
            return

        rows = self.recorder.rows(trainer.step)
        classes = self.dataset.spec.classes or 0
        objective = trainer.scoreboard.objective
        diversity = self._diversity(trainer)
        verdicts = health.verdicts(rows, self.config, diversity, classes, objective)

        self.recorder.board("add_text", "health", "\n\n".join(verdicts), trainer.step)
        with tolerated("the health report"):
            card = rundir.read_card(self.folder)
            # with what the rows do not have, so that the verdicts can be computed again
            told = {"health": verdicts, "diversity": diversity, "classes": classes}
            write_json(self.folder / rundir.CARD, card | told)

    def _diversity(self, trainer: Trainer) -> float | None:
        """Mean pairwise distance of samples, divided by that of held-out data.

        None if it says nothing: for text, few held-out data, or a game whose samples are alike.
        """
        game = trainer.game
        if not (game.renders and game.diverse) or not kind_of(self.dataset.spec).comparable:
            return None
        real = self.dataset.sample_x(self.dataset.heldout, self.SAMPLES).cpu()
        if len(real) < self.MIN_REAL_SAMPLES:
            return None

        samples = render(trainer.eval_game, fixed_latents(game, len(real)))
        real_distance = _mean_distance(real)
        return _mean_distance(samples) / real_distance if real_distance else None


def _mean_distance(samples: Tensor) -> float:
    """Mean Euclidean distance over all pairs of samples."""
    return torch.pdist(samples.flatten(1)).mean().item()
