"""Damaged and hostile files and configurations, by the thousand: one sentence, no traceback, no
hang, no code run."""

import copy
import io
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import OFFLINE_DATA, compose, make_trainer, mostly_slow
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gan_cli.commands import mistakes
from gan_cli.config.options import options
from gan_cli.config.schema import GROUPS
from gan_cli.errors import UserError, on_one_line
from gan_cli.runs import checkpoint
from gan_cli.runs.restore import load_game

FIXTURE = Path(__file__).parent / "fixtures" / "format_1.pt"
GOOD = FIXTURE.read_bytes()
FEW, MANY = 60, 2500
ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    7,
    10**6,
    10**12,
    10**30,
    2**63,
    0.0,
    -1.5,
    1e-300,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "x",
    "null",
    "../../etc/passwd",
    "os.system",
    "!!python/object/apply:os.system ['touch ran']",
    "${oc.env:HOME}",
    "${model.latent}",
    "a" * 5000,
    "\x00",
    "\u2028",
    "名前",
    [],
    [1, 2],
    [[]],
    {},
    {"name": "x"},
    {"a": {}},
    {1: 2},
    "none",
    "auto",
    "dcgan",
    "mlp",
    "wgan_gp",
    "digits",
    "1e3",
    "[1,2",
    "{a:",
    "'",
]
"""What may stand where a number, a name or a list is expected."""


