"""A trained generator, for notebooks and commands.

A sample depends on its own seed alone, not on the other samples of a call.
"""

import math
import operator
from collections.abc import Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.files import memory
from gan_cli.runs.places import checkpoint_file

if TYPE_CHECKING:
    from torch import Tensor

    from gan_cli.games.infogan import InfoGAN
    from gan_cli.runs.inputs import Inputs
    from gan_cli.sampling.interventions import Intervention

ROW_BYTES = 1000  # memory of a latent row besides its numbers
COPIES = 3  # copies of each sample in memory at once while a picture is made
MAX_LISTED = 20  # classes that a message lists
FIRST_STATISTICS_SEED = 10**6  # of the batches for statistics; samples rarely use such large seeds
MAX_SHOWN = 50  # characters of an invalid value in a message


class Weights(Enum):
    """Weights to render with."""

    auto = "auto"  # the average if there is one
    ema = "ema"  # the exponential moving average
    raw = "raw"  # the trained weights


class Generator:
    """A trained generator, for notebooks: `gan_cli.load(RUN).sample(n, seed)`.

    Rendering does not change it, so threads may share it.

    Args:
        path: a checkpoint of gan-train, a run's folder (its last checkpoint), or `latest` (that of
            the newest run below outputs/).
        weights: `ema`, `raw`, or `auto`: the average if there is one.
        plugins: plug-ins that the checkpoint needs and you trust.
        direction: of a model that makes samples in several ways, such as `b` of CoGAN; None is the
            usual one.

    Attributes:
        path: the checkpoint's file.
        spec: kind and shape of a sample.
        data: the specification of the data that it was trained on.
        inputs: those that the checkpoint carries, if its model makes samples from inputs.
        step: number of rounds trained.
        weights: `ema` or `raw`, the weights in use.
        change: what `render` does to units of a layer, see `gan_cli.sampling.interventions`.

    Raises:
        UserError: a missing, damaged or hostile file, or `ema` without an average.
    """

    def __init__(
        self,
        path: str | Path,
        weights: str = "auto",
        plugins: Sequence[str | Path] = (),
        direction: str | None = None,
    ) -> None:
        from gan_cli.runs.inputs import carried
        from gan_cli.runs.restore import load_game

        if not isinstance(weights, str) or weights not in Weights.__members__:
            raise UserError(
                f"weights={shown(weights)}: expected one of {', '.join(Weights.__members__)}."
            )

        if isinstance(plugins, str | Path):
            plugins = [plugins]
        self.path = checkpoint_file(path)
        self.plugins = [str(plugin) for plugin in plugins]
        self.game, self.data, state = load_game(self.path, weights, self.plugins)
        self.game.direction = self.game.direction_named(direction)
        self.spec = self.data.seen_as(self.game.sampling.output)
        self.inputs = carried(self.game, self.data, state, self.path)
        self.step: int = state["step"]
        self.config: str = state["config"]
        self.weights = "ema" if state.get("ema") and weights != "raw" else "raw"
        self.change: Intervention | None = None

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
        # the weights alone, since some networks cannot be pickled
        return {**vars(self), "game": self.game.state_dict(), "direction": self.game.direction}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from gan_cli.runs.restore import rebuilt

        direction = state.pop("direction")
        vars(self).update(state)
        self.game = rebuilt(self.config, self.data, self.plugins)
        self.game.direction = direction
        self.game.load_state_dict(state["game"])

    def sample(
        self, n: int, seed: int = 0, classes: Any = (), inputs: "Inputs | None" = None
    ) -> "Tensor":
        """n samples, float32, (n, *spec.shape); images in [-1, 1].

        Sample i depends on seed + i alone. With k classes, it depends on seed + i // k and is of
        class i modulo k. It is made from input seed + i, the first one following the last one, if
        the model makes samples from inputs.

        Args:
            classes: of a conditional game, in the forms that the method `classes` reads. Without
                any, the game draws the class.
            inputs: to make samples from; None takes those of the checkpoint.

        Raises:
            UserError: no such class or seed, no inputs, or more samples than fit into this
                machine's memory.
        """
        n = whole("n", n, 1)
        seed = whole("seed", seed, 0)
        choices = self.classes(classes)
        samples_per_seed = max(1, len(choices))
        self.refuse_more_than_fits(n, f"n={n}")

        seeds = [seed + i // samples_per_seed for i in range(n)]
        labels = [choices[i % samples_per_seed] for i in range(n)] if choices else []
        return self.render(self.drawn(seeds, labels), *self.given(seeds, inputs))

    def given(self, seeds: Sequence[int], inputs: "Inputs | None" = None) -> list["Tensor"]:
        """The fields that the samples of these seeds are made from; none for most models.

        Args:
            inputs: to take them from; None takes those of the checkpoint.

        Raises:
            UserError: there are none.
        """
        if not self.game.sampling.given:
            return []
        source = inputs if inputs is not None else self.inputs
        if not len(source):
            raise UserError(
                f"checkpoint={self.path}: its model makes samples from inputs, and its file "
                "carries none; name some (of gan-sample: input=FOLDER)."
            )
        fields = source.rows(seeds)
        return [fields[name] for name in self.game.sampling.given]

    def drawn(
        self,
        seeds: Sequence[int],
        labels: Sequence[int] = (),
        truncation: "Tensor | float | None" = None,
    ) -> "Tensor":
        """Latents of the seeds, (n, latent).

        Args:
            labels: class of each sample; if empty, the game draws the classes.
            truncation: see `gan_cli.sampling.truncation.truncated`.

        Raises:
            UserError: the numbers of seeds and labels differ.
        """
        import torch

        from gan_cli import noise
        from gan_cli.sampling.truncation import truncated

        if len(labels) not in (0, len(seeds)):
            raise UserError(
                f"labels: {len(labels)} of them for {len(seeds)} seeds; give one for each, or none."
            )

        latents = torch.stack([self.game.draw(noise.generator("sample", seed)) for seed in seeds])
        if len(labels):
            latents = self.game.of_class(latents, torch.tensor(list(labels)))
        return truncated(self.game, latents, seeds, truncation)

    def changed(self, change: "Intervention | None") -> "Generator":
        """The same generator, whose samples are rendered under an intervention."""
        twin = object.__new__(type(self))  # copy.copy would build the networks anew
        vars(twin).update(vars(self))
        twin.change = change
        return twin

    def traversed(self, latents: "Tensor", code: str | None) -> "Tensor":
        """Each row with every value of one code in turn, (n * values, latent).

        Raises:
            UserError: the game has no code of that name.
        """
        game = cast("InfoGAN", self.game)  # other games lack `codes` and `traverse`
        codes = getattr(game, "codes", None)
        names = list(codes.widths) if codes else []
        if code is None or code not in names:
            known = " at all; model=infogan learns some"
            if names:
                known = f"; its codes are {', '.join(names)}"
            raise UserError(f"code={code}: the checkpoint's model has no such code{known}.")
        return game.traverse(latents, code)

    def render(self, latents: "Tensor", *given: "Tensor") -> "Tensor":
        """Samples of latents, (n, *spec.shape), computed in chunks of a fixed size.

        Args:
            latents: (n, latent).
            given: the fields that they are made from, n rows each; see the method `given`.

        Raises:
            UserError: another shape, or samples that are not finite, as after a divergence.
        """
        width = self.drawn([0]).shape[1]
        if getattr(latents, "ndim", 0) != 2 or latents.shape[1] != width or not len(latents):
            raise UserError(
                f"latents: expected rows of {width} numbers, (n, {width}), such as `drawn` gives."
            )

        from gan_cli.sampling.interventions import intervening
        from gan_cli.training.rendering import in_chunks

        with intervening(self.game, self.change):
            samples = in_chunks(self.game.render, latents, *given)
        if not samples.isfinite().all():
            raise UserError(
                f"checkpoint={self.path}: its samples at step {self.step} are not finite numbers; "
                "take an earlier checkpoint, or train with another learning rate or loss."
            )
        return samples

    def render_codes(self, codes: "Tensor", latents: "Tensor", space: str = "z") -> "Tensor":
        """Samples of codes, (n, *spec.shape), such as those that mode=project of gan-sample writes.

        Args:
            codes: (n, ...), of one of the `spaces` of the game.
            latents: rows whose choices hold, such as the class, (n, latent).

        Raises:
            UserError: there is no such space, or the codes are not of it.
        """
        if space not in self.game.spaces:
            raise UserError(
                f"space={shown(space)}: the checkpoint's model has no such space; take one of "
                f"{', '.join(self.game.spaces)}."
            )
        width = self.drawn([0]).shape[1]
        if not len(latents) or latents.shape[1:] != (width,) or len(codes) != len(latents):
            raise UserError(f"codes: expected rows of latents of {width} numbers, one for a code.")
        shape = self.game.to_code(latents[:1], space).shape[1:]
        if codes.shape[1:] != shape:
            raise UserError(
                f"codes: those of the space {space} are of shape {tuple(shape)}, and these of "
                f"{tuple(codes.shape[1:])}; are they of another checkpoint?"
            )
        from gan_cli.training.rendering import in_chunks

        return in_chunks(partial(self.game.render_code, space=space), codes, latents)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes; empty if they are only numbers."""
        names = tuple(getattr(self.spec, "names", ()))
        return () if names == tuple(map(str, range(len(names)))) else names

    def classes(self, typed: Any) -> list[int]:
        """Numbers of the chosen classes, from 0.

        Args:
            typed: `all`, a class, or several classes. A class is an integer, its number; or a text,
                its name. A text may also be its number, unless some names are numbers.

        Raises:
            UserError: no such class, or the model is not conditional.
        """
        items = _as_list(typed)
        if not items:
            return []
        if not self.game.classes:
            raise UserError(
                f"classes={shown(typed)}: the checkpoint's model is not conditional; leave "
                "classes out."
            )
        if items == ["all"]:
            return list(range(self.game.classes))

        labels = []
        for item in items:
            label = self._label(item)
            if label is None:
                raise UserError(f"classes={shown(typed)}: {self._expected_classes(item)}.")
            labels.append(label)
        return labels

    def _label(self, item: Any) -> int | None:
        """Number of a class, typed by number or name; None if there is no such class."""
        numbers = range(self.game.classes)
        if not isinstance(item, str):
            number = _index(item)
            return number if number is not None and number in numbers else None

        known: dict[str, int] = {}
        if not any(name.isdecimal() for name in self.names):
            known |= {str(number): number for number in numbers}
        known |= dict(zip(self.names, numbers, strict=False))
        return known.get(item)

    def _expected_classes(self, item: Any) -> str:
        """A message that lists the classes, with the one closest to the unknown `item`."""
        last = self.game.classes - 1
        if not self.names:
            return f"expected all, or some of 0 to {last}, such as classes=[0,{last}]"

        names = ", ".join(self.names[:MAX_LISTED])
        if len(self.names) > MAX_LISTED:
            names += f" and {len(self.names) - MAX_LISTED} more"
        if isinstance(item, str):
            hint = closest(item, self.names)
        else:
            hint = f" (classes have the numbers 0 to {last})"
        return f"expected all, or some of {names}{hint}"

    def refuse_more_than_fits(
        self, count: int, typed: str, extra_bytes: int = 0, copies: int = COPIES
    ) -> None:
        """Raise UserError if the samples need more than this machine's memory.

        Args:
            count: number of samples.
            typed: the typed keys, for the message.
            extra_bytes: memory of each sample for other purposes.
            copies: copies of each sample in memory at once.
        """
        numbers = self.drawn([0]).shape[1] + copies * math.prod(self.spec.shape)
        needed = count * (ROW_BYTES + 4 * numbers + extra_bytes)  # 4 bytes for each float32
        if needed > memory():
            raise UserError(
                f"{typed}: {count} samples need {needed / 2**30:.3g} GiB of "
                f"{memory() / 2**30:.3g} GiB of memory; take fewer at a time (sample i of seed s "
                "is sample 0 of seed s + i)."
            )


def whole(key: str, value: Any, least: int) -> int:
    """The value of a key as an integer; it may be one of Python, NumPy or torch.

    Raises:
        UserError: another type, or a value below `least` or beyond 64 bits.
    """
    number = _index(value)
    if number is not None and number >= 2**63:
        raise UserError(f"{key}: expected less than 2^63.")
    if number is None:
        raise UserError(f"{key}={shown(value)}: expected a whole number.")
    if number < least:
        raise UserError(f"{key}={number}: must be at least {least}.")
    return number


def shown(value: Any) -> str:
    """A short form of an invalid value for a message, on one line."""
    if isinstance(value, list):
        text = f"[{','.join(map(str, value))}]"
    else:
        text = str(getattr(value, "value", value))  # the value of an Enum
    text = on_one_line(text)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


def _index(value: Any) -> int | None:
    """The value of an integer of any library; None for other types."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _as_list(value: Any) -> list[Any]:
    """The items of a sequence, array or tensor, or a single value as a list; empty for None."""
    plain = value.tolist() if hasattr(value, "tolist") else value  # NumPy and torch have it
    if plain is None:
        return []
    if isinstance(plain, str | int | float):
        return [plain]
    try:
        return list(plain)
    except TypeError:
        return [plain]


class Statistics(Enum):
    """Source of the means and variances in a generator's batch norm."""

    saved = "saved"  # running averages of the training
    batch = "batch"  # averages over fresh batches


def load_generator(
    path: str | Path,
    weights: Weights = Weights.auto,
    plugins: Sequence[str] = (),
    statistics: Statistics = Statistics.saved,
    direction: str | None = None,
    truncation: float | None = None,
) -> Generator:
    """The generator of a checkpoint, with saved or newly estimated statistics of batch norm.

    Args:
        truncation: of the latents over which statistics are estimated.
    """
    generator = Generator(path, weights.value, plugins, direction)
    if statistics is Statistics.batch:
        estimate_statistics(generator, truncation=truncation)
    return generator


def estimate_statistics(
    generator: Generator, batches: int = 50, size: int = 100, truncation: float | None = None
) -> None:
    """Replace a generator's statistics of batch norm by averages over fresh batches.

    Under a truncation these are the standing statistics of Brock et al., 2019, arXiv 1809.11096,
    appendix C.

    Args:
        batches: number of batches.
        size: number of samples of a batch.
        truncation: of their latents; statistics of other latents distort truncated samples.

    Raises:
        UserError: the generator has no batch norm.
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
        layer.momentum = None  # makes all batches count the same
        layer.train()

    with torch.no_grad():
        for i in range(batches):
            start = FIRST_STATISTICS_SEED + i * size
            seeds = range(start, start + size)
            latents = generator.drawn(seeds, truncation=truncation)
            generator.game.render(latents, *generator.given(seeds))

    for layer in layers:
        layer.eval()
