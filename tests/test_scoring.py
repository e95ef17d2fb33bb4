"""How many samples are scored and compared with how many, in what parts; and which scores a run may
go by."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, Command, make_trainer
from scipy.stats import wasserstein_distance
from test_distances import pictures
from test_plugins import forgotten  # noqa: F401 - of every test of this file too
from torch import Tensor

from gan_cli import registry
from gan_cli.data import decoded
from gan_cli.data.dataset import Dataset, Spec
from gan_cli.data.digits import Digits
from gan_cli.data.points import Points
from gan_cli.errors import UserError
from gan_cli.metrics.classifier import ClassifierScores, load_or_train
from gan_cli.metrics.kernels import mmd_squared, polynomial
from gan_cli.metrics.neighbours import prdc
from gan_cli.metrics.patches import PatchScores, distance_of_sorted
from gan_cli.metrics.scoring import scored
from gan_cli.runs import hooks
from gan_cli.runs.scores import Scores
from gan_cli.sweeps import multirun
from gan_cli.training import rendering

CPU = torch.device("cpu")
QUICK = (*TINY, "steps=2", "sample_every=0", "evaluate_every=2", "hydra.run.dir=run")
OFFLINE = ("classifier", "prdc", "mmd", "memorisation", "patches", "points")


@pytest.fixture(autouse=True)
def _hasty_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_cli.metrics.classifier.STEPS", 20)


def built(name: str, n: int, **options: object) -> tuple[object, Dataset]:
    dataset = Points("eight_gaussians", size=1000) if name == "points" else Digits()
    dataset.heldout = {field: values[:450] for field, values in dataset.heldout.items()}
    return registry.metrics.build(
        {"name": name, "n": n, **options}, name, dataset=dataset, device=CPU
    ), dataset


# --- how many -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OFFLINE)
def test_as_many_samples_are_scored_as_are_asked_for(name: str) -> None:
    """However few are held out; and how many each side has is said in the line of a run and beside
    the figure."""
    metric, dataset = built(name, 500)
    train = len(dataset.train["x"])
    told = metric.provenance
    assert metric.samples == told.n == 500 and "500 " in metric.describe()
    expected = {"points": (450, 450), "memorisation": (train, 225), "classifier": (train, 450)}
    assert (told.n_reference, told.n_floor) == expected.get(name, (500, 450)) and str(
        told.n_floor
    ) in metric.describe()
    if name not in ("points", "memorisation"):  # which compare as many, or means
        assert "floor: 450 held-out ones; 450 are fewer than 500" in metric.describe()
        # which has no bias
        assert told.note.startswith("450 are fewer than 500, so that ") or name == "mmd"


def test_gan_evaluate_generates_beyond_the_held_out_samples(command: Command) -> None:
    assert command("gan-train", *QUICK, "model=vae_gan", "evaluate_samples=500")[0] == 0
    assert json.loads(Path("run/run.json").read_text())["scores"]["scored_samples"] == 500
    code, printed = command("gan-evaluate", "checkpoint=run", "n=600", "metrics=[classifier,mmd]")
    assert code == 0, printed
    result = json.loads(printed)
    assert result["scores"]["scored_samples"] == 600
    told = result["provenance"]
    assert [told[name]["n"] for name in told] == [600, 600, 450]
    assert told["mmd"]["n_reference"] == 600 and told["mmd"]["n_floor"] == 450
    # a share of 450 says of how many it is
    assert told["model.vae_gan"]["scores"][0] == "reconstruction_error"


def test_the_terminal_says_how_many_each_side_has(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("gan-train", *QUICK, "evaluate_samples=20")[0] == 0
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    printed = command("gan-evaluate", "checkpoint=run", "n=500", "metrics=[prdc,mmd]")[1]
    assert (
        "  prdc: n 500; " in printed
        and ("n_reference 500; n_floor 450; note 450 are fewer than 500, so") in printed
    )
    assert "None" not in printed


@pytest.mark.parametrize("name", ["prdc", "mmd", "patches"])
def test_more_than_memory_holds_is_refused_in_words(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gan_cli.metrics.scoring.memory", lambda: 10_000)
    with pytest.raises(
        UserError, match=f"{name}: to compare n=450 samples needs .* ask for fewer by n="
    ):
        built(name, 450)


def test_data_without_what_a_models_scores_look_at(command: Command, tmp_path: Path) -> None:
    assert command("gan-train", *QUICK, "model=sgan", "evaluate_every=0")[0] == 0
    pictures(tmp_path / "a", torch.rand(200, 1, 8, 8) * 2 - 1)
    typed = ("data=image_folder", "data.folder=a", "data.channels=1", "data.image_size=8")
    code, printed = command("gan-evaluate", "checkpoint=run", *typed)
    assert code == 2 and printed.endswith(
        "data: its samples have no y, which the model's own scores look at; take data that has.\n"
    )
    code, printed = command(
        "gan-train", *QUICK[:-1], "model=bigan", *typed, "hydra.run.dir=unlabelled"
    )
    assert code == 0 and "reconstruction_ratio" in printed and "neighbour_accuracy" not in printed


def test_samples_that_are_not_there_are_refused_in_words(command: Command, tmp_path: Path) -> None:
    pictures(tmp_path / "a", torch.rand(60, 1, 8, 8) * 2 - 1)
    pictures(tmp_path / "b", torch.rand(200, 1, 8, 8) * 2 - 1)
    for typed in ("n=61", "prdc.n=1000"):
        code, printed = command("gan-evaluate", "samples=a", "real=b", "metrics=[prdc]", typed)
        assert code == 2 and printed == (
            f"gan-evaluate: {typed}: samples=a has 60 images; ask for 60 at most.\n"
        )
    told = json.loads(command("gan-evaluate", "samples=a", "real=b", "metrics=[prdc]")[1])[
        "provenance"
    ]["prdc"]
    assert (told["n"], told["n_reference"], told["n_floor"]) == (60, 60, 20)
    code, printed = command("gan-evaluate", "samples=a", "real=b", "metrics=[prdc]", "prdc.n=1")
    assert code == 2 and printed == "gan-evaluate: prdc.n=1: must be at least 2.\n"


def test_a_distance_of_fewer_samples_than_features_says_that_it_means_nothing() -> None:
    few, enough = built("classifier", 40)[0], built("classifier", 200)[0]
    assert few.provenance.note in few.describe() and "means nothing" not in enough.describe()
    assert few.provenance.note == (
        "the Frechet distance is of fewer samples (40) than features (64): it means nothing"
    )
    data = Digits()
    data.heldout = {name: values[:50] for name, values in data.heldout.items()}
    assert (
        "the Frechet distance's floor is of fewer samples (50)"
        in ClassifierScores(data, CPU, n=200).describe()
    )


def test_inception_compares_with_all_training_images(
    random_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gan_cli.metrics.inception import InceptionScores

    data = Digits()
    data.train = {name: values[:6] for name, values in data.train.items()}
    data.heldout = {name: values[:2] for name, values in data.heldout.items()}
    metric = InceptionScores(data, n=7, weights_file=str(random_weights))
    told = metric.provenance
    assert (told.n, told.n_reference, told.n_floor) == (7, 6, 2)
    assert told.note == (
        "fid's floor is of fewer samples (2) than features (2048): it is far too high"
    )
    same = data.sample_x(data.train, 6)
    found = scored({"it": metric}, [(same[:4], None, {}), (same[4:], None, {})])["it"]
    assert abs(found["fid"]) < 1e-3 * found["fid_floor"]
    with pytest.raises(
        UserError,
        match=r"inception.reference=9: there are 6 training images; "
        r"leave it out",
    ):
        InceptionScores(data, n=6, reference=9, weights_file=str(random_weights))


# --- in parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OFFLINE)
def test_scores_do_not_depend_on_the_parts(name: str) -> None:
    metric, dataset = built(name, 150)
    samples = dataset.sample_x(dataset.train, 150, "parts")
    y = torch.arange(150) % 10 if name == "classifier" else None
    parts = [(part, None if y is None else y[at], {}) for part, at in
             zip(samples.split(40), torch.arange(150).split(40), strict=True)]  # fmt: skip
    more = [*parts, (samples, y)]  # what comes after the last sample that is wanted is left alone
    assert scored({name: metric}, more)[name] == pytest.approx(
        metric(samples, y), rel=1e-5, abs=1e-9
    )


def test_neighbours_and_kernels_by_rows_are_those_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = torch.Generator().manual_seed(0)
    real = torch.randn(90, 3, generator=random).double()
    fake = torch.randn(70, 3, generator=random).double() + 0.3
    kernel, _ = polynomial(real)
    whole = {**prdc(real, fake, 3), "mmd": mmd_squared(fake, real, kernel)}
    monkeypatch.setattr("gan_cli.metrics.neighbours.ROWS", 20)
    monkeypatch.setattr("gan_cli.metrics.kernels.AT_ONCE", 20)
    assert {**prdc(real, fake, 3), "mmd": mmd_squared(fake, real, kernel)} == pytest.approx(
        whole, rel=1e-12
    )


@pytest.mark.parametrize(("n", "m"), [(5, 5), (6, 9), (40, 1), (33, 64)])
def test_sliced_distances_of_unequally_many(n: int, m: int) -> None:
    random = torch.Generator().manual_seed(n)
    a, b = (torch.randn(3, count, generator=random).sort(dim=1).values for count in (n, m))
    expected = np.mean([wasserstein_distance(*pair) for pair in zip(a, b, strict=True)])
    assert float(distance_of_sorted(a, b)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("model", ["vae_gan", "aae_semi_supervised", "sgan", "cogan"])
def test_no_more_of_the_data_is_decoded_than_is_looked_at(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20,000 images that are held out are never 20,000 images of numbers: neither for the run, nor
    for a score."""
    trainer = make_trainer(f"model={model}", *TINY, *(() if model == "cogan" else ("data=digits",)))
    dataset, most = trainer.batches.dataset, []
    load_or_train(dataset, CPU)  # in batches of its own
    monkeypatch.setattr(decoded, "PART", 100)
    monkeypatch.setattr("gan_cli.games.encoders.SCORED", 100)
    decode = type(dataset).decode
    monkeypatch.setattr(
        type(dataset),
        "decode",
        lambda self, stored: most.append(len(stored["x"])) or decode(self, stored),
    )
    monkeypatch.setattr("gan_cli.metrics.classifier.PAIRED", 100)
    metric = registry.metrics.build(
        {"name": "classifier", "n": 450}, "metrics", dataset=dataset, device=CPU
    )
    rendering.own_scores(trainer.game, decoded.heldout_of(dataset))
    assert metric.samples == 450 and most and max(most) <= 100


