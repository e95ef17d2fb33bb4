"""Modes of `gan-sample`: rendering samples and writing them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_cli import pictures
from gan_cli.data.columns import structured
from gan_cli.data.dataset import Dataset
from gan_cli.data.kinds import kind_of
from gan_cli.data.nearest import nearest_training
from gan_cli.errors import UserError, on_one_line
from gan_cli.files import csv_text, replacing, write_text
from gan_cli.runs.inputs import (
    PANEL_COLUMNS,
    Inputs,
    by_field,
    chosen,
    panel_fields,
    worded,
)
from gan_cli.runs.places import run_or_file
from gan_cli.sampling import truncation, walks
from gan_cli.sampling.folders import (
    Folder,
    file_name,
    panels_named,
    write_from_inputs,
    write_images,
)
from gan_cli.sampling.generator import Generator, load_generator
from gan_cli.sampling.native import write_native
from gan_cli.sampling.options import ONE_BY_ONE, Mode, SampleConfig, Size, seeds_and_labels
from gan_cli.sampling.walks import latents_of

NEIGHBOURS = 5  # nearest training samples shown for each sample
FRAME_SECONDS = 0.4  # duration of a frame of a timeline


def write_drawn(
    config: SampleConfig,
    generator: Generator,
    load_data: Callable[[], Dataset],
    output: Path,
    fields: Mapping[str, Any],
) -> None:
    """Write or print samples of the configured seeds, in the form of the mode.

    Args:
        load_data: loads the data set, if the mode reads it.
        fields: typed `input.FIELD=VALUE`, by field.
    """
    mode = config.mode
    if config.size is Size.native:
        print(write_native(config, generator, output))
        return
    if config.caption is not None:
        fields = {**fields, worded(generator.game, generator.data, config.caption): config.caption}
    if fields:
        inputs = by_field(fields, config.input, generator.game, generator.data)
    else:
        inputs = chosen(config.input, generator.game, generator.data, generator.inputs, load_data)
    config = _one_for_each(config, generator, inputs)
    seeds, labels = seeds_and_labels(config, generator)
    if generator.game.sampling.given:
        remark = _write_from_inputs(config, generator, output, seeds, labels, inputs)
    elif mode is Mode.compare:
        raise UserError(
            "mode=compare: the checkpoint's model makes samples from noise alone; take mode=images."
        )
    else:
        latents = latents_of(config, generator, seeds, labels)
        if mode is Mode.text and config.output is None:
            print("\n".join(map(on_one_line, lines(generator, generator.render(latents)))))
            return
        remark = _write_from_noise(config, generator, load_data, output, latents, seeds, labels)

    source = f"{generator.path} (step {generator.step})"
    print(on_one_line(f"{len(seeds)} samples of {source} in {output}{remark}"))


def _write_from_noise(
    config: SampleConfig,
    generator: Generator,
    load_data: Callable[[], Dataset],
    output: Path,
    latents: Tensor,
    seeds: Sequence[int],
    labels: Sequence[int],
) -> str:
    """Write samples of latents, in the form of the mode; returns a remark for the user."""
    classes = generator.classes(config.classes)
    class_columns = _class_columns(classes)
    if config.mode is Mode.truncate:
        most = truncation.whole(generator.game) if config.truncation is None else config.truncation
        rows = truncation.sweep(generator.game, latents, seeds, config.steps, most)
        samples, columns, remark = generator.render(rows), config.steps, ""
    else:
        samples, columns, remark = render_mode(config, generator, latents, load_data, class_columns)
    if config.mode is Mode.images:
        folder = Folder(output)
        names = [file_name(generator, seed, labels[i : i + 1]) for i, seed in enumerate(seeds)]
        write_images(samples, generator, folder, names)
        remark += folder.remark
    else:
        write(samples, generator, config.mode, output, columns)

    if config.mode is Mode.grid and class_columns and generator.names:
        remark += f"; columns: {', '.join(generator.names[label] for label in classes)}"
    return remark


def _one_for_each(config: SampleConfig, generator: Generator, inputs: Inputs) -> SampleConfig:
    """The configuration with one sample for each input, where fewer than `n` are given; of captions
    there are `n` all the same, each with noise of its own."""
    if not generator.game.sampling.given or config.seeds is not None or config.caption is not None:
        return config
    return replace(config, n=min(config.n, len(inputs)))


def _write_from_inputs(
    config: SampleConfig,
    generator: Generator,
    output: Path,
    seeds: Sequence[int],
    labels: Sequence[int],
    inputs: Inputs,
) -> str:
    """Write samples that are made from inputs, in the form of the mode.

    A grid has the panels of the game side by side, and an array each field.

    Returns:
        A remark for the user.
    """

    def latents(places: Sequence[int]) -> Tensor:
        chosen_labels = [labels[i] for i in places] if labels else []
        return latents_of(config, generator, [seeds[i] for i in places], chosen_labels)

    if config.mode in ONE_BY_ONE:
        return write_from_inputs(config, generator, latents, seeds, inputs, output)

    fields = inputs.rows(seeds)
    given = [fields[name] for name in generator.game.sampling.given]
    samples = generator.render(latents(range(len(seeds))), *given)
    if config.mode is Mode.npz:
        plain = {name: values.numpy() for name, values in fields.items()}
        write_arrays(output, samples=samples.numpy(), **plain)
        return ""

    shown = panel_fields(generator.game, generator.data, samples, fields)
    rows = pictures.panels(shown)
    if output.suffix.lower() == ".gif":
        sets = rows.split(len(shown))
        pictures.write_gif(output, [pictures.grid(row, len(shown)) for row in sets])
    else:
        columns = len(shown) * min(PANEL_COLUMNS, len(samples))
        pictures.write(output, pictures.grid(rows, columns))
    return f"; {panels_named(generator, fields)}"


def _class_columns(classes: Sequence[int]) -> int:
    """Columns of a grid, one for each of several chosen classes; else 0, for a square grid."""
    return len(classes) if len(classes) > 1 else 0


def render_mode(
    config: SampleConfig,
    generator: Generator,
    latents: Tensor,
    load_data: Callable[[], Dataset],
    columns: int,
) -> tuple[Tensor, int, str]:
    """Samples of a mode, the columns of their picture (0: a square), and a remark for the user.

    Args:
        columns: columns of the picture, for modes that do not set them.
    """
    game = generator.game
    steps = config.steps
    match config.mode:
        case Mode.interpolate:
            rows = walks.between(game, latents, steps, config.path.value)
            return generator.render(rows), steps, ""
        case Mode.traverse if config.dimension is not None:
            rows = walks.along(game, latents, config.dimension, steps)
            return generator.render(rows), steps, ""
        case Mode.traverse:
            rows = generator.traversed(latents, config.code)
            return generator.render(rows), len(rows) // len(latents), ""

    samples = generator.render(latents)
    if config.mode is Mode.nearest:
        return _with_nearest(generator, samples, load_data)
    return samples, columns, ""


def _with_nearest(
    generator: Generator, samples: Tensor, load_data: Callable[[], Dataset]
) -> tuple[Tensor, int, str]:
    """Each sample followed by its nearest training samples; the results are as in `render_mode`.

    The remark compares distances: samples much nearer to the training data than held-out samples
    are likely to be copies.
    """
    if not kind_of(generator.spec).tiles:
        raise UserError(f"mode=nearest: shows images; the checkpoint makes {generator.spec.kind}.")

    dataset = load_data()
    neighbours, distances = nearest(samples, dataset)
    heldout = dataset.sample_x(dataset.heldout, len(samples))
    _, heldout_distances = nearest(heldout, dataset, 1)

    remark = (
        f"; nearest training sample at {distances[:, 0].median():.3g}, from held-out samples "
        f"at {heldout_distances.median():.3g}"
    )
    rows = torch.cat([samples[:, None], neighbours], dim=1)
    return rows.flatten(0, 1), rows.shape[1], remark


def lines(generator: Generator, samples: Tensor) -> list[str]:
    """Samples as lines of text."""
    return kind_of(generator.spec).lines(samples, generator.spec)


def _write_text(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    """Write a line of text for each sample."""
    write_text(output, "\n".join(lines(generator, samples)) + "\n")


def write_grid(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    """Write one picture of all samples, or a GIF with a frame for each sample."""
    if output.suffix.lower() == ".gif":
        pictures.write_gif(output, kind_of(generator.spec).frames(samples, generator.spec))
        return
    pixels = kind_of(generator.spec).picture(samples, generator.spec, columns=columns)
    pictures.write(output, pixels)


def _write_npz(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    """Write the array `samples`, in the data's units; and `table` for the rows of a table."""
    spec = generator.spec
    table = {"table": structured(spec.table(samples))} if spec.units else {}
    write_arrays(output, samples=spec.in_units(samples).numpy(), **table)


