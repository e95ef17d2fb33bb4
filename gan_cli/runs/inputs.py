"""Inputs that samples are made from: those that a checkpoint carries, held-out ones, or files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_cli.data.dataset import Dataset, Fields, decoded
from gan_cli.data.decoded import heldout_of
from gan_cli.data.kinds import Kind, kind_of
from gan_cli.data.listing import listing
from gan_cli.data.spec import Field, Spec
from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.game import Direction, Game
from gan_cli.reading.arrays import arrays
from gan_cli.runs.places import expanded

PANEL_COLUMNS = 4  # inputs side by side in a picture, each with its panels
HELD_OUT = "heldout"
"""Value of the key `input` for the held-out samples of the checkpoint's data."""


@dataclass(frozen=True)
class Inputs:
    """Inputs, and the other fields of the samples that they belong to.

    Args:
        fields: decoded fields, as many rows each.
        names: a name for each row, of the file it was read from; or empty.
    """

    fields: Fields
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return min((len(values) for values in self.fields.values()), default=0)

    def rows(self, indices: Any) -> Fields:
        """The fields of these rows; the first row follows the last one."""
        rows = torch.as_tensor([index % len(self) for index in indices])
        return {name: values[rows] for name, values in self.fields.items()}


@dataclass(frozen=True, kw_only=True)
class OnDemand(Inputs):
    """Inputs that are read when their rows are asked for, so that there may be any number of them.

    Args:
        count: number of rows.
        take: reads the rows of these numbers, decoded.
    """

    count: int
    take: Callable[[list[int]], Fields]

    def __len__(self) -> int:
        return self.count

    def rows(self, indices: Any) -> Fields:
        return self.take([int(index) % len(self) for index in indices])


def needed(game: Game) -> list[str]:
    """Fields that samples of a game are made from, in any direction, and that its pictures show."""
    usual = Direction("x", game.given, game.panels)
    from_inputs = [item for item in (usual, *game.directions.values()) if item.given]
    names = [name for item in from_inputs for name in (*item.given, *item.panels)]
    return [name for name in dict.fromkeys(names) if name != "output"]


def kept(game: Game, dataset: Dataset, n: int) -> Fields:
    """The fields of the first held-out samples that a checkpoint carries, as they are stored."""
    return {name: dataset.heldout[name][:n].cpu().clone() for name in needed(game)}


def carried(game: Game, spec: Spec, state: Mapping[str, Any], path: Path) -> Inputs:
    """The inputs in the content of a checkpoint.

    Args:
        path: of the checkpoint, for messages.

    Raises:
        UserError: they are not what the game makes samples from.
    """
    stored: Any = state.get("inputs") or {}
    if not needed(game) or not stored:
        return Inputs({})
    wrong = [f"lack {name}" for name in needed(game) if name not in stored]
    rows = len(next(iter(stored.values())))
    wrong += [
        f"have {name!s:.40} of {values.dtype} and shape {tuple(values.shape)}"
        for name, values in stored.items()
        if not _fits(values, rows, _described(name, spec))
    ]
    if wrong:
        raise UserError(f"checkpoint={path}: damaged: its inputs {wrong[0]}.")
    return Inputs(decoded(stored, spec))


def _described(name: str, spec: Spec) -> Field | None:
    """What a field holds, the class `y` too; None for an unknown one."""
    if name == "x":
        return Field(spec.kind, spec.shape, spec.bounded)
    if name == "y" and spec.classes:
        return Field("choice", (), size=spec.classes)
    return spec.fields.get(name)


def _fits(values: Tensor, rows: int, field: Field | None) -> bool:
    """Whether stored values are so many rows of a field."""
    if field is None or tuple(values.shape) != (rows, *kind_of(field).stored(field)):
        return False
    if not field.size:
        return values.dtype in (torch.uint8, torch.float32)
    return values.dtype == torch.int64 and bool(((values >= 0) & (values < field.size)).all())


def chosen(
    typed: str | None, game: Game, spec: Spec, own: Inputs, load_data: Callable[[], Dataset]
) -> Inputs:
    """The inputs that the key `input` names; without it, those that the checkpoint carries.

    Args:
        typed: value of the key; null, `heldout`, a file or a folder.
        own: inputs of the checkpoint.
        load_data: loads the data set of the checkpoint.

    Raises:
        UserError: no such files, or the checkpoint's model needs none, or carries none.
    """
    if not game.sampling.given:
        if typed is not None:
            raise UserError(
                f"input={typed}: the checkpoint's model makes samples from noise alone; leave "
                "input out."
            )
        return Inputs({})
    if typed == HELD_OUT:
        return _held_out(load_data(), needed(game))
    if typed is not None:
        return _read(expanded(typed), game, spec)
    if not len(own):
        raise UserError(
            f"input: the checkpoint's model makes samples from {', '.join(game.sampling.given)}, "
            "and its file carries none (keep_inputs was 0); add input=FOLDER, a file, or "
            "input=heldout."
        )
    return own


