"""Export of a trained generator as a program of torch.export, or as ONNX.

The file contains a description, JSON that states how to use it without gan-cli.
"""

import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from gan_cli.errors import UserError
from gan_cli.game import Game
from gan_cli.training.rendering import CHUNK, in_chunks

if TYPE_CHECKING:
    from gan_cli.sampling.generator import Generator

Render = Callable[[Tensor], Tensor]
DESCRIPTION = "gan"
"""Name of the description: `gan.json` among the extra files of .pt2, `gan` in ONNX's metadata."""
REMEDIES = {
    ".pt2": "the model's `render` must give finite samples that depend on their own rows alone",
    ".onnx": "take a .pt2 file, which has torch's own operations",
}
"""Advice for a file whose samples differ from those of gan-sample, by suffix."""
DYNAMIC_SHAPES = {"latents": {0: Dim("N", min=1)}}  # any number of rows


class Rendering(nn.Module):
    """`game.render` as a module: latents, (N, latent), to samples, (N, *shape)."""

    def __init__(self, game: Game) -> None:
        super().__init__()
        self.game = game

    def forward(self, latents: Tensor) -> Tensor:
        return self.game.render(latents)


def exported(generator: "Generator", suffix: str) -> bytes:
    """Content of the exported file.

    Raises:
        UserError: the game's `render` is no graph of operations, or the format lacks one of them.
    """
    writer = {".pt2": _pt2, ".onnx": _onnx}[suffix]
    text = json.dumps(description(generator))
    model = f"model={_model_name(generator)}"

    with _explained(
        f"{model}: its `render` cannot be exported", "it may ask for no value, nor for len(latents)"
    ):
        program = _program(generator)
    with _explained(f"{model} cannot be written as {suffix}", REMEDIES[suffix]):
        return writer(program, text)


@contextmanager
def _explained(problem: str, remedy: str) -> Iterator[None]:
    """Convert any exception into a UserError of one sentence that states the root cause."""
    try:
        yield
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__:
            cause = cause.__cause__
        first_sentence = re.split(r"[.!]\s|\n", str(cause).strip())[0].rstrip(".")
        reason = first_sentence or type(cause).__name__
        raise UserError(f"{problem} ({reason}); {remedy}.") from error


def description(generator: "Generator") -> dict[str, Any]:
    """Description of an exported generator, as plain types.

    - model, step: what was trained, for how many rounds;
    - latent: length of a row of the input; columns: its parts in order, each a name, width and law
      (see `gan_cli.game.Columns`), none if the game does not state them; classes: number of classes
      that one may choose from;
    - chunk: batch size that reproduces gan-sample's samples bit for bit (.pt2), with any rows as
      padding of the last batch;
    - kind, shape: of a sample; range: least and largest value, or null; vocabulary of a text;
    - units: of a table, name, offset and scale of each number of a sample; table: how its columns
      are made of these numbers, see `gan_cli.data.columns.Column`.
    """
    spec = generator.spec
    latent = generator.drawn([0]).shape[1]
    columns = generator.game.columns()
    if sum(part.width for part in columns) != latent:  # a plug-in may override `draw`
        columns = []

    bounds = None
    if spec.bounded:
        bounds = [-1, 1]
    elif spec.kind == "text":
        bounds = [0, 1]

    data = spec.plain()
    return {
        "model": _model_name(generator),
        "step": generator.step,
        "latent": latent,
        "columns": [part._asdict() for part in columns],
        "classes": generator.game.classes,
        "chunk": CHUNK,
        **{name: data[name] for name in ("kind", "shape", "vocabulary", "units")},
        "table": data["columns"],
        "range": bounds,
    }


def _model_name(generator: "Generator") -> str:
    return str(yaml.safe_load(generator.config)["model"]["name"])


def _program(generator: "Generator") -> ExportedProgram:
    """Graph of rendering, for any number of rows."""
    # torch.export reads the older flag for TF32, which must agree with the newer one that training
    # sets
    cudnn: Any = torch.backends.cudnn  # its types lack `conv`
    cudnn.allow_tf32 = cudnn.conv.fp32_precision == "tf32"

    rows = generator.drawn(range(CHUNK))
    module = Rendering(generator.game).eval()
    program = torch.export.export(module, (rows,), dynamic_shapes=DYNAMIC_SHAPES)
    _remove_unused(program)
    return program


def _remove_unused(program: ExportedProgram) -> None:
    """Drop weights that no operation reads, such as the critic's, and stack traces."""
    nodes = {node.name: node for node in program.graph.nodes}
    for node in nodes.values():
        node.meta.pop("stack_trace", None)

    inputs = program.graph_signature.input_specs
    for spec in [*inputs]:
        if spec.kind is not InputKind.USER_INPUT and not nodes[spec.arg.name].users:
            program.graph.erase_node(nodes[spec.arg.name])
            inputs.remove(spec)
            program.state_dict.pop(str(spec.target), None)
            program.constants.pop(str(spec.target), None)
    program.graph_module.recompile()


def _pt2(program: ExportedProgram, text: str) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={f"{DESCRIPTION}.json": text})
    return buffer.getvalue()


def _onnx(program: ExportedProgram, text: str) -> bytes:
    options: dict[str, Any] = {
        "input_names": ["latents"],
        "output_names": ["samples"],
        "dynamic_shapes": DYNAMIC_SHAPES,
    }
    converted: Any = torch.onnx.export(program, **options, dynamo=True, verbose=False)
    converted.model.metadata_props[DESCRIPTION] = text
    return bytes(converted.model_proto.SerializeToString())


def distances(
    generator: "Generator", path: Path, suffix: str, seeds: int
) -> tuple[float, list[float]]:
    """Largest differences between samples of a file and of gan-sample, for the first seeds.

    They are relative to the largest value of a sample where that exceeds 1, and infinite if the
    shapes differ.

    Returns:
        The difference in gan-sample's own chunks; and those of all rows at once and of one row.

    Raises:
        UserError: the file renders nothing at all.
    """
    latents = generator.drawn(range(seeds))
    samples = generator.sample(seeds)
    size = max(1.0, float(samples.abs().max()))

    problem = f"model={_model_name(generator)}: as {suffix} it does not render"
    with _explained(problem, REMEDIES[suffix]):
        render = LOADERS[suffix](path)
        chunked = in_chunks(render, latents)
        others = [render(latents), render(latents[:1])]
    return _max_difference(chunked, samples) / size, [
        _max_difference(other, samples[: len(other)]) / size for other in others
    ]


def _max_difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) if a.shape == b.shape else float("inf")


def _load_pt2(path: Path) -> Render:
    with path.open("rb") as file:
        module: Render = torch.export.load(file).module()
    return module


def _load_onnx(path: Path) -> Render:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # only errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda latents: torch.from_numpy(session.run(None, {"latents": latents.numpy()})[0])


LOADERS: dict[str, Callable[[Path], Render]] = {".pt2": _load_pt2, ".onnx": _load_onnx}
"""Functions that load a file as a rendering function, by suffix."""


@contextmanager
def quiet() -> Iterator[None]:
    """While active, nothing is printed, warned of or logged.

    Messages of exporters are meant for their developers.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