def _write_csv(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    """Write a header, and a row of the table for each sample."""
    if not kind_of(generator.spec).tabular:
        raise UserError(
            f"mode=csv: writes the rows of a table; the checkpoint makes {generator.spec.kind}."
        )
    table = generator.spec.table(samples)
    rows = zip(*(column.texts(numbers) for column, numbers in table), strict=True)
    write_text(output, csv_text([[column.name for column, _ in table], *rows]))


def write_arrays(output: Path, **arrays: Any) -> None:
    """Write a compressed .npz file."""
    # an open file, since NumPy would append its own suffix to a name
    with replacing(output) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _write_points(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    """Write a scatter plot of samples over the level sets of the checkpoint's critic."""
    value = getattr(generator.game, "value", None)
    if generator.spec.shape != (2,) or value is None:
        raise UserError(
            "mode=points: draws points of two coordinates and the critic before them; take "
            "mode=grid."
        )
    title = f"critic and {len(samples)} samples after {generator.step} rounds"
    figure = pictures.level_sets(value, generator.spec.extent, [(samples, "tab:orange")], title)
    pictures.write(output, pictures.drawn(figure))


def write_timeline(config: SampleConfig, output: Path) -> None:
    """Write a GIF with a frame for each checkpoint of a run, all of the same seeds."""
    run = run_or_file(config.checkpoint)

    frames = []
    for path in frames_of(run):
        generator = load_generator(
            path,
            config.weights,
            config.plugins,
            config.statistics,
            config.direction,
            config.truncation,
        )
        if kind_of(generator.spec).readable:
            raise UserError("mode=timeline: shows pictures; the checkpoint makes text.")

        seeds, labels = seeds_and_labels(config, generator)
        latents = latents_of(config, generator, seeds, labels)
        samples = generator.render(latents, *generator.given(seeds))
        columns = _class_columns(generator.classes(config.classes))
        pixels = kind_of(generator.spec).picture(samples, generator.spec, columns=columns)
        frames.append(pictures.captioned(pixels, f"step {generator.step}"))

    pictures.write_gif(output, frames, seconds=FRAME_SECONDS)
    print(f"{len(seeds)} samples by each of {len(frames)} checkpoints of {run} in {output}")


WRITERS = {
    Mode.npz: _write_npz,
    Mode.text: _write_text,
    Mode.points: _write_points,
    Mode.csv: _write_csv,
}
"""Functions that write the samples of a mode; other modes write a grid."""


def write(samples: Tensor, generator: Generator, mode: Mode, output: Path, columns: int) -> None:
    """Write samples in the form of a mode.

    Args:
        columns: columns of a grid; 0 makes it square.
    """
    WRITERS.get(mode, write_grid)(samples, generator, output, columns)


def nearest(samples: Tensor, dataset: Dataset, count: int = NEIGHBOURS) -> tuple[Tensor, Tensor]:
    """Training samples nearest to each sample, (n, count, *shape), and their distances, (n, count).

    The distance is Euclidean, over all numbers of a sample.

    Args:
        samples: (n, *shape).
    """
    indices, distances = nearest_training(samples, dataset, count)
    rows = dataset.train["x"].index_select(0, indices.flatten())
    return dataset.decode({"x": rows})["x"].unflatten(0, indices.shape), distances.to(samples)


def frames_of(folder: Path) -> list[Path]:
    """Checkpoints of a run, the oldest first.

    Raises:
        UserError: there are fewer than two.
    """
    paths = sorted((folder / "checkpoints").glob("step_*.pt")) if folder.is_dir() else []
    if len(paths) < 2:
        raise UserError(
            f"checkpoint={folder}: mode=timeline needs a run's folder with two checkpoints or "
            "more; gan-train keeps keep_checkpoints= of them."
        )
    return paths
