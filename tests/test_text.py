"""Characters: windows of a text, n-gram scores with known values, samples as lines."""

import gzip
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command

from gan_cli.data.dataset import Dataset, Spec
from gan_cli.data.kinds import kind_of
from gan_cli.data.text import Text, characters
from gan_cli.errors import UserError
from gan_cli.metrics.ngrams import NgramScores

TYPED = (
    "model=wgan_gp_text",
    "network.width=4",
    "network.blocks=1",
    "model.repeat.discriminator=1",
    "batch_size=8",
    "steps=2",
    "log_every=1",
    "evaluate_every=2",
    "sample_every=2",
    "hydra.run.dir=run",
    "data.file=a.txt",
)


def write(path: Path, text: str = "the cat sat on the mat\n") -> str:
    text = text * 400
    path.write_text(text, encoding="utf-8")
    return text


def test_windows_are_pieces_of_the_text(tmp_path: Path) -> None:
    text = write(tmp_path / "a.txt")
    data = Text(str(tmp_path / "a.txt"), length=16)
    x = data.decode({"x": data.train["x"][:50]})["x"]
    assert (
        x.shape == (50, 11, 16)
        and torch.equal(x.sum(dim=1), torch.ones(50, 16))
        and x.dtype == torch.float32
    )
    for line in kind_of(data.spec).lines(x, data.spec):
        assert line.replace("\N{RETURN SYMBOL}", "\n") in text
    assert 0.08 < len(data.heldout["x"]) / len(data.train["x"]) < 0.13
    assert "".join(sorted(data.spec.vocabulary)) == "".join(sorted(set(text)))


def test_without_a_file_it_is_the_help_that_comes_with_python() -> None:
    data = Text()
    assert len(data.train["x"]) > 300_000 and 90 < data.spec.shape[0] <= 128
    assert "Python" in "".join(
        kind_of(data.spec).lines(data.decode({"x": data.train["x"][::32][:3000]})["x"], data.spec)
    )


def test_rare_characters_become_one(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "aaaa bbb cc d e\n")
    data = Text(str(tmp_path / "a.txt"), length=16, vocabulary=4)
    assert set(data.spec.vocabulary) == {"a", "b", " ", "\N{REPLACEMENT CHARACTER}"}
    shares = torch.bincount(data.train["x"].flatten().long(), minlength=4) / data.train["x"].numel()
    assert shares[3] == pytest.approx(5 / 16, abs=0.02)  # c c d e and the line break


BODY = "the cat sät on the mat 🐈\n" * 400


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_text_is_the_same_in_every_encoding_and_with_every_line_break(
    tmp_path: Path, encoding: str, ends: str
) -> None:
    (tmp_path / "plain.txt").write_bytes(BODY.encode())
    content = BODY.replace("\n", ends).encode(encoding)
    (tmp_path / "a.txt").write_bytes(content)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(content))
    plain = Text(str(tmp_path / "plain.txt"))
    for name in ("a.txt", "a.txt.gz"):
        data = Text(str(tmp_path / name))
        assert data.spec == plain.spec and "\ufeff" not in data.spec.vocabulary
        assert torch.equal(data.train["x"], plain.train["x"])


@pytest.mark.parametrize(
    "own", ["\u2028", "\x85", "\0", "\x1b", "\u202e", "\u200b", "\u200d", "\x0c", "\ufffd"]
)
def test_the_characters_of_a_text_are_its_own(tmp_path: Path, own: str) -> None:
    (tmp_path / "a.txt").write_text(f"the cat{own}sat\n" * 1000, encoding="utf-8")
    data = Text(str(tmp_path / "a.txt"))
    assert own in data.spec.vocabulary and len(data.spec.vocabulary) == len(
        set(f"the cat{own}sat\n")
    )
    few = Text(str(tmp_path / "a.txt"), vocabulary=4)
    assert len(set(few.spec.vocabulary)) == 4 == few.spec.shape[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a" * 20_000, "all its characters are 'a'; there is nothing to learn"),
        (b"\n" * 20_000, r"all its characters are '\\n'; there is nothing to learn"),
        (b"", "0 characters are too few"),
        (
            BODY.encode("latin-1", "replace"),
            r"not a text in UTF-8 .* at byte 9\); bring it to UTF-8 by iconv",
        ),
        (BODY.encode("utf-16")[:-1], "not a text in UTF-8 or UTF-16 .truncated data"),
        (
            ("the cat\n" * 900).encode("utf-16-le"),
            "it is full of NUL, as UTF-16 without its byte order mark is",
        ),
        (bytes(range(256)) * 100, "not a text in UTF-8"),
        (gzip.compress(BODY.encode()), "not a text in UTF-8"),
    ],
    ids=["one", "breaks", "empty", "latin", "cut", "unmarked", "bytes", "packed"],
)
def test_what_is_no_text_is_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UserError, match=rf"^data\.file=\S*a\.txt: .*{said}"):
        Text(str(tmp_path / "a.txt"))


