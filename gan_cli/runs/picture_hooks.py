"""Hooks that draw: pictures of samples, and figures that explain the run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from gan_cli import pictures, registry
from gan_cli.data.dataset import Dataset
from gan_cli.data.decoded import heldout_of
from gan_cli.data.kinds import kind_of
from gan_cli.files import tolerated, write_text
from gan_cli.game import Game
from gan_cli.runs.inputs import PANEL_COLUMNS, panel_fields
from gan_cli.runs.intervals import due
from gan_cli.runs.recorder import Recorder
from gan_cli.training.rendering import at_rest, fixed_latents, render, shown_latents
from gan_cli.training.trainer import Hook, Trainer

PANELS = 24  # held-out inputs of a picture


class Pictures(Hook):
    """Samples of the latents of `gan-sample seed=0`, as a picture or as lines of text; those of
    another direction in a folder of its name."""

    def __init__(self, recorder: Recorder, dataset: Dataset, every: int, folder: Path) -> None:
        self.recorder = recorder
        self.dataset = dataset
        self.every = every
        self.folder = folder
        self.latents: Tensor | None = None
        self.heldout = heldout_of(dataset)

    def after_round(self, trainer: Trainer) -> None:
        if not due(self.every, trainer):
            return

        game = trainer.eval_game
        for direction in ("", *game.directions):
            with game.in_direction(direction):
                if game.sampling.given:
                    self._write_panels(game, trainer.step)
                else:
                    self._write_samples(game, trainer.step)

    def _write_samples(self, game: Game, step: int) -> None:
        """Write samples of latents, as a picture or as lines of text."""
        dataset = self.dataset.seen_as(game.sampling.output)
        spec, kind = dataset.spec, kind_of(dataset.spec)
        if self.latents is None:
            self.latents = shown_latents(game, kind.shown)
        samples = render(game, self.latents)

        if kind.readable:
            self._write_text(kind.lines(samples, spec), game.direction, step)
            return
        real = dataset.heldout["x"][: kind.backdrop].cpu() if kind.backdrop else None
        self._write(kind.picture(samples, spec, real, game.classes), game.direction, step)

    def _write_panels(self, game: Game, step: int) -> None:
        """Write a picture of held-out inputs, each beside what becomes of it."""
        count = min(PANELS, self.heldout.samples)
        fields = self.heldout.take(0, count)
        given = [fields[name] for name in game.sampling.given]
        samples = render(game, fixed_latents(game, count), *given)

        shown = panel_fields(game, self.dataset.spec, samples, fields)
        columns = len(shown) * PANEL_COLUMNS
        self._write(pictures.grid(pictures.panels(shown), columns), game.direction, step)

    def _write_text(self, samples: list[str], direction: str, step: int) -> None:
        """Write lines of text to a file and to TensorBoard."""
        with tolerated(f"the samples of step {step}"):
            path = self.folder / direction / f"step_{step:08d}.txt"
            write_text(path, "\n".join(samples) + "\n")

        code_block = "\n".join(f"    {line}" for line in samples)  # Markdown, for TensorBoard
        self.recorder.board("add_text", _tag(direction), code_block, step)

    def _write(self, pixels: np.ndarray, direction: str, step: int) -> None:
        """Write a picture to a file and to TensorBoard."""
        with tolerated(f"the picture of step {step}"):
            pictures.write(self.folder / direction / f"step_{step:08d}.png", pixels)
        self.recorder.board("add_image", _tag(direction), pixels, step, dataformats="HWC")


def _tag(direction: str) -> str:
    """The tag of samples in TensorBoard."""
    return f"samples/{direction}" if direction else "samples"


class Figures(Hook):
    """Figures that explain the run, drawn from the rows logged so far."""

    def __init__(
        self, recorder: Recorder, dataset: Dataset, every: int, names: Sequence[str], folder: Path
    ) -> None:
        self.recorder = recorder
        self.dataset = dataset
        self.every = every
        self.names = names
        self.folder = folder

    def after_round(self, trainer: Trainer) -> None:
        if not self.names or not due(self.every, trainer):
            return

        step = trainer.step
        inputs = {"trainer": trainer, "dataset": self.dataset, "rows": self.recorder.rows(step)}
        for name in self.names:
            with at_rest(trainer.game):
                figure = registry.figures.build({"name": name}, "figures", **inputs)
                image = pictures.drawn(figure)

            with tolerated(f"the figure {name} of step {step}"):
                pictures.write(self.folder / f"{name}_{step:08d}.png", image)
            self.recorder.board("add_image", f"figures/{name}", image, step, dataformats="HWC")
