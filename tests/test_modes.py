"""What all modes of `gan-sample` keep to: old file or new one, keys that are read or refused, names
by seed."""

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, save_run
from PIL import Image

import gan_cli
from gan_cli import pictures
from gan_cli.errors import UserError
from gan_cli.sampling.generator import Generator
from gan_cli.sampling.options import (
    DRAWN,
    ONE_BY_ONE,
    READ_BY,
    Mode,
    SampleConfig,
    Size,
    refuse_unread,
)  # fmt: skip
from gan_cli.sampling.output import SUFFIXES

MADE = {
    "image": ("model=aae", "data=digits", "network.width=4"),
    "points": ("model=gan", "data=points", "network.width=4"),
    "text": (
        "model=wgan_gp_text",
        "data=text",
        "data.length=8",
        "network.width=4",
        "network.blocks=1",
        "model.repeat.discriminator=1",
    ),
    "cgan": ("model=cgan", "data=digits", "network.width=4"),
    "pairs": (
        "model=pix2pix",
        "data.of=digits",
        "network.width=4",
        "network.discriminator.width=4",
        "batch_size=6",
    ),
}
NEEDS = {
    Mode.traverse: ("dimension=0",), Mode.interpolate: ("steps=3",),
    Mode.compare: ("input=heldout",), Mode.project: ("iterations=2", "features=none"),
}  # fmt: skip
"""What a mode cannot do without, or makes too much of."""
RUNS = {"points": "points", "csv": "points", "text": "text", "compare": "pairs"}
"""What a mode is for; images if it is not here."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`made("image")`: the folder of a run of two rounds."""
    folder = tmp_path_factory.mktemp("modes")
    return lambda name: (
        folder / name
        if (folder / name).exists()
        else save_run(folder / name, *MADE[name], rounds=2)
    )


