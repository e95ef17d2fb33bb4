"""The laws of every game, over every file in configs/model."""

import copy
import functools
import itertools
from pathlib import Path
from random import Random
from typing import Any, get_args

import numpy as np
import pytest
import torch
import yaml
from conftest import (
    FAMILIES,
    MODELS,
    ROOT,
    TINY,
    averages,
    compose,
    facts,
    fitting,
    make_trainer,
    mostly_slow,
    of_text,
    takes,
    tiny,
    trainer_of,
    written,
)
from test_published import PUBLISHED
from test_speed import Waits

from gan_cli import noise, registry
from gan_cli.config.options import option
from gan_cli.config.roles import role_networks
from gan_cli.data.decoded import heldout_of
from gan_cli.errors import UserError
from gan_cli.game import Turn
from gan_cli.regularizers import input_gradient
from gan_cli.training import rendering
from gan_cli.training.ema import EMA
from gan_cli.training.trainer import Trainer

CASES = [
    (model, data)
    for model in MODELS
    for data in ("digits", "points")
    if data == "digits" or takes(model, data)
]


def parameters(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.game.named_parameters()}


def state_entries(state: object, path: str = "") -> dict[str, object]:
    """Every leaf of a nested state, by its path."""
    if isinstance(state, dict):
        pairs = [state_entries(value, f"{path}/{key}") for key, value in state.items()]
    elif isinstance(state, list | tuple):
        pairs = [state_entries(value, f"{path}/{i}") for i, value in enumerate(state)]
    else:
        return {path: state}
    return {key: value for pair in pairs for key, value in pair.items()}


def assert_same_state(a: dict[str, object], b: dict[str, object], law: str = "they differ") -> None:
    """Bit for bit, but for the seconds; `law` is what is said where it does not hold."""
    first, second = state_entries(a), state_entries(b)
    assert first.keys() == second.keys(), law
    for key, value in first.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, second[key]), f"{law}: {key}"  # type: ignore[arg-type]
        elif key != "/seconds":
            assert value == second[key], f"{law}: {key}"


@pytest.mark.parametrize(("model", "data"), CASES)
def test_the_laws_of_a_round(model: str, data: str) -> None:
    """Of one trainer: the order of play; in each turn only the moved networks learn, all of each,
    and no gradient is left in the others; no turn waits for the device; samples have the shape and
    the range of the data."""
    trainer = tiny(model, data)
    assert_order_of_play(trainer, bool(written(model).get("phases")))
    trainer.game.train()
    for turn in trainer.game.turns(1):
        assert_only_the_moved_learn(trainer, turn)
    trainer.play_round()  # what is prepared once may wait
    with Waits():
        trainer.play_round()
    if trainer.game.renders:
        spec = trainer.batches.dataset.spec
        samples = sampled(trainer, 5)
        assert samples.shape[1:] == spec.shape, "samples have another shape than the data"
        assert samples.isfinite().all(), "samples are not finite"
        if spec.bounded:
            assert samples.abs().max() <= 1, "samples leave the range of the data"


def sampled(trainer: Trainer, n: int) -> torch.Tensor:
    """About n samples, as a picture of the run shows them."""
    game, heldout = trainer.eval_game, heldout_of(trainer.batches.dataset)
    latents = rendering.shown_latents(game, n)
    return rendering.render(game, latents, *rendering.given_by(game, heldout, len(latents)))


def assert_order_of_play(trainer: Trainer, chosen_phases: bool) -> None:
    game = trainer.game
    names = [turn.player.name for turn in game.turns(1_000_001)]
    phases = game.order_of_play.phases
    wanted = [name for name in game.players for _ in range(phases[-1].turns.get(name, 0))]
    assert names == wanted, "the order of play is another one"
    # a model's own phases may leave players out
    assert chosen_phases or set(names) == set(game.players)