def test_pipes_devices_and_circles_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(BODY.encode())[:-20])
    for name, said in (
        ("pipe", "is a named pipe"),
        ("zero", "is a device"),
        ("circle", "Too many levels"),
        (".", "is a folder"),
        ("a.txt.gz", "is damaged"),
    ):
        with pytest.raises(UserError, match=f"^data.file=.*: {said}"):
            Text(str(tmp_path / name))


def test_a_text_larger_than_the_memory_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(bytes(100_000) + b"a"))
    write(tmp_path / "a.txt")
    monkeypatch.setattr("gan_cli.files.memory", lambda: 8 * 50_000)
    with pytest.raises(
        UserError, match=r"a.txt.gz: holds more than .* that are read of it here; take a part of it"
    ):
        Text(str(tmp_path / "a.txt.gz"))
    monkeypatch.setattr("gan_cli.data.text.memory", lambda: 4 * 9200 * 15)
    with pytest.raises(
        UserError, match=r"9200 windows of data.length=16 need .* a smaller data.length"
    ):
        Text(str(tmp_path / "a.txt"), length=16)
    assert Text(str(tmp_path / "a.txt"), length=15).spec.shape[1] == 15


def test_many_rare_characters_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.txt").write_text(
        "".join(chr(0x4E00 + i % 1000) for i in range(20_000)), encoding="utf-8"
    )
    with caplog.at_level(logging.WARNING):
        few = Text(str(tmp_path / "a.txt"), vocabulary=101)
        assert "90.0% of it are 900 rarer characters" in caplog.text and "90.0% of it" in few.note
        caplog.clear()
        write(tmp_path / "b.txt")
        assert "rarer" not in Text(str(tmp_path / "b.txt")).note and not caplog.text


