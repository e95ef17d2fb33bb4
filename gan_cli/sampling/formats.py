"""Export of a trained generator as a program of torch.export, or as ONNX.

The file contains a description, JSON that states how to use it without gan-cli.
"""

import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from gan_cli.data.kinds import kind_of
from gan_cli.errors import UserError
from gan_cli.game import Columns, Game
from gan_cli.training.rendering import CHUNK, in_chunks

if TYPE_CHECKING:
    from gan_cli.sampling.generator import Generator

Render = Callable[..., Tensor]
DESCRIPTION = "gan"
"""Name of the description: `gan.json` among the extra files of .pt2, `gan` in ONNX's metadata."""
REMEDIES = {
    ".pt2": "the model's `render` must give finite samples that depend on their own rows alone",
    ".onnx": "take a .pt2 file, which has torch's own operations",
}
"""Advice for a file whose samples differ from those of gan-sample, by suffix."""
SMALLEST = 16  # pixels a side of an input image whose sides may differ, unless fewer are trained
ROWS = {0: Dim("N", min=1)}  # of every input: any number of them


class Rendering(nn.Module):
    """Module that renders latents, (N, latent), as samples, (N, *shape), by `game.render`."""

    def __init__(self, game: Game) -> None:
        super().__init__()
        self.game = game

    def forward(self, latents: Tensor) -> Tensor:
        return self.game.render(latents)


class RenderingFromInputs(Rendering):
    """As `Rendering`, with the fields that samples are made from after the latents, or alone if
    these have no width."""

    def __init__(self, game: Game, latent: int) -> None:
        super().__init__(game)
        self.latent = latent

    def forward(self, *fields: Tensor) -> Tensor:
        if not self.latent:
            fields = (fields[0].new_empty(fields[0].shape[0], 0), *fields)
        return self.game.render(*fields)


def input_names(generator: "Generator") -> list[str]:
    """Names of the inputs of an exported file, in their order."""
    latent = generator.drawn([0]).shape[1]
    return [*(["latents"] if latent else []), *generator.game.sampling.given]


def _inputs(generator: "Generator", seeds: Sequence[int]) -> list[Tensor]:
    """The inputs of an exported file for the samples of these seeds, as `input_names` lists."""
    latents = generator.drawn(seeds)
    return [*([latents] if latents.shape[1] else []), *generator.given(seeds)]