def assert_only_the_moved_learn(trainer: Trainer, turn: Turn) -> None:
    """In this turn; and its terms are finite scalars."""
    player, before = turn.player, parameters(trainer)
    trainer.game.zero_grad()
    trainer.take_turn(turn, trainer.batches.next_rows())
    for name, term in trainer.terms[player.name].items():
        assert term.dim() == 0 and term.isfinite(), f"the term {name} is no finite scalar"
    moved = False
    for name, value in trainer.game.named_parameters():
        if name.split(".")[0] in player.moves:
            # of coarser scales
            assert value.grad is not None or ".colours." in name, f"{name} got no gradient"
            moved |= not torch.equal(value, before[name])
        else:
            assert value.grad is None, f"the turn of {player.name} left a gradient in {name}"
            assert torch.equal(value, before[name]), f"{name} moved in the turn of {player.name}"
    assert moved, f"nothing moved in the turn of {player.name}"


def test_the_warm_up_of_wgan() -> None:
    game = make_trainer("model=wgan", "data=points", *TINY).game
    turns = {step: len(game.turns(step)) for step in (0, 24, 25, 499, 500, 501, 1000)}
    assert turns == {0: 101, 24: 101, 25: 6, 499: 6, 500: 101, 501: 6, 1000: 101}


@pytest.mark.parametrize("model", [model for model in MODELS if not averages(model)])
def test_an_average_of_nothing_is_refused(model: str) -> None:
    with pytest.raises(UserError, match=f"model.ema=0.9: model={model} averages no network"):
        tiny(model, "points", "++model.ema=0.9")


KINDS_OF_RUNS = {
    "plain": (),
    "average and schedule": ("++model.ema=0.9", "schedule=linear", "steps=9"),
}


def runs() -> list[Any]:
    """Every model with every data and kind of run; `make test` takes two of one model of each
    family, and one of the others, so that each kind of data and of run is among them."""
    rows = []
    for i, model in enumerate(MODELS):
        other = "points" if (model, "points") in CASES else "digits"
        both = [("digits", "plain"), (other, "average and schedule")]
        quick = both if model in FAMILIES else [both[i % 2]]
        for data, kind in itertools.product(("digits", other, "digits of 16x16"), KINDS_OF_RUNS):
            marks = () if (data, kind) in quick else pytest.mark.slow
            rows.append(pytest.param(model, data, kind, marks=marks))
    return list({row.values: row for row in rows}.values())


@pytest.mark.parametrize(("model", "data", "kind"), runs())
def test_the_laws_of_a_run(model: str, data: str, kind: str, tmp_path: Path) -> None:
    """The same seed gives the same run, bit for bit, and another seed another one; looking does not
    disturb it; N rounds are k rounds, saved, and N - k."""
    extra = [item for item in KINDS_OF_RUNS[kind] if "ema" not in item or averages(model)]
    size = ("data.image_size=16",) if data == "digits of 16x16" else ()
    options = fitting(model, f"data={data.split()[0]}", *size)
    config = compose(*options, *TINY, "model.warm_up=null", *extra)
    run, again, resumed = (trainer_of(config) for _ in range(3))
    other = trainer_of({**config, "seed": config["seed"] + 1})
    for trainer in (run, again, other):
        play(trainer, 1)
    assert_same_state(run.state_dict(), again.state_dict(), "the same seed gives another run")
    with pytest.raises(AssertionError):
        assert_same_state(run.state_dict(), other.state_dict())

    look(again)
    for trainer in (run, again):
        play(trainer, 1)
    assert_same_state(run.state_dict(), again.state_dict(), "looking disturbs the run")

    torch.save(run.state_dict(), tmp_path / "state.pt")
    torch.rand(100)  # what happened to the generators in between must not matter
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for trainer in (run, resumed):
        play(trainer, 2)
    assert_same_state(run.state_dict(), resumed.state_dict(), "4 rounds are not 2, saved, and 2")


def play(trainer: Trainer, rounds: int) -> None:
    ema = EMA()
    trainer.game.train()
    for _ in range(rounds):
        trainer.play_round()
        ema.after_round(trainer)


def look(trainer: Trainer) -> None:
    """All that a run looks at beside its rounds; what it sees is finite."""
    batch = trainer.batches.gather(torch.arange(5))
    noise.begin_turn("observe")
    with rendering.at_rest(trainer.game):
        observed = trainer.game.diagnostics(batch, batch)
        scores = trainer.game.scores(
            trainer.batches.dataset.decode(trainer.batches.dataset.heldout)
        )
    assert all(value.isfinite().all() for value in observed.values()), "a diagnosis is not finite"
    assert np.isfinite([*scores.values()]).all(), "a score is not finite"
    if trainer.game.renders:
        sampled(trainer, 20)


