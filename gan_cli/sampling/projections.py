"""Modes of `gan-sample` that write the projections of pictures, and render their codes again."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan_cli import registry
from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.kinds import kind_of
from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.features.base import Features
from gan_cli.metrics.pairs import mean_of, psnr_of
from gan_cli.reading.arrays import arrays
from gan_cli.runs.inputs import HELD_OUT
from gan_cli.runs.places import expanded
from gan_cli.sampling.folders import Folder, progress, refuse_replacing, write_images
from gan_cli.sampling.generator import Generator, shown
from gan_cli.sampling.modes import write, write_arrays
from gan_cli.sampling.options import Mode, SampleConfig
from gan_cli.sampling.projection import PART, Descent, Projector
from gan_cli.sampling.through_codes import heldout_samples, samples_of_files
from gan_cli.training.rendering import in_chunks

CODES = "codes.npz"  # file name of the codes beside the pictures


def write_projections(
    config: SampleConfig, generator: Generator, load_data: Callable[[], Dataset], output: Path
) -> None:
    """Write the sample that comes closest to each picture, by the picture's name, and the codes.

    Args:
        load_data: loads the data set, for held-out pictures and for features.
    """
    descent = _descent(config, generator)
    features, described = _features(config, load_data)
    batch, names = _pictures(config, generator, load_data)
    files = [f"{name}.png" for name in names]
    refuse_replacing(config.input, output, files)

    x = batch["x"]
    labels = generator.classes(config.classes)
    projector = Projector(generator, features, descent, labels)
    parts = []
    with progress(descent.iterations * -(-len(x) // PART), "iterations") as bar:
        for start in range(0, len(x), PART):
            parts.append(projector(x[start : start + PART], start, bar.update))
    codes, latents = (torch.cat(rows) for rows in zip(*parts, strict=True))

    samples = generator.render_codes(codes, latents, descent.space)
    rendered = {"": samples, "_start": _middles(generator, latents, descent.space)}
    rendered |= _by_encoder(generator, batch)
    errors = {
        f"{score}{of}": measure(other - x).numpy()
        for of, other in rendered.items()
        for score, measure in (("l1", _l1), ("psnr", psnr_of))
    }
    folder = Folder(output)
    write_images(samples, generator, folder, files)
    write_arrays(
        output / CODES,
        codes=codes.numpy(),
        latents=latents.numpy(),
        space=np.array(descent.space),
        names=np.array(names),
        **_classes(generator, latents),
        **errors,
    )
    said = f"{len(x)} pictures by {generator.path} (step {generator.step}) in {output}"
    print(on_one_line(f"{said}, in {descent.space}, compared by pixels{described}{folder.remark}"))
    _print_errors(errors, list(rendered))


def write_codes(config: SampleConfig, generator: Generator, output: Path) -> None:
    """Render the codes of a file that `write_projections` wrote, in the form of the mode.

    Raises:
        UserError: no such file, or codes of another model.
    """
    said = f"codes={config.codes}"
    path = expanded(str(config.codes))
    found = arrays(path, ("codes", "latents", "space", "names"), said)
    if found.keys() != {"codes", "latents", "space", "names"}:
        raise UserError(f"{said}: holds no codes; name a file that mode=project wrote.")
    rows = [torch.from_numpy(found[name][: config.n]) for name in ("codes", "latents")]
    try:
        samples = generator.render_codes(rows[0], rows[1], str(found["space"]))
    except UserError as error:
        raise UserError(f"{said}: {error}") from None

    remark = ""
    if config.mode is Mode.images:
        folder = Folder(output)
        names = [f"{Path(str(name)).name}.png" for name in found["names"][: config.n]]
        write_images(samples, generator, folder, names)
        remark = folder.remark
    else:
        write(samples, generator, config.mode, output, 0)
    source = f"{generator.path} (step {generator.step})"
    print(on_one_line(f"{len(samples)} samples of {path} by {source} in {output}{remark}"))


def _descent(config: SampleConfig, generator: Generator) -> Descent:
    """The configured descent.

    Raises:
        UserError: the checkpoint makes no images, or has no such space.
    """
    if not kind_of(generator.spec).tiles:
        raise UserError(
            f"mode=project: finds the codes of images; the checkpoint makes {generator.spec.kind}."
        )
    spaces = generator.game.spaces
    space = spaces[0] if config.space is None else config.space
    if space not in spaces:
        raise UserError(
            f"space={shown(space)}: the checkpoint's model has no such space"
            f"{closest(space, spaces)}; take one of {', '.join(spaces)}."
        )
    return Descent(
        space, config.iterations, config.rate, config.starts, config.feature_weight, config.seed
    )


def _features(config: SampleConfig, load_data: Callable[[], Dataset]) -> tuple[Features, str]:
    """What pictures are compared by beside pixels, loaded, and what it is in words."""
    known = registry.features.components
    if config.features not in known:
        raise UserError(
            f"features={shown(config.features)}: expected one of {', '.join(sorted(known))}"
            f"{closest(config.features, known)}."
        )
    features: Features = registry.features.build({"name": config.features}, "features")
    if not features.used or not config.feature_weight:
        return registry.features.build({"name": "none"}, "features"), " alone"
    features.load(load_data(), torch.device("cpu"))
    return features, f" and {features.describe()}"


def _pictures(
    config: SampleConfig, generator: Generator, load_data: Callable[[], Dataset]
) -> tuple[Fields, Sequence[str]]:
    """The pictures with their other fields, and their names."""
    if config.input not in (None, HELD_OUT):
        return samples_of_files(config.input, generator.spec, config.n)
    dataset = load_data().seen_as(generator.game.sampling.output)
    batch = heldout_samples(dataset, config)
    return batch, [f"heldout_{i:05d}" for i in range(len(batch["x"]))]


def _middles(generator: Generator, latents: Tensor, space: str) -> Tensor:
    """The samples of the middle of the codes, one for each row."""
    with torch.no_grad():
        middle = generator.game.mean_code(latents, space)
    return generator.render_codes(middle, latents, space)


def _by_encoder(generator: Generator, batch: Fields) -> dict[str, Tensor]:
    """The reconstructions of the game's own encoder; none where it has none, or where it needs what
    files do not tell."""
    game = generator.game
    if not game.encodes or any(name not in batch for name in game.condition):
        return {}
    condition = [batch[name] for name in game.condition]
    return {"_encoder": in_chunks(game.reconstruct, batch["x"], *condition)}


def _classes(generator: Generator, latents: Tensor) -> dict[str, np.ndarray]:
    """The class of each code, where the game has classes."""
    labels = generator.game.labels_of(latents)
    return {} if labels is None else {"y": labels.numpy()}


def _l1(errors: Tensor) -> Tensor:
    """Mean absolute error of each picture, (n,)."""
    return mean_of(errors.abs())


def _print_errors(errors: dict[str, np.ndarray], of: Sequence[str]) -> None:
    """Print the mean errors of the projection, of its start and of the encoder."""
    said = {"": "projection", "_start": "mean code", "_encoder": "encoder"}
    for name in of:
        l1, psnr = errors[f"l1{name}"].mean(), errors[f"psnr{name}"].mean()
        print(f"  {said[name]:<12} L1 {l1:.4f}   PSNR {psnr:.2f} dB")
