"""What makes a turn fast, and that it changes nothing: no waiting, no zeros, compiled and recorded
turns, gan-bench."""

import json
import logging
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MODELS, TINY, Command, compose, fitting, make_trainer, tiny
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gan_cli import registry
from gan_cli.benchmarks import loops, speed
from gan_cli.commands import bench
from gan_cli.config.identity import differences, fingerprint
from gan_cli.devices import hardware
from gan_cli.devices.process import keep_memory
from gan_cli.errors import UserError
from gan_cli.networks import dcgan, layers, mlp, resnet
from gan_cli.regularizers import GradientPenalty, _sum_of_scores
from gan_cli.training import build, compiled
from gan_cli.training import cuda_graphs as capture
from gan_cli.training.trainer import Trainer

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


# --- no turn waits for the device -----------------------------------------------------------------


class Waits(TorchDispatchMode):
    """Refuses operations whose result, or its shape, the host must read: a turn waits for no
    device. tests/test_zoo.py plays every model under it."""

    WAITING = (
        "_local_scalar_dense",
        "item",
        "is_nonzero",
        "equal",
        "nonzero",
        "masked_select",
        "unique",
        "_unique2",
    )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func._overloadpacket.__name__ not in self.WAITING, f"a turn waits for {func}"
        return func(*args, **(kwargs or {}))


def test_a_turn_that_waits_is_found() -> None:
    trainer = tiny("gan", "points")
    forward = trainer.terms_fn
    trainer.terms_fn = lambda turn, batch: {
        k: v + float(v) for k, v in forward(turn, batch).items()
    }
    with Waits(), pytest.raises(AssertionError, match="a turn waits for"):
        trainer.play_round()


@needs_gpu
@pytest.mark.parametrize("model", MODELS)
def test_no_turn_waits_for_the_gpu(model: str) -> None:
    trainer = on_the_gpu(model, "hardware.cuda_graph=false")
    trainer.play_round()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for turn in trainer.game.turns(1):
            trainer.take_turn(turn, trainer._rows)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# --- second derivatives without zeros -------------------------------------------------------------


class _OnZeros(TorchDispatchMode):
    """Counts products and convolutions in which a whole operand is zero."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket in speed.flop_registry:
            # biases begin as zeros
            operands = [x for x in args if isinstance(x, Tensor) and x.dim() > 1]
            self.count += any(not x.any() for x in operands)
        return func(*args, **(kwargs or {}))


CRITICS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: mlp.Discriminator((1, 16, 16), width=[16, 8]),
    "mlp leaky": lambda: mlp.Discriminator((1, 16, 16), width=8, activation="leaky_relu"),
    "mlp softplus": lambda: mlp.Discriminator((1, 16, 16), width=8, activation="softplus"),
    "dcgan": lambda: dcgan.Discriminator((1, 16, 16), width=4, critic_norm="none"),
    "dcgan layer norm": lambda: dcgan.Discriminator((1, 16, 16), width=4, critic_norm="layer"),
    "resnet": lambda: resnet.Discriminator((1, 16, 16), width=4),
    "resnet spectral": lambda: resnet.Discriminator((1, 16, 16), width=4, critic_norm="spectral"),
}


def penalised(D: nn.Module, kinked: bool, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The penalty, and its gradient with respect to the weights, with our second derivatives or
    with torch's."""
    torch.manual_seed(1)
    x, x_fake = torch.randn(2, 5, 1, 16, 16)
    D.zero_grad()
    state = {name: value.clone() for name, value in D.state_dict().items()}
    with monkeypatch.context() as patch:
        if not kinked:
            patch.setattr("gan_cli.regularizers._sum_of_scores", lambda D, x: D(x).sum())
        loss = GradientPenalty()(D, x, x_fake)["penalty"] + D(x).mean()
    loss.backward()
    D.load_state_dict(state)  # spectral norm has moved its vectors
    return [
        loss.detach(),
        *(weight.grad.clone() for weight in D.parameters() if weight.grad is not None),
    ]