def test_a_decoded_split_is_the_split() -> None:
    data = Digits()
    whole, lazy = data.decode(data.heldout), decoded.Decoded(data, data.heldout)
    assert [*lazy] == [*whole] and lazy.samples == 450 and "y" in lazy and "x_b" not in lazy
    for name in whole:
        assert torch.equal(lazy[name], whole[name])
        assert torch.equal(torch.cat([part[name] for part in decoded.parts(lazy, 70)]), whole[name])
        assert torch.equal(
            torch.cat([part[name] for part in decoded.parts(whole, 70)]), whole[name]
        )
    assert torch.equal(decoded.Decoded(data, data.train, 30)["x"], data.sample_x(data.train, 30))
    assert (
        decoded.part_of(Spec("image", (3, 64, 64)))
        == 1000
        > decoded.part_of(Spec("image", (3, 1024, 1024)))
        > 1
    )


# --- images that are not squares ------------------------------------------------------------------


class Wide(Dataset):
    """Noise on the left of what is wider than high, or below what is higher than wide; classes by
    brightness."""

    kind = "image"
    metrics = ("classifier", "patches")

    def __init__(self, height: int, width: int, dark: bool = False) -> None:
        random = torch.Generator().manual_seed(0)
        x = torch.randint(0, 256, (160, 1, height, width), generator=random, dtype=torch.uint8)
        if dark:
            x[:, :, height - 20 :, width - 20 :] = 128
        self.train, self.heldout = ({"x": part, "y": torch.arange(80) % 2} for part in x.split(80))
        self.spec = Spec("image", (1, height, width), classes=2)


