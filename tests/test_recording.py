"""Turns recorded as CUDA graphs, without a GPU: a recorder on the CPU that keeps what a graph keeps
and no more.

A CUDA graph replays operations on the memory they were recorded with, and forgets all that Python
did between them. So does this one: a number that a turn takes from the host, a buffer that is
replaced instead of filled, a term that lies elsewhere the next time make a replayed turn differ
from the written one here as they would there.
"""

import importlib
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import FAMILIES, MODELS, TINY, fitting, make_trainer, mostly_slow
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gan_cli.training import cuda_graphs as capture
from gan_cli.training.trainer import Trainer

Operation = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]


class _Graph(TorchDispatchMode):
    """Records every operation with the tensors it read and wrote, and plays them back on these."""

    FORBIDDEN = (
        "_local_scalar_dense",
        "is_nonzero",
        "equal",
        "nonzero",
        "masked_select",
        "_unique2",
        "lift_fresh",
    )
    """What a GPU refuses while it records: to tell the host a number, and to be given one
    (`torch.tensor`)."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.replays = 0
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.own: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket.__name__ in self.FORBIDDEN and not _inside_an_optimizer():
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        given = _tensors((args, kwargs))
        for x in given:  # whatever their schemas say: batch norm writes its means without a word
            if _memory(x) not in self.own:
                self.before.setdefault(_memory(x), (x, _whole(x).clone()))
        result = func(*args, **(kwargs or {}))
        self.own |= {_memory(x) for x in _tensors(result)} - {_memory(x) for x in given}
        self.operations.append((func, args, kwargs or {}, result))
        return result

    def restore(self) -> None:
        """A recording computes nothing: put back what was written meanwhile."""
        for x, whole in self.before.values():
            _whole(x).copy_(whole)

    @torch.no_grad()
    def replay(self) -> None:
        """The operations again, each on the memory it was recorded with."""
        self.replays += 1
        for func, args, kwargs, result in self.operations:
            given = {_memory(x) for x in _tensors((args, kwargs))}
            again = func(*args, **kwargs)
            for kept, new in zip(_tensors(result), _tensors(again), strict=True):
                if _memory(kept) not in given:  # else it was written in place, or is a view
                    kept.copy_(new)


def _inside_an_optimizer() -> bool:
    """There the constant 1 is made a tensor, on a CPU only."""
    return any("torch/optim/" in frame.filename for frame in traceback.extract_stack())


def _tensors(nested: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(nested) if isinstance(leaf, Tensor)]


def _memory(x: Tensor) -> int:
    return x.untyped_storage()._cdata


def _whole(x: Tensor) -> Tensor:
    """All that lies in the memory of a tensor, which may be a view of it."""
    return torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())


@contextmanager
def _recording(graph: _Graph, pool: object, stream: object) -> Iterator[None]:
    with graph:
        yield
    with torch.no_grad():
        graph.restore()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> list[_Graph]:
    """torch.cuda as far as `capture` uses it, on the CPU; the graphs that are made."""
    graphs: list[_Graph] = []

    def made() -> _Graph:
        graphs.append(_Graph())
        return graphs[-1]

    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, value in {
        "CUDAGraph": made,
        "graph": _recording,
        "graph_pool_handle": object,
        "Stream": lambda device: stream,
        "current_stream": lambda device: stream,
        "stream": lambda stream: nullcontext(),
        "synchronize": lambda device: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    for optimizer in ("adam", "rmsprop"):
        module = importlib.import_module(f"torch.optim.{optimizer}")
        monkeypatch.setattr(module, "_get_capturable_supported_devices", lambda *a, **k: ["cpu"])
    return graphs


@pytest.mark.parametrize("model", mostly_slow(MODELS, *FAMILIES))
def test_a_recorded_turn_is_the_written_one(
    model: str, recorder: list[_Graph], caplog: pytest.LogCaptureFixture
) -> None:
    written, recorded = _pair(*fitting(model, "data=digits"), "model.warm_up=null")
    if not recorded.game.capturable:
        pytest.skip("its turns branch on the host")
    with caplog.at_level(logging.WARNING):
        _play(6, written, recorded)
    assert not caplog.records
    assert len(recorder) == len(recorded.game.players) and all(graph.replays for graph in recorder)
    _same(written, recorded)


@pytest.mark.parametrize(
    "options",
    [
        ("model=wgan_gp", "schedule=linear", "schedule.total=8"),
        ("model=wgan", "model.warm_up=null", "schedule=linear", "schedule.total=8"),
        ("model=wgan_gp", "regularizer.every=3"),
        ("model=wgan", "model.warm_up={discriminator: {repeat: 3, rounds: 2, every: 4}}"),
        ("model=gan", "augmentation=diff_augment"),
        ("model=gan", "augmentation=instance_noise", "augmentation.total=6"),
        ("model=wgan_gp", "model.fresh_batch=round"),
    ],
)
def test_what_changes_from_turn_to_turn_reaches_a_recorded_one(
    options: tuple[str, ...], recorder: list[_Graph], caplog: pytest.LogCaptureFixture
) -> None:
    written, recorded = _pair("data=digits", *options)
    with caplog.at_level(logging.WARNING):
        _play(8, written, recorded)
    assert recorder and not caplog.records
    _same(written, recorded)


def test_a_number_that_the_host_holds_would_be_noticed(recorder: list[_Graph]) -> None:
    written, recorded = _pair("model=wgan_gp", "data=points")
    for trainer in (written, recorded):
        plain, rising = trainer.game.loss.generator, iter(range(1, 100))
        trainer.game.loss.generator = lambda *at, plain=plain, rising=rising: (
            next(rising) * plain(*at)
        )
    _play(6, written, recorded)
    with pytest.raises(AssertionError):
        _same(written, recorded)


def test_a_turn_that_asks_the_host_is_played_as_written(
    recorder: list[_Graph], caplog: pytest.LogCaptureFixture
) -> None:
    written, recorded = _pair("model=wgan_gp", "data=points")
    for trainer in (written, recorded):
        plain = trainer.game.loss.generator
        trainer.game.loss.generator = lambda *at, plain=plain: (
            plain(*at) * (2.0 if at[0].sum() > 0 else 1.0)
        )
    with caplog.at_level(logging.WARNING):
        _play(6, written, recorded)
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        "hardware.cuda_graph: turns of the generator are played as written"
    ]
    _same(written, recorded)


def _pair(*options: str) -> tuple[Trainer, Trainer]:
    """The same trainer twice: one plays as is written, the other what it records."""
    written, recorded = (make_trainer(*options, *TINY) for _ in range(2))
    capture.keep_on_device(written)  # else its rates would be of another precision
    recorded.turn_fn = capture.Recorded(recorded)
    return written, recorded


def _play(rounds: int, *trainers: Trainer) -> None:
    for _ in range(rounds):
        for trainer in trainers:
            trainer.play_round()


def _same(written: Trainer, recorded: Trainer) -> None:
    for (name, a), b in zip(
        written.game.state_dict().items(), recorded.game.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)
    for player, terms in written.terms.items():
        for name, term in terms.items():
            torch.testing.assert_close(
                term, recorded.terms[player][name], rtol=1e-4, atol=1e-5, msg=f"{player}/{name}"
            )
