"""The shape of the house: arrows point one way, functions fit a glance, registries build only what
is registered."""

import ast
from pathlib import Path

import pytest
import torch
from conftest import ROOT, make_trainer

from gan_cli import registry
from gan_cli.errors import UserError, closest
from gan_cli.networks import affine, dcgan, layers
from gan_cli.noise import generator, mix

PACKAGE = ROOT / "gan_cli"
SOURCES = sorted(PACKAGE.rglob("*.py"))
GROUND = [
    "errors.py",
    "files.py",
    "reading/safe_yaml.py",
    "reading/images.py",
    "commands/mistakes.py",
    "registry.py",
    "config/check.py",
    "config/guards.py",
    "runs/rundir.py",
    "main.py",
    "commands/train.py",
    "__init__.py",
    "commands/sample.py",
    "sampling/generator.py",
    "runs/places.py",
    "commands/evaluate.py",
    "config/commandline.py",
    "synonyms.py",
    "config/own_options.py",
    "config/options.py",
    "source.py",
    "hints.py",
    "runs/summary.py",
    "runs/health.py",
    "sweeps/analysis.py",
    "sweeps/multirun.py",
    "commands/dry_run.py",
    "commands/help.py",
    "commands/mistakes.py",
    "config/unknown.py",
    "commands/dispatch.py",
    "commands/keys.py",
    "commands/wrapper.py",
    "sweeps/launchers.py",
    "commands/zoo.py",
    "commands/export.py",
    "config/sharing.py",
    "runs/finished.py",
    "reports/tables.py",
    "reports/charts.py",
    "reports/html_page.py",
    "commands/compare.py",
    "commands/export.py",
]
MATHEMATICS = [
    *sorted(PACKAGE.glob("games/*.py")),
    *sorted(PACKAGE.glob("networks/*.py")),
    PACKAGE / "losses.py",
    PACKAGE / "regularizers.py",
    PACKAGE / "game.py",
    PACKAGE / "noise.py",
]


