"""Characters: windows of a text, n-gram scores with known values, samples as lines."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gan_cli.data.dataset import Dataset, Spec
from gan_cli.data.text import Text, characters, lines
from gan_cli.errors import UserError
from gan_cli.metrics.ngrams import NgramScores

Command = Callable[..., tuple[int, str]]
TYPED = ("model=wgan_gp_text", "network.width=4", "network.blocks=1", "model.repeat.discriminator=1", "batch_size=8",
         "steps=2", "log_every=1", "evaluate_every=2", "sample_every=2", "hydra.run.dir=run",
         "data.file=a.txt")  # fmt: skip


def write(path: Path, text: str = "the cat sat on the mat\n") -> str:
    text = text * 400
    path.write_text(text, encoding="utf-8")
    return text


def test_windows_are_pieces_of_the_text(tmp_path: Path) -> None:
    text = write(tmp_path / "a.txt")
    data = Text(str(tmp_path / "a.txt"), length=16)
    x = data.decode({"x": data.train["x"][:50]})["x"]
    assert x.shape == (50, 11, 16) and torch.equal(x.sum(dim=1), torch.ones(50, 16)) and x.dtype == torch.float32
    for line in lines(x, data.spec.vocabulary):
        assert line.replace("\N{RETURN SYMBOL}", "\n") in text
    assert 0.08 < len(data.heldout["x"]) / len(data.train["x"]) < 0.13
    assert "".join(sorted(data.spec.vocabulary)) == "".join(sorted(set(text)))


def test_without_a_file_it_is_the_help_that_comes_with_python() -> None:
    data = Text()
    assert len(data.train["x"]) > 300_000 and 90 < data.spec.shape[0] <= 128
    assert "Python" in "".join(lines(data.decode({"x": data.train["x"][::32][:3000]})["x"], data.spec.vocabulary))


def test_rare_characters_become_one(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "aaaa bbb cc d e\n")
    data = Text(str(tmp_path / "a.txt"), length=16, vocabulary=4)
    assert set(data.spec.vocabulary) == {"a", "b", " ", "\N{REPLACEMENT CHARACTER}"}
    shares = torch.bincount(data.train["x"].flatten().long(), minlength=4) / data.train["x"].numel()
    assert shares[3] == pytest.approx(5 / 16, abs=0.02)  # c c d e and the line break


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
    half = torch.tensor([[0, 1] * 3] * 50)  # 1-grams: half a, half b, against all a: JS = 1/2 KL((1/2,1/2), m) + ...
    m = np.array([0.75, 0.25])
    expected = 0.5 * (0.5 * np.log2(0.5 / m)).sum() + 0.5 * np.log2(1 / m[0])
    assert metric(hot(half, 2))["js_1"] == pytest.approx(expected)
    assert metric(hot(half, 2))["distinct"] == 1 / 50


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
        (["data.file=short.txt"], "data.file=short.txt: 23 characters are too few for windows of 32"),
        (["data.file=bytes.txt"], "data.file=bytes.txt: not a text in UTF-8"),
        (["data.file=nowhere.txt"], "nowhere.txt: No such file or directory"),
        (["data.length=0"], "data.length=0"),
        (["data=points"], "network=text_resnet: makes sequences"),
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