def test_what_a_terminal_would_obey_reaches_files_only(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\x1b[2J\u202eb\0\x9b" * 1000, encoding="utf-8")
    assert command("gan-train", *TYPED[:-1], "data.file=a.txt")[0] == 0
    code, printed = command("gan-sample", "checkpoint=run", "mode=text", "n=32")
    assert (
        code == 0
        and all(c.isprintable() for c in printed.replace("\n", ""))
        and "\N{REPLACEMENT CHARACTER}" in printed
    )
    assert command("gan-sample", "checkpoint=run", "mode=text", "n=32", "output=b.txt")[0] == 0
    for file in (tmp_path / "b.txt", tmp_path / "run" / "samples" / "step_00000002.txt"):
        assert "\x1b" in file.read_text(encoding="utf-8")


class Rows(Dataset):
    """Windows that are given."""

    def __init__(self, train: torch.Tensor, heldout: torch.Tensor, size: int) -> None:
        self.train, self.heldout = {"x": train}, {"x": heldout}
        self.spec = Spec("text", (size, train.shape[1]), vocabulary="abcdefgh"[:size])


def hot(rows: torch.Tensor, size: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(rows, size).movedim(-1, 1).float()


def test_divergences_of_n_grams_by_hand() -> None:
    a, b = torch.zeros(50, 6, dtype=torch.long), torch.ones(50, 6, dtype=torch.long)
    metric = NgramScores(Rows(a, a, 2))
    assert [metric(hot(a, 2))[f"js_{n}"] for n in (1, 2, 3, 4)] == [0, 0, 0, 0]
    assert [metric(hot(b, 2))[f"js_{n}"] for n in (1, 2, 3, 4)] == pytest.approx([1, 1, 1, 1])
    # 1-grams: half a, half b, against all a: JS = 1/2 KL((1/2,1/2), m) + ...
    half = torch.tensor([[0, 1] * 3] * 50)
    m = np.array([0.75, 0.25])
    expected = 0.5 * (0.5 * np.log2(0.5 / m)).sum() + 0.5 * np.log2(1 / m[0])
    assert metric(hot(half, 2))["js_1"] == pytest.approx(expected)
    assert metric(hot(half, 2))["distinct"] == 1 / 50 and metric(hot(half, 2))["distinct_of"] == 50


def test_n_grams_are_counted_alike_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randint(0, 3, (50, 6), generator=torch.Generator().manual_seed(0))
    whole = NgramScores(Rows(rows, rows[:20], 3))
    monkeypatch.setattr("gan_cli.metrics.ngrams.AT_ONCE", 7)
    assert NgramScores(Rows(rows, rows[:20], 3)).fixed == whole.fixed


def test_windows_too_short_for_the_scores_are_one_sentence() -> None:
    rows = torch.zeros(50, 3, dtype=torch.long)
    with pytest.raises(
        UserError, match=r"data.length=3: .* sequences of 4 characters; take a larger one"
    ):
        NgramScores(Rows(rows, rows, 2))


def test_shuffled_characters_keep_single_ones_and_lose_the_rest(tmp_path: Path) -> None:
    write(tmp_path / "a.txt")
    metric = NgramScores(Text(str(tmp_path / "a.txt"), length=16))
    assert metric.fixed["js_1_floor"] < 0.01 and metric.fixed["js_4_floor"] < 0.05
    assert metric.fixed["js_4_shuffled"] > 0.9
    assert "shuffled characters" in metric.describe()


def test_a_model_of_characters_trains_and_prints(command: Command, tmp_path: Path) -> None:
    write(tmp_path / "a.txt")
    code, printed = command("gan-train", *TYPED)
    assert code == 0, printed
    assert "js_4" in json.loads((tmp_path / "run" / "run.json").read_text())["scores"]
    logged = (tmp_path / "run" / "samples" / "step_00000002.txt").read_text().splitlines()
    assert len(logged) == 32 and {len(line) for line in logged} == {32}
    code, printed = command("gan-sample", "checkpoint=run", "mode=text", "n=32")
    assert code == 0 and printed.splitlines() == logged
    assert command("gan-sample", "checkpoint=run", "mode=text", "n=3", "output=new/a.txt")[0] == 0
    assert (tmp_path / "new" / "a.txt").read_text().splitlines() == logged[:3]
    code, printed = command("gan-sample", "checkpoint=run")
    assert code == 2 and "the checkpoint makes text; take mode=text or mode=npz" in printed
    assert command("gan-sample", "checkpoint=run", "mode=npz", "n=2")[0] == 0
    samples = torch.from_numpy(np.load("samples.npz")["samples"])
    torch.testing.assert_close(samples.sum(dim=1), torch.ones(2, 32))
    assert characters(samples).shape == (2, 32)
    assert command("gan-evaluate", "checkpoint=run")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["data.file=short.txt"],
            "data.file=short.txt: 23 characters are too few for windows of 32",
        ),
        (["data.file=bytes.txt"], "data.file=bytes.txt: not a text in UTF-8"),
        (["data.file=nowhere.txt"], "nowhere.txt: No such file or directory"),
        (["data.length=0"], "data.length=0"),
        (["data=points"], "network=text_resnet: its generator is for data of the kind text"),
    ],
)
def test_a_mistake_about_a_text_is_one_sentence(
    command: Command, tmp_path: Path, arguments: list[str], said: str
) -> None:
    write(tmp_path / "a.txt")
    (tmp_path / "short.txt").write_text("the cat sat on the mat\n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xfa" * 5000)
    typed = TYPED[:-1] if arguments == ["data=points"] else TYPED
    code, printed = command("gan-train", *typed, *arguments)
    assert code == 2 and said in printed and len(printed.splitlines()) == 1, printed


def test_an_unreadable_length_is_an_error() -> None:
    with pytest.raises(UserError, match="too few"):
        Text(length=100_000)