def line(mode: Mode, made: Callable[[str], Path]) -> list[str]:
    """A command of that mode."""
    run = made(RUNS.get(mode.value, "image"))
    suffix = SUFFIXES.get(mode, (".png",))[0]
    return [str(run), f"mode={mode.value}", *NEEDS.get(mode, ()), f"output=made/out{suffix}"]


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may hold more than a few bytes."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
def test_a_full_disk_leaves_the_old_file(
    mode: Mode, made: Callable[[str], Path], command: Command
) -> None:
    code, printed = command("gan-sample", *line(mode, made), "n=3")
    assert code == 0, printed
    before = contents(Path("made"))
    with full_disk():
        code, printed = command("gan-sample", *line(mode, made), "n=2")
    assert code == 2 and len(printed.splitlines()) == 1
    assert (
        printed.startswith("gan-sample: made/out")
        and "File too large" in printed
        and ".part" not in printed
    )
    assert before and contents(Path("made")) == before


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
def test_a_place_that_cannot_be_written_is_said_before_anything_is_rendered(
    mode: Mode, made: Callable[[str], Path], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    *typed, _ = line(mode, made)
    monkeypatch.setattr(Generator, "__init__", lambda *_: pytest.fail("loads the checkpoint"))
    suffix = SUFFIXES.get(mode, (".png",))[0]
    Path("file").write_text("what was there")
    os.mkfifo(f"pipe{suffix}")
    odd = [
        (f"file/a{suffix}", "file is a file, not a folder"),
        (f"pipe{suffix}", "of that name is there"),
        ("", "folder" if not suffix else "file; name one"),
    ]
    if not suffix:
        odd += [
            ("a.png", f"mode={mode.value} writes a folder of pictures"),
            ("file", "a file of that name is there"),
        ]
    else:
        Path(f"folder{suffix}").mkdir()
        odd += [
            ("a.doc", f"mode={mode.value} writes a"),
            (f"folder{suffix}", "a folder of that name is there"),
        ]
    for output, said in odd:
        code, printed = command("gan-sample", *typed, f"output={output}")
        assert (
            code == 2 and printed.startswith(f"gan-sample: output={output}: ") and said in printed
        ), printed
    monkeypatch.setattr(os, "access", lambda *_: False)
    code, printed = command("gan-sample", *typed, f"output=new/a{suffix}")
    assert code == 2 and f"output=new/a{suffix}: the folder . cannot be written to" in printed


GIVEN = {
    "seeds": "0-3",
    "classes": "all",
    "truncation": 0.5,
    "shifts": [1.0],
    "input": "heldout",
    "caption": "small red disc",
    "size": "native",
    "tile": 64,
    "code": "first",
    "dimension": 1,
    "steps": 5,
    "path": "lerp",
    "data": "points",
    "directions": "random",
    "space": "w",
    "iterations": 5,
    "rate": 0.2,
    "starts": 1,
    "features": "none",
    "feature_weight": 0.5,
    "codes": "codes.npz",
    "layer": "8",
    "units": [3],
    "strength": 0.5,
}


@pytest.mark.parametrize("key", READ_BY)
@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
def test_a_key_that_the_mode_does_not_read_is_refused(mode: Mode, key: str) -> None:
    config = SampleConfig(checkpoint="", mode=mode)
    if mode is Mode.traverse:
        config.dimension = 0
    refuse_unread(config)
    config.dimension = config.dimension if key != "code" else None
    kind = type(getattr(config, key))
    if key == "directions" and mode in DRAWN:
        config.shifts = [1.0]
    if key == "tile" and mode in ONE_BY_ONE:
        config.size = Size.native
    setattr(config, key, kind(GIVEN[key]) if key in ("path", "directions", "size") else GIVEN[key])
    if mode in READ_BY[key]:
        refuse_unread(config)
        return
    with pytest.raises(
        UserError,
        match=rf"^{key}=.*: mode={mode.value} does not read it; .* "
        r"would\.$",
    ) as raised:
        refuse_unread(config)
    named = [m for m in Mode if f"mode={m.value}" in str(raised.value).partition(";")[2]]
    assert named == [m for m in Mode if m in READ_BY[key]] or "all modes but" in str(raised.value)


def test_every_key_that_some_modes_read_is_one() -> None:
    assert READ_BY.keys() == GIVEN.keys() <= {item.name for item in fields(SampleConfig)}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["data.folder=x"],
            "data.folder=x: mode=grid does not read it; mode=nearest, mode=reconstruct, "
            "mode=encode",
        ),
        (["seeds=1", "n=3"], "n=3: seeds=1 takes the place of n and seed; leave one out"),
        (["mode=compare"], "mode=compare: the checkpoint's model makes samples from noise alone"),
        (["mode=images", "tile=64"], "tile=64: is of pictures in their own size; add size=native"),
        (["directions=random"], "directions=random: says where shifts= go; add shifts="),
        (
            ["mode=traverse", "code=a", "dimension=1"],
            "mode=traverse: add code=NAME, a code of the model, or dimension",
        ),
        (["mode=traverse", "code=a", "steps=5"], "steps=5: a code is shown at values of its own"),
        (["truncation=nan"], "truncation=nan: must be at least 0"),
        (["truncation=inf"], "truncation=inf: must be at least 0"),
        (["shifts=[1,-inf]"], "shifts=-inf: expected a finite number"),
        (["n=1000000000"], "n=1000000000: 1000000000 samples need"),
        (["seeds=0-1000000000"], "seeds=0-1000000000: 1000000001 samples need"),
        (
            ["seeds=[0-3,5-4]"],
            "seeds=[0-3,5-4]: expected FIRST-LAST such as 0-63, or a list such as [3,5,10-19]",
        ),
        (["mode=truncate", "steps=1000000000"], "n=64, steps=1000000000: 64000000000 samples need"),
        (["mode=encode", "data.folder=x"], "data.folder=x: data=digits has no such option"),
    ],
)
def test_what_a_mode_cannot_make_is_one_sentence(
    typed: list[str], said: str, made: Callable[[str], Path], command: Command
) -> None:
    code, printed = command("gan-sample", str(made("image")), *typed)
    assert code == 2 and said in printed and len(printed.splitlines()) == 1, printed
    assert not list(Path().iterdir())


def test_pictures_are_named_by_their_seeds(made: Callable[[str], Path], command: Command) -> None:
    typed = ("gan-sample", str(made("image")), "mode=images")
    assert command(*typed, "n=3")[1].endswith("(step 2) in samples\n")
    first = contents(Path("samples"))
    code, printed = command(*typed, "n=3", "seed=3")
    assert code == 0 and printed.endswith(" in samples; 3 others lie there\n")
    assert sorted(contents(Path("samples"))) == [
        f"samples/seed_{seed:08d}.png" for seed in range(6)
    ]
    assert {path: contents(Path("samples"))[path] for path in first} == first
    code, printed = command(*typed, "seeds=[2,123456789,4-5]")
    assert printed.endswith(" in samples; 3 that were there are replaced; 3 others lie there\n")
    expected = pictures.to_uint8(gan_cli.load(made("image")).sample(1, seed=123456789))[0]
    assert np.array_equal(
        np.asarray(Image.open("samples/seed_123456789.png")), pictures.pixels_of(expected)
    )


