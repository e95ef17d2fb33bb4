"""A trained generator, as notebooks and the commands have it: the same samples whatever is asked
for beside them."""

import math
import operator
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.files import memory
from gan_cli.runs.places import checkpoint_file

if TYPE_CHECKING:
    from torch import Tensor

ROW = 1000  # bytes that a drawn row needs beside its numbers
COPIES = 3  # of the samples, while they are put together and shown
NAMED = 20  # classes that a sentence lists


class Weights(Enum):
    """Which weights are rendered."""

    auto = "auto"  # the average if there is one
    ema = "ema"
    raw = "raw"


class Generator:
    """A trained generator, for notebooks: `gan_cli.load(RUN).sample(n, seed)`.

    It is used for nothing but rendering, which changes nothing in it: threads may share it.

    Args:
        path: a checkpoint that gan-train wrote, a run's folder (its last), or `latest`, the newest
            run below outputs/.
        weights: `ema`, `raw`, or `auto`: the average if there is one.
        plugins: plug-ins that the checkpoint needs and you trust.

    Attributes:
        path: the file.
        spec: kind and shape of a sample.
        step: rounds it was trained for.
        weights: `ema` or `raw`: those that are rendered.

    Raises:
        UserError: missing, damaged or hostile file; no average where `ema` is asked for.
    """

    def __init__(
        self, path: str | Path, weights: str = "auto", plugins: Sequence[str | Path] = ()
    ) -> None:
        from gan_cli.runs.restore import load_game

        if not isinstance(weights, str) or weights not in Weights.__members__:
            raise UserError(
                f"weights={shown(weights)}: expected one of {', '.join(Weights.__members__)}."
            )
        named = [plugins] if isinstance(plugins, str | Path) else plugins
        self.path, self.plugins = checkpoint_file(path), [str(plugin) for plugin in named]
        self.game, self.spec, state = load_game(self.path, weights, self.plugins)
        self.step: int = state["step"]
        self.config: str = state["config"]
        self.weights = "ema" if state.get("ema") and weights != "raw" else "raw"

    def __repr__(self) -> str:
        import yaml

        names = {
            group: node.get("name")
            for group, node in yaml.safe_load(self.config).items()
            if isinstance(node, dict)
        }
        shape = "x".join(map(str, self.spec.shape))
        classes = f" of {self.game.classes} classes" if self.game.classes else ""
        return on_one_line(
            f"<Generator of {self.spec.kind} {shape}{classes}: model={names.get('model')}, "
            f"data={names.get('data')}, step {self.step}, {self.weights} weights of {self.path}>"
        )

    def __getstate__(self) -> dict[str, Any]:
        # some networks cannot be pickled as they are
        return {**vars(self), "game": self.game.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from gan_cli.runs.restore import rebuilt

        vars(self).update(state)
        self.game = rebuilt(self.config, self.spec, self.plugins)
        self.game.load_state_dict(state["game"])

    def sample(self, n: int, seed: int = 0, classes: Any = ()) -> "Tensor":
        """n samples, float32 of shape (n, *spec.shape); images in [-1, 1]. Sample i depends on seed
        + i alone.

        Args:
            classes: of a conditional game: sample i is of the class i modulo their number, and as
                many neighbours as there are classes share what else they are drawn from. The game
                draws the classes if none are given. See the method `classes` for what may be given.

        Raises:
            UserError: there are no such samples, or they need more memory than this machine has.
        """
        n, seed = whole("n", n, 1), whole("seed", seed, 0)
        labels = self.classes(classes)
        each = max(1, len(labels))
        self.refuse_more_than_fits(n, f"n={n}")
        return self.render(
            self.drawn(
                [seed + i // each for i in range(n)],
                [labels[i % each] for i in range(n)] if labels else [],
            )
        )

    def drawn(self, seeds: Sequence[int], labels: Sequence[int] = ()) -> "Tensor":
        """What a sample of each seed is rendered from, (n, latent); with labels, sample i is of the
        class labels[i]."""
        import torch

        from gan_cli import noise

        if len(labels) not in (0, len(seeds)):
            raise UserError(
                f"labels: {len(labels)} of them for {len(seeds)} seeds; give one for each, or none."
            )
        latents = torch.stack([self.game.draw(noise.generator("sample", seed)) for seed in seeds])
        return self.game.of_class(latents, torch.tensor(list(labels))) if len(labels) else latents

    def traversed(self, latents: "Tensor", code: str | None) -> "Tensor":
        """Each row with every value of one code, side by side."""
        named: Any = getattr(self.game, "codes", None)
        codes = list(named.widths) if named else []
        if code not in codes:
            known = (
                f"; its codes are {', '.join(codes)}"
                if codes
                else (" at all; model=infogan learns some")
            )
            raise UserError(f"code={code}: the checkpoint's model has no such code{known}.")
        game: Any = self.game  # one with codes has `traverse`
        return game.traverse(latents, code)

    def render(self, latents: "Tensor") -> "Tensor":
        """Samples for rows of what `game.draw` draws, in chunks of one size.

        Raises:
            UserError: rows of another width; or samples that are no finite numbers, as of a run
                that has diverged.
        """
        width = self.drawn([0]).shape[1]
        if getattr(latents, "ndim", 0) != 2 or latents.shape[1] != width or not len(latents):
            raise UserError(
                f"latents: expected rows of {width} numbers, (n, {width}), such as `drawn` gives."
            )
        from gan_cli.training.rendering import in_chunks

        samples = in_chunks(self.game.render, latents)
        if not samples.isfinite().all():
            raise UserError(
                f"checkpoint={self.path}: its samples at step {self.step} are not finite numbers; "
                "take an earlier checkpoint, or train with another learning rate or loss."
            )
        return samples

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, where they say more than their numbers do."""
        names = tuple(getattr(self.spec, "names", ()))
        return () if names == tuple(map(str, range(len(names)))) else names

    def classes(self, typed: Any) -> list[int]:
        """The classes that one asks for, by number, from 0.

        Args:
            typed: `all`, a class or several of them. A class is an integer, which is its number, or
                a text: its name or, unless there are names that are numbers themselves, its number.

        Raises:
            UserError: no such class, or the model is not conditional.
        """
        items = _several(typed)
        if not items:
            return []
        if not self.game.classes:
            raise UserError(
                f"classes={shown(typed)}: the checkpoint's model is not conditional; leave "
                "classes out."
            )
        if items == ["all"]:
            return list(range(self.game.classes))
        labels = [self._label(item) for item in items]
        if None in labels:
            raise UserError(f"classes={shown(typed)}: {self._known(items[labels.index(None)])}.")
        return [label for label in labels if label is not None]

    def _label(self, item: Any) -> int | None:
        """The number of a class; None if there is none."""
        numbers = range(self.game.classes)
        if isinstance(item, str):
            spelt = (
                {}
                if any(name.isdecimal() for name in self.names)
                else {str(number): number for number in numbers}
            )
            return {**spelt, **dict(zip(self.names, numbers, strict=False))}.get(item)
        number = _index(item)
        return number if number is not None and number in numbers else None

    def _known(self, item: Any) -> str:
        last = self.game.classes - 1
        if not self.names:
            return f"expected all, or some of 0 to {last}, such as classes=[0,{last}]"
        more = f" and {len(self.names) - NAMED} more" if len(self.names) > NAMED else ""
        near = (
            closest(item, self.names)
            if isinstance(item, str)
            else (f" (classes have the numbers 0 to {last})")
        )
        return f"expected all, or some of {', '.join(self.names[:NAMED])}{more}{near}"

    def refuse_more_than_fits(self, count: int, asked: str, beside: int = 0) -> None:
        """Raise UserError if so many samples need more than this machine's memory, before anything
        is allocated.

        Args:
            beside: bytes that each sample needs for something else.
        """
        numbers = self.drawn([0]).shape[1] + COPIES * math.prod(self.spec.shape)
        needed = count * (ROW + 4 * numbers + beside)
        if needed > memory():
            raise UserError(
                f"{asked}: {count} samples need {needed / 2**30:.3g} GiB of "
                f"{memory() / 2**30:.3g} GiB of memory; take fewer at a time (sample i of seed s "
                "is sample 0 of seed s + i)."
            )


def whole(key: str, value: Any, least: int) -> int:
    """A whole number, of Python, NumPy or torch. Raises UserError for anything else, or a smaller
    one."""
    number = _index(value)
    if number is not None and number >= 2**63:
        raise UserError(f"{key}: expected less than 2^63.")
    if number is None:
        raise UserError(f"{key}={shown(value)}: expected a whole number.")
    if number < least:
        raise UserError(f"{key}={number}: must be at least {least}.")
    return number


def shown(value: Any) -> str:
    """A value that was not expected, in few characters of one line."""
    text = on_one_line(
        f"[{','.join(map(str, value))}]"
        if isinstance(value, list)
        else str(getattr(value, "value", value))
    )
    return text if len(text) <= 50 else f"{text[:49]}…"


def _index(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _several(typed: Any) -> list[Any]:
    """What was given for several things as a list: one of them, or any sequence, array or
    tensor."""
    plain = typed.tolist() if hasattr(typed, "tolist") else typed  # of NumPy and torch
    if plain is None or isinstance(plain, str | int | float):
        return [] if plain is None else [plain]
    try:
        return list(plain)
    except TypeError:
        return [plain]


class Statistics(Enum):
    """Which means and variances a generator's batch norm uses."""

    saved = "saved"
    batch = "batch"


def load_generator(
    path: str | Path,
    weights: Weights = Weights.auto,
    plugins: Sequence[str] = (),
    statistics: Statistics = Statistics.saved,
) -> Generator:
    """The generator in a file, with the statistics of batch norm that are asked for."""
    generator = Generator(path, weights.value, plugins)
    if statistics is Statistics.batch:
        estimate_statistics(generator)
    return generator


def estimate_statistics(generator: "Generator", batches: int = 50, size: int = 100) -> None:
    """Let the batch norms of a generator average over fresh batches what they have kept from
    training.

    Raises:
        UserError: it has none.
    """
    import torch

    from gan_cli.networks.layers import batch_norms

    layers = batch_norms(generator.game)
    if not layers:
        raise UserError(
            "statistics=batch: the checkpoint's networks have no batch norm; leave it out."
        )
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # every batch counts the same
        layer.train()
    with torch.no_grad():
        for i in range(batches):
            generator.game.render(generator.drawn(range(10**6 + i * size, 10**6 + (i + 1) * size)))
    for layer in layers:
        layer.eval()