@pytest.mark.parametrize("shape", [(20, 60), (60, 20), (9, 5), (3, 40)])
@pytest.mark.parametrize("name", ["patches", "classifier", "prdc", "mmd", "memorisation"])
def test_images_that_are_not_squares(shape: tuple[int, int], name: str) -> None:
    data = Wide(*shape)
    metric = registry.metrics.build({"name": name, "n": 80}, name, dataset=data, device=CPU)
    assert np.isfinite([*metric(data.sample_x(data.heldout, 80)).values()]).all()


@pytest.mark.parametrize("shape", [(20, 60), (60, 20)])
def test_patches_look_everywhere(shape: tuple[int, int]) -> None:
    """What is wrong in the last 20 pixels of the longer side is seen."""
    data, wrong = Wide(*shape), Wide(*shape, dark=True)
    metric = PatchScores(data, CPU, n=80)
    assert metric(wrong.sample_x(wrong.heldout, 80))["sliced_wasserstein"] > 1.5 * metric.floor


# --- which scores a run may go by -----------------------------------------------------------------

JUDGE = '''
from typing import ClassVar
from gan_cli.data.decoded import parts
from gan_cli.games.fixed_generator import FixedGenerator
from gan_cli.registry import games

@games.register("judge")
class Judge(FixedGenerator):
    """A critic that makes no samples, and says how it judges."""

    objectives: ClassVar[tuple[str, ...]] = ("mean_score",)
    lower_is_better: ClassVar[tuple[str, ...]] = ("mean_score",)

    def scores(self, heldout):
        said = [float(self.D(part["x"]).detach().sum()) for part in parts(heldout, 500)]
        return {"mean_score": sum(said), "other": 1.0}
'''


