"""Tables as people and programs write them: read as they are meant, and given back as they were."""

import csv
import gzip
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, Command

from gan_cli.data import records, table
from gan_cli.data.dataset import Spec
from gan_cli.data.table import Table
from gan_cli.errors import UserError
from gan_cli.files import csv_text
from gan_cli.reports import formats

QUICK = ("network.width=4", "steps=2", "evaluate_every=0", "hydra.run.dir=run")
ROWS = 60


def numbers() -> list[tuple[str, str]]:
    """Rows of two numbers, with two and with three decimals."""
    values = np.random.default_rng(0).normal([50, 3], [10, 0.5], (ROWS, 2))
    return [(f"{a:.2f}", f"{b:.3f}") for a, b in values.tolist()]


def lines(separator: str = ",", head: str = "a,b", end: str = "\n", comma: bool = False) -> str:
    rows = [separator.join(row) for row in numbers()]
    rows = [row.replace(".", ",") for row in rows] if comma else rows
    return end.join([*([head.replace(",", separator)] if head else []), *rows, ""])


def every(data: Table) -> torch.Tensor:
    """All rows, held-out ones first."""
    return torch.cat([data.heldout["x"], data.train["x"]])


def told(data: Table) -> dict[str, list[str]]:
    """The columns as a CSV file has them, sorted."""
    return {
        column.name: sorted(column.texts(values)) for column, values in data.spec.table(every(data))
    }


DIALECTS = {
    "semicolons": lines(";"),
    "tabs": lines("\t"),
    "bars": lines("|"),
    "blanks": lines("   "),
    "a blank behind the comma": lines(", "),
    "decimal commas": lines(";", comma=True),
    "decimal commas behind tabs": lines("\t", comma=True),
    "quoted decimal commas": "a,b\n"
    + "".join(f'"{a}","{b}"\n'.replace(".", ",") for a, b in numbers()),
    "Windows": lines(end="\r\n"),
    "old Macintosh": lines(end="\r"),
    "comments": "# by instrument 3\n\n# in mm\n" + lines() + "# the end\n",
    "names in a comment": "# made today\n# a,b\n" + lines(head=""),
    "Excel says the separator": "sep=;\n" + lines(";"),
    "a separator at every end": "a,b,\n" + "".join(f"{a},{b},\n" for a, b in numbers()),
    "a separator at the end of all but the first": "a,b\n"
    + "".join(f"{a},{b},\n" for a, b in numbers()),
    "pandas with its index": ",a,b\n"
    + "".join(f"{i},{a},{b}\n" for i, (a, b) in enumerate(numbers())),
    "R with names of rows": '"a","b"\n'
    + "".join(f'"{i}",{a},{b}\n' for i, (a, b) in enumerate(numbers(), 1)),
    "R with blanks": '"a" "b"\n'
    + "".join(f'"no {i}" {a} {b}\n' for i, (a, b) in enumerate(numbers(), 1)),
    "an empty end": lines() + "\n,\n,\n",
    "a byte order mark": "\ufeff" + lines(),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_gives_the_same_points(tmp_path: Path, dialect: str) -> None:
    (tmp_path / "plain.csv").write_text(lines())
    (tmp_path / "a.csv").write_text(DIALECTS[dialect], newline="")
    plain, data = Table(str(tmp_path / "plain.csv")), Table(str(tmp_path / "a.csv"))
    assert torch.equal(data.train["x"], plain.train["x"]) and data.spec == plain.spec


@pytest.mark.parametrize(
    ("encoding", "head"),
    [("utf-16", "größe,b"), ("utf-16-le", "a,b"), ("utf-32", "a,b"), ("latin-1", "größe,b")],
)
def test_other_encodings_are_read(tmp_path: Path, encoding: str, head: str) -> None:
    (tmp_path / "a.csv").write_bytes(lines(head=head).encode(encoding))
    data = Table(str(tmp_path / "a.csv"))
    assert [unit[0] for unit in data.spec.units] == head.split(",") and len(every(data)) == ROWS
    assert ("Windows-1252" in data.note) == (encoding == "latin-1")


def test_a_packed_table_and_signs_that_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(lines(":", comma=True))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(lines().encode()))
    first = Table(str(tmp_path / "a.csv"), separator=":", decimal="comma")
    assert torch.equal(first.train["x"], Table(str(tmp_path / "b.csv.gz")).train["x"])


