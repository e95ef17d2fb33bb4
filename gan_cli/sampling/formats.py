"""A trained generator outside gan-cli: a program of torch.export, or ONNX, and what one must know
to feed it."""

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
TOLD = "gan"
"""The name of what a file tells of itself: `gan.json` among the extra files of .pt2, `gan` in the
metadata of ONNX."""
REMEDIES = {
    ".pt2": "the model's `render` must give finite samples that depend on their own rows alone",
    ".onnx": "take a .pt2 file, which has torch's own operations",
}
"""What to do where a format does not hold what gan-sample renders."""
ROWS = {"latents": {0: Dim("N", min=1)}}  # any number of them


class Rendering(nn.Module):
    """`game.render` as a module: latents, (N, latent), to samples, (N, *shape)."""

    def __init__(self, game: Game) -> None:
        super().__init__()
        self.game = game

    def forward(self, latents: Tensor) -> Tensor:
        return self.game.render(latents)


def exported(generator: "Generator", suffix: str) -> bytes:
    """The file of a format.

    Raises:
        UserError: the game's `render` is no graph of operations, or the format lacks one of them.
    """
    writer, text = {".pt2": _pt2, ".onnx": _onnx}[suffix], json.dumps(told(generator))
    model = f"model={_name(generator)}"
    with _explained(
        f"{model}: its `render` cannot be exported", "it may ask for no value, nor for len(latents)"
    ):
        program = _program(generator)
    with _explained(f"{model} cannot be written as {suffix}", REMEDIES[suffix]):
        return writer(program, text)


@contextmanager
def _explained(problem: str, remedy: str) -> Iterator[None]:
    """Whatever an exporter raises, as one sentence with what was at the bottom of it."""
    try:
        yield
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__:
            cause = cause.__cause__
        reason = re.split(r"[.!]\s|\n", str(cause).strip())[0].rstrip(".") or type(cause).__name__
        raise UserError(f"{problem} ({reason}); {remedy}.") from error


def told(generator: "Generator") -> dict[str, Any]:
    """What one must know to feed a file, as plain types.

    - model, step: what was trained, for how many rounds;
    - latent: the length of a row; columns: its parts from the first to the last, each a name, width
      and law (see `gan_cli.game.Columns`), none where the game does not say; classes: how many one
      may ask for;
    - chunk: rows at a time that give gan-sample's samples bit for bit (.pt2), the last ones padded
      by any rows;
    - kind, shape: of a sample; range: least and largest value, or null; vocabulary of a text;
    - units: of a table, name, offset and scale of each number of a sample; table: what its columns
      are made of them, see `gan_cli.data.columns.Column`.
    """
    spec, latent = generator.spec, generator.drawn([0]).shape[1]
    columns = generator.game.columns()
    if sum(part.width for part in columns) != latent:  # a plug-in's own `draw`
        columns = []
    data = spec.plain()
    bounds = [-1, 1] if spec.bounded else [0, 1] if spec.kind == "text" else None
    return {
        "model": _name(generator),
        "step": generator.step,
        "latent": latent,
        "columns": [part._asdict() for part in columns],
        "classes": generator.game.classes,
        "chunk": CHUNK,
        **{name: data[name] for name in ("kind", "shape", "vocabulary", "units")},
        "table": data["columns"],
        "range": bounds,
    }


def _name(generator: "Generator") -> str:
    return str(yaml.safe_load(generator.config)["model"]["name"])


def _program(generator: "Generator") -> ExportedProgram:
    """The graph of rendering, for any number of rows."""
    # It reads torch's old word for how a GPU multiplies, which must agree with the newer one that
    # training sets.
    cudnn: Any = torch.backends.cudnn  # its types lack `conv`
    cudnn.allow_tf32 = cudnn.conv.fp32_precision == "tf32"
    rows = generator.drawn(range(CHUNK))
    program = torch.export.export(Rendering(generator.game).eval(), (rows,), dynamic_shapes=ROWS)
    _lighten(program)
    return program


def _lighten(program: ExportedProgram) -> None:
    """Drop the weights that no operation reads, such as the critic's, and the lines of source that
    wrote the graph."""
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
    torch.export.save(program, buffer, extra_files={f"{TOLD}.json": text})
    return buffer.getvalue()


def _onnx(program: ExportedProgram, text: str) -> bytes:
    names: dict[str, Any] = {
        "input_names": ["latents"],
        "output_names": ["samples"],
        "dynamic_shapes": ROWS,
    }
    found: Any = torch.onnx.export(program, **names, dynamo=True, verbose=False)
    found.model.metadata_props[TOLD] = text
    return bytes(found.model_proto.SerializeToString())


def distances(
    generator: "Generator", path: Path, suffix: str, seeds: int
) -> tuple[float, list[float]]:
    """How far what a file renders is from the samples of the first seeds, at most, fed as
    gan-sample feeds it; and fed all at once, and one alone. Of the largest value, where that is
    above 1; infinitely, if the shape is another.

    Raises:
        UserError: it renders nothing at all.
    """
    latents, samples = generator.drawn(range(seeds)), generator.sample(seeds)
    size = max(1.0, float(samples.abs().max()))
    with _explained(f"model={_name(generator)}: as {suffix} it does not render", REMEDIES[suffix]):
        render = LOADERS[suffix](path)
        chunked, *others = (in_chunks(render, latents), render(latents), render(latents[:1]))
    return _apart(chunked, samples) / size, [
        _apart(other, samples[: len(other)]) / size for other in others
    ]


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) if a.shape == b.shape else float("inf")


def _load_pt2(path: Path) -> Render:
    with path.open("rb") as file:
        module: Render = torch.export.load(file).module()
    return module


def _load_onnx(path: Path) -> Render:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda latents: torch.from_numpy(session.run(None, {"latents": latents.numpy()})[0])


LOADERS: dict[str, Callable[[Path], Render]] = {".pt2": _load_pt2, ".onnx": _load_onnx}
"""What a file renders, by its suffix."""


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is printed, warned of or logged: what exporters say is for those who write them."""
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