def _held_out(dataset: Dataset, names: list[str]) -> Inputs:
    """These fields of the held-out samples."""
    heldout = heldout_of(dataset)
    stored = {name: heldout.stored[name] for name in names}

    def take(indices: list[int]) -> Fields:
        rows = torch.as_tensor(indices)
        return dataset.decode({name: values[rows] for name, values in stored.items()})

    return OnDemand({}, count=heldout.samples, take=take)


def _read(path: Path, game: Game, spec: Spec) -> Inputs:
    """Inputs from a file, or from all files of a folder in the order of their names."""
    first, *others = game.sampling.given
    if not others and path.suffix == ".npz" and first in spec.fields:
        return _arrays(path, first, spec)
    files = None
    if not others and first in ("x", *spec.fields):
        files = files_in(path, spec.seen_as(first))
    if files is None:
        raise UserError(
            f"input={path}: files cannot be the {', '.join((first, *others))} that the "
            "checkpoint's model takes; take input=heldout."
        )

    def take(indices: list[int]) -> Fields:
        return decoded({first: torch.stack([files.read(i) for i in indices])}, spec)

    return OnDemand({}, files.names, count=len(files.paths), take=take)


def _arrays(path: Path, name: str, spec: Spec) -> Inputs:
    """The rows of a field in an .npz file, by the field's name, or as `embedding`.

    Raises:
        UserError: no such file, or other arrays.
    """
    said, field = f"input={path}", spec.fields[name]
    found = arrays(path, (name, "embedding"), said)
    rows = next(iter(found.values()), None)
    shape = tuple(kind_of(field).stored(field))
    stored = None if rows is None or rows.dtype.kind not in "fiu" else torch.from_numpy(rows)
    if stored is not None and not field.size and stored.dtype != torch.uint8:
        stored = stored.float()
    if stored is None or not len(stored) or not _fits(stored, len(stored), field):
        raise UserError(
            f"{said}: needs an array `{name}` of shape (rows, {', '.join(map(str, shape))}), which "
            "the checkpoint's model takes."
        )
    return Inputs(decoded({name: stored}, spec))


def by_field(typed: Mapping[str, Any], whole: str | None, game: Game, spec: Spec) -> Inputs:
    """The inputs that `input.FIELD=VALUE` name, one field each: files, a number or a choice for all
    rows, or a list of them, one a row.

    Args:
        typed: values by field.
        whole: value of the key `input`, which is not beside these.

    Raises:
        UserError: a field that is not an input, one that is missing, a value that does not fit, or
            different numbers of rows.
    """
    given = game.sampling.given
    first, value = next(iter(typed.items()))
    if whole is not None:
        raise UserError(f"input.{first}={value}: not beside input={whole}; leave one of them out.")
    for name in (*typed, *given):
        if name not in given:
            raise UserError(
                f"input.{name}={typed[name]}: the checkpoint's model makes samples from "
                f"{', '.join(given) or 'noise alone'}{closest(name, given)}."
            )
        if name not in typed:
            raise UserError(f"input.{first}={value}: also needs input.{name}=.")

    stored: Fields = {}
    names: tuple[str, ...] = ()
    for name, value in typed.items():
        stored[name], read = _rows_of(name, value, spec)
        names = names or read
    counts = {name: len(values) for name, values in stored.items() if len(values) > 1}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise UserError(
            f"input.{first}={value}: the fields have different numbers of rows ({said})."
        )
    rows = max(counts.values(), default=1)
    fields = {
        name: values.expand(rows, *values.shape[1:])
        for name, values in decoded(stored, spec).items()
    }
    return Inputs(fields, names)


def worded(game: Game, spec: Spec, caption: str) -> str:
    """The input that a text says. Raises UserError if there is none."""
    for name in game.sampling.given:
        if name in spec.fields and says_words(spec.fields[name]):
            return name
    raise UserError(
        f"caption={on_one_line(caption):.50}: the checkpoint's model makes no samples from texts; "
        "leave caption out."
    )


def says_words(field: Field) -> bool:
    """Whether texts say the values of a field."""
    return type(kind_of(field)).written is not Kind.written


