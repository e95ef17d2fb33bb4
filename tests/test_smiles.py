"""Molecules: reading and writing SMILES, scores with known values, an autoencoder of strings."""

import csv
import gzip
import json
import os
from pathlib import Path

import pytest
import torch
from conftest import Command, make_trainer
from torch.nn.functional import one_hot

from gan_cli import registry
from gan_cli.data import dataset as datasets
from gan_cli.data.smiles import Smiles, strings
from gan_cli.errors import UserError
from gan_cli.metrics.molecules import MoleculeScores, canonical
from gan_cli.networks.lstm import Encoder, Generator

TINY = ("experiment=molecules", "network.width=8", "network.discriminator.width=8", "batch_size=8")


def write(path: Path, molecules: list[str]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["name", "SMILES"], *([str(i), string] for i, string in enumerate(molecules))]
        )
    return str(path)


def one_hots(molecules: list[str], data: Smiles) -> torch.Tensor:
    size, length = data.spec.shape
    codes = [[data.spec.vocabulary.index(c) for c in string.ljust(length)] for string in molecules]
    return one_hot(torch.tensor(codes), size).movedim(-1, 1).float()


def test_the_grammar_writes_molecules_and_the_same_ones_each_time() -> None:
    data, again = Smiles(), Smiles()
    assert torch.equal(data.train["x"], again.train["x"]) and len(data.train["x"]) == 18_000
    written = strings(data.train["x"][:2000], data.spec.vocabulary)
    assert all(canonical(string) for string in written) and len(set(written)) == 2000
    assert any("c" in string for string in written) and any("1" in string for string in written)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["csv", "smi"])
def test_files_come_back_as_they_were_written(tmp_path: Path, kind: str, packed: bool) -> None:
    molecules = ["C" * n + end for n in range(1, 16) for end in ("", "O", "#N", "Cl")]
    path = tmp_path / f"a.{kind}"
    if kind == "csv":
        write(path, [*molecules, molecules[0], ""])
    else:
        path.write_text("".join(f"{string}\tname of it\n" for string in molecules) + "\n")
    if packed:
        (tmp_path / f"a.{kind}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = tmp_path / f"a.{kind}.gz"
    data = Smiles(str(path))
    found = [
        string
        for part in (data.train, data.heldout)
        for string in strings(part["x"], data.spec.vocabulary)
    ]
    assert sorted(found) == sorted(set(molecules)) and data.spec.shape == (6, 17)
    short = Smiles(str(path), length=9)
    assert short.spec.shape[1] == 9 and "longer than data.length=9 left out" in short.note
    x = data.decode(data.heldout)["x"]
    assert torch.equal(x, one_hots(strings(data.heldout["x"], data.spec.vocabulary), data))


@pytest.mark.parametrize(("name", "separator"), [("A.CSV", ","), ("a.tsv", "\t")])
def test_what_stands_behind_a_blank_is_not_read(tmp_path: Path, name: str, separator: str) -> None:
    lines = [separator.join([str(n), "C" * n + "O |c:1|"]) for n in range(1, 30)]
    (tmp_path / name).write_text("\n".join([f"n{separator}smiles", *lines]))
    data = Smiles(str(tmp_path / name))
    assert data.spec.vocabulary == " CO" and data.spec.shape == (3, 30)


def test_what_a_length_leaves_out_is_a_warning(
    command: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a.csv", ["C" * n for n in range(1, 101)])
    typed = (
        *TINY,
        "data.file=a.csv",
        "steps=1",
        "evaluate_every=0",
        "sample_every=0",
        "hydra.run.dir=run",
    )
    code, printed = command("gan-train", *typed)
    said = "data.length=24 leaves out 76 of 100 molecules; data.length=99 takes 99 or 100 takes 100"
    assert code == 0 and said in printed, printed
    assert f"WARNING {said}" in (tmp_path / "run" / "train.log").read_text()
    caplog.clear()
    assert Smiles(str(tmp_path / "a.csv"), length=99).spec.shape[1] == 99 and not caplog.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "\n".join(["C" * n for n in range(1, 100)] + ["C" * 100_000]),
            "one of its molecules has 100000 characters, and at most 1000 can be taken; "
            "data.length=99 takes 99",
        ),
        (
            "\n".join("C" * n for n in range(1, 30)) + "\nC\x1b[2J",
            r"holds more than SMILES, such "
            r"as '\\x1b'",
        ),
        (
            "\n".join("C" * n for n in range(1, 30)) + "\nC\u202eO",
            r"holds more than SMILES, such "
            r"as '\\u202e'",
        ),
        (
            "\n".join("C" * n for n in range(1, 30)) + "\nCé",
            r"holds more than SMILES, such as "
            r"'\\xe9'",
        ),
        ("", "0 molecules of at most 0 characters are too few"),
    ],
)
def test_what_holds_more_than_molecules_is_one_sentence(
    tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "a.smi").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        Smiles(str(tmp_path / "a.smi"))
    (tmp_path / "pipe.smi").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "pipe.smi")
    with pytest.raises(UserError, match="is a named pipe, not a file"):
        Smiles(str(tmp_path / "pipe.smi"))


