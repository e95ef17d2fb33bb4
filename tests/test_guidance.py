"""Settings that follow the data: chosen when the configuration is composed, told, and overruled by
what is typed."""

import subprocess
import sys
from typing import Any

import pytest
from conftest import ROOT, Command, compose
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from gan_cli.commands import help, train
from gan_cli.config import guidance


def resolved(written: str, **data: Any) -> Any:
    return OmegaConf.create({"data": data, "value": written}).value


@pytest.mark.parametrize(
    ("image_size", "expected"), [(8, 16), (16, 24), (28, 32), (None, 16)]
)  # digits have 8 by default
def test_a_value_holds_up_to_its_fact(image_size: int | None, expected: int) -> None:
    data = {"name": "digits"} | ({"image_size": image_size} if image_size else {})
    assert resolved("${gan.by:side,{8:16,16:24,other:32}}", **data) == expected


@pytest.mark.parametrize("data", [{"name": "csv"}, {"name": "nope"}, {}])
def test_an_unknown_fact_takes_the_other(data: dict[str, Any]) -> None:
    assert resolved("${gan.by:numbers,{2:1e-3,other:5e-4}}", **data) == 5e-4


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(InterpolationResolutionError, match=r"gan\.by:colour: no such fact"):
        resolved("${gan.by:colour,{other:1}}", name="points")
    with pytest.raises(InterpolationResolutionError, match="no setting for None; add `other`"):
        resolved("${gan.by:side,{8:1}}", name="csv")


def test_points_have_settings_of_their_own_and_what_is_typed_wins() -> None:
    points, digits = compose("data=points"), compose("data=digits")
    assert (points["batch_size"], points["model"]["latent"]) == (128, 2)
    assert (digits["batch_size"], digits["model"]["latent"]) == (64, 128)
    assert points["optimizer"]["lr"] == 2e-3 and digits["optimizer"]["lr"] == 5e-4
    typed = compose("data=points", "batch_size=64", "model.latent=8", "optimizer.lr=1e-4")
    assert (typed["batch_size"], typed["model"]["latent"]) == (64, 8)
    assert typed["optimizer"]["lr"] == 1e-4


def test_what_starts_from_images_has_a_small_batch() -> None:
    assert compose("model=pix2pix")["batch_size"] == compose("model=cyclegan")["batch_size"] == 16
    told = guidance.sentences(train.compose(["model=pix2pix"]))
    assert "batch_size=16: by what the model makes samples from, inputs" in told


def test_each_choice_is_told_with_its_reason() -> None:
    told = guidance.sentences(train.compose(["data=points", "model.latent=8"]))
    assert "optimizer.lr=0.002: by how many numbers a sample has, 2" in told
    assert "batch_size=128: by how many numbers a sample has, 2" in told
    assert not [sentence for sentence in told if sentence.startswith("model.latent")]


def test_a_run_and_a_dry_run_tell_it(command: Command) -> None:
    tiny = ["data=points", "evaluate_every=0", "network.width=4", "steps=1"]
    sentence = "batch_size=128: by how many numbers a sample has, 2"
    assert sentence in command("gan-train", "dry_run=true", *tiny)[1]
    assert sentence in command("gan-train", *tiny)[1]
    assert sentence not in command("gan-train", *tiny, "batch_size=8")[1]


def test_help_says_it_in_words() -> None:
    assert guidance.in_words("${gan.by:side,{8:16,16:24,other:32}}") == (
        "16 up to 8 pixels, 24 up to 16 pixels, else 32"
    )
    nested = "${gan.by:start,{inputs:16,other:${gan.by:numbers,{2:128,other:64}}}}"
    assert guidance.in_words(nested) == "16 for inputs, 128 up to 2 numbers, else 64"
    assert "gan.by" not in help.page(["model=wgan_gp"])


def test_every_rule_of_the_files_is_complete() -> None:
    written = [
        line.split(": ", 1)[1]
        for path in (ROOT / "configs").rglob("*.yaml")
        for line in path.read_text(encoding="utf-8").splitlines()
        if guidance.MARK in line
    ]
    assert len(written) > 4
    for text in written:
        assert text.endswith("}}") and ",other:" in text and guidance.in_words(text)


def test_it_needs_no_torch() -> None:
    code = "import sys, gan_cli.config.guidance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
