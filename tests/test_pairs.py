"""Pairs of images and what is learnt from them: the data, the networks, the game, its scores, and
samples from inputs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, compose, make_trainer, save_run
from PIL import Image
from torch import Tensor

import gan_cli
from gan_cli.config.objectives import objective
from gan_cli.data.pairs import Pairs
from gan_cli.errors import UserError
from gan_cli.main import train
from gan_cli.metrics.pairs import PairScores
from gan_cli.networks.patch import Discriminator, receptive_field
from gan_cli.networks.unet import Generator
from gan_cli.runs import checkpoint
from gan_cli.runs.inputs import Inputs
from gan_cli.training import rendering

SMALL = (
    "model=pix2pix", "data.of=digits", "network.width=4", "network.discriminator.width=4",
    "batch_size=6",
)  # fmt: skip
LUMINANCE = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


def photographs(folder: Path, count: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """So many random pictures as PNG files, by their names."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    made = {}
    for i in range(count):
        made[f"{i:02d}"] = random.integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(made[f"{i:02d}"]).save(folder / f"{i:02d}.png")
    return made


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_file_of_two_images_is_cut_in_the_middle(tmp_path: Path, side: str) -> None:
    made = photographs(tmp_path / "both", 12, (16, 8))
    data = Pairs(folder=str(tmp_path / "both"), inputs=side, image_size=8, heldout=0.3)
    assert data.spec.shape == (3, 8, 8) and data.spec.fields["x_a"].shape == (3, 8, 8)
    found = [
        torch.cat([part["x_a"], part["x"]][:: 1 if side == "left" else -1], dim=3)
        for part in (data.train, data.heldout)
    ]
    whole = {picture.numpy().transpose(1, 2, 0).tobytes() for picture in torch.cat(found)}
    assert whole == {picture.tobytes() for picture in made.values()}


def test_two_folders_of_the_same_names_are_pairs(tmp_path: Path) -> None:
    images = photographs(tmp_path / "b", 12, (8, 8))
    (tmp_path / "a").mkdir()
    for name, image in images.items():
        Image.fromarray(255 - image).save(tmp_path / "a" / f"{name}.bmp")

    def pairs(unreadable: float = 0.01) -> Pairs:
        data = Pairs(
            folder=str(tmp_path / "b"), inputs=str(tmp_path / "a"), image_size=8, heldout=0.4,
            unreadable=unreadable,
        )  # fmt: skip
        for part in (data.train, data.heldout):
            assert torch.equal(255 - part["x"], part["x_a"])
        return data

    assert len(pairs().train["x"]) + len(pairs().heldout["x"]) == 12

    # a file that cannot be read is left out on both sides, where so many may be
    (tmp_path / "a" / "03.bmp").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"1 of its 12 images cannot be read"):
        pairs()
    data = pairs(unreadable=0.1)
    assert len(data.train["x"]) + len(data.heldout["x"]) == 11

    (tmp_path / "a" / "05.bmp").rename(tmp_path / "a" / "x.bmp")
    with pytest.raises(UserError, match=r"05 is not in .*/a\); both need files of the same names"):
        pairs(unreadable=0.1)
    (tmp_path / "a" / "x.bmp").rename(tmp_path / "a" / "04.png")
    with pytest.raises(UserError, match="two images are called 04"):
        pairs(unreadable=0.1)


def test_inputs_are_made_of_images() -> None:
    made = {
        name: Pairs(make=name).train["x_a"][:20]  # type: ignore[arg-type]
        for name in ("grey", "low_resolution", "mask")
    }
    x = Pairs().train["x"][:20].float()

    assert (made["grey"].float() - (x * LUMINANCE).sum(dim=1, keepdim=True)).abs().max() <= 0.501
    blocks = x.unfold(2, 4, 4).unfold(3, 4, 4).mean(dim=(-1, -2))
    again = blocks.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    assert (made["low_resolution"].float() - again).abs().max() <= 0.501

    hidden = (made["mask"] == 128).all(dim=1)
    assert bool((hidden | (made["mask"].float() == x).all(dim=1)).all())
    assert (hidden.flatten(1).sum(dim=1) >= 16 * 16).all()
    assert len(set(hidden.flatten(1).int().argmax(dim=1).tolist())) > 5


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"of": "digits", "make": "grey"}, "data.make=grey: the images are grey"),
        ({"make": "low_resolution", "factor": 5}, "data.factor=5: does not divide"),
        ({"make": "mask", "inputs": "right"}, "data.inputs=right: the inputs are made"),
        ({"of": "cifar10", "image_size": 9}, "data.image_size=9"),
        ({"folder": "nowhere"}, "data.folder=nowhere: no such folder"),
    ],
)
def test_a_mistake_is_one_sentence(options: dict[str, object], why: str) -> None:
    with pytest.raises(UserError) as caught:
        Pairs(**options)  # type: ignore[arg-type]
    assert str(caught.value).startswith(why)