def cells(column: list[str], name: str = "c") -> str:
    """A table of one column that is looked at, and one of numbers."""
    text = io.StringIO()
    csv.writer(text).writerows(
        [[name, "b"], *([cell, b] for cell, (_, b) in zip(column, numbers(), strict=True))]
    )
    return text.getvalue()


DAYS = [f"2010-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(ROWS)]
COLUMNS = {
    "whole numbers": ("integer", [str(i * i) for i in range(ROWS)]),
    "0 and 1": ("integer", [str(i % 2) for i in range(ROWS)]),
    "thousands": ("integer", [f"{1000 + i:,}" for i in range(ROWS)]),
    "metres": ("number", [f"{4492557.16 + i / 100:.2f}" for i in range(ROWS)]),
    "words": ("category", [["red", "green", "blue"][i % 3] for i in range(ROWS)]),
    "numbers among words": ("category", [["0", "1", "3+"][i % 3] for i in range(ROWS)]),
    "yes and no": ("category", ["Y" if i % 3 else "N" for i in range(ROWS)]),
    "truth values": ("boolean", [str(i % 3 == 0) for i in range(ROWS)]),
    "days": ("date", DAYS),
    "months": ("date", [day[:7] for day in DAYS]),
    "German days": ("date", [f"{day[8:]}.{day[5:7]}.{day[:4]}" for day in DAYS]),
    "British days": ("date", [f"{day[8:]}/{day[5:7]}/{day[:4]}" for day in DAYS]),
    "American days": ("date", [f"{day[5:7]}/{day[8:]}/{day[:4]}" for day in DAYS]),
    "seconds": ("date", [f"2010-01-02T10:{i:02}:07Z" for i in range(ROWS)]),
}


@pytest.mark.parametrize("what", COLUMNS)
def test_what_a_column_holds_comes_back_as_such(tmp_path: Path, what: str) -> None:
    kind, column = COLUMNS[what]
    (tmp_path / "a.csv").write_text(cells(column))
    data = Table(str(tmp_path / "a.csv"))
    assert data.spec.columns[0].kind == kind
    assert told(data)["c"] == sorted(cell.replace(",", "") for cell in column)
    samples = torch.randn(500, *data.spec.shape, generator=torch.Generator().manual_seed(0)) * 3
    for found, values in data.spec.table(samples):
        if found.kind in ("category", "boolean") or what == "0 and 1":
            assert set(found.texts(values)) <= set(column) if found.name == "c" else True
        assert np.isfinite(values).all() and (
            found.kind == "number" or (values == values.round()).all()
        )


@pytest.mark.parametrize(
    ("first", "step"), [(1_700_000_000_000_000_000, 1_000_000), (4_492_557, 1), (0, 1)]
)
def test_units_are_as_fine_as_the_table(tmp_path: Path, first: int, step: int) -> None:
    column = [first + i * step for i in range(500)]
    (tmp_path / "a.csv").write_text("t\n" + "".join(f"{value}\n" for value in column))
    data = Table(str(tmp_path / "a.csv"))
    back = data.spec.in_units(every(data))
    assert back.dtype == torch.float64 and len(back.unique()) == 500
    assert back[:, 0].sort().values.numpy() == pytest.approx(
        np.array(column, float), abs=step / 10, rel=0
    )


def test_one_hot_columns_share_a_deviation_of_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(cells(COLUMNS["words"][1]))
    data = Table(str(tmp_path / "a.csv"))
    assert [unit[0] for unit in data.spec.units] == ["c=blue", "c=green", "c=red", "b"]
    assert every(data)[:, :3].var(dim=0).sum().item() == pytest.approx(1, rel=1e-5)
    assert every(data).mean(dim=0).abs().max() < 1e-6 and "c (3 words)" in data.note
    assert Spec.restore(json.loads(json.dumps(data.spec.plain()))) == data.spec


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            cells([f"{i % 50}%" for i in range(ROWS)]),
            "left out: c (text, 50 different, such as '0%')",
        ),
        (
            cells([f"{i}_{i}" for i in range(ROWS)]),
            "left out: c (text, 60 different, such as '0_0')",
        ),
        (cells(["x"] * ROWS), "left out: c ('x' everywhere)"),
        (cells([""] * ROWS), "left out: c (empty)"),
        (cells(["1"] * 20 + [""] * 40), "left out: c (40 of 60 values are missing)"),
        (
            cells([f"{i + 1}{'0' * 5000}" for i in range(ROWS)]),
            "left out: c (numbers that are too large)",
        ),
        (cells([str(i) for i in range(ROWS)], ""), "left out: Unnamed: 0 (numbers of rows)"),
        (
            cells([str(i) for i in range(ROWS)], "b"),
            "rows of b, b.1 to learn from, 6 held out; another column b is",
        ),
        ("# 1\n# 2\n" + lines(), "lines that begin with # are left out (2)"),
        (
            cells(["inf", *map(str, range(1, ROWS))]),
            "53 rows of c, b to learn from, 6 held out; left out: rows that",
        ),
    ],
)
def test_what_is_left_out_is_told(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    assert said in Table(str(tmp_path / "a.csv")).note


@pytest.mark.parametrize("place", [0, 30])
@pytest.mark.parametrize("mark", ["", "NA", "nan", "?", "null", "#DIV/0!", "999"])
def test_a_missing_value_costs_its_row_and_not_its_column(
    tmp_path: Path, mark: str, place: int
) -> None:
    column = [str(i / 8) for i in range(ROWS)]
    column[place] = mark
    (tmp_path / "a.csv").write_text(cells(column))
    data = Table(str(tmp_path / "a.csv"), missing=[999])
    assert len(every(data)) == ROWS - 1 and "rows that lack a value (1)" in data.note
    assert [unit[0] for unit in data.spec.units] == ["c", "b"]


def test_many_missing_values_and_those_written_as_numbers_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.csv").write_text(cells(["" if i % 5 == 0 else str(i) for i in range(ROWS)]))
    Table(str(tmp_path / "a.csv"))
    (tmp_path / "b.csv").write_text(cells(["-9999" if i % 5 == 0 else str(i) for i in range(ROWS)]))
    Table(str(tmp_path / "b.csv"))
    first, second = (record.getMessage() for record in caplog.records)
    assert first == "12 of 60 rows lack a value and are left out; column c lacks 12"
    assert (
        second.startswith("12 rows have -9999 in column c, far from all others; ")
        and "data.missing=[-9999]" in second
    )
    assert len(every(Table(str(tmp_path / "b.csv"), missing=[-9999]))) == 48


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("2.5,3\n,4\n1,5\n4,6\n", ["0", "1"]),
        (",3\n2.5,4\n1,5\n4,6\n", ["0", "1"]),  # the first value is missing
        (",0,1\n" + "".join(f"{i},{i % 3},{i % 5}\n" for i in range(9)), ["0", "1"]),
        (
            "land,2019,2020\n" + "".join(f"{'AB'[i % 2]},{i % 3},{i % 5}\n" for i in range(9)),
            ["land", "2019", "2020"],
        ),
        ("c,d\n" + "".join(f"{'xy'[i % 2]},{'uvw'[i % 3]}\n" for i in range(9)), ["c", "d"]),
        ("".join(f"{'xy'[i % 2]},{'uvw'[i % 3]}\n" for i in range(9)), ["0", "1"]),
        ("day\n" + "".join(f"2020-01-{i:02}\n" for i in range(1, 9)), ["day"]),
    ],
)
def test_all_rows_decide_whether_the_first_is_names(
    tmp_path: Path, content: str, names: list[str]
) -> None:
    (tmp_path / "a.csv").write_text(content)
    assert [
        column.name for column in Table(str(tmp_path / "a.csv"), heldout=0.3).spec.columns
    ] == names


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (lines(), ["data.columns=[]"], "data.columns=[]: name one column at least"),
        (lines(), ["data.columns=[a,a]"], "names column a twice"),
        (
            lines(),
            ["data.separator=semi"],
            "expected tab, semicolon, bar, comma or space (did you mean semicolon?)",
        ),
        (
            lines(),
            ["data.separator=;"],
            "no column of numbers, or of few words; left out: 0 (text, 61 different",
        ),
        (lines(), ["data.decimal=dot"], "data.decimal=dot: expected point or comma"),
        (lines() + "1,2,3\n", [], "line 62 has 3 values, the first has 2; if not a comma"),
        (
            "x\n" + "".join(f"{a}\n".replace(".", ",") for a, _ in numbers()),
            [],
            "line 1 has 1 values, the others",
        ),
        ('a,b\n1,"2\n3,4\n5,6\n', [], "line 2 opens a quote that is never closed"),
        (
            cells([*["x y"] * 3, *map(str, range(57))]),
            [],
            "line 2, column c: 'x y' is not a number; if it means",
        ),
        (lines(";", comma=True) + "1.5;2\n", [], "line 62, column a: '1.5' is not a number; if"),
        (
            cells([f"t{i}" for i in range(ROWS)]),
            ["data.columns=[c]"],
            "cannot be learnt (text, 60 different",
        ),
        ("a,b\n" + "1,\n,2\n" * 9, [], "every row lacks a value, 9 of 18 in column a"),
        ("PK\x03\x04\0\0", [], "is not a table in text; save it as CSV"),
        (
            cells([str(2**64 - 1 - i) for i in range(ROWS)]),
            [],
            "column c holds one value only, or numbers that",
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    command: Command, tmp_path: Path, content: str, arguments: list[str], said: str
) -> None:
    (tmp_path / "a.csv").write_text(content)
    code, printed = command("gan-train", "data=csv", "data.file=a.csv", *arguments, "steps=1")
    assert code == 2 and said in printed and len(printed.splitlines()) == 1, printed


