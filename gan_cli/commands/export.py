"""`gan-export`: a trained generator as a file that runs without gan-cli. ONNX needs the extra
`export`."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from gan_cli.errors import UserError
from gan_cli.files import replacing
from gan_cli.sampling.generator import Generator, Statistics, Weights, load_generator
from gan_cli.sampling.keys import checkpoint_key, plugins_key, statistics_key, weights_key
from gan_cli.sampling.output import file_to_write

ALLOWED = {".pt2": 0.0, ".onnx": 1e-5}
"""What is written, by its suffix, and how far its samples may be from gan-sample's, fed as
gan-sample feeds them; see `formats.distances`."""
ROUNDING = 1e-5
"""The same for batches of other sizes: CPU results differ in the last bits across them."""
SEEDS = 50
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass
class ExportConfig:
    """The keys of `gan-export`."""

    checkpoint: str = checkpoint_key()
    output: str = field(
        default="generator.pt2", metadata={"help": "PATH to write: .pt2 (torch.export) or .onnx"}
    )
    statistics: Statistics = statistics_key()
    weights: Weights = weights_key()
    plugins: list[str] = plugins_key()


def run(config: ExportConfig) -> None:
    """Write the file, load it again and compare it with gan-sample; prints where it is.

    Raises:
        UserError: it cannot be exported, or came out differently. Then nothing is written, and what
            was there stays.
    """
    output = _output(config.output)
    generator = load_generator(config.checkpoint, config.weights, config.plugins, config.statistics)
    from gan_cli.sampling import formats

    with formats.quiet(), replacing(output) as temporary:
        temporary.write_bytes(formats.exported(generator, output.suffix))
        apart = _compared(generator, temporary, output)
    latent, shape = generator.drawn([0]).shape[1], ", ".join(map(str, generator.spec.shape))
    print(
        f"{generator.path} (step {generator.step}) in {output}: latents (N, {latent}) to samples "
        f"(N, {shape}), at most {apart:.2g} from those of gan-sample (seeds 0-{SEEDS - 1})"
    )


def _output(typed: str) -> Path:
    """Where to write. Raises UserError for a name that does not say what, or for what is not
    installed."""
    output = file_to_write(typed, tuple(ALLOWED), "gan-export")
    if output.suffix == ".onnx" and not all(map(find_spec, ONNX_PACKAGES)):
        raise UserError(
            f"output={output}: ONNX needs the extra `export`; install it with: pip install "
            "'gan-cli[export]'."
        )
    return output


def _compared(generator: Generator, written: Path, output: Path) -> float:
    """How far what a file renders is from the generator's samples, at most. Raises UserError if
    that is too far."""
    from gan_cli.sampling import formats

    chunked, others = formats.distances(generator, written, output.suffix, SEEDS)
    for what, found, allowed in (
        ("", chunked, ALLOWED[output.suffix]),
        *((" in a batch of another size", other, ROUNDING) for other in others),
    ):
        if not found <= allowed:  # nor NaN
            raise UserError(
                f"output={output}: read again, its samples{what} are up to {found:.2g} from those "
                f"of gan-sample, where {allowed:g} is allowed, so it was deleted; "
                f"{formats.REMEDIES[output.suffix]}."
            )
    return chunked
