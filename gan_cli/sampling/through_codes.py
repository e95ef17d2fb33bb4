"""Modes of `gan-sample` that encode samples: their codes, and what becomes of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset, Fields, decoded
from gan_cli.data.spec import Spec
from gan_cli.errors import UserError
from gan_cli.runs.inputs import HELD_OUT, files_in
from gan_cli.runs.places import expanded
from gan_cli.sampling.generator import Generator
from gan_cli.sampling.modes import write_arrays, write_grid
from gan_cli.sampling.options import Mode, SampleConfig

RECONSTRUCTION_COLUMNS = 16  # images in a row of reconstructions


def write_through_codes(
    config: SampleConfig, generator: Generator, load_data: Callable[[], Dataset], output: Path
) -> None:
    """Write the codes of samples, or their reconstructions: of held-out ones, or of files.

    Args:
        load_data: loads the data set, for held-out samples.
    """
    game = generator.game
    mode = config.mode.value
    if not game.encodes:
        raise UserError(
            f"mode={mode}: the checkpoint's model has no encoder; model=bigan or aae has one."
        )

    batch, names, said = _to_encode(config, generator, load_data)
    with torch.no_grad():
        if config.mode is Mode.encode:
            labels = {"y": batch["y"].numpy()} if "y" in batch else {}
            labels |= {"names": np.array(names)} if names else {}
            write_arrays(output, codes=game.encode(batch["x"]).numpy(), **labels)
        else:
            condition = [batch[name] for name in game.condition]
            rows = _interleaved(batch["x"], game.reconstruct(batch["x"], *condition))
            write_grid(rows, generator, output, RECONSTRUCTION_COLUMNS)

    print(f"{len(batch['x'])} {said} through {generator.path} (step {generator.step}) in {output}")


def _to_encode(
    config: SampleConfig, generator: Generator, load_data: Callable[[], Dataset]
) -> tuple[Fields, tuple[str, ...], str]:
    """The samples to encode with their other fields, their names, and what they are in words."""
    game, mode = generator.game, config.mode.value
    if config.input not in (None, HELD_OUT):
        if game.condition:
            raise UserError(
                f"input={config.input}: the checkpoint's model also needs the "
                f"{', '.join(game.condition)} of each sample, which files do not tell; leave input "
                "out, for held-out samples."
            )
        batch, names = samples_of_files(config.input, generator.spec, config.n)
        return batch, names, f"samples of {config.input}"

    dataset = load_data()
    if game.condition and dataset.spec.classes != generator.spec.classes:
        raise UserError(
            f"mode={mode}: the data have {dataset.spec.classes} classes, the "
            f"checkpoint's model {generator.spec.classes}; take data= of the same classes."
        )

    return heldout_samples(dataset, config), (), "held-out samples"


def samples_of_files(typed: str, spec: Spec, n: int) -> tuple[Fields, tuple[str, ...]]:
    """The first n samples of a file or a folder, decoded, and their names.

    Args:
        typed: value of the key `input`.

    Raises:
        UserError: there are none, or samples of this kind are not read from files.
    """
    files = files_in(expanded(typed), spec)
    if files is None:
        raise UserError(
            f"input={typed}: {spec.kind} are not read from files; leave input out, for held-out "
            "samples."
        )
    names = files.names[:n]
    return decoded({"x": torch.stack([files.read(i) for i in range(len(names))])}, spec), names


def heldout_samples(dataset: Dataset, config: SampleConfig) -> Fields:
    """n held-out samples with their other fields; the same seed always draws the same ones."""
    return dataset.sample(dataset.heldout, config.n, f"sampled {config.seed}")


def _interleaved(samples: Tensor, reconstructions: Tensor) -> Tensor:
    """Rows of samples and rows of their reconstructions in turn, the last two padded with black."""
    columns = RECONSTRUCTION_COLUMNS
    pairs = zip(samples.split(columns), reconstructions.split(columns), strict=True)
    black = torch.full_like(samples[:1], -1).expand(-len(samples) % columns, *samples.shape[1:])
    rows = [torch.cat([row, black[: columns - len(row)]]) for pair in pairs for row in pair]
    return torch.cat(rows)