def _written(name: str, value: Any, field: Field) -> tuple[Tensor, tuple[str, ...]]:
    """Rows of a field that a text says, a list of texts, or a file of a text a line.

    Raises:
        UserError: a text says none.
    """
    lines = [str(line) for line in value] if isinstance(value, list | tuple) else [str(value)]
    if isinstance(value, str) and value.endswith(".txt"):
        path = expanded(value)
        if not path.exists():
            raise UserError(f"input.{name}={value}: no such file.")
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = []
    for line in filter(str.strip, lines):
        try:
            rows.append(kind_of(field).written(line, field))
        except UserError as error:
            raise UserError(f"input.{name}={on_one_line(line):.50}: {error}") from None
    if not rows:
        raise UserError(f"input.{name}={value!s:.50}: says nothing.")
    return torch.stack([row for row in rows if row is not None]), ()


def _rows_of(name: str, value: Any, spec: Spec) -> tuple[Tensor, tuple[str, ...]]:
    """The rows of a field as they are stored, and the names of their files."""
    field = _described(name, spec) or Field("points", ())
    if says_words(field):
        return _written(name, value, field)
    read = None
    if isinstance(value, str):
        try:
            read = samples_in(expanded(value), field)
        except UserError as error:
            raise UserError(str(error).replace("input=", f"input.{name}=", 1)) from None
    if read is not None:
        return torch.stack(read[0]), read[1]
    try:
        rows = torch.as_tensor(value).reshape(-1, *field.shape)
    except (ValueError, TypeError, RuntimeError):
        numbers = f"rows of {'x'.join(map(str, field.shape))} numbers" if field.shape else "numbers"
        raise UserError(f"input.{name}={value!s:.50}: expected files, or {numbers}.") from None
    if field.size and not _fits(rows, len(rows), field):
        raise UserError(f"input.{name}={value!s:.50}: expected some of 0 to {field.size - 1}.")
    return rows if field.size else rows.float(), ()


@dataclass(frozen=True)
class Files:
    """Samples in files, in the order of the files' names.

    Args:
        paths: the files.
        names: a name for each, without a suffix.
        described: what they hold.
        multiple: as that of `Kind.read`.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    described: Spec | Field
    multiple: int = 0

    def read(self, index: int) -> Tensor:
        """A sample as it is stored. Raises UserError if its file is damaged."""
        path, kind = self.paths[index], kind_of(self.described)
        try:
            sample = kind.from_file(path, self.described, self.multiple)
        except UserError as error:
            raise UserError(f"input={path}: {error}") from None
        if sample is None:
            raise UserError(f"input={path}: {self.described.kind} are not read from files.")
        return sample


def files_in(path: Path, described: Spec | Field, multiple: int = 0) -> Files | None:
    """A file, or all files of a folder. None if this kind of data is not read from files.

    Args:
        multiple: as that of `Kind.read`.

    Raises:
        UserError: no such file or folder, or no samples in it.
    """
    if type(kind_of(described)).read is Kind.read:
        return None
    if not path.exists():
        raise UserError(f"input={path}: no such file or folder.")

    files, base = [path], path.parent
    if path.is_dir():
        try:
            found = listing(path, False, 0.5)
        except UserError as error:
            raise UserError(str(error).replace("data.folder=", "input=", 1)) from None
        files, base = sorted(found.paths(0, len(found))), found.folder
    names = ["_".join(file.relative_to(base).with_suffix("").parts) for file in files]
    return Files(tuple(files), tuple(names), described, multiple)


def samples_in(
    path: Path, described: Spec | Field, multiple: int = 0
) -> tuple[list[Tensor], tuple[str, ...]] | None:
    """All samples of `files_in`, as they are stored, and a name for each.

    Raises:
        UserError: no such file or folder, no samples in it, or a damaged one.
    """
    files = files_in(path, described, multiple)
    if files is None:
        return None
    return [files.read(i) for i in range(len(files.paths))], files.names


def panel_fields(
    game: Game, spec: Spec, samples: Tensor, fields: Mapping[str, Tensor]
) -> list[Tensor]:
    """The images that a picture shows of each sample, from left to right; without the panels whose
    fields are not known, such as the true image of a user's own file."""
    known = {"output": samples, **fields}
    shown = [name for name in game.sampling.panels if name in known]
    output = spec.seen_as(game.sampling.output)
    described: dict[str, Spec | Field] = {"output": output, "x": spec, **spec.fields}
    return [kind_of(described[name]).images(known[name].cpu(), described[name]) for name in shown]
