"""`gan-train`: compose, check, run. Torch is imported when the configuration has been checked."""

import contextlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gan_cli import config as configuration
from gan_cli import guards, rundir
from gan_cli.errors import UserError, closest

log = logging.getLogger(__name__)

OUTPUTS = Path("outputs")
COMPONENT = re.compile(rf"({'|'.join(configuration.GROUPS)})\.[\w.]+=")
FLAGS = {
    "--multirun": False, "-m": False, "--run": False, "-r": False, "--cfg": True, "-c": True, "--resolve": False,
    "--package": True, "-p": True, "--config-dir": True, "-cd": True, "--config-name": True, "-cn": True,
    "--config-path": True, "-cp": True, "--info": False, "-i": False, "--hydra-help": False, "--version": False,
    "--shell-completion": False, "-sc": False, "--experimental-rerun": True,
}  # fmt: skip
"""Hydra's flags, and whether a value follows."""
PATHS = ("init_from", "data.root", "hydra.run.dir", "hydra.sweep.dir")

mistakes: list[UserError] = []


def plain(node: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain types: enums by their names."""
    container: Any = OmegaConf.to_container(node, resolve=True, enum_to_str=True)
    return container


def open_components(arguments: list[str]) -> list[str]:
    """Let any option of a component be typed without `+`: the registries know every one and check them all."""
    for argument in arguments:
        if match := re.match(rf"({'|'.join(configuration.GROUPS)})\.name=(.*)", argument):
            raise UserError(
                f"{argument}: would leave the options of another component behind; take {match[1]}={match[2]}."
            )
    return [_quoted(f"++{argument}" if COMPONENT.match(argument) else argument) for argument in arguments]


def flags_last(arguments: list[str]) -> list[str]:
    """Overrides first, then Hydra's flags with their values, in whatever order they were typed.

    Raises:
        UserError: a flag that Hydra does not have.
    """
    overrides, flags = [], []
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            overrides.append(argument)
            continue
        name, _, value = argument.partition("=")
        if name not in FLAGS:
            raise UserError(
                f"{argument}: no such flag{closest(name, FLAGS)}; gan-train --help shows what can be typed."
            )
        flags += [argument, *([next(rest, "")] if FLAGS[name] and not value else [])]
    return [*overrides, *flags]


def _quoted(argument: str) -> str:
    """A path with `=` in it, such as that of a sweep's cell, in the quotes that Hydra's grammar asks for."""
    key, _, value = argument.partition("=")
    return (
        f"{key}='{value}'" if key.lstrip("+") in PATHS and "=" in value and not set(",'\"") & set(value) else argument
    )


def run_folder(*, _root_: DictConfig) -> str:
    """Resolver of `hydra.run.dir`: the newest unfinished run of this configuration, or a new folder."""
    root = OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"])
    choices = _root_.hydra.runtime.choices
    parent = OUTPUTS / str(choices["model"]) / str(choices["data"])
    config = configuration.check(plain(root))
    if config["guard"] == "error":
        guards.check(config)  # before a folder is made
    if config["resume"] != "never":
        name = configuration.fingerprint(config)
        found = rundir.find(parent, name, config["steps"], config["minutes"])
        if found:
            return str(found)
    return str(rundir.new_folder(parent))


@contextlib.contextmanager
def sweep_folder(arguments: list[str]) -> Iterator[list[str]]:
    """Under `--multirun`: arguments that make the cells' names short, and the folder the same when typed again."""
    if not {"-m", "--multirun"} & set(arguments):
        yield arguments
        return
    typed = [argument for argument in arguments if "=" in argument and not argument.startswith("hydra")]
    overrides = OverridesParser.create().parse_overrides(typed)
    constant = ",".join(str(o.key_or_group) for o in overrides if not o.is_sweep_override())
    extra = [f"hydra.job.config.override_dirname.exclude_keys=[{constant}]"]
    if any(argument.startswith("hydra.sweep.dir=") for argument in arguments):
        yield [*extra, *arguments]
        return
    folder = _unfinished_sweep(typed) or rundir.new_folder(OUTPUTS / "sweeps")
    rundir.write_json(folder / "sweep.json", {"overrides": typed, "finished": False})
    yield [*extra, f"hydra.sweep.dir={folder}", *arguments]
    rundir.write_json(folder / "sweep.json", {"overrides": typed, "finished": True})


def _unfinished_sweep(typed: list[str]) -> Path | None:
    if "resume=never" in typed:
        return None
    for path in sorted(OUTPUTS.glob("sweeps/*/sweep.json"), reverse=True):
        with contextlib.suppress(OSError, ValueError):
            sweep = json.loads(path.read_text(encoding="utf-8"))
            if sweep == {"overrides": typed, "finished": False}:
                return path.parent
    return None


def _job(node: DictConfig) -> float | None:
    """What Hydra calls for each run."""
    try:
        config = configuration.check(plain(node))
        guards.check(config)
        from gan_cli import job

        runtime = HydraConfig.get()
        folder = Path(runtime.runtime.output_dir)
        with contextlib.suppress(ValueError):
            folder = folder.relative_to(Path.cwd())
        return job.run(config, folder, list(runtime.overrides.task))
    except UserError as error:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            log.error("%s: %s", HydraConfig.get().job.override_dirname, error)
            raise
        mistakes.append(error)  # Hydra would print more than the sentence
        return None


def main() -> None:
    """Compose the configuration from the command line and run it."""
    ConfigStore.instance().store(name="schema", node=configuration.TrainConfig)
    OmegaConf.register_new_resolver("gan.run_folder", run_folder, replace=True)
    mistakes.clear()
    hydra.main(version_base="1.3", config_path="pkg://gan_cli.configs", config_name="train")(_job)()
    if mistakes:
        raise mistakes[0]
