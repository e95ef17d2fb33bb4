"""What each mode of `gan-sample` makes of a generator, and how it writes that."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_cli import pictures
from gan_cli.data import text
from gan_cli.data.columns import structured
from gan_cli.data.dataset import Dataset
from gan_cli.data.nearest import nearest_training
from gan_cli.errors import UserError, on_one_line
from gan_cli.files import csv_text, replacing, write_text
from gan_cli.runs.places import run_or_file
from gan_cli.sampling import walks
from gan_cli.sampling.generator import Generator, load_generator
from gan_cli.sampling.options import Mode, SampleConfig, rows_of
from gan_cli.sampling.walks import latents_of

NEIGHBOURS = 5


def write_drawn(
    config: SampleConfig, generator: Generator, dataset: Callable[[], Dataset], output: Path
) -> None:
    """Samples of the seeds that are asked for, as the mode shows them.

    Args:
        dataset: loads the data that the mode reads.
    """
    mode = config.mode
    seeds, labels = rows_of(config, generator)
    latents = latents_of(config, generator, seeds, labels)
    if mode is Mode.text and config.output is None:
        print("\n".join(map(on_one_line, lines(generator, generator.render(latents)))))
        return

    classes = generator.classes(config.classes)
    samples, columns, said = render_mode(
        config, generator, latents, dataset, len(classes) if len(classes) > 1 else 0
    )
    if mode is Mode.images:
        said += write_images(samples, generator, output, seeds, labels)
    else:
        write(samples, generator, mode, output, columns)
    if mode is Mode.grid and len(classes) > 1 and generator.names:
        said += f"; columns: {', '.join(generator.names[label] for label in classes)}"
    print(
        on_one_line(
            f"{len(seeds)} samples of {generator.path} (step {generator.step}) in {output}{said}"
        )
    )


def render_mode(
    config: SampleConfig,
    generator: Generator,
    latents: Tensor,
    dataset: Callable[[], Dataset],
    columns: int,
) -> tuple[Tensor, int, str]:
    """The samples that a mode shows, the columns of their picture (0: a square), and what is to be
    said of them."""
    steps = config.steps
    if config.mode is Mode.interpolate:
        return (
            generator.render(walks.between(generator.game, latents, steps, config.path.value)),
            steps,
            "",
        )
    if config.mode is Mode.truncate:
        return generator.render(walks.truncation_sweep(generator.game, latents, steps)), steps, ""
    if config.mode is Mode.traverse and config.dimension is not None:
        return generator.render(walks.along(latents, config.dimension, steps)), steps, ""
    if config.mode is Mode.traverse:
        rows = generator.traversed(latents, config.code)
        return generator.render(rows), len(rows) // len(latents), ""
    samples = generator.render(latents)
    return (
        _beside_nearest(generator, samples, dataset)
        if config.mode is Mode.nearest
        else (samples, columns, "")
    )


def _beside_nearest(
    generator: Generator, samples: Tensor, load: Callable[[], Dataset]
) -> tuple[Tensor, int, str]:
    """Each sample, then its nearest training samples; and whether it lies nearer to them than
    held-out samples do."""
    if generator.spec.kind != "image":
        raise UserError(f"mode=nearest: shows images; the checkpoint makes {generator.spec.kind}.")
    dataset = load()
    found, distances = nearest(samples, dataset)
    _, usual = nearest(dataset.sample_x(dataset.heldout, len(samples)), dataset, 1)
    said = (
        f"; nearest training sample at {distances[:, 0].median():.3g}, from held-out samples "
        f"at {usual.median():.3g}"
    )
    return torch.cat([samples[:, None], found], dim=1).flatten(0, 1), 1 + found.shape[1], said


def lines(generator: Generator, samples: Tensor) -> list[str]:
    return text.lines(samples, generator.spec.vocabulary)


def _write_text(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    write_text(output, "\n".join(lines(generator, samples)) + "\n")


def _write_grid(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    if output.suffix.lower() == ".gif":
        pictures.write_gif(
            output, [pictures.picture(sample[None], generator.spec) for sample in samples]
        )
        return
    pictures.write(output, pictures.picture(samples, generator.spec, columns=columns))


def write_images(
    samples: Tensor, generator: Generator, folder: Path, seeds: Sequence[int], labels: Sequence[int]
) -> str:
    """A picture of each sample, named by its seed, and by its class where one was asked for; of
    points a single one, named by the first seed. What other seeds or classes have made there stays.

    Returns:
        What is to be said of the pictures that were there before.
    """
    names = [_named(generator, seed, labels[i : i + 1]) for i, seed in enumerate(seeds)]
    if generator.spec.kind == "points":
        shown = {names[0]: pictures.picture(samples, generator.spec)}
    else:
        shown = dict(zip(names, pictures.to_uint8(samples), strict=True))
    before = {path.name for path in folder.glob("*.png")}
    for name, image in shown.items():
        pictures.write(
            folder / name, image if isinstance(image, np.ndarray) else pictures.pixels_of(image)
        )
    replaced, others = len(before & shown.keys()), len(before - shown.keys())
    told = [f"{replaced} that were there are replaced"] * bool(replaced) + [
        f"{others} others lie there"
    ] * bool(others)
    return "; ".join(["", *told])


def _named(generator: Generator, seed: int, label: Sequence[int]) -> str:
    parts = [f"seed_{seed:08d}", *(f"class_{number:03d}" for number in label)]
    names = [
        re.sub(r"[^\w-]+", "_", generator.names[number][:40]) for number in label if generator.names
    ]
    return "_".join([*parts, *names]) + ".png"


def _write_npz(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    spec = generator.spec
    table = {"table": structured(spec.table(samples))} if spec.units else {}
    _write_arrays(output, samples=spec.in_units(samples).numpy(), **table)


def _write_csv(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    if generator.spec.kind != "points":
        raise UserError(
            f"mode=csv: writes the rows of a table; the checkpoint makes {generator.spec.kind}."
        )
    table = generator.spec.table(samples)
    rows = zip(*(column.texts(numbers) for column, numbers in table), strict=True)
    write_text(output, csv_text([[column.name for column, _ in table], *rows]))


def _write_arrays(output: Path, **arrays: Any) -> None:
    # by a name it would add its own suffix
    with replacing(output) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _write_points(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    """Samples over the level sets of the critic that is in the checkpoint."""
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
    """The same samples by each checkpoint of a run, a frame each."""
    frames, run = [], run_or_file(config.checkpoint)
    for path in frames_of(run):
        generator = load_generator(path, config.weights, config.plugins, config.statistics)
        if generator.spec.kind == "text":
            raise UserError("mode=timeline: shows pictures; the checkpoint makes text.")
        seeds, labels = rows_of(config, generator)
        samples = generator.render(latents_of(config, generator, seeds, labels))
        classes = len(generator.classes(config.classes))
        pixels = pictures.picture(samples, generator.spec, columns=classes if classes > 1 else 0)
        frames.append(pictures.captioned(pixels, f"step {generator.step}"))
    pictures.write_gif(output, frames, seconds=0.4)
    print(f"{len(seeds)} samples by each of {len(frames)} checkpoints of {run} in {output}")


def write_through_codes(
    config: SampleConfig, generator: Generator, load: Callable[[], Dataset], output: Path
) -> None:
    """Held-out samples of the model's own data, or of another: their codes, or what comes back by
    way of them."""
    if not generator.game.encodes:
        raise UserError(
            f"mode={config.mode.value}: the checkpoint's model has no encoder; model=bigan or aae "
            "has one."
        )
    dataset = load()
    if generator.game.condition and dataset.spec.classes != generator.spec.classes:
        raise UserError(
            f"mode={config.mode.value}: the data have {dataset.spec.classes} classes, the "
            f"checkpoint's model {generator.spec.classes}; take data= of the same classes."
        )
    batch = dataset.sample(dataset.heldout, config.n, f"sampled {config.seed}")
    with torch.no_grad():
        if config.mode is Mode.encode:
            labels = {"y": batch["y"].numpy()} if "y" in batch else {}
            _write_arrays(output, codes=generator.game.encode(batch["x"]).numpy(), **labels)
        else:
            again = generator.game.reconstruct(
                batch["x"], *(batch[name] for name in generator.game.condition)
            )
            _write_grid(_interleaved(batch["x"], again), generator, output, WIDE)
    print(
        f"{len(batch['x'])} held-out samples through {generator.path} (step {generator.step}) "
        f"in {output}"
    )


WIDE = 16  # columns of a picture of reconstructions


def _interleaved(x: Tensor, again: Tensor) -> Tensor:
    """A row of samples, a row of what comes back, and so on."""
    rows = zip(x.split(WIDE), again.split(WIDE), strict=True)
    blank = torch.full_like(x[:1], -1).expand(-len(x) % WIDE, *x.shape[1:])
    return torch.cat([torch.cat([part, blank[: WIDE - len(part)]]) for row in rows for part in row])


WRITERS = {
    Mode.npz: _write_npz,
    Mode.text: _write_text,
    Mode.points: _write_points,
    Mode.csv: _write_csv,
}
"""How a mode writes; a grid if it is not here."""


def write(samples: Tensor, generator: Generator, mode: Mode, output: Path, columns: int) -> None:
    """Write samples in the way of a mode.

    Args:
        columns: of a grid; 0 makes it square.
    """
    WRITERS.get(mode, _write_grid)(samples, generator, output, columns)


def nearest(samples: Tensor, dataset: Dataset, count: int = NEIGHBOURS) -> tuple[Tensor, Tensor]:
    """The training samples nearest to each sample, (n, count, *shape), and their distances, (n,
    count): Euclidean, over all values of a sample.
    """
    indices, distances = nearest_training(samples, dataset, count)
    rows = dataset.train["x"].index_select(0, indices.flatten())
    return dataset.decode({"x": rows})["x"].unflatten(0, indices.shape), distances.to(samples)


def frames_of(folder: Path) -> list[Path]:
    """The checkpoints of a run, the oldest first. Raises UserError if there are fewer than two."""
    found = sorted((folder / "checkpoints").glob("step_*.pt")) if folder.is_dir() else []
    if len(found) < 2:
        raise UserError(
            f"checkpoint={folder}: mode=timeline needs a run's folder with two checkpoints or "
            "more; gan-train keeps keep_checkpoints= of them."
        )
    return found