def thorough(examples: int) -> Any:
    """As many examples, always the same ones, none of them timed or written down."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[*HealthCheck],
    )


@pytest.fixture(autouse=True)
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process is started, nothing is imported that a file names, nothing is written but below
    `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def forbidden(*arguments: Any, **options: Any) -> None:
        raise AssertionError(f"code was run: {arguments}")

    for name in ("system", "popen", "execv", "execve", "posix_spawn", "fork"):
        monkeypatch.setattr(os, name, forbidden)
    yield
    assert not [path for path in tmp_path.rglob("*") if path.name in ("ran", "passwd")]


# --- bytes ----------------------------------------------------------------------------------------


def mangled(data: st.DataObject) -> bytes:
    """The fixture with some of its bytes changed, cut out, doubled or cut off."""
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(content) - 1, 0)))
        length = data.draw(st.sampled_from([1, 1, 2, 8, 100, 4000]))
        match data.draw(st.sampled_from(["flip", "flip", "set", "cut", "double", "end", "insert"])):
            case "flip" if content:
                content[at] ^= 1 << data.draw(st.integers(0, 7))
            case "set":
                content[at : at + length] = data.draw(st.binary(min_size=0, max_size=8))
            case "cut":
                del content[at : at + length]
            case "double":
                content[at:at] = content[at : at + length]
            case "end":
                del content[at:]
            case "insert":
                content[at:at] = data.draw(st.binary(max_size=40))
    return bytes(content)


def refitted(data: st.DataObject) -> bytes:
    """The fixture's archive with a changed pickle and right checksums, so that it comes as far as
    the unpickler."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as old, zipfile.ZipFile(out, "w") as new:
        names = sorted(old.namelist())
        pickled = [name for name in names if name.endswith("data.pkl")]
        victim = data.draw(st.sampled_from([*names, *pickled * len(names)]))
        for info in old.infolist():
            content = bytearray(old.read(info))
            if info.filename == victim and content:
                for _ in range(data.draw(st.integers(1, 6))):
                    at = data.draw(st.integers(0, len(content) - 1))
                    content[at] = data.draw(st.integers(0, 255))
            new.writestr(info.filename, bytes(content))
    return out.getvalue()


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every leaf and of every branch of nested mappings and lists."""
    items = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from leaves(value, (*path, key))


def changed(data: st.DataObject, node: Any, odd: list[Any]) -> Any:
    """A copy in which some leaves or branches are others, or missing."""
    node = copy.deepcopy(node)
    for _ in range(data.draw(st.integers(1, 3))):
        paths = list(leaves(node))
        if not paths:
            break
        *way, last = data.draw(st.sampled_from(paths))
        place = node
        for key in way:
            place = place[key]
        if data.draw(st.booleans()) or isinstance(place, list):
            place[last] = copy.deepcopy(data.draw(st.sampled_from(odd)))
        else:
            del place[last]
    return node


STATE = torch.load(io.BytesIO(GOOD), weights_only=True)
CONFIG = yaml.safe_load(STATE["config"])
TENSORS: list[Any] = [
    torch.zeros(0),
    torch.zeros(3, 2),
    torch.tensor(1),
    torch.zeros(4, dtype=torch.int8),
    torch.full((2,), float("nan")),
    torch.zeros(1).expand(10**6, 10**6),
    torch.zeros(2, 2).to_sparse(),
]


def restated(data: st.DataObject) -> bytes:
    """A well-formed file whose content is not what it should be: state, shape of the data, or
    configuration."""
    match data.draw(st.sampled_from(["state", "config", "config", "config"])):
        case "state":
            state = changed(data, STATE, [*ODD, *TENSORS])
        case "config":
            text = yaml.safe_dump(changed(data, CONFIG, ODD), allow_unicode=True)
            state = {**STATE, "config": text}
    out = io.BytesIO()
    torch.save(state, out)
    return out.getvalue()


MUTATIONS = {"mangled": mangled, "refitted": refitted, "restated": restated}


def read(content: bytes, path: Path) -> str:
    """What loading the file and rendering from it comes to: `good`, or the sentence."""
    path.write_bytes(content)
    try:
        game, _, _ = load_game(path, "auto")
        latents = torch.stack([game.draw(torch.Generator().manual_seed(i)) for i in range(2)])
        assert game.render(latents).shape[0] == 2
    except UserError as error:
        assert str(error).startswith("checkpoint=bad.pt: ") and "\n" not in str(error), error
        return str(error)
    return "good"


def try_files(kind: str, examples: int) -> None:
    seen: list[str] = []

    @thorough(examples)
    @given(st.data())
    def trial(data: st.DataObject) -> None:
        seen.append(read(MUTATIONS[kind](data), Path("bad.pt")))

    trial()
    assert len(seen) >= examples * 0.9 and sum(said != "good" for said in seen) > len(seen) / 20
    print(f"{kind}: {len(seen)} files, {sum(said == 'good' for said in seen)} of them good")


@pytest.mark.parametrize("kind", mostly_slow(MUTATIONS, *list(MUTATIONS)[:1]))
def test_mutated_checkpoints(kind: str) -> None:
    try_files(kind, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MUTATIONS)
def test_many_mutated_checkpoints(kind: str) -> None:
    try_files(kind, MANY)


# --- what is typed --------------------------------------------------------------------------------

KEYS = (
    "seed",
    "steps",
    "minutes",
    "batch_size",
    "log_every",
    "evaluate_samples",
    "objective",
    "plugins",
    "figures",
    "init_from",
    "guard",
    "resume",
    "model.latent",
    "model.repeat.discriminator",
    "model.ema",
    "network.width",
    "network.depth",
    "network.discriminator.width",
    "optimizer.lr",
    "optimizer.betas",
    "optimizer.players.generator.lr",
    "loss.divergence",
    "regularizer.weight",
    "regularizer.where",
    "schedule.total",
    "data.size",
    "data.distribution",
    "data.image_size",
    "hardware.device",
    "hardware.shards",
    "hardware.devices",
    "hardware.precision",
    "network",
    "model",
    "nonsense",
    "model.nonsense",
    "optimizer.players.nobody.lr",
    "hydra.run.dir",
    "",
    "+",
    "~seed",
    "++x.y",
    "model@x",
    "a.b.c.d",
    "model.name",
    "network.generator.name",
)
MEANT = [group for group in GROUPS if group != "data"]


def typed(data: st.DataObject) -> list[str]:
    """A line of overrides, some of them meant well."""
    line = [f"data={data.draw(st.sampled_from(OFFLINE_DATA))}"]
    for _ in range(data.draw(st.integers(0, 2))):
        group = data.draw(st.sampled_from(MEANT))
        line.append(f"{group}={data.draw(st.sampled_from(options(group)))}")
    for _ in range(data.draw(st.integers(0, 3))):
        value = data.draw(st.one_of(st.sampled_from(ODD).map(str), st.text(max_size=12)))
        equals = data.draw(st.sampled_from(["=", "=", "=", "=", "", "=="]))
        line.append(f"{data.draw(st.sampled_from(KEYS))}{equals}{value}")
    return line


def judged(line: list[str]) -> str:
    """What the line comes to: `good`, or the sentence."""
    try:
        config = compose(*line)
        small = config["data"].get("size", 0) <= 10**5 and config["batch_size"] <= 1000
        if small and config["data"]["name"] in OFFLINE_DATA and not config["plugins"]:
            make_trainer(*line)
    except Exception as error:
        sentence = mistakes.explain(error, line)
        assert sentence is not None, (line, error)
        assert sentence.strip() and len(sentence) < 20_000 and "Traceback" not in sentence, (
            line,
            sentence,
        )
        return on_one_line(sentence)
    return "good"


CORPUS: list[list[str]] = [
    ["seed=\x1e"],
    ["network=True"],
    ["network=nan"],
    ["network=[[]]"],
    ["model=-1"],
    ["model@x=7"],
    ["+=[]"],
    ["figures=[[]]"],
    ["plugins=${model.latent}"],
    ["model.latent=1000000000000000000000000000000"],
    ["network.generator.name=[[]]"],
]
"""What the tests below have found, each mended."""


@pytest.mark.parametrize("line", CORPUS, ids=str)
def test_the_corpus(line: list[str]) -> None:
    judged(line)


def try_lines(examples: int) -> None:
    seen: list[str] = []

    @thorough(examples)
    @given(st.data())
    def trial(data: st.DataObject) -> None:
        seen.append(judged(typed(data)))

    trial()
    good = sum(said == "good" for said in seen)
    assert len(seen) / 20 < good < len(seen) * 0.8
    print(f"{len(seen)} lines, {good} of them good")


def test_mutated_overrides() -> None:
    try_lines(FEW)


@pytest.mark.slow
def test_many_mutated_overrides() -> None:
    try_lines(MANY)


# --- hostile by intent ----------------------------------------------------------------------------


def rewritten(**parts: Any) -> bytes:
    out = io.BytesIO()
    torch.save({**STATE, **parts}, out)
    return out.getvalue()


def test_a_file_that_grows_when_it_is_unpacked_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(GOOD)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
        new.writestr("format_1/data/bomb", bytes(50_000_000))
    assert len(out.getvalue()) < 200_000
    assert "its content is compressed" in read(out.getvalue(), Path("bad.pt"))


def test_a_configuration_that_grows_when_it_is_read_is_refused() -> None:
    laughs = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)
    )
    assert "aliases" in read(rewritten(config=STATE["config"] + laughs), Path("bad.pt"))
    assert "characters" in read(rewritten(config=STATE["config"] + "#" * 2_000_000), Path("bad.pt"))


def test_absurd_sizes_in_a_file_are_refused_before_they_are_allocated() -> None:
    for key in ("latent", "width"):
        text = STATE["config"].replace(f"{key}: 4", f"{key}: 1000000000000")
        sentence = read(rewritten(config=text), Path("bad.pt"))
        assert text != STATE["config"] and re.search(
            "the weights need|far larger than the weights", sentence
        ), sentence


def test_the_newest_good_checkpoint_is_offered(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save({**STATE, "format": checkpoint.FORMAT}, tmp_path / f"step_0000000{step}.pt")
    (tmp_path / "last.pt").write_bytes(GOOD[:1000])
    with pytest.raises(
        UserError,
        match=r"last.pt: damaged or not a checkpoint .* "
        r".*step_00000002.pt is good",
    ):
        load_game(tmp_path / "last.pt", "auto")
    (tmp_path / "step_00000002.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"step_00000001.pt is good"):
        load_game(tmp_path / "last.pt", "auto")


@pytest.mark.parametrize("version", range(1, checkpoint.FORMAT))
def test_a_file_of_every_past_format_is_read(version: int, tmp_path: Path) -> None:
    path = FIXTURE.with_name(f"format_{version}.pt")
    assert torch.load(path, weights_only=True)["format"] == version
    state = checkpoint.load(path)
    trainer = make_trainer(
        "data=points",
        "model=wgan_gp",
        "network.width=4",
        "model.latent=4",
        "batch_size=4",
        "++model.ema=0.9",
        "data.size=200",
    )
    trainer.load_state_dict(state)
    assert trainer.step == 3 and trainer.rollbacks == 0 and trainer.scoreboard.scores == {}
    trainer.play_round()
    assert read(path.read_bytes(), Path("bad.pt")) == "good"