def test_pipes_and_files_larger_than_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UserError, match="is a named pipe, not a file"):
        Table(str(tmp_path / "pipe.csv"))
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"1,2\n" * 10**6))
    monkeypatch.setattr(records, "memory", lambda: 2**24)
    with pytest.raises(UserError, match="holds more than the 1 MiB that are read of it here"):
        Table(str(tmp_path / "bomb.csv.gz"))
    monkeypatch.undo()
    (tmp_path / "words.csv").write_text(cells(COLUMNS["words"][1]))
    monkeypatch.setattr(table, "memory", lambda: 2**10)
    with pytest.raises(
        UserError,
        match=r"60 rows of 4 numbers need .* GiB of memory; choose "
        r"fewer by data.columns",
    ):
        Table(str(tmp_path / "words.csv"))


EVERYTHING = "mass,n,c,ok,day\n" + "".join(
    f"{a},{i},{['red', '=1+1'][i % 2]},{i % 3 == 0},{DAYS[i]}\n"
    for i, (a, _) in enumerate(numbers())
)


def test_samples_are_written_as_the_table_is(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(EVERYTHING)
    code, printed = command(
        "gan-train", "model=gan", "data=csv", "data.file=a.csv", "batch_size=500", *QUICK
    )
    assert (
        code == 0
        and ("54 rows of mass, n, c (2 words), ok (true or false), day (dates, %Y-%m-%d)")
        in printed
    ), printed
    assert command("gan-sample", "checkpoint=run", "mode=csv", "n=40", "output=s.csv")[0] == 0
    rows = list(csv.DictReader((tmp_path / "s.csv").open()))
    assert len(rows) == 40 and list(rows[0]) == ["mass", "n", "c", "ok", "day"]
    assert {row["c"] for row in rows} <= {"red", "'=1+1"} and {row["ok"] for row in rows} <= {
        "True",
        "False",
    }
    assert all(
        row["n"].lstrip("-").isdecimal() and len(row["mass"].split(".")[1]) == 2 for row in rows
    )

    assert command("gan-sample", "checkpoint=run", "mode=npz", "n=40")[0] == 0
    with np.load(tmp_path / "samples.npz") as written:
        samples, named = written["samples"], written["table"]
    assert samples.shape == (40, 5) and samples.dtype == np.float64
    assert [named.dtype[i].kind for i in range(5)] == list("fiUbM")
    assert (
        named["c"].tolist() == [row["c"].lstrip("'") for row in rows]
        and named["n"].tolist() == samples[:, 1].tolist()
    )
    assert named["day"].astype(str).tolist() == [row["day"] for row in rows]


def test_only_tables_are_written_as_csv(command: Command, tmp_path: Path) -> None:
    assert command("gan-train", "model=gan", "data=points", *QUICK)[0] == 0
    assert command("gan-sample", "checkpoint=run", "mode=csv", "n=3")[0] == 0
    assert (tmp_path / "samples.csv").read_text().splitlines()[0] == "0,1"
    assert (
        command(
            "gan-train", "model=gan", "data=digits", *QUICK, "resume=never", "hydra.run.dir=digits"
        )[0]
        == 0
    )
    code, printed = command("gan-sample", "checkpoint=digits", "mode=csv")
    assert (
        code == 2 and "mode=csv: writes the rows of a table; the checkpoint makes image" in printed
    )


def test_another_table_is_compared_by_the_names_of_its_columns(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(EVERYTHING)
    assert command("gan-train", "model=gan", "data=csv", "data.file=a.csv", *QUICK)[0] == 0
    with (tmp_path / "a.csv").open() as file, (tmp_path / "b.csv").open("w", newline="") as other:
        names = ["day", "c", "more", "ok", "n", "mass"]
        writer = csv.DictWriter(other, names, delimiter=";")
        writer.writeheader()
        writer.writerows({**row, "more": i % 7} for i, row in enumerate(csv.DictReader(file)))
    scores = [
        json.loads(command("gan-evaluate", "checkpoint=run", *more)[1])["scores"]
        for more in ([], ["data.file=b.csv"])
    ]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)

    for content, said in (
        (
            EVERYTHING.replace("mass", "weight"),
            "has no column mass, which the checkpoint knows; it has weight, n",
        ),
        (
            EVERYTHING.replace("red", "blue"),
            "its column c holds 'blue', the checkpoint knows '=1+1', 'red'",
        ),
        (
            EVERYTHING.replace(",red", ",2020-01-01").replace(",=1+1", ",2020-01-02"),
            "its column c holds '2020-01-01'",
        ),
    ):
        (tmp_path / "c.csv").write_text(content)
        code, printed = command("gan-evaluate", "checkpoint=run", "data.file=c.csv")
        assert code == 2 and said in printed and len(printed.splitlines()) == 1, printed


def test_a_table_of_an_old_checkpoint_has_numbers_only() -> None:
    plain = {
        "kind": "points",
        "shape": [3],
        "bounded": False,
        "units": [["a", 1e9, 2.0], ["a", 0.0, 1.0], ["", 5.0, 1.0]],
    }
    spec = Spec.restore(plain)
    assert spec.in_units(torch.tensor([[0.25, 0, 1]])).tolist() == [[1e9 + 0.5, 0, 6]]
    assert [column.name for column, _ in spec.table(torch.zeros(1, 3))] == [
        "a",
        "a.1",
        "Unnamed: 2",
    ]


def test_what_a_spreadsheet_would_run_is_text() -> None:
    inert = ["-5", "+3e5", "-", "a=b", "-inf", ""]
    armed = ["=1+1", "@x", "-y", "+cmd", "\tx", "\rx", "\uff1d1"]
    assert next(csv.reader([csv_text([[*inert, -2.5, None]])])) == [*inert, "-2.5", ""]
    assert next(csv.reader(io.StringIO(csv_text([armed]), newline=""))) == [
        f"'{cell}" for cell in armed
    ]


def test_a_comparison_as_csv_is_as_harmless() -> None:
    columns = [formats.Column("=key\x1b", is_number=False), formats.Column("runs")]
    sheet = formats.Sheet(columns, [[formats.Cell("@x\r"), formats.Cell("1", (1,))]])
    assert formats.render_csv(sheet) == "'=key\ufffd,runs\n'@x\ufffd,1"


def test_names_never_reach_the_terminal_raw(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(lines(head="a\x1b[31m,b\u202e"))
    code, printed = command("gan-train", "model=gan", "data=csv", "data.file=a.csv", *QUICK)
    assert (
        code == 0
        and "\x1b[31m" not in printed
        and "\u202e" not in printed
        and ("rows of a\ufffd[31m") in printed
    )


def test_pandas_is_loaded_by_nobody_who_does_not_read_a_table() -> None:
    for path in (ROOT / "gan_cli").rglob("*.py"):
        assert not [
            line
            for line in path.read_text().splitlines()
            if line.startswith(("import pandas", "from pandas"))
        ]
