"""Captions: the data, the encoder, the game, its scores, and samples of what one types."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, make_trainer
from PIL import Image
from torch import Tensor

import gan_cli
from gan_cli.data.captions import COMBINATIONS, SAID, Captions
from gan_cli.data.words import encoded, words_of
from gan_cli.divergences import kl_from_normal
from gan_cli.errors import UserError
from gan_cli.games.gan_cls import another
from gan_cli.main import train
from gan_cli.metrics import classifier, retrieval
from gan_cli.metrics.drawn_captions import DrawnCaptions
from gan_cli.networks.words import TextEncoder

SMALL = ("model=gan_cls", "network.width=4", "network.text_encoder.width=4", "batch_size=6")


def album(folder: Path, count: int = 20) -> Path:
    """Pictures and a table of two captions each."""
    folder.mkdir()
    lines = ["file,caption"]
    for i in range(count):
        Image.fromarray(np.full((8, 8, 3), 10 * i, np.uint8)).save(folder / f"{i:02d}.png")
        lines += [f'{i:02d}.png,"A grey picture, no. {i}"', f"{i:02d}.png,number {i}"]
    (folder / "said.csv").write_text("\n".join(lines))
    return folder


# --- data -----------------------------------------------------------------------------------------


def test_words_are_places_in_a_vocabulary() -> None:
    assert words_of("The bird's RED, red-hot tail!") == [
        "the",
        "bird's",
        "red",
        "red",
        "hot",
        "tail",
    ]
    rows = encoded([["red", "blue", "red"], ["green"]], {"": 0, "?": 1, "red": 2, "blue": 3}, 2)
    assert rows.tolist() == [[2, 3], [1, 0]]


def test_drawn_captions_say_what_is_drawn() -> None:
    data = Captions(size=720)
    names = data.spec.fields["t"].names
    never = {tuple(row) for row in data.captions()[data.never].tolist()}
    shown = {tuple(row) for row in data.train["t"].tolist()}
    assert len(never) == 8 and len(shown) == 64 and not never & shown
    assert {tuple(row) for row in data.heldout["t"].tolist()} > never

    # what is left looks left, what is red is red, what is large covers more
    x = data.decode({"x": data.train["x"]})["x"]
    said = [{names[i] for i in row} for row in data.train["t"].tolist()]

    def those(*words: str) -> Tensor:
        return x[torch.tensor([{*words} <= row for row in said])]

    red = those("red", "left", "large")
    redness = red[:, 0] - red[:, 1:].mean(dim=1)
    assert redness[:, :, :8].mean() > redness[:, :, 8:].mean() + 0.1
    blue, large = (those("blue", "square", size).mean(dim=0) for size in ("small", "large"))
    assert (large[2] - large[0]).mean() > (blue[2] - blue[0]).mean()


def test_a_table_names_images_and_captions(tmp_path: Path) -> None:
    folder = album(tmp_path / "album")
    data = Captions(folder=str(folder), file=str(folder / "said.csv"), image_size=8, heldout=0.2)
    names = data.spec.fields["t"].names
    assert names[:2] == ("", "?") and {"grey", "picture", "number"} < set(names)
    assert len(data.train["x"]) + len(data.heldout["x"]) == 40
    # both captions of an image are on the same side, and belong to it
    shades = {int(values[0, 0, 0]) for values in data.train["x"]}
    assert not shades & {int(values[0, 0, 0]) for values in data.heldout["x"]}
    for x, t in zip(data.train["x"], data.train["t"], strict=True):
        assert str(int(x[0, 0, 0]) // 10) in [names[i] for i in t]
    assert torch.equal(data.train["i"][::2], data.train["i"][1::2])


def test_texts_beside_images_are_captions(tmp_path: Path) -> None:
    folder = album(tmp_path / "album")
    for i in range(20):
        (folder / f"{i:02d}.txt").write_text(f"one {i}\n\nand another\n")
    with pytest.raises(UserError, match=r"20 images or captions have no partner .*without a word"):
        Captions(folder=str(folder), image_size=8)
    data = Captions(folder=str(folder), image_size=8, unreadable=0.6)
    assert len(data.train["x"]) + len(data.heldout["x"]) == 40


def vectors(folder: Path, **changed: np.ndarray) -> Path:
    """The vectors of two captions of each image."""
    names = np.array([f"{i:02d}.png" for i in range(20) for _ in range(2)])
    rows = np.random.default_rng(0).normal(size=(40, 6))
    np.savez(folder / "said.npz", **{"name": names, "embedding": rows, **changed})
    return folder / "said.npz"


def test_vectors_take_the_place_of_words(command: Command, tmp_path: Path) -> None:
    folder = album(tmp_path / "album")
    file, run = vectors(folder), tmp_path / "run"
    data = Captions(folder=str(folder), embeddings=str(file), image_size=8, heldout=0.2)
    assert data.spec.fields["t"].shape == (6,) and len(data.train["t"]) == 32
    assert torch.equal(data.train["i"][::2], data.train["i"][1::2])

    options = (*SMALL, f"data.folder={folder}", f"data.embeddings={file}", "data.image_size=8")
    with pytest.MonkeyPatch.context() as patch:
        quick = ("steps=2", "evaluate_every=0", f"hydra.run.dir={run}")
        patch.setattr("sys.argv", ["gan-train", *options, *quick])
        train()
    code, printed = command("gan-sample", str(run), f"input={file}", "mode=npz", "output=s.npz")
    assert code == 0, printed
    assert np.load("s.npz")["samples"].shape == (40, 3, 8, 8)
    np.savez("wrong.npz", embedding=np.zeros((3, 5)))
    code, printed = command("gan-sample", str(run), "input=wrong.npz")
    assert code == 2 and "needs an array `t` of shape (rows, 6)" in printed


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"embedding": np.zeros((3, 6))}, "needs the arrays `name`, texts"),
        ({"embedding": np.full((40, 6), np.inf)}, "some of its numbers are not finite"),
        ({"name": np.arange(40)}, "needs the arrays `name`, texts"),
    ],
)
def test_vectors_that_are_none(tmp_path: Path, changed: dict[str, np.ndarray], why: str) -> None:
    folder = album(tmp_path / "album")
    with pytest.raises(UserError, match=f"data.embeddings=.*{why}"):
        Captions(folder=str(folder), embeddings=str(vectors(folder, **changed)), image_size=8)
    with pytest.raises(UserError, match=r"data.embeddings=x.npz: not beside data.file=y.csv"):
        Captions(folder=str(folder), embeddings="x.npz", file="y.csv")


def test_what_has_no_partner_is_counted_and_listed(tmp_path: Path) -> None:
    folder = album(tmp_path / "album")
    table = folder / "said.csv"
    table.write_text(table.read_text().replace("07.png", "nowhere.png"))
    with pytest.raises(UserError) as caught:
        Captions(folder=str(folder), file=str(table), image_size=8)
    told = str(caught.value)
    assert "2 images or captions have no partner" in told and "nowhere.png: no such image" in told
    report = Path(told.split("they are in ")[1].split(";")[0])
    assert report.read_text().splitlines() == ["nowhere.png: no such image", "07.png: no caption"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"file": "x.csv"}, "data.file=x.csv: needs data.folder=FOLDER"),
        ({"folder": "album", "file": "x.csv"}, "data.file=x.csv: no such file"),
        ({"folder": "album", "file": "album/wrong.csv"}, "has no column file"),
        ({"folder": "nowhere"}, "data.folder=nowhere: no such folder"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (album(tmp_path / "album") / "wrong.csv").write_text("image,text\n00.png,hello\n")
    with pytest.raises(UserError, match=why):
        Captions(**options)  # type: ignore[arg-type]


# --- the encoder, and the game --------------------------------------------------------------------


def test_what_follows_the_last_word_is_not_read() -> None:
    torch.manual_seed(0)
    E = TextEncoder((9, 4), 3, width=5)
    t = torch.tensor([[2, 3, 0, 0], [3, 2, 0, 0], [0, 0, 0, 0]])
    code = E(t)
    assert code.shape == (3, 3) and not torch.allclose(code[0], code[1]) and code.isfinite().all()


def test_without_recurrence_the_order_of_words_does_not_matter() -> None:
    torch.manual_seed(0)
    E = TextEncoder((9, 4), 3, width=5, recurrent=False)
    one, swapped, other = E(torch.tensor([[2, 3, 0, 0], [3, 2, 0, 0], [2, 4, 0, 0]]))
    torch.testing.assert_close(one, swapped)
    assert not torch.allclose(one, other)


def test_a_wrong_caption_is_never_right_by_chance() -> None:
    torch.manual_seed(0)
    # two captions of one image, and one caption of two images
    t = torch.tensor([[1], [2], [3], [3], [4], [5]])
    i = torch.tensor([0, 0, 1, 2, 2, 3])
    right = {(0, 1), (1, 0), (2, 3), (3, 2), (3, 4), (4, 3), (2, 4), (4, 2)}
    right |= {(row, row) for row in range(6)}
    drawn = set()
    for _ in range(200):
        rows, found = another(t, i)
        assert found.all()
        drawn |= set(enumerate(rows.tolist()))
    assert drawn == {(a, b) for a in range(6) for b in range(6)} - right
    _, found = another(torch.ones(3, 1).long(), torch.arange(3))
    assert not found.any()


def test_the_terms_are_those_of_the_paper() -> None:
    trainer = make_trainer(
        *SMALL, "model.critic_norm=none", "model.interpolation=0", "model.wrong=3"
    )
    game, batch = trainer.game, trainer.batches.next()
    x, t = batch["x"], batch["t"]
    torch.manual_seed(1)
    others, _ = another(t, batch["i"])
    fake = game.made(game.E(t))
    torch.manual_seed(1)
    terms = game.discriminator(x, t, batch["i"])

    softplus = torch.nn.functional.softplus
    real, made, wrong = (
        game.judged(images, game.E_d(said)) for images, said in ((x, t), (fake, t), (x, t[others]))
    )
    told = softplus(-real).mean()
    torch.testing.assert_close(terms["adversarial"], told + softplus(made).mean())
    torch.testing.assert_close(terms["wrong"], 3 * (told + softplus(wrong).mean()))


def test_data_without_captions_are_refused(command: Command) -> None:
    code, printed = command("gan-train", "model=gan_cls", "data=digits")
    assert code == 2 and "makes images of captions, and this data has none" in printed


# --- two stages -----------------------------------------------------------------------------------

STACKED = (
    "model=stackgan", "network.width=4", "network.text_encoder.width=4", "batch_size=6",
    "network.refiner.width=4", "data.image_size=16", "data.size=200", "model.code=5",
)  # fmt: skip


def test_the_second_stage_enlarges_what_the_first_one_made() -> None:
    """Until it is played, samples are the small images; then they follow these, and the caption."""
    trainer = make_trainer(*STACKED)
    game, t = trainer.game.eval(), trainer.batches.next()["t"]
    latents = game.latents(6, torch.Generator().manual_seed(0))
    with torch.no_grad(), game.in_direction("stage_one"):
        small = game.render(latents, t)
    with torch.no_grad():
        assert torch.equal(game.render(latents, t), small)
        game.played.yes.fill_(True)
        large = game.render(latents, t)
        other = game.render(latents.roll(1, dims=0), t)
        unsaid = game.render(latents, t.roll(1, dims=0))
    assert large.shape == small.shape == (6, 3, 16, 16)
    assert not torch.equal(large, small)
    assert not torch.equal(large, other) and not torch.equal(large, unsaid)


def test_images_of_one_caption_and_one_z_vary() -> None:
    """Conditioning augmentation: by the deviation that A says, and not at all without it."""
    trainer = make_trainer(*STACKED)
    game, code = trainer.game.eval(), torch.randn(1, 5).expand(4000, -1)
    mean, logvar = game.A(code).chunk(2, dim=1)
    told = game.told(game.A, code, game.variation(4000))
    torch.testing.assert_close(told.mean(dim=0), mean[0], rtol=0, atol=0.1)
    torch.testing.assert_close(told.std(dim=0), (0.5 * logvar[0]).exp(), rtol=0.1, atol=0)
    game.varied = False
    assert torch.equal(game.told(game.A, code, game.variation(4000)), mean)
    assert game.divergence(game.A, code) == {}


def test_the_divergence_of_codes_is_that_of_torch() -> None:
    torch.manual_seed(0)
    mean, logvar = torch.randn(7, 5), torch.randn(7, 5)
    law = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    wanted = torch.distributions.kl_divergence(law, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(kl_from_normal(mean, logvar), wanted, rtol=1e-6, atol=1e-6)


def test_stages_are_played_one_after_the_other() -> None:
    trainer = make_trainer(*STACKED, "model.phases.0.rounds=3")
    game = trainer.game
    first = [turn.player.name for step in range(3) for turn in game.turns(step)]
    assert first == 3 * ["discriminator", "generator"]
    assert [turn.player.name for turn in game.turns(3)] == ["discriminator_2", "generator_2"]

    for _ in range(3):
        trainer.play_round()
    assert not game.played.yes
    before = {name: value.clone() for name, value in game.named_parameters()}
    trainer.play_round()
    moved = {
        name.split(".")[0]
        for name, value in game.named_parameters()
        if not torch.equal(before[name], value)
    }
    assert game.played.yes and moved == {"G_2", "A_2", "D_2", "M_2"}


def test_a_factor_must_divide_the_sides(command: Command) -> None:
    code, printed = command("gan-train", "model=stackgan", "data.image_size=30", "model.factor=4")
    assert code == 2 and "model.factor=4: does not divide images of 30x30" in printed


# --- scores ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_words_of_samples_whose_words_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "STEPS", 600)  # as many as it needs to be right
    data = Captions(size=720)
    metric = DrawnCaptions(data, torch.device("cpu"))
    assert metric.accuracy > 0.95
    fields = data.decode(data.heldout)

    def scores(change: Callable[[Tensor], Tensor]) -> dict[str, float]:
        return metric.compute([metric.extract_pairs(change(fields["x"]), fields)])

    truth = scores(lambda x: x)
    assert truth["all_right"] > 0.95 and truth["all_right_never"] > 0.9
    assert truth["all_right_shuffled"] < 0.1
    mirrored = scores(lambda x: x.flip(3))  # left becomes right, and the rest stays
    assert mirrored["colour_right"] > 0.95 and 0.2 < mirrored["place_right"] < 0.5
    assert len(COMBINATIONS) == 72 and [*SAID] == ["size", "colour", "shape", "place"]


@pytest.mark.slow
def test_captions_that_are_retrieved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of true images by a network that learnt them, and of other images by chance."""
    monkeypatch.setattr(retrieval, "STEPS", 150)
    data = Captions(size=720, never=0)
    metric = retrieval.Retrieval(data, torch.device("cpu"), n=144)
    fields = data.decode({name: values[:144] for name, values in data.heldout.items()})

    def scores(x: Tensor) -> dict[str, float]:
        return metric.compute([metric.extract_pairs(x, fields)])

    truth = scores(fields["x"])
    assert truth["retrieved"] == truth["retrieved_real"] > 0.7
    assert truth["retrieved_shuffled"] < 0.3
    assert scores(torch.zeros_like(fields["x"]))["retrieved"] < 0.3