@pytest.mark.parametrize("model", mostly_slow(MODELS, *FAMILIES))
def test_small_batches_work(model: str) -> None:
    """A batch of one too: batch norm over several pixels, or running statistics aside, is the
    networks' affair."""
    for n in (5, 2, 1):
        trainer = tiny(
            model,
            "digits",
            "model.critic_norm=none",
            "guard=warn",
            *(without_norms(model) if n == 1 else ()),
        )
        for turn in trainer.game.turns(1):
            trainer.take_turn(turn, torch.arange(n))
            terms = trainer.terms[turn.player.name].values()
            assert all(term.isfinite() for term in terms), f"a batch of {n} gives no finite term"


def test_batch_norm_over_one_sample_is_refused_in_words() -> None:
    with pytest.raises(UserError, match="batch_size=1: batch norm needs at least two samples"):
        tiny("dcgan", "points", "batch_size=1")


def without_norms(model: str) -> list[str]:
    """What takes from the networks of a model, but for the critic's, all norms that know the
    batch."""
    roles = role_networks(compose(*fitting(model, "data=digits"), *TINY))
    typed = []
    for role, node in roles.values():
        for key, (hint, _) in registry.networks.options(node["name"], "network").items():
            if key.endswith("_norm") and key != "critic_norm":
                off = "none" if "none" in get_args(hint) else "instance"
                typed.append(f"++network.{role}.{key}={off}")
            if key == "spectral":
                typed.append(f"++network.{role}.spectral=false")
    return typed


@pytest.mark.parametrize("batch", ["turn", "round"])
def test_fresh_batches(batch: str) -> None:
    trainer = tiny("wgan_gp", "points", f"model.fresh_batch={batch}")
    trainer.play_round()
    assert trainer.batches.position == {"turn": 6, "round": 1}[batch]


COUPLINGS = (
    "the deviation of the batch in the penalty",
    "the means of features",
    "minibatch deviation in D",
    "a pool of each shard",
    "the pulling-away term",
    "captions of other rows",
)
"""What makes a turn depend on how its batch is cut even without batch norm."""