def _dynamic_shapes(generator: "Generator", multiple: int) -> Any:
    """The sizes of the inputs that may differ from those of the example, for torch.export.

    Args:
        multiple: see `exported`.
    """
    if not generator.game.sampling.given:
        return {"latents": ROWS}
    sides: dict[int, Any] = {}
    for axis, least in enumerate(least_sides(generator, multiple), 2):
        times = Dim("HW"[axis - 2], min=least // multiple)
        sides[axis] = multiple * times if multiple > 1 else times
    names = input_names(generator)
    return {"fields": tuple(ROWS if name == "latents" else ROWS | sides for name in names)}


def least_sides(generator: "Generator", multiple: int) -> list[int]:
    """The smallest height and width of an input image; [] if they are fixed.

    Args:
        multiple: see `exported`.
    """
    if not multiple:
        return []
    _, *trained = generator.data.seen_as(generator.game.sampling.given[0]).shape
    usual = -(-SMALLEST // multiple) * multiple
    return [max(2 * multiple, min(side, usual)) for side in trained]


def exported(generator: "Generator", suffix: str, multiple: int = 0) -> bytes:
    """Content of the exported file.

    Args:
        suffix: `.pt2` or `.onnx`.
        multiple: if not 0, the sides of the image that samples are made from may differ from those
            that were trained, and must be multiples of it; see
            `gan_cli.sampling.native.side_multiple`.

    Raises:
        UserError: the game's `render` is no graph of operations, or the format lacks one of them.
    """
    writer = {".pt2": _pt2, ".onnx": _onnx}[suffix]
    text = json.dumps(description(generator, multiple))
    model = f"model={_model_name(generator)}"

    with _explained(
        f"{model}: its `render` cannot be exported", "it may ask for no value, nor for len(latents)"
    ):
        program = _program(generator, multiple)
    with _explained(f"{model} cannot be written as {suffix}", REMEDIES[suffix]):
        return writer(program, text, generator, multiple)


@contextmanager
def _explained(problem: str, remedy: str) -> Iterator[None]:
    """Convert any exception into a UserError of one sentence with the root cause."""
    try:
        yield
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__:
            cause = cause.__cause__
        first_sentence = re.split(r"[.!]\s|\n", str(cause).strip())[0].rstrip(".")
        reason = first_sentence or type(cause).__name__
        raise UserError(f"{problem} ({reason}); {remedy}.") from error


def description(generator: "Generator", multiple: int = 0) -> dict[str, Any]:
    """Description of an exported generator, as plain types.

    - model, step: name of the model, and number of rounds trained;
    - latent: length of an input row;
    - columns: parts of an input row in order, each a name, width and law (see
      `gan_cli.game.Columns`); empty if the game does not state them;
    - inputs: what a file takes, in order, each a name, kind and shape of a row;
    - multiple: if not 0, height and width of the input image may be any multiples of it, from
      `least` on; those of a sample are in the same ratio to them;
    - classes: number of classes of a conditional model;
    - chunk: batch size that reproduces gan-sample's samples bit for bit (.pt2); the last batch may
      be padded with any rows;
    - kind, shape: of a sample;
    - range: least and largest value of a sample, or null;
    - vocabulary: characters of a text;
    - units: name, offset and scale of each number of a table's row;
    - table: how a table's columns are computed from these numbers, see
      `gan_cli.data.columns.Column`.
    """
    spec = generator.spec
    latent = generator.drawn([0]).shape[1]
    columns = generator.game.columns()
    if sum(part.width for part in columns) != latent:  # a plug-in may override `draw`
        columns = []

    data = spec.plain()
    return {
        "model": _model_name(generator),
        "step": generator.step,
        "latent": latent,
        "columns": [_column(part) for part in columns],
        "inputs": [_described(generator, name) for name in input_names(generator)],
        "multiple": multiple,
        "least": least_sides(generator, multiple),
        "classes": generator.game.classes,
        "chunk": CHUNK,
        **{name: data[name] for name in ("kind", "shape", "vocabulary", "units")},
        "table": data["columns"],
        "range": kind_of(spec).extremes(spec),
    }


def _column(part: Columns) -> dict[str, Any]:
    """Name, width and law of some columns; how far the law is stretched, if it is."""
    told = {"name": part.name, "width": part.width, "law": part.law}
    return told if part.deviation == 1 else {**told, "deviation": part.deviation}


def _described(generator: "Generator", name: str) -> dict[str, Any]:
    """Name, kind and shape of an input."""
    if name == "latents":
        return {"name": name, "kind": "latents", "shape": [generator.drawn([0]).shape[1]]}
    field = generator.data.seen_as(name)
    return {"name": name, "kind": field.kind, "shape": list(field.shape)}


def _model_name(generator: "Generator") -> str:
    """Name of the model, such as dcgan."""
    return str(yaml.safe_load(generator.config)["model"]["name"])


def _program(generator: "Generator", multiple: int) -> ExportedProgram:
    """The graph of operations that renders latents, for any number of rows.

    Args:
        multiple: see `exported`.
    """
    # torch.export reads the older flag for TF32, and training sets the newer one: make them agree
    cudnn: Any = torch.backends.cudnn  # its type stubs lack `conv`
    cudnn.allow_tf32 = cudnn.conv.fp32_precision == "tf32"

    seeds = range(CHUNK)
    module = Rendering(generator.game)
    if generator.game.sampling.given:
        module = RenderingFromInputs(generator.game, generator.drawn([0]).shape[1])
    program = torch.export.export(
        module.eval(),
        tuple(_inputs(generator, seeds)),
        dynamic_shapes=_dynamic_shapes(generator, multiple),
    )
    _remove_unused(program)
    return program


def _remove_unused(program: ExportedProgram) -> None:
    """Remove weights that no operation reads, such as the critic's, and stack traces."""
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


def _pt2(program: ExportedProgram, text: str, generator: "Generator", multiple: int) -> bytes:
    """A program of torch.export, with its description."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={f"{DESCRIPTION}.json": text})
    return buffer.getvalue()


def _onnx(program: ExportedProgram, text: str, generator: "Generator", multiple: int) -> bytes:
    """An ONNX model, with its description."""
    options: dict[str, Any] = {
        "input_names": input_names(generator),
        "output_names": ["samples"],
        "dynamic_shapes": _dynamic_shapes(generator, multiple),
    }
    converted: Any = torch.onnx.export(program, **options, dynamo=True, verbose=False)
    converted.model.metadata_props[DESCRIPTION] = text
    return bytes(converted.model_proto.SerializeToString())


def distances(
    generator: "Generator", path: Path, suffix: str, seeds: int
) -> tuple[float, list[float]]:
    """Largest differences between samples of a file and of gan-sample.

    They are absolute, or relative to the largest value of a sample if that exceeds 1; infinite if
    the shapes differ.

    Args:
        seeds: number of samples, of the seeds from 0 on.

    Returns:
        The difference in gan-sample's own chunks; and the differences of a batch of all rows and of
        a batch of one row.

    Raises:
        UserError: the file cannot render.
    """
    fields = _inputs(generator, range(seeds))
    samples = generator.sample(seeds)
    scale = max(1.0, float(samples.abs().max()))

    problem = f"model={_model_name(generator)}: as {suffix} it does not render"
    with _explained(problem, REMEDIES[suffix]):
        render = LOADERS[suffix](path)
        chunked = in_chunks(render, *fields)
        other_batches = [render(*fields), render(*(field[:1] for field in fields))]

    return _max_difference(chunked, samples) / scale, [
        _max_difference(batch, samples[: len(batch)]) / scale for batch in other_batches
    ]


def distance_elsewhere(generator: "Generator", path: Path, suffix: str) -> float:
    """Largest difference, as in `distances`, between two samples of a file and of gan-sample whose
    inputs are twice as high and three times as wide as the trained ones.

    Raises:
        UserError: the file cannot render them.
    """
    fields = [
        field if name == "latents" else field.repeat(1, 1, 2, 3)
        for name, field in zip(
            input_names(generator), _inputs(generator, range(2)), strict=True
        )
    ]  # fmt: skip
    latents = generator.drawn(range(2))
    with torch.no_grad():
        samples = generator.game.render(latents, fields[-1])  # type: ignore[call-arg]
    with _explained(f"model={_model_name(generator)}: other sides", REMEDIES[suffix]):
        made = LOADERS[suffix](path)(*fields)
    return _max_difference(made, samples) / max(1.0, float(samples.abs().max()))


def _max_difference(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference; infinite if the shapes differ."""
    return float((a - b).abs().max()) if a.shape == b.shape else float("inf")


def _load_pt2(path: Path) -> Render:
    """The rendering function of a program of torch.export."""
    with path.open("rb") as file:
        module: Render = torch.export.load(file).module()
    return module


def _load_onnx(path: Path) -> Render:
    """The rendering function of an ONNX model, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # only errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]

    def render(*fields: Tensor) -> Tensor:
        given = {name: field.numpy() for name, field in zip(names, fields, strict=True)}
        return torch.from_numpy(session.run(None, given)[0])

    return render


LOADERS: dict[str, Callable[[Path], Render]] = {".pt2": _load_pt2, ".onnx": _load_onnx}
"""Functions that load the rendering function of a file, by suffix."""


@contextmanager
def quiet() -> Iterator[None]:
    """While active, nothing is printed, warned of or logged.

    The messages of exporters are for their developers.
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