@pytest.mark.parametrize("critic", CRITICS)
def test_second_derivatives_are_the_same_bits(critic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    D = CRITICS[critic]()
    ours, torchs = (penalised(D, kinked, monkeypatch) for kinked in (True, False))
    assert len(ours) == len(torchs) > 2
    assert all(torch.equal(a, b) for a, b in zip(ours, torchs, strict=True))


@pytest.mark.parametrize("critic", ["mlp", "mlp leaky", "dcgan", "resnet", "resnet spectral"])
def test_nothing_is_multiplied_by_zeros(critic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    D = CRITICS[critic]()
    counted = []
    for kinked in (True, False):
        with _OnZeros() as zeros:
            penalised(D, kinked, monkeypatch)
        counted.append(zeros.count)
    assert counted[0] == 0 < counted[1]


def test_a_kink_keeps_its_slope() -> None:
    """ReLU and leaky ReLU under the penalty are what they are, at the kink too."""
    x = torch.tensor([[-2.0, -0.0, 0.0, 3.0]], requires_grad=True)
    for module in (nn.ReLU(), nn.LeakyReLU(0.2), nn.LeakyReLU()):
        for D in (
            module,
            lambda x, module=module: torch.relu(module(x)) + nn.functional.leaky_relu(x, 0.3),
        ):
            (ours,) = torch.autograd.grad(_sum_of_scores(D, x), x)
            (torchs,) = torch.autograd.grad(D(x).sum(), x)
            assert torch.equal(ours, torchs)


# --- compiled turns -------------------------------------------------------------------------------

REGULARIZERS = sorted(path.stem for path in Path("configs/regularizer").glob("*.yaml"))


def compared(caplog: pytest.LogCaptureFixture, *overrides: str) -> dict[str, float]:
    """For each player of a game, how far the compiled turn is from the written one."""
    trainer = make_trainer(*overrides, "hardware.compile=true")
    apart: dict[str, float] = {}
    assert isinstance(trainer.terms_fn, compiled.Compiled)
    measure = trainer.terms_fn._apart

    def watched(written: Any, other: Any, turn: Any, batch: Any) -> float:
        apart[turn.player.name] = measure(written, other, turn, batch)
        return apart[turn.player.name]

    trainer.terms_fn._apart = watched  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING):
        trainer.play_round()
    return apart


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Our own warnings of turns that are not compiled."""
    return [record.getMessage() for record in caplog.records if record.name == compiled.__name__]


@pytest.mark.slow
def test_a_compiled_turn_is_the_written_one(caplog: pytest.LogCaptureFixture) -> None:
    apart = compared(caplog, "model=wgan_gp", "data=points", *TINY)
    assert set(apart) == {"discriminator", "generator"} and max(apart.values()) < 1e-5
    assert not said(caplog)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_compiles_to_what_is_written_or_is_played_so(
    model: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch._dynamo.reset()
    apart = compared(caplog, *fitting(model, "data=digits"), *TINY, "model.warm_up=null")
    print(model, apart, said(caplog))
    assert all(value < 1e-5 for value in apart.values()) or said(caplog)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("regularizer", REGULARIZERS)
@pytest.mark.parametrize("network", ["mlp", "dcgan", "resnet"])
def test_every_regularizer_compiles(
    regularizer: str, network: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch._dynamo.reset()
    options = ("data=digits", "data.image_size=16", "model.critic_norm=layer", f"network={network}")
    apart = compared(caplog, "model=two_player", f"regularizer={regularizer}", *options, *TINY)
    print(regularizer, network, apart, said(caplog))
    assert apart["discriminator"] < 1e-5 and not said(caplog)


@pytest.mark.parametrize("wrong", [lambda terms: {k: 1.01 * v for k, v in terms.items()}, None])
def test_what_compiles_wrongly_or_not_at_all_is_played_as_written(
    wrong: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(play: compiled.Play) -> compiled.Play:
        if wrong is None:
            raise RuntimeError("no compiler here\nand much more")
        return lambda turn, batch: wrong(play(turn, batch))

    monkeypatch.setattr(compiled, "_compiled", spoiled)
    trainer, plain = (
        make_trainer("model=gan", "data=points", *TINY, f"hardware.compile={c}")
        for c in (True, False)
    )
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            trainer.play_round()
            plain.play_round()
    assert all(
        torch.equal(a, b)
        for a, b in zip(trainer.game.parameters(), plain.game.parameters(), strict=True)
    )
    reason = "no compiler here" if wrong is None else "of their length off"
    assert [reason in sentence for sentence in said(caplog)] == [True, True]


# --- recorded turns -------------------------------------------------------------------------------


def on_the_gpu(model: str, *more: str) -> Trainer:
    config = compose(
        *fitting(model, "data=digits"), *TINY, "model.warm_up=null", "hardware=gpu", *more
    )
    device = hardware.choose_device(config["hardware"])
    dataset = registry.datasets.build(config["data"], "data").to(device)
    build.keep_few_labels(dataset, config)
    return build.build_trainer(config, dataset, device)


@pytest.fixture
def exact() -> Iterator[None]:
    """A bias below a batch norm has a gradient of rounding alone, which Adam makes a whole step:
    bits must be kept."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@needs_gpu
@pytest.mark.parametrize("model", MODELS)
def test_a_recorded_turn_is_the_written_one(
    model: str, exact: None, caplog: pytest.LogCaptureFixture
) -> None:
    written, recorded = (
        on_the_gpu(model, f"hardware.cuda_graph={graph}") for graph in ("false", "auto")
    )
    capture.keep_on_device(written)
    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            written.play_round()
            recorded.play_round()
    for (name, a), b in zip(
        written.game.state_dict().items(), recorded.game.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)
    assert not caplog.records


@needs_gpu
def test_a_recorded_learning_rate_follows_its_schedule(exact: None) -> None:
    options = ("schedule=linear", "schedule.total=8")
    written, recorded = (
        on_the_gpu("gan", f"hardware.cuda_graph={graph}", *options) for graph in ("false", "true")
    )
    capture.keep_on_device(written)
    for _ in range(8):
        written.play_round()
        recorded.play_round()
    for a, b in zip(written.game.parameters(), recorded.game.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@needs_gpu
def test_a_deterministic_run_on_a_gpu_gives_the_same_bits() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        one, two = (on_the_gpu("wgan_gp", "hardware.cuda_graph=false") for _ in range(2))
        for _ in range(20):
            one.play_round()
            two.play_round()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(
        torch.equal(a, b) for a, b in zip(one.game.parameters(), two.game.parameters(), strict=True)
    )


def test_without_a_gpu_nothing_is_recorded() -> None:
    trainer = tiny("gan", "points", "hardware=cpu")
    assert trainer.hardware["cuda_graph"] is False and not trainer.choices
    assert "needs a CUDA device, not cpu" in capture.obstacle(trainer)
    with pytest.raises(
        UserError,
        match=r"hardware.cuda_graph=true: a graph needs a CUDA device, "
        r"not cpu",
    ):
        tiny("gan", "points", "hardware=cpu", "hardware.cuda_graph=true")
    with pytest.raises(UserError, match=r"hardware.cuda_graph=maybe: expected true, false or auto"):
        compose("hardware.cuda_graph=maybe")


# --- memory that stays with the process -----------------------------------------------------------


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only the GNU C library can be told to keep memory"
)
def test_what_a_turn_frees_serves_the_next() -> None:
    code = """
import resource, torch
from gan_cli.devices.process import keep_memory
keep_memory()
for i in range(8):
    began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt if i == 4 else i and began
    pieces = [torch.empty(2**22).fill_(0) for _ in range(8)]  # of 16 MiB
    del pieces
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - began)
"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    # pages that the system had to hand out; as is usual 131,072, or a few by luck
    assert int(told.stdout) < 1000


def test_where_the_library_cannot_be_told_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    keep_memory()


# --- what `auto` chooses --------------------------------------------------------------------------


def test_auto_takes_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    auto = compose("hardware=auto")["hardware"]
    on_cpu, said = hardware.resolve_auto(auto, CPU)
    assert (on_cpu["precision"], on_cpu["channels_last"], said) == ("fp32", False, [])
    half, said = hardware.resolve_auto(auto | {"precision": "bf16"}, CPU)
    assert half["channels_last"] is True and "channels_last" in said[0]
    gpu = torch.device("cuda", 0)
    for capability, precision in (((8, 0), "tf32"), ((7, 5), "fp32")):
        monkeypatch.setattr(
            "torch.cuda.get_device_capability", lambda device, capability=capability: capability
        )
        assert hardware.resolve_auto(auto, gpu)[0]["precision"] == precision
    with pytest.raises(UserError, match=r"hardware.precision=tf32: needs an NVIDIA GPU"):
        hardware.resolve_auto(auto | {"precision": "tf32"}, CPU)


def test_a_run_is_found_again_whatever_multiplies_its_float32() -> None:
    auto, plain, half = (
        compose(f"hardware.precision={precision}") for precision in ("auto", "fp32", "bf16")
    )
    assert fingerprint(auto) == fingerprint(plain) != fingerprint(half)
    assert differences(auto, plain) == [] and differences(plain, half) == [
        "hardware.precision: fp32 -> bf16"
    ]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_channels_last_is_another_layout_of_the_same(precision: str) -> None:
    options = (
        "model=dcgan",
        "data=digits",
        "data.image_size=16",
        *TINY,
        f"hardware.precision={precision}",
    )
    plain, last = (
        make_trainer(*options, f"hardware.channels_last={value}") for value in (False, True)
    )
    weight = next(w for w in last.game.G.parameters() if w.dim() == 4)  # type: ignore[union-attr]
    assert weight.is_contiguous(memory_format=torch.channels_last)
    for trainer in (plain, last):
        trainer.play_round()
    torch.testing.assert_close(
        plain.terms, last.terms, rtol=2e-2 if precision == "bf16" else 1e-4, atol=1e-3
    )


# --- the hand-written loops -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bare", "naive"])
@pytest.mark.parametrize(
    "options", [("model=wgan_gp",), ("model=dcgan",), ("model=two_player", "loss=rpgan")]
)
def test_the_hand_written_loops_play_the_same_game(kind: str, options: tuple[str, ...]) -> None:
    """From the same noise and batch, their steps move the weights as the trainer's turns do."""
    # Adam's first step is a sign: rounding turns it
    overrides = (*options, "data=digits", *TINY, "optimizer=sgd")
    config, trainer = compose(*overrides), make_trainer(*overrides)
    dataset = registry.datasets.build(config["data"], "data")
    loop: Any = bench._loop(kind, config, dataset, CPU)
    rows = torch.arange(config["batch_size"])
    loop.batch = lambda: trainer.batches.gather(rows)["x"]
    loop.batches = iter(loop.batch, None)
    loop.critic_turns = 1
    seeds = iter([1, 2])
    trainer.seed_turn = lambda turn, shard=0: torch.manual_seed(next(seeds))  # type: ignore[method-assign,assignment]
    for turn in (trainer.game.turns(0)[0], trainer.game.turns(0)[-1]):
        trainer.take_turn(turn, rows)
    draws = iter([1, 2])
    noise = loop.noise
    loop.noise = lambda: (torch.manual_seed(next(draws)), noise())[1]
    loop.play(1)
    for ours, theirs in zip(
        trainer.game.parameters(), [*loop.G.parameters(), *loop.D.parameters()], strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_usual_loop_transforms_sample_by_sample() -> None:
    config = compose("data=digits", *TINY)
    dataset = registry.datasets.build(config["data"], "data")
    loop: Any = bench._loop("naive", config, dataset, CPU)
    assert isinstance(loop, loops.Naive)
    batch = next(loop.batches)
    train = dataset.decode(dataset.train)["x"]
    assert all((sample - train).flatten(1).abs().amax(dim=1).min() < 1e-6 for sample in batch)


# --- gan-bench ------------------------------------------------------------------------------------


def test_gan_bench_measures_a_configuration(command: Command) -> None:
    quick = (
        "bench.heats=2",
        "bench.seconds=0.02",
        "bench.start=false",
        "bench.memory=false",
        "bench.output=b.json",
    )
    code, printed = command("gan-bench", "data=points", *TINY, *quick)
    assert code == 0, printed
    told = json.loads(Path("b.json").read_text(encoding="utf-8"))
    assert set(told["round_ms"]) == {"gan-train", "bare", "naive", "hooks"}
    assert set(told["turn_ms"]["discriminator"]) == set(speed.PARTS)
    assert (
        told["turn_ms"]["discriminator"]["backward"] > 0 == told["turn_ms"]["generator"]["reduce"]
    )
    assert (
        told["floor"]["gigaflop"] > 0
        and told["overhead"]["bare"]["least"] <= told["overhead"]["bare"]["median"]
    )
    assert "gain over naive" in printed and not list(Path().glob("outputs"))


def test_gan_bench_measures_games_that_have_no_hand_written_loop(command: Command) -> None:
    quick = ("bench.heats=1", "bench.seconds=0.02", "bench.start=false", "bench.memory=false")
    code, printed = command("gan-bench", "model=infogan", "data=digits", *TINY, *quick)
    assert code == 0 and "model=infogan: there is no hand-written loop for this game" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bench.against=[nobody]"], "no such contestant as nobody"),
        (["bench.heats=0"], "heats=0: must be at least 1"),
        (["bench.processes=[two]"], "two is no number of processes"),
        (["model=nothing"], "model=nothing: no such option"),
    ],
)
def test_a_mistake_of_gan_bench_is_one_sentence(
    command: Command, arguments: list[str], said: str
) -> None:
    code, printed = command("gan-bench", *arguments)
    assert code == 2 and said in printed and len(printed.strip().splitlines()) == 1