def test_mirror_images_of_a_pair_are_mirrored_together() -> None:
    batches = make_trainer(*SMALL, "data.of=shapes", "data.flip=true").batches
    plain, mirrored = (batches.gather(torch.tensor([row])) for row in (3, batches.samples + 3))
    for name in ("x", "x_a"):
        assert torch.equal(plain[name], mirrored[name].flip(-1))
        assert not torch.equal(plain[name], mirrored[name])


def test_jitter_cuts_both_images_of_a_pair_at_one_place() -> None:
    """A place that is a function of the seed, the number of the batch and the row alone."""
    batches = make_trainer(*SMALL, "data.of=shapes", "data.jitter=0.5").batches
    dataset = batches.dataset
    # what lies where, in both fields: columns and rows as colours
    side = dataset.spec.shape[-1]
    ramp = torch.linspace(0, 255, side).round().to(torch.uint8)
    x = torch.stack([ramp.expand(side, side), ramp[:, None].expand(side, side),
                     torch.zeros(side, side, dtype=torch.uint8)])  # fmt: skip
    n = batches.samples
    dataset.train = {"x": x.expand(n, -1, -1, -1), "x_a": x[:1].expand(n, -1, -1, -1)}

    rows = batches.next_rows()
    fields = batches.gather(rows, rows)
    torch.testing.assert_close(fields["x"][:, :1], fields["x_a"])
    steps = fields["x"][:, 0, 0].diff(dim=1)[:, 2:-2]  # two thirds of the image are enlarged to it
    torch.testing.assert_close(
        steps, torch.full_like(steps, 2 / (side - 1) / 1.5), atol=6e-3, rtol=0
    )
    assert fields["x"][:, 0].amin(dim=(1, 2)).unique().numel() > 2

    part = batches.gather(rows[2:4], rows, start=2)
    assert torch.equal(part["x"], fields["x"][2:4])
    again = batches.next_rows()
    assert not torch.equal(batches.gather(again, again)["x"], fields["x"])
    batches.position -= 1
    assert torch.equal(batches.gather(rows, rows)["x"], fields["x"])


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("halvings", "side"), [(0, 1), (1, 16), (2, 34), (3, 70)])
def test_a_patch_is_as_large_as_the_paper_says(halvings: int, side: int) -> None:
    assert receptive_field(halvings) == side
    D = Discriminator((1, 160, 160), width=2, halvings=halvings, critic_norm="none")
    x = torch.randn(1, 1, 160, 160, requires_grad=True)
    scores = D(x)
    across = round(scores.shape[1] ** 0.5)
    scores.view(across, across)[across // 2, across // 2].backward()
    assert x.grad is not None
    for dim in (0, 1):
        seen = x.grad[0, 0].abs().sum(dim=dim).nonzero()
        assert int(seen.max() - seen.min()) + 1 == side


@pytest.mark.parametrize("shortcuts", [True, False])
def test_a_shortcut_carries_what_the_innermost_maps_lose(shortcuts: bool) -> None:
    torch.manual_seed(0)
    G = Generator(
        (1, 32, 32), (1, 32, 32), width=4, dropout=0, generator_norm="none", shortcuts=shortcuts
    )
    innermost = G.down[-1]
    assert isinstance(innermost, torch.nn.Sequential)
    with torch.no_grad():  # nothing passes through it
        for weight in innermost.parameters():
            weight.zero_()
    x, z = torch.randn(1, 1, 32, 32), torch.empty(1, 0)
    assert torch.equal(G(x, z), G(-x, z)) is not shortcuts


def test_an_image_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(UserError, match="cannot halve images of 9x9"):
        Generator((1, 9, 9), (1, 9, 9))


# --- the game -------------------------------------------------------------------------------------


def test_the_terms_are_those_of_the_paper() -> None:
    trainer = make_trainer(
        *SMALL, "model.l1=7", "network.generator.dropout=0", "model.critic_norm=none",
        "network.generator.generator_norm=none",
    )  # fmt: skip
    game, batch = trainer.game, trainer.batches.next()
    terms = {turn.player.name: game.play(turn, batch) for turn in game.turns(0)}
    fake = game.render(torch.empty(6, 0), batch["x_a"])  # type: ignore[call-arg]
    distance = (fake - batch["x"]).abs().mean()
    torch.testing.assert_close(terms["generator"]["l1"], 7 * distance)
    real, made = (game.D(torch.cat([x, batch["x_a"]], dim=1)) for x in (batch["x"], fake))
    softplus = torch.nn.functional.softplus
    torch.testing.assert_close(terms["generator"]["adversarial"], softplus(-made).mean())
    torch.testing.assert_close(
        terms["discriminator"]["adversarial"], softplus(-real).mean() + softplus(made).mean()
    )


def test_without_the_adversary_only_the_distance_is_left() -> None:
    trainer = make_trainer(*SMALL, "model.adversarial=0")
    trainer.play_round()
    assert set(trainer.terms["generator"]) == {"l1"}


def test_data_without_pairs_are_refused(command: Command) -> None:
    code, printed = command("gan-train", "model=pix2pix", "data=digits")
    assert code == 2 and "learns from pairs of images, and this data has none" in printed


# --- scores ---------------------------------------------------------------------------------------


def scores_of(render: Callable[[dict[str, Tensor]], Tensor]) -> dict[str, float]:
    data = Pairs(of="digits")
    metric = PairScores(data, torch.device("cpu"))
    fields = data.decode(data.heldout)
    return metric.compute([metric.extract_pairs(render(fields), fields)])


def test_scores_of_samples_whose_scores_are_known() -> None:
    data = Pairs(of="digits")
    truth = scores_of(lambda fields: fields["x"])
    assert truth["l1"] == 0 and truth["sharpness"] == pytest.approx(1) and truth["psnr"] > 90
    copy = scores_of(lambda fields: fields["x_a"])
    assert copy["l1"] == pytest.approx(copy["l1_copy"]) and copy["l1"] > 0.5
    mean = data.decode(data.train)["x"].mean(dim=0)
    dull = scores_of(lambda fields: mean.expand_as(fields["x"]))
    assert dull["l1"] == pytest.approx(dull["l1_mean"], rel=1e-4)
    assert dull["l1_shuffled"] == pytest.approx(dull["l1"], rel=1e-4)  # it looks at no input
    blurred = scores_of(lambda fields: torch.nn.functional.avg_pool2d(fields["x"], 3, 1, 1))
    assert blurred["sharpness"] < 0.7
    shifted = scores_of(lambda fields: fields["x"] + 0.25)
    assert shifted["l1"] == pytest.approx(0.25, abs=1e-6)
    assert shifted["psnr"] == pytest.approx(10 * np.log10(4 / 0.25**2), abs=1e-3)


def test_a_game_that_sees_no_inputs_is_not_scored_by_pairs() -> None:
    blind = compose("model=wgan_gp", "data=pairs", "data.of=digits", "network=dcgan")
    assert objective(blind) == "sliced_wasserstein"
    assert objective(compose(*SMALL)) == "l1"


# --- samples from inputs --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two rounds with all that gan-train leaves."""
    folder = tmp_path_factory.mktemp("pairs") / "run"
    typed = (
        "steps=2", "log_every=1", "evaluate_every=2", "sample_every=2", "checkpoint_every=1",
        f"hydra.run.dir={folder}",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["gan-train", *SMALL, *typed])
        train()
    return folder


def test_a_run_leaves_pictures_and_scores(run: Path) -> None:
    card = json.loads((run / "run.json").read_text())
    assert card["objective"] == "l1" and card["lower_is_better"] is True
    # six rows of four inputs, each with three panels
    assert Image.open(run / "samples" / "step_00000002.png").size == (12 * 42 + 2, 6 * 42 + 2)


def test_a_checkpoint_renders_its_own_inputs(run: Path) -> None:
    generator = gan_cli.load(run)
    data = Pairs(of="digits")
    x_a = data.decode({"x_a": data.heldout["x_a"][:64]})["x_a"]
    assert torch.equal(generator.inputs.fields["x_a"], x_a)
    expected = rendering.in_chunks(generator.game.render, torch.empty(64, 0), x_a)
    assert torch.equal(generator.sample(64), expected)
    # sample i of seed s is sample 0 of seed s + i, and the first input follows the last one
    assert torch.equal(generator.sample(5, seed=62)[4:], generator.sample(1, seed=2))


def test_inputs_of_ones_own(run: Path, command: Command, tmp_path: Path) -> None:
    generator = gan_cli.load(run)
    inputs = (generator.inputs.fields["x_a"][:3] + 1) * 127.5
    (tmp_path / "mine").mkdir()
    for i, image in enumerate(inputs.round().to(torch.uint8)):
        Image.fromarray(image[0].numpy()).save(tmp_path / "mine" / f"cat {i}.png")
    typed = ("gan-sample", f"checkpoint={run}", "input=mine")

    assert command(*typed, "mode=images", "output=theirs")[0] == 0
    found = sorted(path.name for path in Path("theirs").iterdir())
    assert found == [f"cat {i}.png" for i in range(3)]
    assert command(*typed, "mode=npz", "output=a.npz")[0] == 0
    assert np.array_equal(np.load("a.npz")["samples"], generator.sample(3).numpy())
    code, printed = command(*typed, "output=a.png")
    assert code == 0 and "; x_a | output" in printed
    assert Image.open("a.png").size == (6 * 42 + 2, 42 + 2)
    assert command("gan-sample", f"checkpoint={run}", "input=heldout", "n=70")[0] == 0


def test_files_in_their_own_size(run: Path, command: Command, tmp_path: Path) -> None:
    """A file of the trained size is as ever; a larger one is cut to multiples of 4 pixels, and what
    is far from its borders does not depend on them."""
    generator = gan_cli.load(run)
    x_a = generator.inputs.fields["x_a"][:1]
    (tmp_path / "mine").mkdir()
    small = ((x_a[0, 0] + 1) * 127.5).round().to(torch.uint8).numpy()
    Image.fromarray(small).save(tmp_path / "mine" / "a.png")
    Image.fromarray(np.tile(small, (9, 3))[:71, :22]).save(tmp_path / "mine" / "b.png")
    own = ("gan-sample", f"checkpoint={run}", "input=mine", "size=native", "mode=images")
    code, printed = command(*own, "output=out")
    assert code == 0 and "2 samples" in printed and "in their own sizes" in printed
    expected = ((generator.sample(1)[0, 0] + 1) * 127.5).round().numpy()
    assert np.abs(np.array(Image.open("out/a.png").convert("L")) - expected).max() <= 1
    assert Image.open("out/b.png").size == (20, 68)

    for typed, why in (
        (own[:-1], "size=native: mode=grid does not read it"),
        ((*own[:2], *own[3:]), "add input=FOLDER, or a file"),
        ((*own[:2], "input=tiny.png", *own[3:]), "is 3x9; both sides must be 4 or more"),
    ):
        Image.new("L", (3, 9)).save("tiny.png")
        code, printed = command(*typed, "output=no")
        assert code == 2 and why in printed and "Traceback" not in printed, printed


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (("gan-sample", "input=nowhere"), "input=nowhere: no such file or folder."),
        (("gan-sample", "input=empty"), "input=empty: no images in it"),
        (("gan-sample", "input=run.txt"), "input=run.txt: cannot be read as an image"),
        (("gan-sample", "mode=interpolate"), "mode=interpolate: the checkpoint's model makes sam"),
        (("gan-sample", "mode=interpolate", "input=x"), "input=x: mode=interpolate does not read"),
    ],
)
def test_what_cannot_be_sampled_is_one_sentence(
    run: Path, command: Command, tmp_path: Path, typed: tuple[str, ...], why: str
) -> None:
    (tmp_path / "run.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    code, printed = command(typed[0], f"checkpoint={run}", *typed[1:])
    assert code == 2 and why in printed and len(printed.splitlines()) == 1


def test_sliders_are_for_noise(run: Path, command: Command) -> None:
    pytest.importorskip("nicegui")
    code, printed = command("gan-explore", f"checkpoint={run}")
    assert code == 2 and "makes samples from inputs, and gan-explore walks through noise" in printed


def test_private_inputs_stay_out_of_a_checkpoint(command: Command, tmp_path: Path) -> None:
    typed = ("gan-train", *SMALL, "steps=1", "evaluate_every=0", "hydra.run.dir=run")
    assert command(*typed, "keep_inputs=0")[0] == 0
    code, printed = command("gan-sample", "checkpoint=run")
    assert code == 2 and "its file carries none" in printed and "input=FOLDER" in printed
    assert command("gan-sample", "checkpoint=run", "input=heldout", "n=4")[0] == 0


def test_noise_alone_takes_no_input(command: Command, tmp_path: Path) -> None:
    save_run(tmp_path / "run", "model=gan", "data=digits", "batch_size=6", "network.width=8")
    code, printed = command("gan-sample", "checkpoint=run", "input=heldout")
    assert code == 2 and "makes samples from noise alone" in printed


@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_an_exported_file_takes_the_input_by_name(run: Path, command: Command, suffix: str) -> None:
    if suffix == "onnx":
        pytest.importorskip("onnxruntime")
    code, printed = command("gan-export", f"checkpoint={run}", f"output=a.{suffix}")
    assert code == 0 and "x_a (N, 1, 8, 8) to samples (N, 1, 8, 8)" in printed, printed


def test_a_checkpoint_scores_what_its_run_logged(run: Path, command: Command) -> None:
    code, printed = command("gan-evaluate", f"checkpoint={run}", "metrics=[pairs]")
    assert code == 0
    found = json.loads(printed)["scores"]
    logged = json.loads((run / "run.json").read_text())["scores"]
    assert found == pytest.approx(logged)


def test_damaged_inputs_are_one_sentence(run: Path, tmp_path: Path) -> None:
    state = checkpoint.load(run / "checkpoints" / "last.pt")
    kept = state["inputs"]
    for inputs in (
        {"x": kept["x"]},
        {"x_a": kept["x_a"][:, :, :4]},
        {"x_a": kept["x_a"].double()},
        {"x_a": kept["x_a"], "other": torch.zeros(64, 2)},
    ):
        checkpoint.save({**state, "inputs": inputs}, tmp_path / "bad.pt")
        with pytest.raises(UserError, match="damaged: its inputs"):
            gan_cli.load(tmp_path / "bad.pt")


def test_the_first_input_follows_the_last_one() -> None:
    inputs = Inputs({"x_a": torch.arange(3.0)[:, None]})
    assert inputs.rows([2, 3, 7])["x_a"].flatten().tolist() == [2, 0, 1]


TWO_INPUTS = '''
"""An image from edges, as bright as its class says."""

from gan_cli.game import Terms, player
from gan_cli.games.pix2pix import Pix2Pix
from gan_cli.registry import games


@games.register("bright")
class Bright(Pix2Pix):
    """The L1 distance, of two inputs."""

    condition = given = ("x_a", "y")
    order = ("generator",)

    def sample_fakes(self, x, *given):
        x_a, y = given
        return self.G(x_a, self.prior(len(x))) * (y.view(-1, 1, 1, 1) + 1) / 4

    @player(moves="G")
    def generator(self, x, *given) -> Terms:
        return {"l1": (self.sample_fakes(x, *given) - x).abs().mean()}

    def diagnostics(self, seen, unseen):
        return {}

    def render(self, latents, *given):
        x_a, y = given
        return self.G(x_a, latents) * (y.view(-1, 1, 1, 1) + 1) / 4
'''


def test_each_field_of_several_inputs_has_a_key(
    command: Command, tmp_path: Path, plugins_forgotten: None
) -> None:
    (tmp_path / "bright.py").write_text(TWO_INPUTS)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "bright.yaml").write_text(
        "defaults: [pix2pix, _self_]\nname: bright\nrepeat: null\n"
    )
    plugin = "plugins=[bright.py]"
    typed = (
        plugin, "--config-dir", ".", "model=bright", "data=shapes", "data.look=edges",
        "data.size=40", "network.width=4", "batch_size=4", "steps=1", "evaluate_every=0",
    )  # fmt: skip
    code, printed = command("gan-train", *typed, "hydra.run.dir=run")
    assert code == 0, printed

    generator = gan_cli.load("run", plugins=["bright.py"])
    x_a = generator.inputs.fields["x_a"][:2]
    (tmp_path / "mine").mkdir()
    for i, image in enumerate(((x_a[:, 0] + 1) * 127.5).round().to(torch.uint8)):
        Image.fromarray(image.numpy()).save(tmp_path / "mine" / f"{i}.png")
    own = ("gan-sample", "run", plugin, "mode=npz", "output=a.npz", "input.x_a=mine")
    for y, classes in (("3", [3, 3]), ("[0,2]", [0, 2])):
        code, printed = command(*own, f"input.y={y}")
        assert code == 0, printed
        expected = generator.game.render(torch.empty(2, 0), x_a, torch.tensor(classes))
        np.testing.assert_allclose(np.load("a.npz")["samples"], expected.numpy(), atol=1e-5)

    for more, why in (
        ((), "also needs input.y=."),
        (("input.y=[1,2,3]",), "different numbers of rows (2 of x_a, 3 of y)"),
        (("input.y=red",), "input.y=red: expected files, or numbers"),
        (("input.x_a=nowhere", "input.y=1"), "input.x_a=nowhere: no such file or folder"),
        (("input.y=4",), "input.y=4: expected some of 0 to 3"),
        (("input.y=1", "input.z=1"), "makes samples from x_a, y"),
        (("input.y=1", "input=mine"), "not beside input=mine"),
    ):
        code, printed = command(*own, *more)
        assert code == 2 and why in printed and "Traceback" not in printed, printed
    code, printed = command("gan-sample", "run", plugin, "input=mine")
    assert code == 2 and "files cannot be the x_a, y" in printed
