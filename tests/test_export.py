"""`gan-export`: what a file renders without gan-cli is what gan-sample renders, bit for bit or to a
stated rounding."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import (
    FAMILIES,
    MODELS,
    ROOT,
    TINY,
    Command,
    compose,
    fitting,
    make_trainer,
    mostly_slow,
    of_text,
)
from torch import Tensor

import gan_cli
from gan_cli.commands import export
from gan_cli.game import Game
from gan_cli.games.two_player import TwoPlayer
from gan_cli.runs import checkpoint
from gan_cli.runs.restore import load_game
from gan_cli.sampling import formats
from gan_cli.sampling.generator import Statistics, Weights, load_generator
from gan_cli.training.rendering import CHUNK, in_chunks

Save = Callable[..., str]
SHORT = ("network.blocks=1", "model.repeat.discriminator=1")
NETWORKS = {
    "lstm": ("model=aae", "data=text", "data.length=8", "network=lstm", "network.width=8"),
    "resnet": ("model=wgan_gp", "network=resnet", "network.width=8"),
    "maxout": ("model=gan", "network=mlp_maxout", "network.width=8"),
    "gated": ("model=dcgan", "network=dcgan_gated", "network.width=8"),
    "affine": ("model=wgan_gp", "data=points", "network=affine", "model.latent=2"),
    "points": ("model=gan", "data=points", "network.width=8"),
    "swiss_roll": ("model=gan", "model.prior=swiss_roll", "network.width=8"),
}
OTHERS = ("lstm", "resnet", "maxout", "gated", "affine", "points")
SLOW = [
    pytest.param(what, marks=pytest.mark.slow)
    for what in ("lstm", "wgan_gp_text", "gated", "infogan", "gan", "cgan")
]
ONNX = ("dcgan", "resnet", *SLOW)
ROUNDING = 1e-5


def overrides(what: str) -> tuple[str, ...]:
    """What is typed for a model of the zoo, or for one of the networks above."""
    if what in NETWORKS:
        return (*NETWORKS[what], "batch_size=6")
    return (
        *fitting(what, "data=digits"),
        *TINY,
        "model.warm_up=null",
        *(SHORT if of_text(what) else ()),
    )


@pytest.fixture(scope="module")
def save(tmp_path_factory: pytest.TempPathFactory) -> Save:
    """`save("dcgan")`: the path of a checkpoint after one round."""
    folder, made = tmp_path_factory.mktemp("checkpoints"), {}

    def run(what: str, *more: str) -> str:
        if (what, more) not in made:
            typed, path = (*overrides(what), *more), folder / f"{len(made)}.pt"
            trainer = make_trainer(*typed)
            trainer.game.train()
            trainer.play_round()
            spec, text = trainer.batches.dataset.spec, yaml.safe_dump(compose(*typed))
            frame = {"format": checkpoint.FORMAT, "config": text, "data": spec.plain()}
            checkpoint.save({**frame, **trainer.state_dict()}, path)
            made[what, more] = str(path)
        return made[what, more]

    return run


def read(path: str) -> tuple[Any, dict[str, Any]]:
    """The program in a .pt2 file, and what it tells of itself."""
    files = {"gan.json": ""}
    with formats.quiet():
        module = torch.export.load(path, extra_files=files).module()
    return module, json.loads(files["gan.json"])


# --- the same samples -----------------------------------------------------------------------------


@pytest.mark.parametrize("what", mostly_slow([*MODELS, *OTHERS], *FAMILIES, "resnet", "points"))
def test_a_program_renders_bit_for_bit_what_gan_sample_does(
    command: Command, save: Save, what: str
) -> None:
    path = save(what)
    if load_game(path, "auto", renders=False)[0].given:
        pytest.skip("tests/test_pairs.py exports what takes inputs")
    code, printed = command("gan-export", f"checkpoint={path}", "output=deep/a.pt2")
    if code:
        assert code == 2 and "makes no samples" in printed and not Path("deep").exists()
        assert what == "fixed_generator"
        return
    generator = gan_cli.load(path)
    (line,) = printed.splitlines()
    assert (
        f"(step 1) in deep/a.pt2: latents (N, {len(generator.drawn([0])[0])}) to samples (N, "
        in line
    )
    assert (
        ", at most 0 from those of gan-sample (seeds 0-49)" in line
        and len(list(Path("deep").iterdir())) == 1
    )
    module, told = read("deep/a.pt2")
    latents, samples = generator.drawn(range(100, 100 + CHUNK)), generator.sample(CHUNK, seed=100)
    assert latents.shape == (CHUNK, told["latent"]) and samples.shape[1:] == torch.Size(
        told["shape"]
    )
    with torch.no_grad():
        assert torch.equal(module(latents), samples)
    assert torch.equal(in_chunks(module, generator.drawn(range(21))), generator.sample(21))
    more, whole = generator.drawn(range(50)), generator.sample(50)
    for n in (1, 3, 16, 50):
        torch.testing.assert_close(module(more[:n]), whole[:n], atol=ROUNDING, rtol=0)
    if generator.spec.bounded:
        assert told["range"] == [-1, 1] and -1 <= samples.min() <= samples.max() <= 1


@pytest.mark.parametrize("what", ONNX)
def test_onnx_renders_what_gan_sample_does_to_rounding(
    command: Command, save: Save, what: str
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = save(what)
    code, printed = command("gan-export", f"checkpoint={path}", "output=a.onnx")
    assert code == 0 and len(printed.splitlines()) == 1, printed
    generator, session = gan_cli.load(path), onnxruntime.InferenceSession("a.onnx")
    (inputs,), (outputs,) = session.get_inputs(), session.get_outputs()
    told = json.loads(session.get_modelmeta().custom_metadata_map["gan"])
    assert told == formats.description(generator) and inputs.shape == ["N", told["latent"]]
    assert (inputs.name, outputs.name, outputs.shape) == (
        "latents",
        "samples",
        ["N", *told["shape"]],
    )
    for n in (1, 3, 16, 50):
        (found,) = session.run(None, {"latents": generator.drawn(range(n)).numpy()})
        np.testing.assert_allclose(found, generator.sample(n).numpy(), atol=ROUNDING, rtol=0)
    assert float(printed.split("at most ")[1].split()[0]) < ROUNDING


def test_classes_are_asked_for_by_the_last_column(command: Command, save: Save) -> None:
    path = save("cgan")
    assert command("gan-export", f"checkpoint={path}", "output=a.pt2")[0] == 0
    generator, (module, told) = gan_cli.load(path), read("a.pt2")
    assert told["classes"] == 10 and told["columns"][-1] == {
        "name": "class",
        "width": 1,
        "law": "class",
    }
    rows = generator.drawn([3]).repeat(CHUNK, 1)
    rows[:, -1] = torch.arange(CHUNK) % 10
    with torch.no_grad():
        assert torch.equal(
            module(rows),
            generator.sample(CHUNK, seed=3, classes=range(10))[:10][torch.arange(16) % 10],
        )


def test_the_weights_and_the_statistics_are_those_asked_for(command: Command, save: Save) -> None:
    path, seen = save("dcgan", "++model.ema=0.5"), []
    for weights, statistics in (("raw", "saved"), ("ema", "saved"), ("ema", "batch")):
        typed = (
            f"checkpoint={path}",
            f"weights={weights}",
            f"statistics={statistics}",
            "output=a.pt2",
        )
        assert command("gan-export", *typed)[0] == 0
        generator = load_generator(path, Weights(weights), statistics=Statistics(statistics))
        seen.append(read("a.pt2")[0](generator.drawn(range(CHUNK))))
        assert torch.equal(seen[-1], generator.sample(CHUNK))
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])


# --- what is in a file ----------------------------------------------------------------------------


@pytest.mark.parametrize("what", mostly_slow([*MODELS, "swiss_roll"], *FAMILIES, "swiss_roll"))
def test_the_columns_are_what_is_drawn(what: str) -> None:
    game = make_trainer(*overrides(what)).game
    if not game.renders:
        return
    columns = game.columns()
    rows = torch.stack([game.draw(torch.Generator().manual_seed(seed)) for seed in range(400)])
    assert sum(part.width for part in columns) == rows.shape[1]
    for part, values in zip(
        columns, rows.split([part.width for part in columns], dim=1), strict=True
    ):
        match part.law:
            case "one-hot":
                assert (
                    part.width > 1
                    and (values.sort(dim=1).values == torch.eye(part.width)[-1]).all()
                )
            case "class":
                assert part.name == "class" and values.unique().tolist() == [*range(game.classes)]
            case "psi":
                assert (values == 1).all()
            case "swiss_roll":
                assert values[:, :2].std(dim=0).min() > 1.2 and values[
                    :, 2:
                ].std().item() == pytest.approx(1, abs=0.1)
            case _:
                deviation, most = {"normal": (1, 9), "uniform": (3**-0.5, 1)}[part.law]
                assert values.abs().max() <= most and values.mean().item() == pytest.approx(
                    0, abs=0.15
                )
                assert values.std().item() == pytest.approx(deviation, abs=0.1)


def test_a_file_tells_how_to_feed_it(save: Save) -> None:
    def part(name: str, width: int, law: str) -> dict[str, Any]:
        return {"name": name, "width": width, "law": law}

    text, points, roll = (
        formats.description(gan_cli.load(save(what)))
        for what in ("wgan_gp_text", "points", "swiss_roll")
    )
    assert (
        text["kind"] == "text"
        and len(text["vocabulary"]) == text["shape"][0]
        and text["range"] == [0, 1]
    )
    assert (
        points["shape"] == [2]
        and points["range"] is None
        and points["columns"] == [part("z", 100, "uniform")]
    )
    assert (
        roll["columns"] == [part("z", 100, "swiss_roll")]
        and roll["chunk"] == CHUNK
        and roll["step"] == 1
    )
    named = formats.description(gan_cli.load(save("infogan")))["columns"]
    assert named[0] == part("z", 62, "uniform") and {item["law"] for item in named[1:]} == {
        "one-hot",
        "uniform",
    }


def test_a_game_that_does_not_say_its_columns_has_none(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TwoPlayer, "columns", Game.columns)
    assert formats.description(gan_cli.load(save("gan")))["columns"] == []


def test_a_file_holds_the_generator_and_no_more(command: Command, save: Save) -> None:
    path = save("dcgan")
    for name in ("a.pt2", "b.pt2"):
        assert command("gan-export", f"checkpoint={path}", f"output={name}")[0] == 0
    kept = {name.removeprefix("game.G.") for name in read("a.pt2")[0].state_dict()}
    own = {
        name
        for name in gan_cli.load(path).game.G.state_dict()
        if not name.endswith("num_batches_tracked")
    }
    assert kept == own
    content = Path("a.pt2").read_bytes()
    assert content == Path("b.pt2").read_bytes() and str(ROOT).encode() not in content


# --- the pages of the README ----------------------------------------------------------------------

SNIPPETS = re.findall(
    r"```python\n(import json.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.mark.parametrize("place", mostly_slow([0, 1], 0))
def test_the_readme_draws_samples_without_gan_cli(command: Command, save: Save, place: int) -> None:
    assert len(SNIPPETS) == 2
    (name,) = re.findall(r'"(generator\.\w+)"', SNIPPETS[place])
    if name.endswith("onnx"):
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    assert command("gan-export", f"checkpoint={save('wgan_gp')}", f"output={name}")[0] == 0
    code = (
        "import sys; sys.modules['gan_cli'] = None\n"
        f"{SNIPPETS[place]}\n"
        "import numpy; numpy.savez('a.npz', z=z, x=x.detach() if hasattr(x, 'detach') else x)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    with np.load("a.npz") as drawn:
        expected = gan_cli.load(save("wgan_gp")).render(torch.from_numpy(drawn["z"])).numpy()
        assert drawn["x"].shape == expected.shape == (16, 1, 8, 8)
        np.testing.assert_allclose(
            drawn["x"], expected, atol=0 if name.endswith("pt2") else ROUNDING, rtol=0
        )


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["output=a.pt"], "output=a.pt: gan-export writes a .pt2 or .onnx file; name one."),
        (["output=folder.pt2"], "output=folder.pt2: a folder of that name is there"),
        (
            ["output=file/a.pt2"],
            "output=file/a.pt2: file is a file, not a folder; name another place",
        ),
        (["checkpoint=none.pt"], "checkpoint=none.pt: no such file."),
        (["checkpoint=file"], "checkpoint=file: damaged or not a checkpoint"),
        (["weights=ema"], "holds no average"),
        (["wieghts=ema"], "(did you mean weights?)"),
        (["statistics=batch"], "networks have no batch norm"),
    ],
)
def test_a_mistake_is_one_sentence(
    command: Command, save: Save, arguments: list[str], said: str
) -> None:
    Path("folder.pt2").mkdir()
    Path("file").write_text("")
    code, printed = command("gan-export", f"checkpoint={save('gan')}", *arguments)
    assert code == 2 and said in printed and len(printed.splitlines()) == 1
    assert sorted(path.name for path in Path().iterdir()) == ["file", "folder.pt2"]


def test_a_checkpoint_is_asked_for(command: Command) -> None:
    code, printed = command("gan-export", "output=a.pt2")
    assert code == 2 and "checkpoint: missing; add checkpoint=..." in printed


def test_the_missing_extra_is_named(
    command: Command, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else name)
    code, printed = command("gan-export", f"checkpoint={save('gan')}", "output=a.onnx")
    assert (
        code == 2 and "pip install 'gan-cli[export]'" in printed and len(printed.splitlines()) == 1
    )
    assert command("gan-export", f"checkpoint={save('gan')}", "output=a.pt2")[0] == 0


def shifted(self: formats.Rendering, latents: Tensor) -> Tensor:
    return self.game.render(latents) + 1e-3


def drawing(self: TwoPlayer, latents: Tensor) -> Tensor:
    return self.G(latents) + 1e-6 * torch.randn(1)


def centred(self: TwoPlayer, latents: Tensor) -> Tensor:
    return self.G(latents - latents.mean(dim=0))


def squeezed(self: TwoPlayer, latents: Tensor) -> Tensor:
    return self.G(latents).flatten(1).squeeze(0).unflatten(-1, (1, 8, 8))


def asking(self: TwoPlayer, latents: Tensor) -> Tensor:
    return self.G(latents if latents.sum() > 0 else -latents)


def counting(self: TwoPlayer, latents: Tensor) -> Tensor:
    return self.G(latents / len(latents))


def decomposing(self: TwoPlayer, latents: Tensor) -> Tensor:
    return self.G(latents * torch.linalg.svdvals(latents[:, None])[:, :1])


@pytest.mark.parametrize(
    ("owner", "name", "broken", "said"),
    [
        (
            formats.Rendering,
            "forward",
            shifted,
            "read again, its samples are up to 0.001 from those of gan-sample",
        ),
        (TwoPlayer, "render", drawing, "where 0 is allowed, so it was deleted"),
        (TwoPlayer, "render", centred, "its samples in a batch of another size are up to "),
        (TwoPlayer, "render", squeezed, "its samples in a batch of another size are up to inf"),
        (
            TwoPlayer,
            "render",
            asking,
            "model=two_player: its `render` cannot be exported (Could not guard on data-",
        ),
        (TwoPlayer, "render", counting, "it may ask for no value, nor for len(latents)"),
    ],
    ids=["shifted", "drawing", "centred", "squeezed", "asking", "counting"],
)
def test_what_does_not_come_back_the_same_is_not_kept(
    command: Command,
    save: Save,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    broken: Any,
    said: str,
) -> None:
    path = save("gan")
    Path("a.pt2").write_text("what was there")
    monkeypatch.setattr(owner, name, broken)
    code, printed = command("gan-export", f"checkpoint={path}", "output=a.pt2")
    assert code == 2 and said in printed and len(printed.splitlines()) == 1, printed
    assert [path.name for path in Path().iterdir()] == ["a.pt2"] and Path(
        "a.pt2"
    ).read_text() == "what was there"


def test_what_onnx_lacks_is_one_sentence(
    command: Command, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path, typed = save("gan"), "output=a.onnx"
    monkeypatch.setattr(TwoPlayer, "render", decomposing)
    code, printed = command("gan-export", f"checkpoint={path}", typed)
    assert code == 2 and len(printed.splitlines()) == 1 and not list(Path().iterdir())
    assert (
        "cannot be written as .onnx (No ONNX function found for <OpOverload(op='aten._linalg_svd'"
    ) in printed
    assert "take a .pt2 file" in printed
    assert command("gan-export", f"checkpoint={path}", "output=a.pt2")[0] == 0


def test_samples_that_are_no_numbers_are_refused(
    command: Command, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TwoPlayer, "render", lambda self, latents: self.G(latents) / 0 * 0)
    code, printed = command("gan-export", f"checkpoint={save('gan')}", "output=a.pt2")
    assert (
        code == 2
        and "its samples at step 1 are not finite numbers" in printed
        and not list(Path().iterdir())
    )


# --- start-up -------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], [], ["checkpoint=a.pt", "output=a.txt"]])
def test_an_answer_comes_before_torch(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom gan_cli.main import export\n"
        "try:\n    export()\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout + done.stderr
    assert ("checkpoint" in done.stdout) == (len(arguments) < 2)


@pytest.mark.slow
def test_exporters_say_nothing(save: Save, tmp_path: Path) -> None:
    """Not even where torch warns, as it does of every LSTM, nor in a process of its own, where
    nothing is captured."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    lines = [
        [f"checkpoint={save(what)}", f"output={what}.{kind}"]
        for what, kind in (("lstm", "pt2"), ("gan", "onnx"))
    ]
    code = (
        f"import sys; from gan_cli.main import export\nfor line in {lines}: sys.argv[1:] = "
        "line; export()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr and len(done.stdout.splitlines()) == 2, (
        done.stderr
    )