def test_a_race_compares_within_its_heats(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])

    def player(seconds: float) -> speed.Play:
        def play(rounds: int) -> None:
            clock[0] += rounds * seconds

        return play

    race = speed.Race({"ours": player(0.1), "other": player(0.3)}, CPU).run(3)
    assert race.ratio("other", "ours") == pytest.approx({"median": 3, "least": 3, "most": 3})
    assert race.rounds("ours") == 10 and race.seconds_a_round("other") == pytest.approx(0.3)


def test_replaced_attributes_are_restored() -> None:
    class Base:
        value = 1

    class Derived(Base):
        other = 2

    instance = Derived()
    with speed.replaced(instance, value=3), speed.replaced(Derived, value=4, other=5):
        assert (instance.value, Derived.value, Derived.other) == (3, 4, 5)
    assert (instance.value, Derived.other) == (1, 2)
    assert not vars(instance) and "value" not in vars(Derived)


def test_the_floor_counts_the_arithmetic_of_a_round() -> None:
    """One linear map of 8 numbers to one: forward, and back to its weights."""
    sizes = ("batch_size=4", "network.width=3", "network.depth=1", "model.latent=5")
    trainer = make_trainer("model=gan", "data=points", *sizes)
    told = speed.floor(trainer, CPU, torch.float32)
    G, D = 2 * 4 * (5 * 3 + 3 * 2), 2 * 4 * (2 * 3 + 3 * 1)  # a forward of 4 samples
    inward = 2 * 4 * (3 * 1 + 2 * 3)  # the gradient on its way to the input of D
    to_weights = 2 * 4 * (3 * 1) * 2
    # fakes; both forward; both weights' gradients; between the layers
    critic = G + 2 * D + 2 * D + to_weights
    generator = G + D + inward + G + 2 * 4 * (3 * 2)
    assert told["gigaflop"] * 1e9 == pytest.approx(critic + generator)