def test_a_game_that_makes_no_samples_keeps_its_own_scores(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "judge.py").write_text(JUDGE)
    typed = (
        "plugins=[judge.py]",
        "model=fixed_generator",
        "++model.name=judge",
        "data=points",
        *QUICK,
    )
    # no option
    assert (
        command("gan-train", *[item for item in typed if "model" not in item], "model=judge")[0]
        == 2
    )
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/judge.yaml").write_text(
        "defaults: [fixed_generator, _self_]\nname: judge\n"
    )
    typed = ("--config-dir", "conf", "plugins=[judge.py]", "model=judge", "data=points", *QUICK)
    code, printed = command("gan-train", *typed)
    assert code == 0, printed
    card = json.loads(Path("run/run.json").read_text())
    assert (
        card["objective"] == "mean_score"
        and card["lower_is_better"] is True
        and card["scores"]["other"] == 1
    )
    assert Path("run/checkpoints/best.pt").exists()
    found = json.loads(command("gan-evaluate", "checkpoint=run", "plugins=[judge.py]")[1])["scores"]
    assert found == pytest.approx(card["scores"])
    code, printed = command(
        "gan-evaluate", "checkpoint=run", "plugins=[judge.py]", "metrics=[prdc]"
    )
    assert code == 2 and "its metrics are none, since its model makes no samples" in printed
    registry.PLUGINS.clear()  # gan-compare knows no plug-in; the card says which way is better
    assert "best mean_score" in command("gan-compare", "run")[1]


def test_without_samples_and_scores_there_is_nothing_to_evaluate(command: Command) -> None:
    code, printed = command(
        "gan-train", "model=fixed_generator", "data=points", *QUICK, "objective=w1"
    )
    assert code == 2 and "leave it out, since this model is not scored" in printed
    assert command("gan-train", "model=fixed_generator", "data=points", *QUICK)[0] == 0
    code, printed = command("gan-evaluate", "checkpoint=run")
    assert (
        code == 2
        and "checkpoint=run: its model has no scores of its own, and makes no samples" in printed
    )


@pytest.mark.parametrize("model", ["sgan", "aae"])
def test_every_objective_of_a_game_may_be_the_runs(command: Command, model: str) -> None:
    """It is logged, best.pt goes by it in its direction, gan-compare shows it and a search would
    know its direction."""
    own = registry.games.components[{"sgan": "semi_supervised", "aae": "aae"}[model]].attributes
    name = own["objectives"][0]
    lower = name in own["lower_is_better"]
    typed = (
        f"model={model}",
        *TINY,
        "steps=3",
        "sample_every=0",
        "evaluate_every=1",
        "evaluate_samples=20",
    )
    code, printed = command("gan-train", *typed, f"objective={name}", "hydra.run.dir=run")
    assert code == 0, printed
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    values = [row[f"metrics/{name}"] for row in rows if f"metrics/{name}" in row]
    best = torch.load("run/checkpoints/best.pt", weights_only=True)
    assert (
        len(values) == 3 and best["best"] == (min if lower else max)(values) == best["scores"][name]
    )
    assert multirun.direction(name) == ("minimize" if lower else "maximize")
    assert command("gan-compare", "run")[1].split()[1:4] == [name, "best", name]


def test_what_neither_data_nor_model_gives_is_refused_before_the_first_round(
    command: Command,
) -> None:
    for typed, said in (
        (
            ("model=aae", "objective=characters_right"),
            "this data and model give no such score; they give classifier_sc",
        ),
        (("model=gan", "objective=conditional_accuracy"), "this data and model give no such score"),
        (
            ("model=gan", "objective=test_error"),
            "objective=test_error: not an objective of this data; take one of",
        ),
        # 0.5 is best
        (("model=aae", "objective=latent_accuracy"), "take one of frechet_classifier_distance,"),
    ):
        code, printed = command("gan-train", *typed, *TINY, "steps=1", "hydra.run.dir=run")
        assert code == 2 and said in printed and "step 1" not in printed


