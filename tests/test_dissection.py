"""Dissection: units of a generator whose channels draw known squares are found, and switched off
one by one; layers, commands and controls on models of the zoo."""

import csv
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, save_run, tiny
from torch import nn

import gan_cli
from gan_cli import files
from gan_cli.commands import unit_controls
from gan_cli.commands.explore import View
from gan_cli.data.shapes import COLOURS, SHAPES, Shapes, coverage
from gan_cli.data.spec import Field, Spec
from gan_cli.errors import UserError
from gan_cli.metrics import concepts as looked_for
from gan_cli.metrics.concepts import Concepts, colours_of
from gan_cli.sampling import dissection, dissection_files
from gan_cli.sampling.dissection import Realism
from gan_cli.sampling.generator import Generator
from gan_cli.sampling.interventions import Intervention
from gan_cli.sampling.units import chosen_units, layer_of, layers_of, read_maps

SIDE = 16
PLACES = ((0, 0), (0, 8), (8, 0), (8, 8))  # corners of squares of 8x8 pixels, in a corner of it
TRUE = ("red", "green", "blue", "yellow")
PAINT = {"red": (2, 0, 0), "green": (0, 2, 0), "blue": (0, 0, 2), "yellow": (2, 2, 0)}


class Squares(nn.Module):
    """Channel k is 1 in square k where number k of z is positive; the last two are never on."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        maps = torch.zeros(len(z), 6, SIDE, SIDE)
        for k, (top, left) in enumerate(PLACES):
            maps[:, k, top : top + 5, left : left + 5] = (z[:, k] > 0).float()[:, None, None]
        return maps


class Drawn(nn.Module):
    """A hand-made game: squares in red, green, blue and yellow on black."""

    redraws, classes, condition = False, 0, ()
    sampling = SimpleNamespace(given=(), output="x")

    def __init__(self) -> None:
        super().__init__()
        self.maps = Squares()
        self.colours = nn.Conv2d(6, 3, 1)
        weight = torch.zeros(3, 6, 1, 1)
        for k, name in enumerate(TRUE):
            weight[:, k, 0, 0] = torch.tensor(PAINT[name])
        self.colours.weight.data, self.colours.bias.data = weight, torch.full((3,), -1.0)

    def draw(self, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(4, generator=generator)

    def render(self, latents: torch.Tensor) -> torch.Tensor:
        return self.colours(self.maps(latents))


def wrapped(game: Any, shape: tuple[int, ...] = (3, SIDE, SIDE)) -> Generator:
    """A generator of a game that was never saved."""
    generator = object.__new__(Generator)
    vars(generator).update(
        game=game, spec=Spec("image", shape), path=Path("run/checkpoints/last.pt"), step=1,
        change=None, weights="raw",
    )  # fmt: skip
    return generator


@pytest.fixture
def squares() -> Generator:
    return wrapped(Drawn())


def test_the_layer_of_known_squares_is_the_only_one(squares: Generator) -> None:
    (layer,) = layers_of(squares)
    assert str(layer) == "maps: 6 units of 16x16" and layer_of(squares, "16") == layer


def test_points_and_samples_from_inputs_have_no_units(squares: Generator) -> None:
    squares.game.sampling = SimpleNamespace(given=("x_a",), output="x")
    with pytest.raises(UserError, match="makes samples from inputs; units are dissected in gen"):
        layers_of(squares)
    squares.spec = Spec("points", (2,))
    with pytest.raises(UserError, match="makes points; units are dissected in generators of im"):
        layers_of(squares)


@pytest.mark.parametrize("quantile", [0.01, None])
def test_the_right_pairs_agree_entirely(squares: Generator, quantile: float | None) -> None:
    (layer,) = layers_of(squares)
    samples, maps = read_maps(squares, layer, squares.drawn(range(200)))
    concepts = colours_of((3, SIDE, SIDE))
    agreed = dissection.agreement(maps, concepts.masks(samples), quantile)
    columns = [concepts.names.index(name) for name in TRUE]
    assert torch.equal(agreed.iou[:4, columns], torch.eye(4))
    assert torch.equal(agreed.iou[4:], torch.zeros(2, len(concepts.names)))  # never on
    assert agreed.best[:4].tolist() == columns
    # the masks of other samples show the square half of the time: 1/4 over 3/4
    assert agreed.chance[:4, columns].diagonal().numpy() == pytest.approx(1 / 3, abs=0.15)


def test_ablation_removes_exactly_its_square_and_insertion_draws_it(squares: Generator) -> None:
    (layer,) = layers_of(squares)
    concepts = colours_of((3, SIDE, SIDE))
    latents = squares.drawn(range(100))
    base = squares.render(latents)
    effect = dissection.effects(squares, layer, latents, concepts, Realism())
    columns = [concepts.names.index(name) for name in TRUE]
    assert torch.equal(effect.fall[:4, columns], torch.eye(4))
    assert torch.equal(effect.fall[4:, columns], torch.zeros(2, 4))
    assert effect.score is effect.distance is None and not len(effect.artefacts())

    def area(samples: torch.Tensor, column: int) -> float:
        return float(concepts.masks(samples)[:, column].float().mean())

    for k, column in enumerate(columns):
        controls = list(dissection.random_sets(layer, (k,), 5))
        assert len(set(controls)) > 1 and all(k not in units for units in controls)
        changes = [Intervention(layer.name, units) for units in ((k,), *controls)]
        found = dissection.outcome(
            squares, changes, latents, base, lambda x, c=column: area(x, c), Realism()
        )
        assert found.before > 0 and found.after == 0 and found.fall == 1
        assert found.random_falls == [0.0] * 5

        on = Intervention(layer.name, (k,), levels=torch.ones(1), region=(slice(0, 4), slice(0, 4)))
        changed = squares.changed(on).render(latents)
        assert torch.equal(changed[:, :, 5:], base[:, :, 5:])
        assert changed[:, :, :4, :4].amax(dim=(2, 3)).ge(0.99).any(dim=1).all()
    assert torch.equal(squares.render(latents), base)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_a_strength_multiplies_the_chosen_units_only(squares: Generator, strength: float) -> None:
    maps = torch.randn(3, 6, 4, 4)
    changed = Intervention("maps", (1, 4), strength).applied(maps)
    factor = torch.tensor([1, strength, 1, 1, strength, 1]).view(1, 6, 1, 1)
    assert torch.equal(changed, factor * maps)


def test_the_information_quality_is_that_of_its_formula() -> None:
    on = torch.tensor([True, True, False, False])
    masks = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 1]]).bool()
    quality = dissection._quality(on, masks)
    assert quality.tolist() == pytest.approx([1, 0, 1, 0], abs=1e-9)


def test_units_that_are_rarely_on_are_on_where_they_are_not_at_rest() -> None:
    rectified = torch.tensor([0.0] * 98 + [1.0, 2.0])
    assert dissection._on(rectified, 0.05)[0].sum() == 2  # the threshold is 0
    assert dissection._on(rectified, 0.01)[0].sum() == 1
    assert not dissection._on(torch.zeros(10), 0.1)[0].any()


# --- concepts -------------------------------------------------------------------------------------


def test_colours_have_their_names() -> None:
    concepts = colours_of((3, 1, 1))
    for name, colour in {**COLOURS, "black": (0, 0, 0), "grey": (128, 128, 128)}.items():
        pixel = torch.tensor(colour).view(1, 3, 1, 1) / 127.5 - 1
        named = [concepts.names[i] for i in concepts.masks(pixel).flatten().nonzero()[:, 0]]
        expected = {"white": ["bright"], "black": ["dark"], "grey": []}.get(name, [name])
        assert named == expected
    grey = colours_of((1, 8, 8))
    assert grey.names == ("dark", "bright")
    assert grey.masks(torch.full((1, 1, 8, 8), 0.9)).float().mean(dim=(0, 2, 3)).tolist() == [0, 1]


def test_the_masks_of_drawn_shapes_are_where_they_are_seen() -> None:
    data = Shapes(16, size=50, objects=2)
    masks, world = data.masks("train", slice(10, 50)), data.truth[0].rows(slice(10, 50))
    assert masks.shape == (40, len(data.concepts), 16, 16)
    assert data.concepts == (*SHAPES, *COLOURS)
    near = coverage(world, 1, 16) > 0.5
    for i in range(40):
        shown = masks[i, :, near[i]]
        kinds = [int(world.shape[i, 1]), len(SHAPES) + int(world.colour[i, 1])]
        assert shown[kinds].all() and shown.sum() == 2 * near[i].sum()
    any_object = (coverage(world, 0, 16) > 0.5) | near
    assert torch.equal(masks[:, : len(SHAPES)].any(dim=1), any_object)
    assert torch.equal(masks[:, len(SHAPES) :].any(dim=1), any_object)


def test_label_maps_are_masks_by_themselves() -> None:
    data = Shapes(16, size=10)
    plain = super(Shapes, data)
    assert plain.concepts == ()
    colours = ((0, 0, 0), (255, 255, 255))
    data.spec.fields["x_a"] = Field("labels", (2, 16, 16), False, palette=colours)
    data.train["x_a"] = (data.masks("train", slice(0, 10))[:, :4].any(dim=1)).to(torch.uint8)
    assert plain.concepts == ("label 0", "label 1")
    masks = plain.masks("train", slice(2, 6))
    assert torch.equal(masks[:, 1], data.train["x_a"][2:6].bool())
    assert torch.equal(masks[:, 0], ~masks[:, 1])


@pytest.mark.slow
def test_a_segmenter_learns_the_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looked_for, "STEPS", 500)
    concepts = looked_for.learnt_from(Shapes(16, size=1000))
    sure = dict(zip(concepts.names, concepts.accuracy, strict=True))
    assert len(sure) == 10 and min(sure[name] for name in COLOURS) > 0.5
    assert min(sure[name] for name in SHAPES) > 0.3


# --- models of the zoo ----------------------------------------------------------------------------

ZOO = ("dcgan", "wgan_gp", "progan", "stylegan", "sagan", "r3gan", "biggan", "cgan")


@pytest.mark.parametrize("model", ZOO)
def test_the_units_of_every_model_of_images_can_be_switched_off(model: str) -> None:
    wide = ("network.generator.width=8", "network.discriminator.width=8")
    network = ("network=dcgan",) if model == "cgan" else ()
    game = tiny(model, "digits", *network, *wide).game.eval().requires_grad_(False)
    generator = wrapped(game, (1, 8, 8))
    latents = generator.drawn(range(4))
    base = generator.render(latents)
    layers = layers_of(generator)
    assert {layer.side for layer in layers} >= {"4"}
    for layer in layers:
        everyone = tuple(range(layer.units))
        same = generator.changed(Intervention(layer.name, everyone, 1.0)).render(latents)
        assert torch.equal(same, base), layer
    for layer in {layer.side: layer for layer in layers}.values():
        everyone = tuple(range(layer.units))
        off = generator.changed(Intervention(layer.name, everyone)).render(latents)
        assert not torch.equal(off, base), layer
    assert torch.equal(generator.render(latents), base)


def test_a_hook_leaves_other_threads_alone(squares: Generator) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from gan_cli.sampling.interventions import intervening

    latents = squares.drawn(range(8))
    base = squares.render(latents)
    with intervening(squares.game, Intervention("maps", (0, 1, 2, 3))):
        with ThreadPoolExecutor(1) as pool:
            assert torch.equal(pool.submit(squares.render, latents).result(), base)
        assert not torch.equal(squares.render(latents), base)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`runs("dcgan")`: the folder of a run of one round."""
    folder = tmp_path_factory.mktemp("dissected")
    made = {
        "dcgan": ("model=dcgan", "data=digits", "network.width=8", "batch_size=8"),
        "gan": ("model=gan", "data=digits", "network=mlp", "network.width=4"),
    }

    def run(name: str) -> Path:
        path = folder / name
        return path if path.exists() else save_run(path, *made[name])

    return run


