"""`gan-export`: a trained generator as a file that runs without gan-cli.

ONNX needs the extra `export`.
"""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from gan_cli.errors import UserError
from gan_cli.files import replacing
from gan_cli.sampling.generator import Generator, Statistics, Weights, load_generator
from gan_cli.sampling.keys import (
    checkpoint_key,
    direction_key,
    plugins_key,
    statistics_key,
    weights_key,
)
from gan_cli.sampling.output import file_to_write

TOLERANCES = {".pt2": 0.0, ".onnx": 1e-5}
"""Largest allowed difference from gan-sample, by suffix, in its chunks; see `formats.distances`."""
BATCH_TOLERANCE = 1e-5
"""Largest allowed difference in other batch sizes, which change the last bits on a CPU."""
SEEDS = 50  # samples that are compared
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass
class ExportConfig:
    """The keys of `gan-export`."""

    checkpoint: str = checkpoint_key()
    output: str = field(
        default="generator.pt2", metadata={"help": "PATH to write: .pt2 (torch.export) or .onnx"}
    )
    statistics: Statistics = statistics_key()
    direction: str | None = direction_key()
    weights: Weights = weights_key()
    plugins: list[str] = plugins_key()


def run(config: ExportConfig) -> None:
    """Write the file, load it again, compare it with gan-sample, and print the output path.

    Raises:
        UserError: the generator cannot be exported, or the file's samples differ. Then nothing is
            written, and an existing file stays.
    """
    output = _output(config.output)
    generator = load_generator(
        config.checkpoint, config.weights, config.plugins, config.statistics, config.direction
    )

    from gan_cli.sampling import formats
    from gan_cli.sampling.native import side_multiple

    multiple, remark = side_multiple(generator), ""
    try:
        difference = _write(generator, output, multiple)
    except UserError:
        if not multiple:
            raise
        # the exporter of torch, or the network, may need the trained sides
        multiple, difference = 0, _write(generator, output, 0)
        remark = "; height and width are fixed, as it cannot be exported for others"
    if multiple:
        least = "x".join(map(str, formats.least_sides(generator, multiple)))
        remark = f"; height and width may be other multiples of {multiple}, from {least} on"

    inputs = ", ".join(
        f"{item['name']} ({', '.join(map(str, ['N', *item['shape']]))})"
        for item in formats.description(generator)["inputs"]
    )
    shape = ", ".join(map(str, generator.spec.shape))
    print(
        f"{generator.path} (step {generator.step}) in {output}: {inputs} to samples "
        f"(N, {shape}), at most {difference:.2g} from those of gan-sample (seeds 0-{SEEDS - 1})"
        f"{remark}"
    )


def _write(generator: Generator, output: Path, multiple: int) -> float:
    """Write the file if its samples are those of the generator; returns the largest difference.

    Args:
        multiple: what the sides of input images must be multiples of; 0 if they are fixed.

    Raises:
        UserError: see `run`.
    """
    from gan_cli.sampling import formats

    with formats.quiet(), replacing(output) as temporary:
        temporary.write_bytes(formats.exported(generator, output.suffix, multiple))
        return _checked_difference(generator, temporary, output, multiple)


def _output(typed: str) -> Path:
    """The path to write to.

    Raises:
        UserError: an unknown suffix, a path that is not writable, or missing packages.
    """
    output = file_to_write(typed, tuple(TOLERANCES), "gan-export")
    if output.suffix == ".onnx" and not all(map(find_spec, ONNX_PACKAGES)):
        raise UserError(
            f"output={output}: ONNX needs the extra `export`; install it with: pip install "
            "'gan-cli[export]'."
        )
    return output


def _checked_difference(generator: Generator, written: Path, output: Path, multiple: int) -> float:
    """Largest difference between samples of the file and of the generator, in its chunks.

    Args:
        written: the file, under its temporary name.
        multiple: see `_write`.

    Raises:
        UserError: the difference exceeds its tolerance, in any batch size.
    """
    from gan_cli.sampling import formats

    chunked, batched = formats.distances(generator, written, output.suffix, SEEDS)
    checks = [("", chunked, TOLERANCES[output.suffix])]
    checks += [(" in a batch of another size", other, BATCH_TOLERANCE) for other in batched]
    if multiple:
        elsewhere = formats.distance_elsewhere(generator, written, output.suffix)
        checks.append((" of larger inputs", elsewhere, BATCH_TOLERANCE))
    for where, difference, tolerance in checks:
        if not difference <= tolerance:  # `not <=`: NaN is refused too
            raise UserError(
                f"output={output}: read again, its samples{where} are up to {difference:.2g} from "
                f"those of gan-sample, where {tolerance:g} is allowed, so it was deleted; "
                f"{formats.REMEDIES[output.suffix]}."
            )
    return chunked
