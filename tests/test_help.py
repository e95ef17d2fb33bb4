"""`gan-train --help` teaches: every group, option and key has its line, every setting its
sentence."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Command

from gan_cli import registry, source
from gan_cli.commands import help
from gan_cli.config import papers
from gan_cli.config.options import groups, options
from gan_cli.config.schema import Hardware, TrainConfig

ALL = [(group, option) for group in groups() for option in options(group)]


def test_the_page_names_every_group_option_and_key() -> None:
    page = help.page([])
    assert set(help.ABOUT) == set(groups())
    for group, option in ALL:
        assert re.search(rf"^  {option} +\S", page, re.MULTILINE), f"{group}={option} has no line"
    for item in fields(TrainConfig):
        assert re.search(rf"^(  )?{item.name}=", page, re.MULTILINE), item.name
    for item in fields(Hardware):
        assert re.search(rf"^  hardware.{item.name}=", page, re.MULTILINE), item.name


@pytest.mark.parametrize(("group", "option"), ALL, ids=lambda value: value)
def test_every_option_says_what_it_is_in_a_sentence(group: str, option: str) -> None:
    said = help.option_line(group, option)
    assert len(said) > 10 and not said.startswith(":")
    if group == "model":
        assert re.match(r"[A-Z].*, (19|20)\d\d", said), said


@pytest.mark.parametrize("known", registry.REGISTRIES.values(), ids=lambda known: known.group)
def test_every_setting_has_a_sentence(known: registry.Registry) -> None:
    for name, component in known.components.items():
        assert component.summary, f"{known.group} {name}"
        missing = set(known.options(name, known.group)) - known.docs(name).keys()
        assert not missing, (
            f"{known.group} {name}: {', '.join(sorted(missing))} are not told in `Args:`"
        )


@pytest.mark.parametrize(("group", "option"), ALL, ids=lambda value: value)
def test_the_page_of_an_option_holds_its_values(group: str, option: str) -> None:
    page = help.page([f"{group}={option}"])
    assert (
        page.startswith(f"{group}={option}\n") and papers.comment(group, option).split()[0] in page
    )
    node = yaml.safe_load((ROOT / "configs" / group / f"{option}.yaml").read_text())
    for key, value in node.items():
        if key in ("defaults", "name", "hydra") or isinstance(value, dict) or option == "auto":
            continue
        shown = rf"\b{key}={re.escape(help.shown(value))}" if group in registry.REGISTRIES else key
        assert re.search(shown, page), key


def test_what_a_model_chooses_is_told_with_what_it_inherits() -> None:
    own, inherited = help.page(["model=wgan_gp_acgan"]), help.page(["model=wgan_gp"])
    for line in ("  loss=wasserstein\n", "  regularizer=gradient_penalty_auto\n"):
        assert line in own and line in inherited


def test_pages_as_typed(command: Command) -> None:
    assert command("gan-train", "--help", "loss")[1].startswith("loss=  what the discriminator")
    assert "loss.divergence=jensen_shannon" in command("gan-train", "--help", "loss=f_gan")[1]
    assert "One of eight_gaussians" in " ".join(
        command("gan-train", "data=points", "--help")[1].split()
    )
    code, printed = command("gan-train", "--help", "model=wgn")
    assert code == 2 and printed.startswith(
        "gan-train: model=wgn: no such option (did you mean wgan?)"
    )


def test_the_arguments_of_a_docstring() -> None:
    def f() -> None:
        """What it
        is.

        More.

        Args:
            a, b: both of them: twice,
                on two lines.
            c: the last.

        Returns:
            d: nothing.
        """

    import ast
    import inspect
    import textwrap

    node = ast.parse(textwrap.dedent(inspect.getsource(f))).body[0]
    assert isinstance(node, ast.FunctionDef)
    assert source.summary(node) == "What it is."
    both = "both of them: twice, on two lines."
    assert source.documented(node) == {"a": both, "b": both, "c": "the last."}


@pytest.mark.parametrize(
    ("typed", "found"),
    [("loss=hin", "loss=hinge"), ("optimi", "optimizer="), ("hardware.dev", "hardware.devices=")],
)
def test_the_shell_completes(typed: str, found: str, tmp_path: Path) -> None:
    """What `eval "$(gan-train --shell-completion install=bash)"` lets bash ask for when one presses
    the tab key."""
    line = f"gan-train {typed}"
    asked = os.environ | {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_CWORD": "1"}
    code = "from gan_cli.main import train; train()"
    arguments = [sys.executable, "-c", code, "--shell-completion", "query=bash"]
    done = subprocess.run(arguments, capture_output=True, text=True, env=asked, cwd=tmp_path)
    assert found in done.stdout.split(), done.stderr
