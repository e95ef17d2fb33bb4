"""`gan-list`: every model with its paper, and a command that works."""

import json
import subprocess
import sys

import pytest
from conftest import MODELS, Command, compose

from gan_cli.config import papers

UNPUBLISHED = ("nogan",)  # described by its authors without a paper


@pytest.mark.parametrize("model", MODELS)
def test_every_model_says_what_it_is(model: str) -> None:
    told = papers.entry(model)
    assert (
        2014 <= int(told.year) <= 2026
        and ("arXiv" in told.paper or model in UNPUBLISHED)
        and told.paper.split(",")[0][0].isupper()
    )
    assert len(told.shows) > 20 and told.command.startswith(f"gan-train model={model}")
    compose(*told.command.split()[1:])


def test_the_list_is_printed_for_eyes_and_for_programs(command: Command) -> None:
    code, printed = command("gan-list", "format=json")
    zoo_read = json.loads(printed)
    assert code == 0 and {item["model"] for item in zoo_read} == set(MODELS)
    assert [item["year"] for item in zoo_read] == sorted(item["year"] for item in zoo_read)
    code, printed = command("gan-list")
    # markdown, where there is no terminal
    assert code == 0 and len(printed.splitlines()) == len(MODELS) + 2
    code, printed = command("gan-list", "format=table")
    assert code == 0 and all(
        any(line.startswith(f"{model} ") for line in printed.splitlines()) for model in MODELS
    )
    assert command("gan-list", "format=xml") == (
        2,
        "gan-list: format=xml: expected one of table, markdown, json.\n",
    )


def test_the_list_needs_no_torch() -> None:
    code = (
        "import sys; from gan_cli.config.papers import entries; entries(); sys.exit('torch' in "
        "sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