@pytest.mark.parametrize("reduce", ["fp32", "bf16"])
def test_gradients_travel_rounded_if_they_are_told_to(
    reduce: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gan_cli.devices.processes import World
    from gan_cli.training.shards import Shards

    sent: list[torch.dtype] = []
    monkeypatch.setattr(
        World, "sum", lambda self, values: (sent.append(values.dtype), 2 * values)[1]
    )
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    shards = Shards(2, World(0, 2), reduce)
    norm = nn.BatchNorm1d(1)

    def part(shard: int) -> dict[str, Tensor]:
        loss = (weight * torch.tensor([1.001, 3.0])).sum()
        loss.backward()
        return {"loss": loss.detach()}

    terms = shards.play(norm, [weight], part)
    assert sent == ([torch.float32] if reduce == "fp32" else [torch.bfloat16, torch.float32])
    assert terms["loss"] == torch.tensor(7.001)
    assert weight.grad is not None
    torch.testing.assert_close(
        weight.grad, torch.tensor([1.001, 3.0]), rtol=0 if reduce == "fp32" else 1e-2, atol=0
    )


def test_widths_may_be_a_list_and_a_wrong_one_is_named() -> None:
    trainer = make_trainer("model=wgan_gp", "network=mlp_tapered", "data=digits")
    widths = [
        layer.out_features for layer in trainer.game.D.modules() if isinstance(layer, nn.Linear)
    ]  # type: ignore[union-attr]
    assert widths == [512, 256, 1]
    with pytest.raises(
        UserError,
        match=r"network.width.0=0: input should be greater than or "
        r"equal to 1",
    ):
        compose("network=mlp", "network.width=[0,2]")
    with pytest.raises(UserError, match=r"network.width=\[\]"):
        compose("network=mlp", "network.width=[]")
    assert layers.feature_size(trainer.game.D) == 256  # type: ignore[arg-type]