def imports(path: Path, late: bool = False) -> set[str]:
    """Modules that a file imports when it is loaded; with `late`, inside its functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree)) if late else tree.body
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", MATHEMATICS, ids=lambda path: path.name)
def test_the_mathematics_knows_nothing_of_the_plumbing(path: Path) -> None:
    banned = (
        "hydra",
        "omegaconf",
        "tensorboard",
        "torch.distributed",
        "torch.utils.tensorboard",
        "gan_cli.training",
        "gan_cli.runs",
        "gan_cli.commands",
        "gan_cli.devices",
    )
    assert not {name for name in imports(path, late=True) if name.startswith(banned)}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("networks/*.py")), ids=lambda path: path.name)
def test_networks_know_nothing_of_losses(path: Path) -> None:
    banned = (
        "gan_cli.losses",
        "gan_cli.regularizers",
        "gan_cli.games",
        "gan_cli.game",
        "gan_cli.data",
    )
    assert not {name for name in imports(path, late=True) if name.startswith(banned)}


def test_the_trainer_names_no_model() -> None:
    assert not {
        name
        for name in imports(PACKAGE / "training" / "trainer.py", late=True)
        if "games." in name or "networks" in name
    }


@pytest.mark.parametrize("name", GROUND)
def test_the_ground_needs_no_torch(name: str) -> None:
    assert not {
        module
        for module in imports(PACKAGE / name)
        if module.startswith(("torch", "gan_cli.runs.job", "gan_cli.training.build"))
    }


def test_functions_fit_a_glance() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{path.name}: {node.name}"


def test_every_option_in_configs_names_something_registered() -> None:
    known = {
        "model": registry.games,
        "loss": registry.losses,
        "regularizer": registry.regularizers,
        "data": registry.datasets,
        "optimizer": registry.optimizers,
        "schedule": registry.schedules,
    }
    for group, components in known.items():
        names = [
            path.read_text().split("name: ")[-1].split()[0]
            for path in (ROOT / "configs" / group).glob("*.yaml")
            if "name: " in path.read_text()
        ]
        assert names and set(names) <= components.components.keys()


def test_the_scan_of_the_source_sees_what_the_modules_register() -> None:
    import importlib

    for known in (
        registry.games,
        registry.losses,
        registry.regularizers,
        registry.datasets,
        registry.optimizers,
        registry.schedules,
        registry.networks,
        registry.metrics,
    ):
        for component in known.components.values():
            importlib.import_module(component.module)
        assert known._built.keys() == known.components.keys()


def test_a_registry_builds_only_what_is_registered() -> None:
    with pytest.raises(UserError, match=r"loss.name=os.system: not registered"):
        registry.losses.build({"name": "os.system"}, "loss")
    with pytest.raises(UserError, match="needs `name:`"):
        registry.losses.build({}, "loss")


def test_arguments_of_base_classes_are_seen() -> None:
    arguments = registry.games.components["two_player"].arguments
    assert {"latent", "prior", "repeat", "warm_up", "fresh_batch", "ema"} <= arguments.keys()
    assert registry.games.components["two_player"].attributes["players"] == [
        "discriminator",
        "generator",
    ]


def test_closest() -> None:
    assert closest("wassersten", ["hinge", "wasserstein"]) == " (did you mean wasserstein?)"
    assert closest("xyz", ["hinge"]) == ""


def test_positions_are_mixed_well() -> None:
    seeds = {
        mix("turn", seed, step, turn) & 0xFFFFFFFF
        for seed in range(5)
        for step in range(200)
        for turn in range(6)
    }
    assert len(seeds) > 5990
    a, b = (torch.randn(1000, generator=generator("sample", i)) for i in (0, 1))
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 0.1


@pytest.mark.parametrize("size", dcgan.SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_dcgan_of_every_size(size: int, channels: int, norm: str) -> None:
    shape = (channels, size, size)
    G = dcgan.Generator(shape, latent=5, width=2)
    D = dcgan.Discriminator(shape, width=2, critic_norm=norm)  # type: ignore[arg-type]
    x = G(torch.randn(2, 5))
    assert x.shape == (2, *shape) and x.abs().max() <= 1
    assert D(x).shape == (2,)


def test_dcgan_is_built_as_the_paper_says() -> None:
    trainer = make_trainer("model=dcgan", "data=digits", "data.image_size=32", "network.width=64")
    G, D = trainer.game.get_submodule("G").layers, trainer.game.get_submodule("D").layers
    weights = [
        m.weight for m in [*G, *D] if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)
    ]
    for weight in weights:
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert isinstance(G[-1], torch.nn.Tanh) and isinstance(G[-2], torch.nn.ConvTranspose2d)
    assert isinstance(D[1], torch.nn.LeakyReLU) and isinstance(D[3], torch.nn.BatchNorm2d)
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in D) == 2


def test_he_initialisation_keeps_the_scale() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.ConvTranspose2d(64, 64, 4, 2, 1),
        torch.nn.ReLU(),
        torch.nn.ConvTranspose2d(64, 64, 4, 2, 1),
        torch.nn.ReLU(),
    )
    layers.initialise(network, "he")
    x = torch.randn(4, 64, 24, 24).relu()
    assert network(x).square().mean().item() == pytest.approx(x.square().mean().item(), rel=0.25)


def test_an_affine_generator_shifts_and_scales_each_coordinate() -> None:
    G = affine.Generator((2,), latent=2, shift=[1.0, 0.0], scale=[0.0, 3.0], learns="shift")
    assert torch.equal(G(torch.tensor([[5.0, 2.0]])), torch.tensor([[1.0, 6.0]]))
    assert [name for name, _ in G.named_parameters()] == ["shift"]
    assert affine.Discriminator((2,), weight=[2.0, -1.0])(torch.tensor([[3.0, 4.0]])).tolist() == [
        2.0
    ]
    with pytest.raises(UserError, match=r"model\.latent=3: .* take model\.latent=2"):
        affine.Generator((2,), latent=3)
    with pytest.raises(
        UserError,
        match=r"network\.generator\.shift=\[1\.0\]: expected one "
        r"number, or 2",
    ):
        affine.Generator((2,), latent=2, shift=[1.0])


def test_maxout_takes_the_largest_piece() -> None:
    x = torch.tensor([[1.0, 5, 2, -1, 0, 9, 8, 7, 6, 5]])
    assert layers.Maxout(5)(x).tolist() == [[5, 9]]


def test_no_command_of_a_turn_waits_for_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a round no tensor is turned into a Python number: nothing would wait for a device."""
    trainer = make_trainer("data=digits", "network.width=4", "batch_size=4")
    trainer.play_round()  # optimizers make their state in the first round

    def refuse(*_: object) -> None:
        raise AssertionError("a turn waited for the host")

    for name in ("item", "__bool__", "__float__", "__int__", "tolist"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    trainer.play_round()
