"""Files of strangers: each is read, or refused in one sentence; no code runs, nothing hangs or
fills the memory."""

import ast
import csv
import json
import os
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hostile
import pytest
import torch
from conftest import ROOT, Command, make_trainer, mostly_slow
from test_compare import fake

from gan_cli.data.dataset import Spec
from gan_cli.errors import UserError
from gan_cli.reading.safe_yaml import read_yaml
from gan_cli.reports import formats, groups, tables
from gan_cli.runs import checkpoint, rundir
from gan_cli.runs import finished as runs
from gan_cli.runs import summary as report
from gan_cli.runs.restore import load_game

PATIENCE = 20  # seconds for a file, on a busy machine
ROOM = 500 * 2**20  # bytes that reading 50 KB may take at most
QUICK = 17  # every so many of a family are tried by `make test`, and all by test-all
EVIL = "\x1b]0;owned\x07<b>\u202e"


@pytest.fixture(autouse=True)
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder; what takes too long fails, and so does what has run code of a file."""
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    assert not (tmp_path / "ran").exists()


def judged(content: bytes | Callable[[], bytes]) -> str:
    """What sampling from a file comes to: `good`, or the sentence."""
    Path("bad.pt").write_bytes(content() if callable(content) else content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            game, spec, state = load_game(Path("bad.pt"), "auto")
            latents = torch.stack([game.draw(torch.Generator().manual_seed(i)) for i in range(2)])
            assert game.render(latents).isfinite().all(), "samples are no numbers"
        said = f"good {state['step']} {spec}"[:4]
    except UserError as error:
        said = str(error)
        assert said.startswith("checkpoint=bad.pt: ") and "\n" not in said and len(said) < 1000, (
            said[:2000]
        )
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < ROOM
    return said


FAMILIES = [
    pytest.param(
        name,
        every,
        id=f"{name}, {'all' if every == 1 else 'some'}",
        marks=pytest.mark.slow if every == 1 else (),
    )
    for name in hostile.FAMILIES
    for every in (QUICK, 1)
]


@pytest.mark.parametrize(("family", "every"), FAMILIES)
def test_a_hostile_checkpoint_is_refused_in_one_sentence_or_does_no_harm(
    family: str, every: int
) -> None:
    kinds = list(hostile.FAMILIES[family]())[::every]
    said = {name: judged(content) for name, content in kinds}
    assert len(kinds) >= 3 and any(sentence != "good" for sentence in said.values())


WORST = {
    "configuration: no date": "good",
    "configuration: a date as a name": "good",
    "configuration: a huge number": "its configuration cannot be read (Exceeds the limit",
    "configuration: deep": "its configuration cannot be read",
    "configuration: deep mappings": "its configuration cannot be read",
    "configuration: no truth": "its configuration cannot be read",
    "configuration: latent": "far larger than the weights that it holds",
    "configuration: many layers": "network.generator.depth=100000000: input should be less than "
    "or equal to 1000",
    "format is doubled": "it unfolds to more than",
    "format is huge": "it holds more than tensors and plain",
    "data.shape 1": "its data has shape.0=0 (Input should be greater than or equal to 1)",
    "data.kind 2": "its data is of kind",
    "data.units 1": "its data has units.0.1=1 (Input should be a valid number)",
    "averages that are no numbers": "8 of the 8 tensors of G are not finite numbers, so there is "
    "nothing to sample; "
    "take weights=raw, or an older checkpoint of the run",
    "a weight that is complex": "G.layers.0.weight has numbers of torch.complex64",
    "a weight that is expanded": "its tensors unfold to 3,814,697 MiB from a file of 0.0 MiB",
    "a weight that is huge and sparse": "it holds torch._utils._rebuild_sparse_tensor",
    "a mapping without keys": "damaged or not a checkpoint",
    "pickle: a large bytearray": "it holds builtins.bytearray",
    "pickle: far beyond a storage": "does not lie in its storage",
    "pickle: os.system": "could run code (it holds os.system)",
    "pickle: deep": "it is nested more than 50 deep",
    "an archive: twice": "its parts overlap",
    "an archive: bomb": "its content is compressed",
}
"""What once was a traceback, a hang, or a wrong answer; and what is refused on purpose."""


@pytest.fixture(scope="module")
def corpus() -> dict[str, Any]:
    found = [pair for family in hostile.FAMILIES.values() for pair in family()]
    assert len(found) == len(dict(found)) >= 800
    return dict(found)


def test_what_got_through_once_is_refused_by_name(corpus: dict[str, Any]) -> None:
    for name, sentence in WORST.items():
        said = judged(corpus[name])
        assert sentence in said, (name, said)


def test_a_hostile_checkpoint_at_the_commands(corpus: dict[str, Any], command: Command) -> None:
    for name in (
        "pickle: a large bytearray",
        "configuration: no truth",
        "averages that are no numbers",
    ):
        Path("bad.pt").write_bytes(corpus[name])
        for program, *more in (["gan-sample"], ["gan-evaluate"], ["gan-export", "output=x.pt2"]):
            code, printed = command(program, "checkpoint=bad.pt", *more)
            assert (
                code == 2 and len(printed.splitlines()) == 1 and "checkpoint=bad.pt: " in printed
            ), printed
    assert not Path("x.pt2").exists()


def test_a_run_goes_on_from_the_newest_checkpoint_that_is_good(
    corpus: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path("checkpoints")
    checkpoint.save(hostile.STATE, folder / "step_00000001.pt")
    bad = (
        "a weight that is not a number",
        "averages that are no numbers",
        "pickle: petabytes",
        "no byte",
    )
    for i, name in enumerate(bad, 2):
        (folder / f"step_{i:08d}.pt").write_bytes(corpus[name])
    os.mkfifo(folder / "last.pt")
    found = checkpoint.newest(folder)
    assert found and found["step"] == hostile.STATE["step"]
    assert (
        "1 of the tensors of game hold NaN; it is passed over" in caplog.text
        and ("is a named pipe") in caplog.text
    )
    trainer = make_trainer(
        "data=points",
        "model=wgan_gp",
        "network.width=4",
        "model.latent=4",
        "batch_size=4",
        "++model.ema=0.9",
        "data.size=200",
    )
    trainer.load_state_dict(found)
    trainer.play_round()


def test_what_a_data_set_says_of_itself_comes_back_from_a_checkpoint() -> None:
    for spec in (
        Spec("points", (2,), bounded=False, extent=4, units=(("a", -1.5, 2.0), ("\x1b", 0, 1e-9))),
        Spec("image", (3, 8, 8), classes=10, domain="edges"),
        Spec("text", (3, 8), vocabulary="a\n\x0c"),
    ):
        assert Spec.restore(json.loads(json.dumps(spec.plain()))) == spec


@pytest.mark.parametrize("text", ["2001-01-01", "a: 2001-99-99"])
def test_a_date_is_a_word(text: str) -> None:
    assert "2001" in str(read_yaml(text))


# --- folders of runs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["run.json", ".hydra/config.yaml", ".hydra/overrides.yaml", "metrics.jsonl"]
)
@pytest.mark.parametrize(
    "kind", mostly_slow(["pipe", "link", "device", "folder", "long", "loop"], "pipe", "link")
)
def test_one_bad_file_costs_its_run_and_not_the_comparison(
    command: Command, name: str, kind: str
) -> None:
    good, bad = fake(Path("all/good")), fake(Path("all/bad"), config={"loss": {"name": "rpgan"}})
    Path("secret").write_text("secret: 1\n")
    path = bad / name
    path.unlink()
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to(Path("secret").resolve())
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "long":
            with path.open("wb") as file:
                file.truncate(2**40)  # takes no room
        case "loop":
            path.symlink_to(path.name)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    code, printed = command("gan-compare", "all", "output=page.html")
    assert code == 0 and "secret: 1" not in Path("page.html").read_text()
    assert f"{path}: cannot be read (" in printed or (name == "run.json" and kind == "loop"), (
        printed
    )
    assert [run.folder for run in runs.find_runs([Path("all")])[0]] == [good]


def test_a_link_out_of_a_run_brings_nothing_onto_the_page(command: Command) -> None:
    folder = fake(Path("run"))
    Path("secret.txt").write_text("the secret\n")
    for path in (folder / "samples").iterdir():
        path.unlink()
    (folder / "samples" / "step_00000001.txt").symlink_to(Path("secret.txt").resolve())
    os.mkfifo(folder / "samples" / "step_00000002.png")
    assert command("gan-compare", "run", "output=page.html")[0] == 0
    assert "the secret" not in Path("page.html").read_text()
    (folder / "samples").rename("elsewhere")
    (folder / "samples").symlink_to(Path("elsewhere").resolve())
    Path("elsewhere/step_00000003.txt").write_text("the secret\n")
    assert command("gan-compare", "run", "output=page.html")[0] == 0
    assert "the secret" not in Path("page.html").read_text()


LINE = (
    "model=gan",
    "data=points",
    "network.width=4",
    "batch_size=4",
    "evaluate_every=0",
    "sample_every=0",
    "log_every=1",
    "hydra.run.dir=run",
)


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "train.log", ".lock", "tensorboard", "checkpoints", "samples"]
)
def test_nothing_is_written_through_a_link_that_leads_out(command: Command, name: str) -> None:
    assert command("gan-train", *LINE, "steps=2")[0] == 0
    is_file = name in ("metrics.jsonl", "train.log", ".lock")
    mine = Path("mine")
    mine.write_text("mine\n") if is_file else mine.mkdir()
    before = sorted(mine.iterdir()) if mine.is_dir() else mine.read_text()
    path = Path("run") / name
    if path.exists():
        path.rename("moved")
    path.symlink_to(mine.resolve())
    code, printed = command("gan-train", *LINE, "steps=4")
    assert code == 2 and f"run/{name}: is a link" in printed.replace(str(Path.cwd()) + "/", ""), (
        printed
    )
    assert before == (sorted(mine.iterdir()) if mine.is_dir() else mine.read_text())


@pytest.mark.parametrize("name", ["metrics.jsonl", "train.log", "run.json", ".lock"])
def test_a_pipe_where_a_run_writes_is_told_of(command: Command, name: str) -> None:
    Path("run").mkdir()
    os.mkfifo(Path("run") / name)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    code, printed = command("gan-train", *LINE, "steps=2")
    assert code == 2 and f"{name}: is a named pipe, not a file" in printed, printed


def test_rows_of_others_are_cut_where_a_run_goes_on(command: Command) -> None:
    assert command("gan-train", *LINE, "steps=2")[0] == 0
    odd = [
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"step": "x"}',
        b'{"step": [1]}',
        b'{"step": null}',
        b"3",
        b'{"step": 1' + b"0" * 999,
    ]
    with Path("run/metrics.jsonl").open("ab") as file:
        file.write(b"\n".join(odd) + b"\n")
    code, printed = command("gan-train", *LINE, "steps=4")
    assert code == 0, printed
    assert [
        json.loads(line)["step"] for line in Path("run/metrics.jsonl").read_text().splitlines()
    ] == [1, 2, 3, 4]


ODD_CARDS: list[dict[str, Any]] = [
    {key: value}
    for key in rundir.VALIDATORS
    for value in (
        None,
        True,
        -1,
        10**400,
        float("nan"),
        EVIL,
        [EVIL],
        [[1]],
        {EVIL: 1.0},
        {"w1": EVIL},
        {"w1": [1]},
        {},
    )
]


def test_a_card_says_nothing_that_cannot_be(tmp_path: Path) -> None:
    folder = fake(tmp_path / "run")
    usual = json.loads((folder / "run.json").read_text())
    for odd in ODD_CARDS:
        (folder / "run.json").write_text(json.dumps(usual | odd))
        rundir.find(tmp_path, None, 10**6, 1.0)
        printed = report.summary(folder) + formats.render_terminal(
            tables.build_table(groups.group_runs(runs.find_runs([folder])[0])).to_sheet()
        )
        assert not set(EVIL) & set(printed) - set("]0;owned<b>"), odd


# --- names ----------------------------------------------------------------------------------------


def test_what_a_run_says_is_plain_in_every_format(command: Command) -> None:
    for i in range(2):
        typed = (
            f"{EVIL}={EVIL}{i}",
            f"data.file==cmd|'/c calc'!A{i}",
            f"++x=@SUM({i})",
            f"y=-{i}",
            f"z=[a](http://x/{i})",
        )
        folder = fake(
            Path("all") / f"{i}{EVIL}".replace("/", ""),
            *typed,
            config={f"={EVIL}": f"{EVIL}{i}"},
            health=[EVIL],
            scores={EVIL: 1.0, "w1": 0.5},
            objective=EVIL,
        )
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": 400, f"metrics/{EVIL}": 1.0}) + "\n")
    for kind in formats.FORMATS:
        code, printed = command(
            "gan-compare", "all", f"format={kind}", f"scores=[w1,metrics/{EVIL}]"
        )
        assert code == 0 and not {"\x1b", "\x07", "\u202e"} & set(printed), kind
        if kind == "csv":
            cells = [cell for row in csv.reader(printed.splitlines()) for cell in row]
            assert not [
                cell
                for cell in cells
                if cell.startswith(("=", "@", "+")) or (cell[:1] == "-" and not cell[1:].isdigit())
            ]
            assert {"'=cmd|'/c calc'!A0", "'@SUM(0)", "-1"} <= set(cells)
        assert kind != "markdown" or "](" not in printed
    for output in ("page.html", "curves.png", "grid.png"):
        rows = ["rows=seed"] if output == "grid.png" else [f"curves=[metrics/{EVIL}]"]
        assert command("gan-compare", "all", f"output={output}", *rows)[0] == 0


def test_names_that_are_not_utf_8(command: Command) -> None:
    name = os.fsdecode(b"\xff\xfe")
    fake(
        Path(f"all{name}") / f"run{name}",
        f"data.file={name}",
        config={"data": {"name": "csv", "file": name}},
    )
    fake(Path(f"all{name}") / "other")
    for more in ([], ["format=csv"], [f"output={name}.html"], [f"output={name}.png"]):
        code, printed = command("gan-compare", f"all{name}", *more)
        assert code == 0, printed
    assert Path(f"{name}.html").is_file()
    code, printed = command("gan-train", *LINE[:-1], f"hydra.run.dir={name}", "steps=2")
    assert code == 2 and "is not UTF-8" in printed


def test_the_characters_of_a_checkpoint_reach_no_terminal(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gan_cli.sampling import modes

    monkeypatch.setattr(modes, "lines", lambda *_: [f"a{EVIL}"])
    line = ("model=wgan_gp_text", "data=text", *LINE[2:], "steps=1")
    assert command("gan-train", *line)[0] == 0
    code, printed = command("gan-sample", "checkpoint=run", "mode=text", "n=1")
    assert code == 0 and "\x1b" not in printed and "a\N{REPLACEMENT CHARACTER}]0;owned" in printed


# --- writing --------------------------------------------------------------------------------------

WRITES = {
    "write_text",
    "write_bytes",
    "save",
    "savez",
    "savez_compressed",
    "savefig",
    "imsave",
    "touch",
    "copyfile",
    "dump",
}
ALLOWED = {
    "files.py": "the one way to write",
    "reading/torch_files.py": "torch.save to a name of `replacing`",
    "pictures.py": "Pillow, to a name of `replacing` or to a buffer",
    "sampling/modes.py": "numpy, to a name of `replacing`",
    "commands/export.py": "to a name of `replacing`",
    "sampling/formats.py": "to a buffer",
    "reports/charts.py": "to a buffer",
    "devices/lease.py": "an empty file to lock",
    "devices/launch.py": "torchrun's error file, in a folder of its own",
    "benchmarks/page.py": "writes this project's own page",
    "data/packing.py": "packs into a folder that takes its place when it is whole; a file to lock",
}
"""Where files are written, and why not by gan_cli.files."""


def test_files_are_written_in_one_way() -> None:
    writers = set()
    for path in sorted((ROOT / "gan_cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _writes(node):
                writers.add(path.relative_to(ROOT / "gan_cli").as_posix())
    assert writers == ALLOWED.keys()


def _writes(call: ast.Call) -> bool:
    """Whether a call may write a file: a method of that name, or `open` in another mode than for
    reading."""
    if not isinstance(call.func, ast.Attribute):
        return getattr(call.func, "id", "") == "open" and _is_mode(call)
    if call.func.attr == "open":
        return _is_mode(call)
    return call.func.attr in WRITES and getattr(call.func.value, "id", "") not in (
        "files",
        "checkpoint",
        "torch_files",
    )


def _is_mode(call: ast.Call) -> bool:
    """Whether one of the arguments is a mode in which a file is written."""
    arguments = [*call.args, *(item.value for item in call.keywords)]
    words = [str(node.value) for node in arguments if isinstance(node, ast.Constant)]
    return any(set(word) & set("wax+") and set(word) <= set("wax+bt") for word in words)