def test_the_name_of_a_score_means_the_metric_that_gives_it(command: Command) -> None:
    assert command("gan-train", *QUICK, "model=sgan")[0] == 0
    results = {}
    for typed in (
        "[precision]",
        "[prdc]",
        "[prdc,recall]",
        "[test_error]",
        "[intra_class_diversity]",
    ):
        code, printed = command("gan-evaluate", "checkpoint=run", f"metrics={typed}", "n=30")
        assert code == 0, printed
        results[typed] = json.loads(printed)
    assert results["[precision]"] == results["[prdc]"] == results["[prdc,recall]"]
    assert [*results["[test_error]"]["provenance"]] == ["model.semi_supervised"]
    assert next(iter(results["[intra_class_diversity]"]["provenance"])) == "classifier"
    code, printed = command(
        "gan-evaluate", "checkpoint=run", "metrics=[fid]", "inception.weights_file=nowhere"
    )
    assert code == 2 and "inception.weights_file=nowhere: no such file" in printed
    code, printed = command("gan-evaluate", "checkpoint=run", "metrics=[precison]")
    assert (
        code == 2
        and "metrics=[precison]: not a metric of this data (did you mean precision?)" in printed
    )


# --- what is typed after a dot --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("prdc.k==", "prdc.k==: input should be a valid integer"),
        ("prdc.k=[", "prdc.k=[: input should be a valid integer"),
        ("prdc.k={a: 1}", "prdc.k={'a': 1}: "),
        ("prdc.k=${x}", "prdc.k=${x}: input should be a valid integer"),
        ("prdc.k=${", "prdc.k=${: input should be a valid integer"),
        ("prdc.k=", "prdc.k=None: input should be a valid integer"),
        (
            "prdc.k=!!python/object:os.system {}",
            "prdc.k=!!python/object:os.system {}: input should be a valid integer",
        ),
        ("prdc.=3", "prdc.=3: expected data.KEY=VALUE or METRIC.KEY=VALUE"),
        (".k=3", ".k=3: expected data.KEY=VALUE"),
        ("prdc..k=3", "prdc..k=3: expected data.KEY=VALUE"),
        ("prdc.k.j=3", "prdc.k.j=3: expected data.KEY=VALUE"),
        ("prdc[0].k=3", "prdc[0].k=3: expected data.KEY=VALUE"),
        ("data.image_size==", "data.image_size==: input should be a valid integer"),
        ("data.=3", "data.=3: expected data.KEY=VALUE"),
    ],
)
def test_odd_options_are_one_sentence(
    command: Command, tmp_path: Path, typed: str, said: str
) -> None:
    pictures(tmp_path / "a", torch.zeros(200, 1, 8, 8))
    code, printed = command("gan-evaluate", "samples=a", "real=a", "metrics=[prdc]", typed)
    assert code == 2 and said in printed and len(printed.splitlines()) == 1, printed


# --- few held-out samples -------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_few_held_out_samples_say_nothing_of_a_collapse(count: int, tmp_path: Path) -> None:
    trainer = make_trainer("model=gan", "data=points", *TINY)
    dataset = trainer.batches.dataset
    dataset.heldout = {"x": dataset.heldout["x"][:count]}
    health = hooks.Health(None, dataset, {}, tmp_path)  # type: ignore[arg-type]
    assert health._diversity(trainer) is None


def test_a_score_that_is_no_number_is_never_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer("model=gan", "data=points", *TINY)
    values = iter([float("nan"), 3.0, float("inf"), 2.0, 2.5])

    class Odd:
        samples, objective, lower_is_better = 10, "odd", ("odd",)

        def __call__(self, samples: Tensor, y: Tensor | None = None) -> dict[str, float]:
            return {"odd": next(values)}

    class Silent:
        def scalars(self, found: dict[str, float]) -> None:
            pass

    hook = Scores(Silent(), {"odd": Odd()}, 1, None, trainer.batches.dataset)  # type: ignore[arg-type]
    hook.start(trainer)
    bests = []
    for trainer.step in range(1, 6):
        hook.after_round(trainer)
        bests.append((trainer.scoreboard.best, trainer.scoreboard.improved_at))
    assert bests == [(None, -1), (3.0, 2), (3.0, 2), (2.0, 4), (2.0, 4)]