# --- use ------------------------------------------------------------------------------------------


def test_captions_are_typed(command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    typed = (*SMALL, "data.size=200", "steps=2", "evaluate_every=0", f"hydra.run.dir={run}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["gan-train", *typed])
        train()

    def sampled(*typed: str) -> np.ndarray:
        code, printed = command("gan-sample", str(run), "mode=npz", "output=s.npz", *typed)
        assert code == 0, printed
        return np.load("s.npz")["samples"]

    one = sampled("caption=small red disc left", "n=3")
    assert one.shape == (3, 3, 16, 16) and not np.array_equal(one[0], one[1])
    other = sampled("caption=large blue square right", "n=3")
    assert not np.array_equal(one, other)
    Path("said.txt").write_text("small red disc left\nlarge blue square right\n")
    both = sampled("caption=said.txt", "n=2")
    assert np.array_equal(both[0], one[0]) and np.array_equal(both[1], other[1])

    code, printed = command("gan-sample", str(run), "caption=purple elephants")
    assert code == 2 and "has no word that was learnt; they are small, large, red" in printed
    code, printed = command("gan-sample", str(run), "caption=a red thing", "n=1")
    assert code == 0 and "not among the words that were learnt: a, thing" in printed
    assert gan_cli.load(str(run)).data.fields["t"].names[2] == "small"