def test_pictures_of_a_class_are_named_by_it_too(
    made: Callable[[str], Path], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ("gan-sample", str(made("cgan")), "mode=images")
    assert command(*typed, "seeds=4-5", "classes=[7,2]")[0] == 0
    found = sorted(contents(Path("samples")))
    assert found == [
        f"samples/seed_0000000{seed}_class_00{label}.png" for seed in (4, 5) for label in (2, 7)
    ]
    expected = pictures.to_uint8(gan_cli.load(made("cgan")).sample(1, seed=5, classes=[2]))[0]
    assert np.array_equal(np.asarray(Image.open(found[2])), pictures.pixels_of(expected))
    monkeypatch.setattr(Generator, "names", ("a/b", "cat", "./..", *"defghij"))
    code, printed = command(*typed, "n=2", "classes=[cat,a/b]", "output=named")
    assert code == 0 and sorted(contents(Path("named"))) == [
        "named/seed_00000000_class_000_a_b.png", "named/seed_00000000_class_001_cat.png"
    ]  # fmt: skip
    code, printed = command(*typed[:2], "n=4", "classes=[cat,./..]")
    assert code == 0 and printed.endswith(" in samples.png; columns: cat, ./..\n")


def test_each_of_the_seeds_is_shown_in_each_class(
    made: Callable[[str], Path], command: Command
) -> None:
    assert (
        command("gan-sample", str(made("cgan")), "seeds=[3,8]", "classes=[1,2]", "mode=npz")[0] == 0
    )
    samples, generator = np.load("samples.npz")["samples"], gan_cli.load(made("cgan"))
    expected = [
        generator.sample(1, seed=seed, classes=[label])[0] for seed in (3, 8) for label in (1, 2)
    ]
    assert np.array_equal(samples, np.stack([sample.numpy() for sample in expected]))


def test_points_are_one_picture_named_by_the_first_seed(
    made: Callable[[str], Path], command: Command
) -> None:
    for typed in (["n=5"], ["seeds=7-9"]):
        assert command("gan-sample", str(made("points")), "mode=images", *typed)[0] == 0
    assert sorted(contents(Path("samples"))) == [
        "samples/seed_00000000.png",
        "samples/seed_00000007.png",
    ]


def test_data_that_have_moved_are_found_where_one_says(tmp_path: Path, command: Command) -> None:
    random = np.random.default_rng(0)
    for i in range(20):
        (tmp_path / "old").mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(
            tmp_path / "old" / f"{i}.png"
        )
    data = (
        "data=image_folder",
        "data.folder=old",
        "data.image_size=8",
        "data.channels=1",
        "data.classes=false",
    )
    save_run(tmp_path / "run", "model=aae", *data, "network.width=4", "batch_size=4")
    for mode in ("encode", "reconstruct", "nearest"):
        assert command("gan-sample", "run", f"mode={mode}", "n=2")[0] == 0
    before = np.load("samples.npz")["codes"]
    shutil.move("old", "new")
    for name, mode in (
        ("gan-sample", "encode"),
        ("gan-sample", "reconstruct"),
        ("gan-sample", "nearest"),
        ("gan-evaluate", ""),
    ):
        code, printed = command(name, "run", *[f"mode={mode}"] * bool(mode))
        assert code == 2 and printed == (
            f"{name}: data.folder=old: the checkpoint's data are not there; add data.folder= "
            "where they are.\n"
        )
    for mode in ("encode", "reconstruct", "nearest"):
        code, printed = command("gan-sample", "run", f"mode={mode}", "n=2", "data.folder=new")
        assert code == 0, printed
    assert np.array_equal(np.load("samples.npz")["codes"], before)
    for typed, said in (
        ("data.folder=newer", "no such folder"),
        ("data.foldr=new", "did you mean folder?"),
    ):
        code, printed = command("gan-sample", "run", "mode=encode", typed)
        assert code == 2 and printed.startswith(f"gan-sample: {typed}: ") and said in printed