@pytest.mark.parametrize(
    ("run", "typed", "said"),
    [
        ("gan", [], "its generator has no maps, and units are channels of maps"),
        ("dcgan", ["layer=G.layers.55"], "layer=G.layers.55: no such layer (did you mean"),
        ("dcgan", ["quantile=1.5"], "quantile=1.5: expected a share between 0 and 1"),
        ("dcgan", ["quantile=nan"], "quantile=nan: expected a share between 0 and 1"),
        ("dcgan", ["n=3"], "n=3: must be at least 100"),
        ("dcgan", ["concepts=colours", "ablate=red"], "ablate=red: no such concept"),
        ("dcgan", ["concepts=masks"], "concepts=masks: the data have no masks to learn from"),
        ("dcgan", ["concepts=colours", "output=/dev/null"], "output=/dev/null: is no folder"),
    ],
)
def test_what_cannot_be_dissected_is_one_sentence(
    run: str, typed: list[str], said: str, runs: Callable[[str], Path], command: Command
) -> None:
    code, printed = command("gan-dissect", str(runs(run)), *typed)
    last = printed.splitlines()[-1]
    assert code == 2 and last.startswith("gan-dissect: ") and said in last, printed


def test_the_command_writes_what_it_finds(runs: Callable[[str], Path], command: Command) -> None:
    typed = ("gan-dissect", str(runs("dcgan")), "concepts=colours", "n=100")
    code, printed = command(*typed, "ablate=dark", "insert=dark", "top=2")
    assert code == 0, printed
    folder = dissection_files.folder_of(runs("dcgan") / "checkpoints" / "last.pt")
    (folder,) = folder.iterdir()
    assert printed.splitlines()[-1] == str(folder) and f"* {folder.name}: " in printed
    generator = gan_cli.load(runs("dcgan"))
    layer = layer_of(generator, folder.name)
    with (folder / "units.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == layer.units and {row["concept"] for row in rows} <= {"dark", "bright"}
    for name in ("units.png", "concepts.csv", "ablate_dark.png", "insert_dark.csv"):
        assert (folder / name).stat().st_size > 0

    with (folder / "ablate_dark.csv").open() as file:
        (row,) = csv.DictReader(file)
    units = tuple(map(int, row["units"].split()))
    latents = generator.drawn(range(400, 500))
    concepts = colours_of(generator.spec.shape)
    before = dissection.areas(concepts, generator.render(latents))[0]
    change = Intervention(layer.name, units)
    after = dissection.areas(concepts, generator.changed(change).render(latents))[0]
    assert len(units) == 2 and float(row["before"]) == pytest.approx(float(before), rel=1e-3)
    assert float(row["after"]) == pytest.approx(float(after), rel=1e-3)
    if ranked := dissection_files.rankings(generator, layers_of(generator)):
        assert ranked[0].layer == layer and ranked[0].concepts["artefacts"]
    assert command(*typed, "layer=list")[1].count("units of") == len(layers_of(generator))


def test_samples_of_changed_units_are_those_of_the_generator(
    runs: Callable[[str], Path], command: Command
) -> None:
    run = str(runs("dcgan"))
    typed = ("gan-sample", run, "n=3", "mode=npz", "layer=4", "units=[1,5,1]", "strength=0.5")
    assert command(*typed, "shifts=[2]", "truncation=0.7")[0] == 0
    generator = gan_cli.load(run)
    change = Intervention(layer_of(generator, "4").name, (1, 5), 0.5)
    from gan_cli.sampling import walks

    latents = walks.shifted(generator, generator.drawn(range(3), (), 0.7), "principal", [2.0])
    expected = generator.changed(change).render(latents)
    assert np.array_equal(np.load("samples.npz")["samples"], expected.numpy())
    assert not torch.equal(expected, generator.render(latents))
    for wrong, said in (
        (["units=[3]"], "units=[3]: is of the units of a layer; add layer="),
        (["strength=2"], "strength=2.0: is of the units of a layer"),
        (["layer=4"], "units: missing; add units=[0]"),
        (["layer=4", "units=[999]"], "units=999: layer G.layers."),
        (["layer=4", "units=[-1]"], "units=-1: must be at least 0"),
        (["layer=7", "units=[1]"], "layer=7: no such layer"),
        (["layer=4", "units=[1]", "strength=nan"], "strength=nan: must be at least 0"),
    ):
        code, printed = command("gan-sample", run, *wrong)
        assert code == 2 and said in printed and len(printed.splitlines()) == 1, printed


# --- gan-explore ----------------------------------------------------------------------------------


def test_a_view_of_changed_units_is_the_picture_of_its_command(
    runs: Callable[[str], Path], command: Command
) -> None:
    from gan_cli import pictures

    generator = gan_cli.load(runs("dcgan"))
    layers = layers_of(generator)
    counts = {layer.name: layer.units for layer in layers}
    view = View(seed=4, layer=layers[-1].name, units=[2, 0], strength=2.5)
    assert view.settled(0, counts) == view
    words = shlex.split(view.command(str(runs("dcgan"))))
    assert command(*words[:-1], "mode=npz", "output=a.npz")[0] == 0
    shown = generator.changed(view.change).render(view.latents(generator))
    assert np.array_equal(np.load("a.npz")["samples"], shown.numpy())
    assert not torch.equal(shown, generator.render(view.latents(generator)))
    assert pictures.to_uint8(shown).shape == (1, 1, 8, 8)
    for odd in (None, "x", [], {}, True, -1, 10**30, float("nan")):
        settled = View(layer=odd, units=odd, strength=odd).settled(0, counts)  # type: ignore[arg-type]
        assert settled.change is None and settled.settled(0, counts) == settled
        assert View(layer=layers[0].name, units=[odd, 1]).settled(0, counts).units == [1]  # type: ignore[list-item]
    assert View(layer="nope", units=[1], strength=0).settled(0, counts).change is None
    assert View(layer=layers[0].name, units=[1], strength=0).settled(0).change is None


def test_saved_dissections_are_offered_and_damaged_ones_are_not(tmp_path: Path) -> None:
    generator = wrapped(Drawn())
    generator.path = tmp_path / "checkpoints" / "last.pt"
    layers = layers_of(generator)
    folder = tmp_path / "dissection"
    dissection_files.write_card(folder / "maps", generator, layers[0], {"red": range(6), "b": [3]})
    (folder / "x").mkdir()
    (folder / "x" / "dissection.json").write_text("{")
    odd = {"layer": "maps", "step": 1, "concepts": {"a\nb": [99, "1", -1], "c": 3, "d": [2, None]}}
    files.write_json(folder / "y" / "dissection.json", odd)
    files.write_json(folder / "z" / "dissection.json", {**odd, "layer": "other"})
    found = dissection_files.rankings(generator, layers)
    assert [dict(ranking.concepts) for ranking in found] == [
        {"red": (0, 1, 2, 3, 4, 5), "b": (3,)},
        {"d": (2,)},
    ]
    offered = unit_controls.presets(found)
    assert offered["red (maps: 6 units of 16x16, step 1)"] == ("maps", [0])
    assert chosen_units(layers[0], [3, 3, 0]) == (3, 0)
    assert isinstance(colours_of((3, 4, 4)), Concepts)


class Control:
    """A control of a page, without a page: it calls back when its value is set."""

    def __init__(self, *arguments: Any, value: Any = None, **_: Any) -> None:
        self.arguments, self.value, self.called = arguments, value, lambda event: None

    def classes(self, _: str) -> "Control":
        return self

    props = classes

    def on_value_change(self, call: Callable[[Any], None]) -> "Control":
        self.called = call
        return self

    def set_value(self, value: Any) -> None:
        changed, self.value = value != self.value, value
        if changed:
            self.called(SimpleNamespace(value=value))

    def set_options(self, options: list[int], value: Any) -> None:
        self.options = options
        self.set_value(value)


def test_controls_change_the_view() -> None:
    generator = wrapped(Drawn())
    layers = layers_of(generator)
    ranking = dissection_files.Ranking(layers[0], 1, {"red": (4, 2)})
    made: list[Control] = []
    shown: list[tuple[str, list[int], float]] = []

    def control(*arguments: Any, **named: Any) -> Control:
        made.append(Control(*arguments, **named))
        return made[-1]

    view = View()

    def show() -> None:
        shown.append((view.layer, view.units, view.strength))

    ui: Any = SimpleNamespace(label=Control, select=control, slider=control)
    unit_controls.add(ui, layers, [ranking], view, show)
    concept, layer, units, strength = made
    concept.set_value(next(iter(concept.arguments[0])))
    assert shown[-1] == ("maps", [4], 0.0)
    assert layer.value == "maps" and units.options == list(range(6)) and strength.value == 0
    strength.set_value(2.0)
    units.set_value([1, 3])
    assert shown[-1] == ("maps", [1, 3], 2.0)
    layer.set_value(None)
    assert shown[-1] == ("", [], 2.0) and units.options == []
    unit_controls.add(ui, layers, [], View(), show)
    assert len(made) == 7  # no choice of concepts without a dissection


@pytest.mark.slow
def test_the_page_of_a_dissected_run_offers_its_units(
    runs: Callable[[str], Path], tmp_path: Path
) -> None:
    pytest.importorskip("nicegui")
    import urllib.request

    from test_explore import served

    generator = gan_cli.load(runs("dcgan"))
    layer = layers_of(generator)[-1]
    folder = dissection_files.folder_of(generator.path) / "page"
    dissection_files.write_card(folder, generator, layer, {"striped": [1]})
    with served(str(runs("dcgan")), tmp_path) as address:
        page = urllib.request.urlopen(address, timeout=60).read().decode()
    assert "units of a layer" in page and f"striped ({layer}, step 1)" in page
    assert "Traceback" not in (tmp_path / "server.log").read_text()