def test_molecules_of_every_encoding_are_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ["name,smiles", *(f"é{n},{'C' * n}O" for n in range(1, 40))]
    found = []
    for i, (encoding, ends) in enumerate(
        (("utf-8", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\r\n"), ("utf-8", "\r"))
    ):
        (tmp_path / f"{i}.csv").write_bytes(ends.join(lines).encode(encoding))
        found.append(Smiles(str(tmp_path / f"{i}.csv")))
    assert all(data.digest == found[0].digest for data in found) and not caplog.text
    (tmp_path / "b.csv").write_text("\n".join([*lines, *("a," for _ in range(20))]))
    assert Smiles(str(tmp_path / "b.csv")).digest == found[0].digest
    assert "20 of its 59 lines hold no molecule" in caplog.text


def test_alike_molecules_of_other_letters_are_other_data(tmp_path: Path) -> None:
    metrics = []
    for letter in "FI":
        path = tmp_path / f"{letter}.smi"
        path.write_text("\n".join("C" * n + letter for n in range(1, 40)))
        data = Smiles(str(path))
        metrics.append((data.digest, MoleculeScores(data).known))
    assert metrics[0][0] != metrics[1][0] and not metrics[0][1] & metrics[1][1]


def test_scores_of_samples_that_are_known(tmp_path: Path) -> None:
    molecules = ["C" * n + end for n in range(1, 16) for end in ("", "O", "N")]
    data = Smiles(write(tmp_path / "a.csv", molecules))
    metric = MoleculeScores(data, n=10)
    known = strings(data.train["x"], data.spec.vocabulary)
    assert metric.known == set(map(canonical, known))
    scores = metric(one_hots([known[0], known[0], "CNC", "CNC", "NOC", ""], data))
    assert scores["valid"] == pytest.approx(5 / 6)
    assert scores["unique"] == pytest.approx(3 / 5)
    assert scores["novel"] == pytest.approx(2 / 3)
    assert scores["usable"] == pytest.approx(2 / 6)
    assert [scores[f"{name}_of"] for name in ("valid", "unique", "novel")] == [6, 5, 3]
    assert tuple(scores) == registry.metrics.components["molecules"].attributes["scores"]
    again = MoleculeScores(data, n=10)  # from the cache
    assert again.known == metric.known and again.fixed == metric.fixed
    assert (
        canonical("OCC") == canonical("CCO")
        and canonical("C(C)(C)(C)(C)C") is None
        and canonical("") is None
    )


def test_a_changed_cache_of_molecules_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    data = Smiles(
        write(tmp_path / "a.csv", ["C" * n + end for n in range(1, 16) for end in ("", "O", "C)C")])
    )
    known = MoleculeScores(data, n=10).known
    assert "of the 40 training strings for no molecules" in caplog.text
    (file,) = (tmp_path / "cache" / "molecules").glob("*.json")
    file.write_text('{"molecules": [], "unread": 0}')
    assert (
        MoleculeScores(data, n=10).known == known and "reading the molecules again" in caplog.text
    )
    caplog.clear()
    assert MoleculeScores(data, n=10).known == known and "again" not in caplog.text


def test_no_molecule_is_too_long_for_the_stack() -> None:
    assert canonical("C" * 100_000) is None and canonical("C(" * 400 + "C" + ")" * 400) is None
    assert canonical("C" * 1000) is not None


def test_chance_makes_few_molecules() -> None:
    metric = MoleculeScores(Smiles(), n=500)
    assert metric.fixed["valid_random"] < 0.01 and metric.fixed["valid_shuffled"] < 0.1
    real = Smiles()
    scores = metric(real.decode({"x": real.train["x"][:500]})["x"])
    assert scores["valid"] == 1 and scores["novel"] == 0
    assert 0.98 < scores["unique"] <= 1  # one molecule may be written in two ways


def test_the_likelihood_is_that_of_the_distributions_it_writes() -> None:
    """Of the string that G itself writes, character by character, log p is the sum of what it gave
    each."""
    torch.manual_seed(0)
    generator = Generator((5, 7), latent=3, width=8)
    z = torch.randn(4, 3)
    shares = generator(z)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(4, 7))
    written = one_hot(shares.argmax(dim=1), 5).movedim(-1, 1).float()
    torch.testing.assert_close(
        generator.log_likelihood(z, written), (shares.log() * written).sum(dim=(1, 2))
    )
    # all strings of a small language: their chances sum to one
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    small = Generator((3, 4), latent=3, width=8)
    likelihood = small.log_likelihood(
        z[:1].expand(len(every), -1), one_hot(every, 3).movedim(-1, 1).float()
    )
    assert likelihood.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_the_gradient_goes_through_what_is_read_again() -> None:
    torch.manual_seed(0)
    z = torch.randn(2, 3, requires_grad=True)
    Generator((5, 7), latent=3, width=8)(z)[:, 0, -1].sum().backward()
    assert z.grad is not None and z.grad.abs().min() > 0


def test_the_encoder_reads_from_both_ends() -> None:
    torch.manual_seed(0)
    encoder, x = Encoder((5, 7), outputs=2, width=8), torch.zeros(3, 5, 7)
    x[1, 2, 0], x[2, 2, -1] = 1, 1
    codes = encoder(x)
    assert codes.shape == (3, 2) and (codes[1:] - codes[0]).abs().min() > 1e-4


def test_an_autoencoder_learns_strings_by_heart(tmp_path: Path) -> None:
    molecules = ["C" * n + end for n in range(1, 9) for end in ("", "O", "N", "F")]
    plain = (
        "model.adversarial=0",
        "model.spread=0",
        "model.latent=8",
        "network.width=32",
        "optimizer.lr=1e-2",
    )
    trainer = make_trainer(*TINY, *plain, f"data.file={write(tmp_path / 'a.csv', molecules)}")
    for _ in range(250):
        trainer.play_round()
    dataset = trainer.batches.dataset
    seen = trainer.game.scores(dataset.decode(dataset.train))
    assert seen["characters_right"] > 0.9
    assert trainer.terms["reconstruction"]["error"] < 0.3


def test_a_run_scores_and_prints_molecules(command: Command, tmp_path: Path) -> None:
    typed = (
        *TINY,
        "steps=2",
        "evaluate_every=2",
        "sample_every=2",
        "log_every=1",
        "hydra.run.dir=run",
    )
    code, printed = command("gan-train", *typed)
    assert code == 0 and "molecules by RDKit" in printed, printed
    scores = json.loads((tmp_path / "run" / "run.json").read_text())["scores"]
    assert {
        "usable",
        "valid",
        "unique",
        "novel",
        "valid_random",
        "valid_shuffled",
        "characters_right",
    } <= set(scores)
    code, printed = command("gan-sample", "checkpoint=run", "mode=text", "n=4")
    assert code == 0 and len(printed.splitlines()) == 4


@pytest.mark.slow
def test_without_rdkit_it_trains_all_the_same(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "find_spec", lambda name: None)
    code, printed = command("gan-train", *TINY, "steps=1", "evaluate_every=1", "hydra.run.dir=run")
    assert code == 0 and "js_4" in printed and "pip install 'gan-cli[molecules]'" in printed
    code, printed = command("gan-train", *TINY, "objective=valid", "hydra.run.dir=other")
    assert code == 2 and "objective=valid: this data gives no such score" in printed


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name,SMILES\n1,C\n", "1 molecules of at most 1 characters are too few"),
        (b"name,formula\n1,C\n", "data.column=smiles: .* has no such column; it has name, formula"),
        (b"\xff\xfe\xfa", "cannot be read as text"),
        (b"", "data.column=smiles"),
    ],
)  # fmt: skip
def test_a_mistake_about_a_file_is_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=said):
        Smiles(str(tmp_path / "a.csv"))
    packed = bytearray(gzip.compress(b"name,smiles\n" + bytes(range(256)) * 40))
    packed[60:90] = bytes(30)
    (tmp_path / "b.csv.gz").write_bytes(packed)
    with pytest.raises(UserError, match="cannot be read as text"):
        Smiles(str(tmp_path / "b.csv.gz"))
    (tmp_path / "a.csv.gz").write_bytes(b"not packed")
    with pytest.raises(UserError, match="cannot be read as text"):
        Smiles(str(tmp_path / "a.csv.gz"))
