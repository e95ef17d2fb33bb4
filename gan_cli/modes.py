"""What each mode of `gan-sample` makes of a generator, and how it writes that."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_cli import pictures, walks
from gan_cli.data import text
from gan_cli.data.columns import structured
from gan_cli.errors import UserError
from gan_cli.evaluate import own_or_other_data
from gan_cli.files import csv_text, replacing, write_text
from gan_cli.sample import Generator, Mode, SampleConfig, latents_of, prepared


def made(config: SampleConfig, generator: Generator, latents: Tensor, columns: int) -> tuple[Tensor, int, str]:
    """The samples that a mode shows, the columns of their picture (0: a square), and what is to be said of them."""
    steps = config.steps
    if config.mode is Mode.interpolate:
        return generator.render(walks.between(generator.game, latents, steps, config.path.value)), steps, ""
    if config.mode is Mode.truncate:
        return generator.render(walks.inwards(generator.game, latents, steps)), steps, ""
    if config.mode is Mode.traverse and config.dimension is not None:
        return generator.render(walks.along(latents, config.dimension, steps)), steps, ""
    if config.mode is Mode.traverse:
        rows = generator.traversed(latents, config.code)
        return generator.render(rows), len(rows) // len(latents), ""
    samples = generator.render(latents)
    return _beside_nearest(config, generator, samples) if config.mode is Mode.nearest else (samples, columns, "")


def _beside_nearest(config: SampleConfig, generator: Generator, samples: Tensor) -> tuple[Tensor, int, str]:
    """Each sample, then its nearest training samples; and whether it lies nearer to them than held-out samples do."""
    if generator.spec.kind != "image":
        raise UserError(f"mode=nearest: shows images; the checkpoint makes {generator.spec.kind}.")
    dataset = own_or_other_data(generator.config, generator.spec, config.data, [])
    found, distances = walks.nearest(samples, dataset)
    _, usual = walks.nearest(dataset.some(dataset.heldout, len(samples)), dataset, 1)
    said = f"; nearest training sample at {distances[:, 0].median():.3g}, from held-out samples at {usual.median():.3g}"
    return torch.cat([samples[:, None], found], dim=1).flatten(0, 1), 1 + found.shape[1], said


def lines(generator: Generator, samples: Tensor) -> list[str]:
    return text.lines(samples, generator.spec.vocabulary)


def _write_text(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    write_text(output, "\n".join(lines(generator, samples)) + "\n")


def _write_grid(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    if output.suffix == ".gif":
        pictures.write_gif(output, [pictures.picture(sample[None], generator.spec) for sample in samples])
        return
    pictures.write(output, pictures.picture(samples, generator.spec, columns=columns))


def _write_images(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    if generator.spec.kind == "points":
        pictures.write(output / "points.png", pictures.picture(samples, generator.spec))
        return
    for i, image in enumerate(pictures.to_uint8(samples)):
        pictures.write(output / f"{i:05d}.png", pictures.pixels_of(image))


def _write_npz(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    spec = generator.spec
    table = {"table": structured(spec.table(samples))} if spec.units else {}
    _write_arrays(output, samples=spec.in_units(samples).numpy(), **table)


def _write_csv(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    if generator.spec.kind != "points":
        raise UserError(f"mode=csv: writes the rows of a table; the checkpoint makes {generator.spec.kind}.")
    table = generator.spec.table(samples)
    rows = zip(*(column.texts(numbers) for column, numbers in table), strict=True)
    write_text(output, csv_text([[column.name for column, _ in table], *rows]))


def _write_arrays(output: Path, **arrays: Any) -> None:
    with replacing(output) as temporary, temporary.open("wb") as file:  # by a name it would add its own suffix
        np.savez_compressed(file, **arrays)


def _write_points(samples: Tensor, generator: Generator, output: Path, columns: int) -> None:
    """Samples over the level sets of the critic that is in the checkpoint."""
    value = getattr(generator.game, "value", None)
    if generator.spec.shape != (2,) or value is None:
        raise UserError("mode=points: draws points of two coordinates and the critic before them; take mode=grid.")
    title = f"critic and {len(samples)} samples after {generator.step} rounds"
    figure = pictures.level_sets(value, generator.spec.extent, [(samples, "tab:orange")], title)
    pictures.write(output, pictures.drawn(figure))


def write_timeline(config: SampleConfig, seeds: list[int], output: Path) -> None:
    """The same samples by each checkpoint of a run, a frame each."""
    frames = []
    for path in walks.frames_of(Path(config.checkpoint)):
        generator = prepared(config, path)
        if generator.spec.kind == "text":
            raise UserError("mode=timeline: shows pictures; the checkpoint makes text.")
        classes = generator.classes(config.classes)
        samples = generator.render(latents_of(config, generator, seeds, classes))
        pixels = pictures.picture(samples, generator.spec, columns=len(classes) if len(classes) > 1 else 0)
        frames.append(pictures.captioned(pixels, f"step {generator.step}"))
    pictures.write_gif(output, frames, seconds=0.4)
    print(f"{len(seeds)} samples by each of {len(frames)} checkpoints of {config.checkpoint} in {output}")


def write_through_codes(config: SampleConfig, generator: Generator, output: Path) -> None:
    """Held-out samples of the model's own data, or of another: their codes, or what comes back by way of them."""
    if not generator.game.encodes:
        raise UserError(f"mode={config.mode.value}: the checkpoint's model has no encoder; model=bigan or aae has one.")
    dataset = own_or_other_data(generator.config, generator.spec, config.data, [])
    batch = dataset.few(dataset.heldout, config.n, f"sampled {config.seed}")
    with torch.no_grad():
        if config.mode is Mode.encode:
            labels = {"y": batch["y"].numpy()} if "y" in batch else {}
            _write_arrays(output, codes=generator.game.encode(batch["x"]).numpy(), **labels)
        else:
            again = generator.game.reconstruct(batch["x"], *(batch[name] for name in generator.game.condition))
            _write_grid(_interleaved(batch["x"], again), generator, output, WIDE)
    print(f"{len(batch['x'])} held-out samples through {config.checkpoint} (step {generator.step}) in {output}")


WIDE = 16  # columns of a picture of reconstructions


def _interleaved(x: Tensor, again: Tensor) -> Tensor:
    """A row of samples, a row of what comes back, and so on."""
    rows = zip(x.split(WIDE), again.split(WIDE), strict=True)
    blank = torch.full_like(x[:1], -1).expand(-len(x) % WIDE, *x.shape[1:])
    return torch.cat([torch.cat([part, blank[: WIDE - len(part)]]) for row in rows for part in row])


WRITERS = {Mode.images: _write_images, Mode.npz: _write_npz, Mode.text: _write_text, Mode.points: _write_points,
           Mode.csv: _write_csv}  # fmt: skip
"""How a mode writes; a grid if it is not here."""


def write(samples: Tensor, generator: Generator, mode: Mode, output: Path, columns: int) -> None:
    """Write samples in the way of a mode.

    Args:
        columns: of a grid; 0 makes it square.
    """
    WRITERS.get(mode, _write_grid)(samples, generator, output, columns)
