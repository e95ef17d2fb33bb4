"""What happens beside the rounds: EMA, records, pictures, scores, progress, checkpoints; one small
class each.

They run in the order of this file, checkpoints last: what a checkpoint says was done has been
written before it.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gan_cli import noise, pictures, registry
from gan_cli.config.objectives import lower_is_better
from gan_cli.data.dataset import Dataset
from gan_cli.data.text import lines
from gan_cli.errors import UserError
from gan_cli.files import link, tolerated, write_json, write_text
from gan_cli.game import Game
from gan_cli.runs import checkpoint, health, rundir
from gan_cli.runs.recorder import Recorder
from gan_cli.training.rendering import at_rest, fixed_latents, render, shown_latents
from gan_cli.training.trainer import Hook, Trainer

log = logging.getLogger(__name__)

FOLLOWED = 4  # a network of so few weights has them logged, one by one


def due(every: int, trainer: Trainer) -> bool:
    """Whether something that happens `every` so many rounds (0 = never) happens now; it always does
    at the end."""
    return every > 0 and (trainer.step % every == 0 or trainer.finished)


class Logs(Hook):
    """Every player's terms and the critic's diagnostics, read from the device once per `every`
    rounds."""

    SEEN = 512  # samples of each set that the diagnostics look at, always the same

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
        count = min(self.SEEN, len(dataset.train["x"]), len(dataset.heldout["x"]))
        self.seen = [
            dataset.sample(fields, count, "observed") for fields in (dataset.train, dataset.heldout)
        ]
        self.latest: dict[str, float] = {}

    def start(self, trainer: Trainer) -> None:
        for tag, text in self.notes.items():
            self.recorder.board("add_text", tag, text, trainer.step)

    def after_round(self, trainer: Trainer) -> None:
        histograms = due(self.sample_every, trainer)
        if not (due(self.every, trainer) or histograms):
            return
        playing = [
            who for who in trainer.terms if trainer.played[who] >= trainer.step - max(1, self.every)
        ]
        terms = {
            f"{who}/{name}": term for who in playing for name, term in trainer.terms[who].items()
        }
        noise.begin_turn("observe", trainer.seed, trainer.step)
        with at_rest(trainer.game):
            observed = trainer.game.diagnostics(*self.seen)
        scalars = terms | {tag: value for tag, value in observed.items() if value.dim() == 0}
        scalars |= _distance(trainer) | _followed(trainer.game)
        read = dict(zip(scalars, torch.stack(list(scalars.values())).tolist(), strict=True))
        self.latest = {tag: value for tag, value in read.items() if isfinite(value)}
        if odd := sorted(read.keys() - self.latest.keys()):
            log.warning(
                "step %d: %s: not finite on held-out data, not recorded",
                trainer.step,
                ", ".join(odd),
            )
        if due(self.every, trainer):
            self.recorder.scalars(self.latest | _learning_rates(trainer))
        if histograms:
            for tag, value in observed.items():
                if value.dim():
                    self.recorder.board("add_histogram", tag, value.detach().cpu(), trainer.step)


def _learning_rates(trainer: Trainer) -> dict[str, float]:
    """Each player's learning rate in the round just played."""
    return {
        f"{name}/learning_rate": float(o.param_groups[0]["lr"])
        for name, o in trainer.optimizers.items()
    }


def _distance(trainer: Trainer) -> dict[str, Tensor]:
    """How far the averaged weights are from the trained ones, relative to these: |average -
    trained| / |trained|."""
    if trainer.ema is None:
        return {}
    trained, averaged = (
        torch.cat(
            [weight.detach().flatten() for name in game.averaged for weight in _weights(game, name)]
        )
        for game in (trainer.game, trainer.ema)
    )
    return {"ema/distance": (averaged - trained).norm() / trained.norm()}