@pytest.mark.parametrize("model", mostly_slow(MODELS, *FAMILIES))
def test_shards_give_the_turn_of_the_whole_batch(model: str) -> None:
    """Law B: to rounding, over 5 rounds, without batch statistics. SGD, since Adam divides rounding
    by rounding."""
    no_statistics = (
        "model.critic_norm=none",
        "guard=warn",
        *without_norms(model),
        "optimizer=sgd",
        "optimizer.lr=1e-3",
    )
    typed = (*fitting(model, "data=digits"), *TINY, "model.warm_up=null", *no_statistics)
    config = compose(*typed)
    if config["network"].get("generator", {}).get("dropout"):
        config = compose(*typed, "network.generator.dropout=0")
    whole = trainer_of(config)
    if told := whole.game.batch_dependencies():
        assert set(told) <= set(COUPLINGS)
        return
    parts = trainer_of({**config, "hardware": {**config["hardware"], "shards": 3}})
    for trainer in (whole, parts):
        trainer.game.train()
        for _ in range(5):
            trainer.play_round()
    for name, value in whole.game.state_dict().items():
        torch.testing.assert_close(parts.game.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    for player, terms in whole.terms.items():
        torch.testing.assert_close(parts.terms[player], terms, rtol=1e-4, atol=1e-6)


def test_shards_average_the_running_statistics_and_differ_in_dropout() -> None:
    trainer = tiny("dcgan", "digits", "hardware.shards=2")
    trainer.game.train()
    norm = next(
        module for module in trainer.game.modules() if isinstance(module, torch.nn.BatchNorm2d)
    )
    trainer.play_round()
    counted = norm.num_batches_tracked
    assert counted is not None and counted.item() == 2  # once in each player's turn
    drawn = []
    for shard in range(2):
        noise.begin_turn("turn", shard=shard, shards=2)
        drawn.append((noise.rows(torch.randn, 3, 2, device=torch.device("cpu")), torch.rand(3)))
    noise.begin_turn("turn")
    assert torch.equal(
        torch.cat([drawn[0][0], drawn[1][0]]),
        noise.rows(torch.randn, 6, 2, device=torch.device("cpu")),
    )
    assert not torch.equal(drawn[0][1], drawn[1][1])


def test_unequal_shards_are_refused() -> None:
    with pytest.raises(UserError, match="batch_size=6: cannot be cut into 4 equal shards"):
        tiny("gan", "points", "hardware.shards=4")


def test_per_player_settings_and_schedules() -> None:
    trainer = tiny(
        "gan", "points", "optimizer.players.generator.lr=1e-3", "schedule=linear", "steps=4"
    )
    rates = []
    for _ in range(4):
        trainer.play_round()
        rates.append(
            [
                trainer.optimizers[name].param_groups[0]["lr"]
                for name in ("discriminator", "generator")
            ]
        )
    factors = torch.tensor([1, 0.75, 0.5, 0.25])
    torch.testing.assert_close(torch.tensor(rates), factors[:, None] * torch.tensor([2e-4, 1e-3]))


def test_every_weight_of_a_clipped_critic_is_clipped() -> None:
    trainer = tiny("wgan", "digits")
    trainer.play_round()
    assert (
        max(weight.abs().max().item() for weight in trainer.game.get_submodule("D").parameters())
        <= 0.01
    )


GROUPS = (
    "model",
    "loss",
    "regularizer",
    "network",
    "optimizer",
    "data",
    "schedule",
    "augmentation",
)
OFFLINE = ("digits", "points")


VARIANTS = (
    "aae_labelled",
    "dcgan_conditional",
    "vae",
    "wgan_gp_acgan",
    "wgan_gp_conditional",
    "dcgan_constant",
    "dcgan_tanh",
    "adam_sagan",
    "adam_sagan_small",
    "resnet_sagan",
    "adam_progan",
    "adam_progan_small",
    "adam_dcgan_small",
    "gradient_penalty_auto",
    "style",
    "style2",
    "adam_r3gan",
    "resnet_biggan",
    "resnet_biggan_deep",
    "adam_biggan",
)
"""Options that set another one's options; the sampled product meets them."""


@functools.cache
def options(group: str, variants: bool = False) -> list[str]:
    names = sorted(path.stem for path in (ROOT / "configs" / group).glob("*.yaml"))
    of_networks = [model for model in MODELS if written(model).get("network") in VARIANTS]
    left_out = () if variants else (*VARIANTS, *of_networks)
    others = (*filter(of_text, MODELS), "text_resnet", "lstm", *left_out)
    return [name for name in names if name not in others and (group != "data" or name in OFFLINE)]


def meetings(row: dict[str, str], group: str, option: str) -> set[frozenset[tuple[str, str]]]:
    """The pairs that an option would make with those already in the row."""
    return {frozenset([(group, option), pair]) for pair in row.items()}


def pairwise_cover() -> list[tuple[str, ...]]:
    """Configurations in which every pair of options of two groups meets: greedily, the longest gain
    first."""
    wanted = {
        frozenset([(a, x), (b, y)])
        for a, b in itertools.combinations(GROUPS, 2)
        for x in options(a)
        for y in options(b)
    }
    rows = []
    while wanted:
        seed = dict(min(wanted, key=sorted))
        for group in GROUPS:
            if group not in seed:
                seed[group] = max(
                    options(group), key=lambda option: len(meetings(seed, group, option) & wanted)
                )
        wanted -= {frozenset(pair) for pair in itertools.combinations(seed.items(), 2)}
        rows.append(tuple(f"{group}={seed[group]}" for group in GROUPS))
    return rows


NORMLESS = ("dcgan_no_norm", "resnet101", "resnext", "affine", "mlp_sgan", "mlp_bigan")
"""Networks that take no `model.critic_norm`."""


def mistold(network: str, role: str, game: dict[str, Any]) -> bool:
    """Whether a network of this role takes no class where the game gives it one, or needs one where
    it gives none."""
    component = registry.networks.components.get(f"{option('network', network)['name']}.{role}")
    said = component.attributes if component else {}
    if role in game["classes_in_networks"]:
        return not said.get("takes_classes", False)
    return bool(said.get("needs_classes", False))


def refusals(row: tuple[str, ...]) -> list[str]:
    """What a combination must be refused for, by the setting that the sentence begins with."""
    chosen = dict(item.split("=", 1) for item in row)
    model, loss, regularizer = chosen["model"], chosen["loss"], chosen["regularizer"]
    penalty = regularizer not in ("none", "weight_clip")
    game, told = facts(model), written(model)
    vectors = model.startswith(("aae", "bigan"))
    perceptron = (chosen["network"] == "auto" and chosen["data"] == "points") or chosen[
        "network"
    ].startswith("mlp")
    affine = chosen["network"] == "affine"
    # which an affine generator needs
    as_wide = chosen["data"] == "digits" and told.get("latent") == 8 * 8
    of_scales = chosen["network"] in ("progressive", "style", "style2")
    images = of_scales or chosen["network"].startswith(("dcgan", "resn"))
    no_norm = of_scales or chosen["network"] in (
        "dcgan_no_norm",
        "resnet101",
        "resnext",
        "affine",
        "mlp_sgan",
        "mlp_bigan",
    )
    residual = of_scales or chosen["network"].startswith("resn")
    batch_norm = told.get("critic_norm") == "batch" and not no_norm
    spectral = told.get("critic_norm") == "spectral" and not no_norm
    component = f"{option('network', chosen['network'])['name']}.generator"
    known = registry.networks.components.get(component)
    lacking = any(
        f"{option('network', chosen['network'])['name']}.{role}" not in registry.networks.components
        for role in ("encoder",)
        if role in game["roles"].values()
    )
    translating = bool(known and known.attributes.get("takes_inputs")) and (
        "generator" in game["roles"].values()
    )
    encoding = "encoder" in option("network", chosen["network"])
    middle = registry.losses.attributes(option("loss", loss)["name"], "loss")["has_middle"]
    return [
        *(["network="] if lacking else []),
        *(["network"] if translating != bool(game["from_inputs"]) else []),
        *(
            ["network"]
            if any(mistold(chosen["network"], role, game) for role in game["roles"].values())
            else []
        ),
        *(["model.name="] if game["given"] else []),  # without its own data
        *(
            ["network.generator:"]
            if told.get("growth") and not (known and known.attributes.get("grows"))
            else []
        ),
        *(
            ["network.generator:"]
            if told["name"].startswith("style") and not chosen["network"].startswith("style")
            else []
        ),
        *(["network="] if images and chosen["data"] == "points" else []),
        *(["network="] if (residual or affine) and model in ("ebgan", "began") else []),
        *(["network"] if (model == "sgan" or vectors) and not perceptron else []),
        *(["network"] if game["needs_features"] and affine else []),
        *(["network="] if model in ("vae", "vae_gan") and residual else []),
        *(["model.share", "network"] if model == "cogan" and (residual or affine) else []),
        *(["model=cogan"] if model == "cogan" else []),  # without its own data
        *(
            ["model.name=", "model=sgan"]
            if game["needs_labels"] and chosen["data"] == "points"
            else []
        ),
        *(
            ["optimizer.players"]
            if set(option("optimizer", chosen["optimizer"])["players"]) - set(game["players"])
            else []
        ),
        *(["model.latent="] if affine and "G" in game["roles"] and not as_wide else []),
        *(["loss="] if game["own_objective"] != (loss == "own") else []),
        *(
            ["regularizer=none"]
            if (loss, regularizer) == ("wasserstein", "none") and not spectral
            else []
        ),
        *(["network.critic_norm=batch"] if penalty and batch_norm else []),
        *(
            ["augmentation="]
            if chosen.get("augmentation") in ("diff_augment", "ada") and chosen["data"] == "points"
            else []
        ),
        *(["augmentation.target="] if chosen.get("augmentation") == "ada" and not middle else []),
        *(["network.encoder="] if encoding and "encoder" not in game["roles"].values() else []),
        *(
            ["augmentation="]
            if chosen.get("augmentation", "none") != "none" and not game["augments"]
            else []
        ),
    ]


def some_slow(rows: list[tuple[str, ...]]) -> list[Any]:
    """All rows; seven in eight of them slow."""
    return [
        pytest.param(row, marks=pytest.mark.slow if i % 8 else [], id=" ".join(row))
        for i, row in enumerate(rows)
    ]


@pytest.mark.parametrize("row", some_slow(pairwise_cover()))
def test_what_composes_builds_or_is_refused_with_a_reason(row: tuple[str, ...]) -> None:
    expected = refusals(row)
    width = () if "network=affine" in row else ("network.width=4",)
    options = ("batch_size=4", *width, "model.warm_up=null", "steps=5", "optimizer.lr=1e-5")
    if expected:
        with pytest.raises(UserError) as refusal:
            make_trainer(*row, *options)
        assert str(refusal.value).startswith(tuple(expected))
        return
    trainer = make_trainer(*row, *options)
    trainer.play_round()
    assert all(term.isfinite() for terms in trainer.terms.values() for term in terms.values())


CORE = {
    "model": ("two_player", "gan", "dcgan", "lsgan", "wgan", "wgan_gp"),
    "loss": ("minimax", "non_saturating", "least_squares", "wasserstein", "hinge"),
    "regularizer": ("none", "gradient_penalty", "gradient_penalty_toy", "weight_clip"),
    "network": ("auto", "mlp", "mlp_gan", "mlp_maxout", "dcgan"),
    "optimizer": ("adam", "adam_wgan_gp", "adam_wgan_gp_small", "rmsprop", "sgd"),
    "data": OFFLINE,
}
"""The options whose full product, 6000 rows, can be built in minutes; that of all options has some
10^5."""


def full_product() -> list[tuple[str, ...]]:
    return list(
        itertools.product(*([f"{group}={name}" for name in names] for group, names in CORE.items()))
    )


def sampled_product(count: int) -> list[tuple[str, ...]]:
    """So many rows of the product of all options, by seed."""
    random = Random(0)
    groups = {group: options(group, variants=True) for group in CORE}
    return [
        tuple(f"{group}={random.choice(names)}" for group, names in groups.items())
        for _ in range(count)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "rows",
    [full_product(), sampled_product(3000)],
    ids=["full product of the core", "sample of all"],
)
def test_products_of_options_build_or_are_refused_with_a_reason(
    rows: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {"built": 0, "refused": 0}
    for row in rows:
        size = "data.size=100" if "data=points" in row else "steps=5"
        try:
            width = () if "network=affine" in row else ("network.width=2",)
            make_trainer(*row, "batch_size=4", *width, size)
            assert not refusals(row), row
            counts["built"] += 1
        except UserError as refusal:
            assert refusals(row) and str(refusal).startswith(tuple(refusals(row))), (row, refusal)
            counts["refused"] += 1
    with capsys.disabled():
        print(f"\n{counts}")
    assert min(counts.values()) > len(rows) / 5


@pytest.mark.parametrize(
    "experiment",
    sorted({path.stem for path in (ROOT / "configs" / "experiment").glob("*.yaml")} - {*PUBLISHED}),
)
def test_every_experiment_composes_and_plays(experiment: str) -> None:
    written = yaml.safe_load((ROOT / "configs" / "experiment" / f"{experiment}.yaml").read_text())
    known = {"pairs": ("data.folder=null", "data.inputs=left", "data.image_size=16")}
    ready = known["pairs"] if "folder" in (written.get("data") or {}) else ()
    config = compose(f"experiment={experiment}", *ready)
    assert config["minutes"] is not None
    known |= {
        "two_domains": ("data.of=digits", "data.domain=edges", "data.image_size=8"),
        **dict.fromkeys((*OFFLINE, "text", "smiles"), ()),
    }
    offline = known.get(config["data"]["name"], ("data=digits", "data.image_size=16"))
    width = () if config["network"]["name"] == "affine" else ("network.width=4",)
    trainer = make_trainer(f"experiment={experiment}", *width, *offline)
    trainer.play_round()


def test_what_only_the_user_knows_is_asked_for() -> None:
    with pytest.raises(Exception, match=r"data.folder: missing; add data.folder=VALUE"):
        compose("experiment=labels_to_photo")


def test_an_average_follows_its_closed_form() -> None:
    """0.9 of itself and 0.1 of what is trained, those of batch norms too; their counts are
    copied."""
    trainer = tiny("dcgan", "digits", "++model.ema=0.9", "++model.ema_ramp=0")
    assert trainer.ema is not None
    generator, averaged = trainer.game.get_submodule("G"), trainer.ema.get_submodule("G")
    expected = {name: value.clone() for name, value in generator.state_dict().items()}
    ema = EMA()
    for _ in range(3):
        trainer.play_round()
        ema.after_round(trainer)
        for name, value in generator.state_dict().items():
            expected[name] = (
                0.9 * expected[name] + 0.1 * value if value.is_floating_point() else value.clone()
            )
    for name, value in averaged.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert trainer.ema.get_submodule("D") is trainer.game.get_submodule("D")
    assert copy.deepcopy(averaged).state_dict().keys() == generator.state_dict().keys()


def test_under_float16_a_penalty_is_computed_in_float32() -> None:
    """To the last bit, that of the same critic in fp32; what is not a penalty is computed in half
    precision."""
    trainer, exact = (
        tiny("wgan_gp", "digits", f"hardware.precision={p}") for p in ("fp16", "fp32")
    )
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    critics = [t.game.get_submodule("D") for t in (trainer, exact)]
    slopes = [input_gradient(critic, x) for critic in critics]
    assert torch.equal(*slopes)
    scores = [critic(x) for critic in critics]
    assert scores[0].dtype == torch.float32 and not torch.equal(*scores)
    torch.testing.assert_close(*scores, rtol=0.01, atol=0.01)


def test_under_float16_losses_are_scaled_and_an_overflow_is_no_step() -> None:
    slow = ("optimizer=sgd", "optimizer.lr=0.01")
    trainer, exact = (
        tiny("gan", "digits", *slow, f"hardware.precision={p}") for p in ("fp16", "fp32")
    )
    rescale(trainer, 1024.0)
    for t in (trainer, exact):
        t.play_round()
    for name, value in exact.game.named_parameters():
        torch.testing.assert_close(trainer.game.get_parameter(name), value, rtol=0.01, atol=2e-4)
    before = parameters(trainer)
    rescale(trainer, 1e38)
    trainer.play_round()
    assert all(torch.equal(value, before[name]) for name, value in trainer.game.named_parameters())
    assert trainer.state_dict()["scalers"]["generator"]["scale"] == pytest.approx(5e37)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_a_first_step_that_overflows_leaves_no_nan(optimizer: str) -> None:
    trainer = tiny(
        "gan", "digits", f"optimizer={optimizer}", "optimizer.lr=1e-4", "hardware.precision=fp16"
    )
    rescale(trainer, 1e38)
    trainer.play_round()
    rescale(trainer, 1024.0)
    for _ in range(3):
        trainer.play_round()
    assert all(value.isfinite().all() for value in trainer.game.parameters())


def rescale(trainer: Trainer, scale: float) -> None:
    """Go on with another scale of the losses."""
    state = trainer.state_dict()
    scalers = {name: {**scaler, "scale": scale} for name, scaler in state["scalers"].items()}
    trainer.load_state_dict({**state, "scalers": scalers})


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_losses_are_float32_in_any_precision(precision: str) -> None:
    trainer = tiny("wgan_gp", "digits", f"hardware.precision={precision}", "++model.ema=0.9")
    trainer.play_round()
    terms = [term for terms in trainer.terms.values() for term in terms.values()]
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms)
    assert all(weight.dtype == torch.float32 for weight in trainer.game.parameters())
    assert sampled(trainer, 3).dtype == torch.float32


@pytest.mark.parametrize("model", mostly_slow(MODELS, *FAMILIES))
def test_every_model_plays_in_half_precision(model: str) -> None:
    """On the CPU, in bfloat16: every term and every score stays float32 and finite."""
    config = compose(*fitting(model, "data=digits"), *TINY, "model.warm_up=null")
    trainer = trainer_of({**config, "hardware": {**config["hardware"], "precision": "bf16"}})
    trainer.game.train()
    trainer.play_round()
    for terms in trainer.terms.values():
        assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())
