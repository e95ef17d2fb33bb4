"""A GAN of one's own, in a folder outside the project: the page that the README shows, run as it is
shown."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MODELS, ROOT, TINY, Command, compose, fitting, make_trainer, mostly_slow

from gan_cli import registry
from gan_cli.config.roles import role_networks
from gan_cli.errors import UserError
from gan_cli.training import contracts

QUICK = (
    "data=points",
    "steps=2",
    "batch_size=4",
    "network.width=4",
    "evaluate_every=0",
    "sample_every=0",
)
TYPED = (
    "plugins=[my_gan/my_gan.py]",
    "--config-dir",
    "my_gan",
    "model=relativistic",
    *QUICK,
    "hydra.run.dir=run",
)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Path]:
    """The README's page, written to its two files; forgotten afterwards."""
    blocks = re.findall(
        r"```(?:python|yaml)\n# (my_gan/\S+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert [name for name, _ in blocks] == ["my_gan/my_gan.py", "my_gan/model/relativistic.yaml"]
    for name, text in blocks:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    yield tmp_path / "my_gan"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a test has registered is unknown to the next."""
    registries = [
        known for known in vars(registry).values() if isinstance(known, registry.Registry)
    ]
    before = [dict(known._built) for known in registries]
    modules = set(sys.modules)
    yield
    registry.PLUGINS.clear()
    for name in [name for name in sys.modules if name not in modules]:
        if name.startswith(("gan_plugin", "beside_", "one_of_mine")):
            del sys.modules[name]
    for known, built in zip(registries, before, strict=True):
        known._built = {
            name: part for name, part in known._built.items() if name in built or is_ours(part)
        }


def is_ours(component: Any) -> bool:
    return component.__module__.startswith("gan_cli.")


def test_a_page_of_ones_own_trains_resumes_and_samples(
    command: Command, page: Path, tmp_path: Path
) -> None:
    code, printed = command("gan-train", *TYPED)
    assert code == 0, printed
    code, printed = command("gan-train", *TYPED, "steps=4")
    assert code == 0 and "going on at step 2" in printed
    file = "checkpoint=run/checkpoints/last.pt"
    assert command("gan-sample", file, "plugins=[my_gan/my_gan.py]", "n=3")[0] == 0


def test_a_checkpoint_never_imports_a_plugin_by_itself(
    command: Command, page: Path, tmp_path: Path
) -> None:
    assert command("gan-train", *TYPED)[0] == 0
    (page / "my_gan.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    code = "from gan_cli.main import sample; sample()"
    typed = [sys.executable, "-c", code, "checkpoint=run/checkpoints/last.pt"]
    done = subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "if you trust them, add plugins=[my_gan/my_gan.py]" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_mistake_in_a_plugin_answers_before_it_is_imported(command: Command, page: Path) -> None:
    code, printed = command("gan-train", *TYPED, "model.latnt=3")
    assert code == 2 and "(did you mean latent?)" in printed
    assert not [name for name in sys.modules if name.startswith("gan_plugin")]


def test_two_plugins_of_one_name_and_a_computed_default(tmp_path: Path) -> None:
    source = (
        "from gan_cli.registry import losses\nX = 1.0\n"
        "@losses.register('{0}')\nclass A:\n    def __init__(self, a: float = X): ...\n"
    )
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(source.format(f"mine_{folder}"))
        registry.add_plugin(str(tmp_path / folder / "same.py"))
    try:
        assert {"mine_a", "mine_b"} <= registry.losses.components.keys()
        assert registry.losses.with_defaults({"name": "mine_b"}, "loss") == {"name": "mine_b"}
    finally:
        registry.PLUGINS.clear()


@pytest.mark.parametrize("named", ["nowhere", "nowhere.py", "README.md", "broken.py"])
def test_what_is_no_plugin_is_said(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text("def (")
    with pytest.raises(UserError, match=re.escape(f"plugins={named}: ")):
        registry.add_plugin(named)
    assert not registry.PLUGINS


# --- reading is not running -----------------------------------------------------------------------

TOUCH = "__import__('pathlib').Path('ran').touch()"
HINTS = [
    TOUCH,
    f"int | {TOUCH}",
    f"Annotated[int, {TOUCH}]",
    f"list[{TOUCH}]",
    f"Literal[{TOUCH}]",
    f'"{TOUCH}"',
    f"Annotated[int, Ge({TOUCH})]",
    f"print({TOUCH})",
    "int[3]",
    '"("',
    "None | None",
    "Foo | None",
    pytest.param(f'"{"-" * 9999}1"', id="deep"),  # over which Python's parser runs out of memory
]


@pytest.mark.parametrize("hint", HINTS)
def test_a_hint_is_read_and_not_run(
    hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = (
        f"@losses.register('odd')\nclass A:\n    def __init__(self, a: {hint} = 1, b: int = "
        "2): ...\n"
    )
    Path("odd.py").write_text(source)
    registry.add_plugin("odd.py")
    assert registry.losses.options("odd", "loss")["b"] == (int, 2)
    assert not Path("ran").exists()


def test_a_package_is_not_imported_to_find_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one_of_mine").mkdir()
    (tmp_path / "one_of_mine" / "__init__.py").write_text("raise SystemExit('was run')")
    (tmp_path / "one_of_mine" / "part.py").write_text("@losses.register('part')\nclass A: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry.add_plugin("one_of_mine.part")
    assert "part" in registry.losses.components and "one_of_mine" not in sys.modules


def test_hints_by_other_names(tmp_path: Path) -> None:
    file = tmp_path / "named.py"
    file.write_text(
        "import typing\nimport annotated_types as at\nWidth = typing.Annotated[int, at.Ge(3)]\n"
        "@registry.losses.register('named')\nclass A:\n"
        "    def __init__(self, w: Width = 3, _k: typing.Optional[int] = None, schema: 'int' = "
        "1): ...\n"
    )
    registry.add_plugin(str(file))
    settings = {"w": 3, "_k": None, "schema": 2}
    assert registry.losses.check({"name": "named", **settings}, "loss") == settings
    with pytest.raises(UserError, match=r"loss\.w=2: input should be greater than or equal to 3"):
        registry.losses.check({"name": "named", "w": 2}, "loss")


BASE = """
from gan_cli.losses import Wasserstein
class Base(Wasserstein):
    def __init__(self, margin: float = 1.0):
        self.margin = margin
"""
IMPORTS = [
    ("from beside_a import Base", "Base"),
    ("import beside_a", "beside_a.Base"),
    ("import beside_a as x", "x.Base"),
    ("from beside_a import Base as B", "B"),
]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(("line", "base"), IMPORTS)
def test_a_base_class_in_another_file(line: str, base: str, named: bool, tmp_path: Path) -> None:
    """Named as a plug-in or only beside one, its options count, and it is imported from there."""
    (tmp_path / "beside_a.py").write_text(BASE)
    (tmp_path / "b.py").write_text(
        f"from gan_cli.registry import losses\n{line}\n\n\n@losses.register('mine')\nclass "
        f"Mine({base}): ...\n"
    )
    for file in ["beside_a.py", "b.py"] if named else ["b.py"]:
        registry.add_plugin(str(tmp_path / file))
    component = registry.losses.components["mine"]
    assert (
        component.arguments == {"margin": (float, 1.0)}
        and component.attributes["needs_lipschitz_critic"]
    )
    assert registry.losses.build({"name": "mine", "margin": 3}, "loss").margin == 3


@pytest.mark.parametrize(
    "source",
    [
        "@losses.register('circle')\nclass A(A): ...\n",
        "from gan_cli.losses import Wasserstein\n@losses.register('circle')\nclass "
        "Wasserstein(Wasserstein): ...\n",
        "from circle import A\n@losses.register('circle')\nclass A(A): ...\n",
        "@losses.register('circle')\nclass A(B): ...\nclass B(A): ...\n",
    ],
)
def test_classes_that_go_round_are_read(source: str, tmp_path: Path) -> None:
    (tmp_path / "circle.py").write_text(source)
    registry.add_plugin(str(tmp_path / "circle.py"))
    assert "circle" in registry.losses.components


# --- what components must give --------------------------------------------------------------------

HEAD = """
import torch
from torch import nn
from gan_cli.data.dataset import Dataset, Spec
from gan_cli.game import player
from gan_cli.games.two_player import TwoPlayer
from gan_cli.losses import Loss
from gan_cli.augmentations import Augmentation
from gan_cli.regularizers import Regularizer
from gan_cli.registry import augmentations, datasets, games, losses
from gan_cli.registry import metrics, networks, optimizers, regularizers
"""
LOSS = """@losses.register("mine")
class Mine(Loss):
    def discriminator(self, real, fake): return {0}
    def generator(self, fake, real=None): return {1}
"""
PENALTY = """@regularizers.register("mine")
class Mine(Regularizer):
    def __call__(self, D, x, x_fake): return {0}
"""
OPTIMIZER = """@optimizers.register("mine")
def mine(parameters, lr: float = 0.1): return {0}
"""
NETWORK = """@networks.register("mine.{0}")
class Mine(nn.Module):
    def __init__(self, shape, latent=1):
        super().__init__()
        self.layer = nn.Linear({1}, {2})
    def forward(self, x): return {3}
"""
GAME = """@games.register("mine")
class Mine(TwoPlayer):
    @player(moves="G")
    def generator(self, x): return {0}
    def render(self, latents): return {1}
"""
REMEMBERS = """    def __init__(self, **two_player):
        super().__init__(**two_player)
        {0}
    def prepare(self, turn, batch):
        {1}
"""
AUGMENTATION = """@augmentations.register("mine")
class Mine(Augmentation):
    def changed(self, x): return {0}
"""
DATA = """@datasets.register("mine")
class Mine(Dataset):
    {0}
    def __init__(self):
        self.train = self.heldout = {{"x": torch.randn(64, 2)}}
        self.spec = Spec("points", (2,), bounded=False)
"""
METRIC = """@metrics.register("mine")
class Mine:
    scores = ("a",)
    objectives = ("a",)
    {0}
    samples = 20
    def __init__(self, dataset): ...
    def __call__(self, samples, y=None): return {1}
    def describe(self): return ""
"""
PLAIN = 'objective = "a"; lower_is_better = ("a",)'
TERMS, FAKES = '{"adversarial": self.D(self.sample_fakes(x)).mean()}', "self.G(latents)"
BREACHES = [
    (
        "loss",
        LOSS,
        ("fake - real", "fake.mean()"),
        "loss=mine: its `discriminator` gives a tensor of shape (4,)",
    ),
    (
        "loss",
        LOSS,
        ("(real - fake).mean()", "fake"),
        "loss=mine: its `generator` gives a tensor of shape (4,)",
    ),
    ("loss", LOSS, ("(real - fake).mean()", "None"), "loss=mine: its `generator` gives nothing"),
    ("loss", LOSS, ("(real - fake).mean()", "1.0"), "loss=mine: its `generator` gives a float"),
    (
        "loss",
        LOSS,
        ("(real - fake).mean()", "super().generator(fake)"),
        "loss=mine: its class lacks `generator`",
    ),
    (
        "loss",
        '@losses.register("mine")\nclass Mine: ...\n',
        (),
        "loss=mine: its class says no needs_unbounded_score",
    ),
    ("regularizer", PENALTY, ("D(x).mean()",), "regularizer=mine: it gives a tensor of shape ()"),
    ("regularizer", PENALTY, ("None",), "regularizer=mine: it gives nothing"),
    (
        "regularizer",
        PENALTY,
        ('{"a": D(x)}',),
        "regularizer=mine: it gives a tensor of shape (4,) as `a`",
    ),
    ("regularizer", PENALTY, ('{"a": 1.0}',), "regularizer=mine: it gives a float as `a`"),
    (
        "optimizer",
        OPTIMIZER,
        ("torch.optim.LBFGS(parameters, lr=lr)",),
        "optimizer=mine: its step() needs a closure",
    ),
    (
        "optimizer",
        OPTIMIZER,
        ("None",),
        "optimizer=mine: gives nothing; it must give a torch.optim.Optimizer",
    ),
    (
        "network",
        NETWORK,
        ("discriminator", 2, 1, "self.layer(x)"),
        "(discriminator): gives a tensor of shape (8, 1)",
    ),
    (
        "network",
        NETWORK,
        ("discriminator", 2, 1, "self.layer(x).mean()"),
        "it must be of shape (N,)",
    ),
    (
        "network",
        NETWORK,
        ("generator", "latent", 3, "self.layer(x)"),
        "(generator): gives a tensor of shape (2, 3)",
    ),
    (
        "model",
        GAME,
        ("self.D(self.sample_fakes(x))", FAKES),
        "model=mine: the turn `generator` gives a tensor of shape (4,)",
    ),
    (
        "model",
        GAME,
        ('{"a": self.D(self.sample_fakes(x))}', FAKES),
        "gives a tensor of shape (4,) as `a`; each term must be",
    ),
    ("model", GAME, ('{"a": self.D(x).mean()}', FAKES), "no term that depends on the weights of G"),
    ("model", GAME, ("{}", FAKES), "no term that depends on the weights of G"),
    (
        "model",
        GAME + REMEMBERS.format("self.seen = []", "self.seen.append(batch['x'].clone())"),
        (TERMS, FAKES),
        "model=mine: keeps tensors in `seen`, which no checkpoint holds",
    ),
    (
        "model",
        GAME
        + REMEMBERS.format(
            "self.register_buffer('seen', torch.zeros(0, 2))",
            "self.seen = torch.cat([self.seen, batch['x']])",
        ),
        (TERMS, FAKES),
        "its buffer seen has changed its shape from (0, 2) to (4, 2)",
    ),
    (
        "model",
        GAME,
        (TERMS, "self.G(latents)[:, :1]"),
        "model=mine: `render` gives a tensor of shape (2, 1)",
    ),
    (
        "augmentation",
        AUGMENTATION,
        ("x[:, :1]",),
        "augmentation=mine: it makes a tensor of shape (4, 1) of",
    ),
    (
        "data",
        DATA,
        ('kind = "audio"; metrics = ("points",)',),
        "data=mine: its class says kind = 'audio'; expected",
    ),
    (
        "data",
        DATA,
        ('metrics = ("points",)',),
        "data=mine: its class says no kind; it needs a literal str",
    ),
    (
        "data",
        DATA,
        ('kind = "points"; metrics = ("points")',),
        "data=mine: its class says metrics = 'points'",
    ),
    (
        "metric",
        METRIC,
        (PLAIN, "0.5"),
        "metrics=mine: it gives a float; it must give numbers by name",
    ),
    (
        "metric",
        METRIC,
        (PLAIN, '{"a": samples.mean()}'),
        "metrics=mine: it gives a tensor of shape () as `a`",
    ),
    ("metric", METRIC, (PLAIN, '{"b": 0.5}'), "metrics=mine: it gives no `a`"),
    (
        "metric",
        METRIC,
        ('objective = "a"', '{"a": 0.5}'),
        "metrics=mine: its class says no lower_is_better",
    ),
    (
        "metric",
        METRIC,
        ('lower_is_better = ("a",)', '{"a": 0.5}'),
        "metrics=mine: its class lacks `objective`",
    ),
]
KEPT = [
    ("loss", LOSS, ("(fake - real).mean()", "-fake.mean()")),
    ("regularizer", PENALTY, ('{"a": D(x).square().mean()}',)),
    ("optimizer", OPTIMIZER, ("torch.optim.SGD(parameters, lr=lr)",)),
    ("network", NETWORK, ("discriminator", 2, 1, "self.layer(x)[:, 0]")),
    ("network", NETWORK, ("generator", "latent", 2, "self.layer(x)")),
    ("model", GAME, (TERMS, FAKES)),
    (
        "model",
        GAME
        + REMEMBERS.format(
            "self.register_buffer('seen', torch.zeros(4, 2)); self.fixed = [torch.ones(2)]",
            "self.seen.copy_(batch['x'])",
        ),
        (TERMS, FAKES),
    ),
    ("augmentation", AUGMENTATION, ("2 * x",)),
    ("data", DATA, ('kind = "points"; metrics = ("points",)',)),
    ("metric", METRIC, (PLAIN, '{"a": samples.mean().item()}')),
]


def typed_for(group: str, source: str, folder: Path) -> list[str]:
    """What is typed to play with a component, which is written to a folder with an option of the
    same name."""
    if group == "metric":
        group, source = "data", source + DATA.format('kind = "points"; metrics = ("mine",)')
    roles = [role for role in ("generator", "discriminator") if f"mine.{role}" in source]
    option = {
        "model": "defaults: [two_player, _self_]\nname: mine\n",
        "network": "name: mlp\nwidth: 4\n"
        + "".join(f"{role}: {{ name: mine }}\n" for role in roles),
    }.get(group, "name: mine\n")
    (folder / "mine.py").write_text(HEAD + source)
    (folder / "own" / group).mkdir(parents=True)
    (folder / "own" / group / "mine.yaml").write_text(option)
    usual = {"model": "gan", "data": "points", "network": "mlp", "loss": "non_saturating"}
    chosen = [f"{key}={value}" for key, value in (usual | {group: "mine"}).items()]
    budget = [
        "steps=1",
        "batch_size=4",
        "sample_every=0",
        f"evaluate_every={int('metrics.reg' in source)}",
    ]
    return ["plugins=[mine.py]", "--config-dir", "own", *chosen, "guard=warn", *budget]


@pytest.mark.parametrize(
    ("group", "source", "parts", "said"),
    [pytest.param(*row, marks=pytest.mark.slow if i % 3 else ()) for i, row in enumerate(BREACHES)],
    ids=[f"{row[0]}-{row[3][-30:]}" for row in BREACHES],
)
def test_a_component_that_gives_something_else_is_named(
    group: str, source: str, parts: tuple[str, ...], said: str, command: Command, tmp_path: Path
) -> None:
    typed = typed_for(group, source.format(*parts), tmp_path)
    code, printed = command("gan-train", *typed)
    assert code == 2 and said in printed and "Traceback" not in printed, printed
    assert len([line for line in printed.splitlines() if line.startswith("gan-train: ")]) == 1


@pytest.mark.parametrize(
    ("group", "source", "parts"), KEPT, ids=[f"{row[0]}-{row[2][0][:9]}" for row in KEPT]
)
def test_a_component_that_keeps_its_word_plays(
    group: str, source: str, parts: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    typed = typed_for(group, source.format(*parts), tmp_path)
    code, printed = command("gan-train", *typed)
    assert code == 0, printed


def test_a_plug_in_that_fails_says_in_which_line(command: Command, tmp_path: Path) -> None:
    typed = typed_for("loss", LOSS.format("0", "0"), tmp_path)
    (tmp_path / "mine.py").write_text(
        "\n\nimport no_such_module\n" + (tmp_path / "mine.py").read_text()
    )
    code, printed = command("gan-train", *typed)
    assert (
        code == 2
        and "plugins=mine.py: importing it failed in line 3 (ModuleNotFoundError" in printed
    )


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("y", "look at y, which data=points lacks; take data=cifar10, data=digits,"),
        ("x_b", "look at x_b, which data=points lacks; take data=two_domains."),
        ("x_c", "look at x_c, which data=points lacks; take data that has them."),
    ],
)
def test_a_field_that_the_data_lacks_is_named_with_the_data_that_has_it(
    field: str, said: str, command: Command, tmp_path: Path
) -> None:
    source = GAME.format(TERMS, FAKES).replace("self, x)", f"self, x, {field})")
    code, printed = command("gan-train", *typed_for("model", source, tmp_path))
    assert code == 2 and f"model=mine: its turns {said}" in printed


@pytest.mark.parametrize("name", ["digits", "two_domains"])
def test_the_fields_that_a_data_set_says_it_has_are_there(name: str) -> None:
    assert (
        set(registry.datasets.attributes(name, "data")["fields"])
        <= registry.datasets.build({"name": name}, "data").train.keys()
    )


@pytest.mark.parametrize(
    "model", mostly_slow(MODELS, "gan", "bigan", "aae", "vae_gan", "dcgan_conditional")
)
def test_the_packages_own_games_and_networks_keep_their_word(model: str) -> None:
    config = compose(*fitting(model, "data=points"), *TINY)
    trainer = make_trainer(*fitting(model, "data=points"), *TINY)
    spec = trainer.batches.dataset.spec
    shapes = type(trainer.game).shapes(spec, config["model"])
    for attribute, (role, node) in role_networks(config).items():
        contracts.network(
            trainer.game.get_submodule(attribute), node["name"], role, shapes[attribute]
        )
    contracts.rendered(trainer.game, spec, model)
    trainer.terms_fn = contracts.turns(trainer.terms_fn, trainer.game, model)
    trainer.play_round()


def test_components_are_scanned_once_for_each_set_of_plug_ins(tmp_path: Path) -> None:
    before = registry.losses.components
    assert registry.losses.components is before and "mine" not in before
    (tmp_path / "one.py").write_text(
        "from gan_cli.registry import losses\n\n\n@losses.register('mine')\nclass Mine:\n    pass\n"
    )
    registry.add_plugin(str(tmp_path / "one.py"))
    after = registry.losses.components
    assert "mine" in after and registry.losses.components is after
    registry.PLUGINS.clear()
    assert "mine" not in registry.losses.components


@pytest.mark.parametrize("group", ["games", "networks", "regularizers", "augmentations"])
def test_facts_read_from_the_source_are_those_of_python(group: str) -> None:
    """Of several bases too: what the guards read is what the class says once it is imported."""
    known = getattr(registry, group)
    for name, component in known.components.items():
        built = known.loaded(name, group)
        facts = {key: fact for key, fact in component.attributes.items() if hasattr(built, key)}
        beside = ("players", "networks", "directions")  # gathered, or no literals
        said = {key: getattr(built, key) for key in facts if key not in beside}
        assert said == {key: facts[key] for key in said}, name