def _followed(game: Game) -> dict[str, Tensor]:
    """Every weight of the networks that have at most four: the path of a game that can be followed
    by eye."""
    networks = {name: list(game.get_submodule(name).named_parameters()) for name in game.roles}
    return {
        f"weights/{name}.{weight}" + (f".{i}" if len(values.flatten()) > 1 else ""): value
        for name, weights in networks.items()
        if sum(values.numel() for _, values in weights) <= FOLLOWED
        for weight, values in weights
        for i, value in enumerate(values.detach().flatten())
    }


def _weights(game: Game, name: str) -> Iterator[Tensor]:
    return game.get_submodule(name).parameters()


class Pictures(Hook):
    """The same samples again and again, from the latents of `gan-sample seed=0`: pictures, or lines
    of text."""

    COUNT: ClassVar[dict[str, int]] = {"image": 64, "points": 2000, "text": 32}

    def __init__(self, recorder: Recorder, dataset: Dataset, every: int, folder: Path) -> None:
        self.recorder, self.dataset, self.every, self.folder = recorder, dataset, every, folder
        self.latents: Tensor | None = None

    def after_round(self, trainer: Trainer) -> None:
        if not due(self.every, trainer):
            return
        spec = self.dataset.spec
        if self.latents is None:
            self.latents = shown_latents(trainer.game, self.COUNT[spec.kind])
        samples = render(trainer.eval_game, self.latents)
        if spec.kind == "text":
            self._write_text(lines(samples, spec.vocabulary), trainer.step)
            return
        real = self.dataset.heldout["x"][:2000].cpu() if spec.kind == "points" else None
        pixels = pictures.picture(samples, spec, real, trainer.game.classes)
        with tolerated(f"the picture of step {trainer.step}"):
            pictures.write(self.folder / f"step_{trainer.step:08d}.png", pixels)
        self.recorder.board("add_image", "samples", pixels, trainer.step, dataformats="HWC")

    def _write_text(self, samples: list[str], step: int) -> None:
        with tolerated(f"the samples of step {step}"):
            write_text(self.folder / f"step_{step:08d}.txt", "\n".join(samples) + "\n")
        # as code
        self.recorder.board(
            "add_text", "samples", "\n".join(f"    {line}" for line in samples), step
        )


class Figures(Hook):
    """Explaining figures, drawn from what has been logged so far."""

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
        rows = self.recorder.rows(trainer.step)
        for name in self.names:
            with at_rest(trainer.game):
                seen = {"trainer": trainer, "dataset": self.dataset, "rows": rows}
                image = pictures.drawn(registry.figures.build({"name": name}, "figures", **seen))
            with tolerated(f"the figure {name} of step {trainer.step}"):
                pictures.write(self.folder / f"{name}_{trainer.step:08d}.png", image)
            self.recorder.board(
                "add_image", f"figures/{name}", image, trainer.step, dataformats="HWC"
            )


class Health(Hook):
    """At the end, what the curves say of the run: to the card, the log's summary and
    TensorBoard."""

    SEEN = 256  # samples whose distances are taken
    LEAST = 8  # held-out samples whose distances say how far real ones are apart

    def __init__(
        self, recorder: Recorder, dataset: Dataset, config: Mapping[str, Any], folder: Path
    ) -> None:
        self.recorder, self.dataset, self.config, self.folder = recorder, dataset, config, folder

    def after_round(self, trainer: Trainer) -> None:
        if not trainer.ending:
            return
        rows, classes = self.recorder.rows(trainer.step), self.dataset.spec.classes or 0
        said = health.verdicts(rows, self.config, self._diversity(trainer), classes)
        self.recorder.board("add_text", "health", "\n\n".join(said), trainer.step)
        with tolerated("the health report"):
            write_json(self.folder / rundir.CARD, rundir.read_card(self.folder) | {"health": said})

    def _diversity(self, trainer: Trainer) -> float | None:
        """Mean distance of two samples over that of two real ones, for images and points; None if
        these are too few."""
        if not (trainer.game.renders and trainer.game.diverse) or self.dataset.spec.kind == "text":
            return None
        real = self.dataset.sample_x(self.dataset.heldout, self.SEEN).cpu()
        if len(real) < self.LEAST:
            return None
        samples = render(trainer.eval_game, fixed_latents(trainer.game, len(real)))
        apart, real_apart = (
            torch.pdist(values.flatten(1)).mean().item() for values in (samples, real)
        )
        return apart / real_apart if real_apart else None


