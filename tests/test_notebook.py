"""`gan_cli.load` in a notebook: samples, or a sentence that says what is wrong; never samples of
nonsense."""

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import save_run

import gan_cli
from gan_cli.errors import UserError
from gan_cli.sampling import generator as module
from gan_cli.sampling.generator import Generator

MADE = {
    "cgan": ("model=cgan", "data=digits", "network.width=4", "++model.ema=0.5"),
    "points": ("model=gan", "data=points", "network.width=4"),
    # whose spectral norms cannot be pickled
    "sngan": ("model=sngan", "data=digits", "network.width=4"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`run("cgan")`: the folder of a run of one round."""
    folder = tmp_path_factory.mktemp("notebook")
    return lambda name: (
        folder / name if (folder / name).exists() else save_run(folder / name, *MADE[name])
    )


@pytest.fixture(scope="module")
def cgan(run: Callable[[str], Path]) -> Generator:
    return gan_cli.load(run("cgan"))


@pytest.fixture(scope="module")
def points(run: Callable[[str], Path]) -> Generator:
    return gan_cli.load(run("points"))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"n": 2.0}, "n=2.0: expected a whole number"),
    ({"n": "2"}, "n=2: expected a whole number"),
    ({"n": None}, "n=None: expected a whole number"),
    ({"n": True}, "n=True: expected a whole number"),
    ({"n": torch.ones(9, 9)}, r"n=tensor\(\[\[1.*: expected a whole number"),
    ({"n": 0}, "n=0: must be at least 1"),
    (
        {"n": 10**9},
        "n=1000000000: 1000000000 samples need .* GiB of .* GiB of memory; take fewer at a time",
    ),
    ({"n": 10**5000}, "n: expected less than 2"),
    ({"seed": -1}, "seed=-1: must be at least 0"),
    ({"seed": 0.5}, "seed=0.5: expected a whole number"),
    ({"classes": [99]}, r"classes=\[99\]: expected all, or some of 0 to 9"),
    ({"classes": [-1]}, r"classes=\[-1\]: expected all, or some of 0 to 9"),
    ({"classes": 10}, "classes=10: expected all"),
    ({"classes": [1.0]}, r"classes=\[1.0\]: expected all"),
    ({"classes": [True]}, r"classes=\[True\]: expected all"),
    ({"classes": "cat"}, "classes=cat: expected all"),
    ({"classes": [[1]]}, r"classes=\[\[1\]\]: expected all"),
    ({"classes": object()}, "classes=<object .*: expected all"),
]


@pytest.mark.parametrize(("given", "said"), WRONG, ids=[said[:20] for _, said in WRONG])
def test_what_cannot_be_sampled_is_a_sentence(
    cgan: Generator, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as raised:
        cgan.sample(**{"n": 2, **given})
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


def test_a_model_without_classes_has_none_to_ask_for(points: Generator) -> None:
    for typed in ([0], "all", 3, np.array([1])):
        with pytest.raises(
            UserError,
            match=r"^classes=.*: the checkpoint's model is not "
            r"conditional; leave classes",
        ):
            points.sample(3, classes=typed)
    for nothing in ((), [], None):
        assert torch.equal(points.sample(3, classes=nothing), points.sample(3))


def test_numbers_and_classes_of_any_kind_are_taken(cgan: Generator) -> None:
    usual = cgan.sample(4, seed=3, classes=[2, 5])
    assert torch.equal(cgan.sample(np.int64(4), seed=torch.tensor(3), classes=[2, 5]), usual)  # type: ignore[arg-type]
    for classes in ((2, 5), np.array([2, 5]), torch.tensor([2, 5]), ["2", "5"], [np.int8(2), "5"]):
        assert torch.equal(cgan.sample(4, seed=3, classes=classes), usual)
    assert torch.equal(cgan.sample(20, classes="all"), cgan.sample(20, classes=range(10)))
    assert torch.equal(cgan.sample(2, classes=7), cgan.sample(2, classes=[7]))
    assert torch.equal(
        cgan.sample(4, seed=3, classes=[2, 5])[2], cgan.sample(1, seed=4, classes=[2])[0]
    )


@pytest.mark.parametrize(
    ("names", "typed", "labels"),
    [
        (("cat", "dog"), "dog", [1]),
        (("cat", "dog"), ["dog", "cat"], [1, 0]),
        (("cat", "dog"), ["1", 0], [1, 0]),
        (("cat", "dog"), "all", [0, 1]),
        (("cat", "dog"), "dot", "expected all, or some of cat, dog (did you mean dog?)"),
        (("cat", "dog"), 2, "expected all, or some of cat, dog (classes have the numbers 0 to 1)"),
        (("1", "2"), "1", [0]),  # the folder called 1
        (("1", "2"), 1, [1]),  # the class of that number
        (("1", "2"), "0", "expected all, or some of 1, 2"),  # not the folder called 1
        (("0", "1"), "1", [1]),
    ],
)
def test_classes_go_by_their_names(
    cgan: Generator,
    names: tuple[str, ...],
    typed: Any,
    labels: list[int] | str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cgan, "spec", SimpleNamespace(**{**vars(cgan.spec), "names": names}))
    monkeypatch.setattr(cgan.game, "classes", len(names))
    if isinstance(labels, list):
        assert cgan.classes(typed) == labels
        return
    with pytest.raises(UserError) as raised:
        cgan.classes(typed)
    assert labels in str(raised.value)


def test_it_tells_what_it_is_in_a_line(cgan: Generator, points: Generator) -> None:
    assert repr(points) == (
        "<Generator of points 2: model=two_player, data=points, step 1, raw weights of "
        f"{points.path}>"
    )
    assert repr(cgan).startswith(
        "<Generator of image 1x8x8 of 10 classes: model=conditional, data=digits, step 1, ema "
    )


@pytest.mark.parametrize("name", MADE)
def test_copies_and_pickles_make_the_same_samples(run: Callable[[str], Path], name: str) -> None:
    generator = gan_cli.load(str(run(name)))
    samples = generator.sample(5)
    for other in (
        pickle.loads(pickle.dumps(generator)),
        copy.deepcopy(generator),
        copy.copy(generator),
    ):
        assert torch.equal(other.sample(5), samples) and repr(other) == repr(generator)
        assert (
            not any(weight.requires_grad for weight in other.game.parameters())
            and not other.game.training
        )


def test_threads_make_the_samples_that_one_makes(cgan: Generator) -> None:
    made: dict[int, torch.Tensor] = {}
    threads = [
        threading.Thread(target=lambda s=s: made.update({s: cgan.sample(20, seed=s)}))
        for s in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(6))
    assert all(torch.equal(samples, cgan.sample(20, seed=seed)) for seed, samples in made.items())
    assert not cgan.sample(1).requires_grad


def test_rows_and_weights_that_do_not_fit_are_said(
    cgan: Generator, run: Callable[[str], Path]
) -> None:
    width = cgan.drawn([0]).shape[1]
    for latents in (
        torch.randn(2, width - 1),
        torch.randn(width),
        [[0.0] * width],
        torch.randn(0, width),
    ):
        with pytest.raises(UserError, match=rf"latents: expected rows of {width} numbers"):
            cgan.render(latents)  # type: ignore[arg-type]
    with pytest.raises(
        UserError, match="labels: 2 of them for 3 seeds; give one for each, or none"
    ):
        cgan.drawn([1, 2, 3], [1, 2])
    for weights in ("emma", None, ["ema"], 3):
        with pytest.raises(UserError, match=r"^weights=.*: expected one of auto, ema, raw"):
            gan_cli.load(run("points"), weights)  # type: ignore[arg-type]


def test_what_is_no_number_is_never_a_sample(run: Callable[[str], Path]) -> None:
    generator = gan_cli.load(run("points"))
    torch.nn.init.constant_(next(generator.game.get_submodule("G").parameters()), float("nan"))
    with pytest.raises(
        UserError, match="its samples at step 1 are not finite numbers; take an earlier checkpoint"
    ):
        generator.sample(1)


def test_the_memory_that_counts_is_this_machines(
    points: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "memory", lambda: 10**5)
    assert len(points.sample(50)) == 50
    with pytest.raises(UserError, match="n=100: 100 samples need"):
        points.sample(100)
