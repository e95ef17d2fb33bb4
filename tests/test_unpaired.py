"""Images of two domains without pairs, and what is learnt from them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, make_trainer
from PIL import Image
from torch import Tensor

from gan_cli import noise
from gan_cli.data.derived import MAPS
from gan_cli.data.unpaired import Unpaired
from gan_cli.errors import UserError
from gan_cli.metrics import classifier
from gan_cli.metrics.kept_classes import KeptClasses
from gan_cli.metrics.pairs import PairScores
from gan_cli.networks.translation import Generator
from gan_cli.pools import Pool
from gan_cli.training import rendering

SMALL = ("model=cyclegan", "data.of=digits", "network.width=4", "batch_size=6")


def pictures(folder: Path, count: int, side: int, shade: int) -> str:
    """So many square pictures of about one shade."""
    random = np.random.default_rng(shade)
    folder.mkdir()
    for i in range(count):
        values = random.integers(shade, shade + 20, (side, side, 3)).astype(np.uint8)
        Image.fromarray(values).save(folder / f"{i}.png")
    return str(folder)


# --- data -----------------------------------------------------------------------------------------


def test_two_folders_are_two_domains(tmp_path: Path) -> None:
    a, b = pictures(tmp_path / "a", 10, 12, 0), pictures(tmp_path / "b", 25, 20, 200)
    data = Unpaired(a=a, b=b, image_size=8, heldout=0.2)
    assert data.train["x_a"].shape == data.train["x"].shape == (20, 3, 8, 8)
    assert len(data.heldout["x"]) == len(data.heldout["x_a"]) == 5
    assert int(data.train["x_a"].max()) < 30 and int(data.train["x"].min()) > 190
    # the smaller domain comes again, in its order
    assert torch.equal(data.train["x_a"][:8], data.train["x_a"][8:16])
    # held-out rows are no pairs, so that nothing compares them
    assert data.default_metrics == ["patches"]


def test_what_is_wrong_with_a_folder_is_one_sentence(tmp_path: Path) -> None:
    a = pictures(tmp_path / "a", 4, 8, 0)
    with pytest.raises(UserError, match=r"data.a=.*: needs data.b=FOLDER"):
        Unpaired(a=a)
    with pytest.raises(UserError, match=r"data.b=nowhere: no such folder"):
        Unpaired(a=a, b="nowhere")
    (tmp_path / "a" / "0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"data.a=.*1 of its 4 images cannot be read"):
        Unpaired(a=a, b=a)


def test_halves_of_a_data_set_share_no_image_and_held_out_rows_are_pairs() -> None:
    data = Unpaired(of="digits")
    negative = MAPS["negative"]
    first = {row.numpy().tobytes() for row in data.train["x_a"]}
    second = {row.numpy().tobytes() for row in negative(data.train["x"])}
    assert not first & second
    assert torch.equal(negative(data.heldout["x_a"]), data.heldout["x"])
    assert torch.equal(data.heldout["y_a"], data.heldout["y"])
    assert data.default_metrics == ["patches", "pairs", "kept_classes"]


# --- the network ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "blocks", "outer"), [(16, 3, 3), (128, 6, 7), (256, 9, 7)])
def test_a_larger_image_has_a_deeper_network(side: int, blocks: int, outer: int) -> None:
    G = Generator((3, side, side), (1, side, side), width=2)
    first = G.down[0]
    assert len(G.blocks) == blocks and isinstance(first, torch.nn.Conv2d)
    assert first.kernel_size == (outer, outer)


@pytest.mark.parametrize("model", ["pix2pix", "cyclegan"])
def test_a_network_that_keeps_sides_does_not_enlarge(command: Command, model: str) -> None:
    code, printed = command("gan-train", f"model={model}", "data=super_resolution", "steps=1")
    assert code == 2 and "makes images of the input's sides, and here 8x8 should become" in printed


def test_it_takes_any_sides_that_can_be_halved() -> None:
    G, z = Generator((3, 16, 16), (1, 16, 16), width=2), torch.empty(1, 0)
    assert G(torch.zeros(1, 1, 20, 36), z).shape == (1, 3, 20, 36)
    with pytest.raises(UserError, match="cannot halve images of 9x9 1 times"):
        Generator((1, 9, 9), (1, 9, 9))


# --- the game -------------------------------------------------------------------------------------


def test_the_terms_are_those_of_the_paper() -> None:
    trainer = make_trainer(
        *SMALL, "model.cycle=7", "model.identity=3", "model.pool=0", "model.critic_norm=none",
    )  # fmt: skip
    game, batch = trainer.game, trainer.batches.next()
    terms = {turn.player.name: game.play(turn, batch) for turn in game.turns(0)}
    x, x_a, none = batch["x"], batch["x_a"], torch.empty(6, 0)
    made, made_a = game.G(x_a, none), game.F(x, none)

    def far(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean()

    torch.testing.assert_close(
        terms["generator"],
        {
            "adversarial_b": (game.D(made) - 1).square().mean(),
            "adversarial_a": (game.D_a(made_a) - 1).square().mean(),
            "cycle_a": 7 * far(game.F(made, none), x_a),
            "cycle_b": 7 * far(game.G(made_a, none), x),
            "identity": 3 * (far(game.G(x, none), x) + far(game.F(x_a, none), x_a)),
        },
    )
    for name, D, real, fake in (("b", game.D, x, made), ("a", game.D_a, x_a, made_a)):
        wanted = ((D(real) - 1).square().mean() + D(fake).square().mean()) / 2
        torch.testing.assert_close(terms["discriminator"][f"adversarial_{name}"], wanted)


def test_an_identity_term_needs_domains_of_one_shape(command: Command) -> None:
    typed = ("model=cyclegan", "data=pairs", "data.make=grey", "model.identity=1", "steps=1")
    code, printed = command("gan-train", *typed)
    assert code == 2 and "model.identity=1.0: compares images of both domains" in printed


def test_both_directions_start_from_their_own_images() -> None:
    game = make_trainer(*SMALL).game
    x, none = torch.rand(2, 1, 8, 8), torch.empty(2, 0)
    assert torch.equal(rendering.render(game, none, x), game.G(x, none))
    with game.in_direction("b_to_a"):
        assert game.sampling.given == ("x",) and game.sampling.output == "x_a"
        assert torch.equal(rendering.render(game, none, x), game.F(x, none))


# --- pools ----------------------------------------------------------------------------------------


def test_a_pool_gives_back_older_samples_half_of_the_time() -> None:
    noise.begin_turn("pool")
    pool = Pool(50, 1)
    for first in range(0, 48, 8):  # all are kept, and come back as they are
        x = torch.arange(first, first + 8.0).view(8, 1)
        assert torch.equal(pool.exchange(x), x)
    pool.exchange(torch.full((8, 1), 100.0))

    older = 0
    for turn in range(200):
        before = set(pool.samples.flatten().tolist())
        x = 1000 + torch.arange(8.0 * turn, 8.0 * turn + 8).view(8, 1)
        shown = pool.exchange(x)
        after = set(pool.samples.flatten().tolist())
        back = ~(shown == x).flatten()
        older += int(back.sum())
        # what was exchanged left the pool, and what took its place is there
        assert {*shown[back].flatten().tolist()} <= before
        assert {*x[back].flatten().tolist()} <= after
        assert not {*x[~back].flatten().tolist()} & after
    assert 0.45 < older / 1600 < 0.55


def test_a_batch_larger_than_the_pool_goes_on() -> None:
    noise.begin_turn("pool")
    pool = Pool(3, 1)
    x = torch.arange(8.0).view(8, 1)
    pool.exchange(x)
    shown = pool.exchange(x + 10)
    assert torch.equal(shown[3:], x[3:] + 10) and set(pool.samples.flatten().tolist()) <= {
        0.0, 1.0, 2.0, 10.0, 11.0, 12.0,
    }  # fmt: skip


# --- scores ---------------------------------------------------------------------------------------


def test_kept_classes_of_translations_whose_classes_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classifier, "STEPS", 400)  # as many as it needs to be right
    data = Unpaired(of="digits")
    metric = KeptClasses(data, torch.device("cpu"))
    fields = data.decode(data.heldout)

    def scores(samples: Tensor) -> dict[str, float]:
        return metric.compute([metric.extract_pairs(samples, fields)])

    truth = scores(fields["x"])
    assert truth["class_kept"] == pytest.approx(truth["classifier_accuracy"])
    assert truth["class_kept"] > 0.9 > 0.2 > truth["class_kept_shuffled"]

    # every digit as the next one
    order = fields["y"].argsort(stable=True)
    counts = torch.bincount(fields["y"], minlength=10)
    first = counts.cumsum(0) - counts
    exchanged = fields["x"][order[first[(fields["y"] + 1) % 10]]]
    swapped = scores(exchanged)
    assert swapped["class_kept"] < 0.2 and swapped["class_kept_most"] > 0.8


def test_scores_of_the_way_back_compare_with_the_first_domain() -> None:
    data = Unpaired(of="digits")
    game = make_trainer(*SMALL).game
    fields = data.decode(data.heldout)
    with game.in_direction("b_to_a"):
        seen = rendering._in_direction(game, fields)
    assert torch.equal(seen["x"], fields["x_a"]) and torch.equal(seen["x_a"], fields["x"])
    metric = PairScores(data.seen_as("x_a"), torch.device("cpu"))
    scored = metric.compute([metric.extract_pairs(fields["x_a"], seen)])
    assert scored["l1"] == 0 and scored["l1_copy"] > 1