class Rows(Hook):
    """Speed, and the end of a round's row."""

    def __init__(self, recorder: Recorder, batch_size: int) -> None:
        self.recorder, self.batch_size = recorder, batch_size
        self.last = (0, 0.0)

    def start(self, trainer: Trainer) -> None:
        self.last = (trainer.step, trainer.seconds)

    def after_round(self, trainer: Trainer) -> None:
        if not self.recorder.row:
            return
        steps, seconds = trainer.step - self.last[0], max(trainer.seconds - self.last[1], 1e-9)
        images = sum(
            self.batch_size * len(trainer.game.turns(step))
            for step in range(self.last[0], trainer.step)
        )
        self.recorder.scalars(
            {
                "performance/steps_per_second": steps / seconds,
                "performance/images_per_second": images / seconds,
            }
        )
        self.recorder.flush(trainer.step, trainer.seconds)
        self.last = (trainer.step, trainer.seconds)

    def close(self) -> None:
        self.recorder.close()


class Checkpoints(Hook):
    """Saves the run: every so many rounds, at the end, and when a signal asks for it. Keeps the
    last few and the best.

    Args:
        frame: what a checkpoint holds beside the trainer's state: format, configuration, data.
    """

    def __init__(self, folder: Path, every: int, keep: int, frame: dict[str, Any]) -> None:
        self.folder = folder
        self.every = every
        self.keep = keep
        self.frame = frame
        self.files = folder / "checkpoints"

    def after_round(self, trainer: Trainer) -> None:
        improved = trainer.scoreboard.improved_at == trainer.step
        if due(self.every, trainer) or trainer.ending or improved:
            self._save(trainer, improved)

    def _save(self, trainer: Trainer, improved: bool) -> None:
        path = self.files / f"step_{trainer.step:08d}.pt"
        try:
            checkpoint.save({**self.frame, **trainer.state_dict()}, path)
            if improved:  # before last.pt, which says what the best was
                link(path, self.files / "best.pt")
            link(path, self.files / "last.pt")
            write_card(self.folder, trainer)
        except OSError as error:
            if improved:
                trainer.scoreboard.withdraw()
            if trainer.ending:
                raise UserError(
                    f"step {trainer.step} could not be saved ({error}); make room and type the "
                    "same command again, which goes on from the last checkpoint."
                ) from None
            log.error(
                "step %d could not be saved (%s); training goes on and will try again",
                trainer.step,
                error,
            )
            return
        forget_old(self.folder, self.keep)


def write_card(folder: Path, trainer: Trainer) -> None:
    """How far the run is, and its last scores."""
    progress: dict[str, Any] = {
        "step": trainer.step,
        "seconds": round(trainer.seconds, 2),
        "finished": trainer.finished,
    }
    if trainer.rollbacks:
        progress["rollbacks"] = trainer.rollbacks
    board = trainer.scoreboard
    if board.scores:
        progress |= {
            "objective": board.objective,
            # for those who read it without the run's plug-ins
            "lower_is_better": lower_is_better().get(board.objective or ""),
            "scores": board.scores,
        }
    write_json(folder / rundir.CARD, rundir.read_card(folder) | progress)


def forget_old(folder: Path, keep: int) -> None:
    """Delete all checkpoints of a run but the last few; best.pt and last.pt are files of their
    own."""
    for old in sorted((folder / "checkpoints").glob("step_*.pt"))[:-keep]:
        old.unlink()
