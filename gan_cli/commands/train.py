"""`gan-train`: compose, check, run. Torch is imported when the configuration has been checked."""

import hashlib
import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from traceback import format_exc
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gan_cli.config import commandline, guards
from gan_cli.config import own_options as own
from gan_cli.config.check import check
from gan_cli.config.commandline import OUTPUTS
from gan_cli.config.identity import fingerprint
from gan_cli.config.objectives import objective
from gan_cli.config.options import configs
from gan_cli.config.schema import GROUPS, TrainConfig
from gan_cli.errors import UserError
from gan_cli.runs import rundir
from gan_cli.sweeps import launchers, multirun, stopping

log = logging.getLogger(__name__)

mistakes: list[UserError | OSError] = []
shown: list[str] = []
"""The flag of the command line that shows something and plays nothing, if there is one: it makes no
folder."""


def plain(node: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain types: enums by their names."""
    container: Any = OmegaConf.to_container(node, resolve=True, enum_to_str=True)
    return container


def run_folder(*, _root_: DictConfig) -> str:
    """The newest unfinished run of this configuration, or a new folder.

    Under `resume=force`, of any configuration of this model and data.
    """
    choices = _root_.hydra.runtime.choices
    parent = OUTPUTS / str(choices.get("model")) / str(choices.get("data"))
    if shown:
        return str(parent / rundir.stamp())
    root = OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"])
    config = check(plain(root))
    if config["dry_run"]:
        raise UserError("dry_run=true: stands in a file; type it, or set it to false.")
    if config["guard"] == "error":
        guards.check(config)  # before a folder is made
    if config["hardware"]["rendezvous"]:
        raise UserError(
            "hardware.rendezvous: several machines need hydra.run.dir=FOLDER on a disk that they "
            "share."
        )
    if config["resume"] != "never":
        name = None if config["resume"] == "force" else fingerprint(config)
        found = rundir.find(parent, name, config["steps"], config["minutes"])
        if found:
            return str(found)
    # a run that goes on no longer needs it
    if config["init_from"] and not Path(config["init_from"]).exists():
        raise UserError(f"init_from={config['init_from']}: no such file, and no such run.")
    return str(rundir.new_folder(parent))


def common_folder(*, _root_: DictConfig) -> str:
    """Resolver of `hydra.run.dir`: `run_folder`, decided by the first of the processes that
    torchrun has started."""
    if "RANK" not in os.environ:
        return run_folder(_root_=_root_)
    from gan_cli.devices import processes

    return processes.decided_by_the_first(lambda: run_folder(_root_=_root_))


LONGEST = 200  # letters of a cell's name; file systems take 255 bytes


def cell_folder(dirname: str) -> str:
    """Resolver of `hydra.sweep.subdir`: what differs in this cell, without the `++` of an open
    option."""
    name = dirname.replace("++", "") or "run"  # nothing differs: there is one cell
    return (
        name
        if len(name) <= LONGEST
        else f"{name[:LONGEST]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    )


def direction(*, _root_: DictConfig) -> str:
    """Resolver `${gan.direction:}`: which way the objective of this configuration gets better, as
    Optuna calls it."""
    root = OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"])
    return multirun.direction(objective(plain(root)))


OmegaConf.register_new_resolver("gan.run_folder", common_folder, replace=True)
OmegaConf.register_new_resolver("gan.cell_folder", cell_folder, replace=True)
OmegaConf.register_new_resolver("gan.direction", direction, replace=True)


def _job(node: DictConfig) -> float | None:
    """What Hydra calls for each run; for the cells of a sweep maybe in another process, which
    imports this file."""
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        return _cell(node)
    try:
        return _play(check(plain(node)), _folder())
    except (UserError, OSError) as error:
        mistakes.append(error)  # Hydra would print more than the sentence
        return None


def _cell(node: DictConfig) -> float | None:
    """One cell of a sweep, unless it has been played; why it failed is told here, for Hydra tells
    of the first only."""
    folder, pooled = _folder(), launchers.pool_in(HydraConfig.get().launcher)
    survives = stopping.surviving() if pooled else nullcontext()
    # a search may ask for it twice at once
    with survives, rundir.hold(folder, multirun.CELL_LOCK, wait=True):
        try:
            return _played(check(plain(node)), folder)
        except Exception as error:
            mistake = isinstance(error, UserError | OSError)
            log.error(
                "%s: %s",
                cell_folder(HydraConfig.get().job.override_dirname),
                error if mistake else format_exc(),
            )
            multirun.write_failure(
                folder, str(error) if mistake else f"{type(error).__name__}: {error}"
            )
            raise


def _played(config: dict[str, Any], folder: Path) -> float | None:
    """The objective of a cell that was played before, or is now."""
    multirun.check_search(HydraConfig.get().sweeper, config, objective(config))
    with rundir.hold(folder, wait=True):  # until what an earlier sweep left playing has ended
        done = multirun.finished(folder, fingerprint(config), config["steps"], config["minutes"])
    if done:
        log.info("%s: played before", folder)
        card = rundir.read_card(folder)
        return card.get("scores", {}).get(card.get("objective"))
    value = _play(config, folder)
    multirun.forget_failure(folder)
    return value


def _folder() -> Path:
    """The run's folder, as seen from where the command was typed."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _play(config: dict[str, Any], folder: Path) -> float | None:
    if config["dry_run"]:
        raise UserError("dry_run=true: stands in a file; type it, or set it to false.")
    guards.check(config)
    from gan_cli.runs import job

    if config["hardware"]["devices"] * config["hardware"]["nodes"] > 1:
        rundir.let_go(folder)  # to the first of the processes that will play
    runtime = HydraConfig.get()
    logs: Any = OmegaConf.to_container(runtime.job_logging, resolve=True)
    return job.run(config, folder, list(runtime.overrides.task), logs)


def composed(arguments: list[str], guarded: bool = True) -> dict[str, Any]:
    """The checked configuration of `gan-train ARGUMENTS`; of Hydra's flags it takes
    `--config-dir`."""
    config = check(plain(compose(arguments)))
    if guarded:
        guards.check(config)
    return config


def compose(arguments: list[str], whole: bool = False) -> DictConfig:
    """What Hydra composes; with its own node if `whole`."""
    ConfigStore.instance().store(name="schema", node=TrainConfig)
    own.look_in(commandline.folders(arguments))
    own.check(arguments, configs(), GROUPS)
    with hydra.initialize_config_module("gan_cli.configs", version_base="1.3"):
        typed = commandline.with_search_path(commandline.overrides(arguments))
        return hydra.compose("train", overrides=typed, return_hydra_config=whole)


def hydra_node(arguments: list[str]) -> Any:
    """Hydra's own node for a sweep of these arguments, unresolved: its launcher, its sweeper, its
    folders."""
    shared = compose(commandline.constant(arguments), whole=True)
    return OmegaConf.to_container(shared.hydra, resolve=False)


def main(showing: Sequence[str] = ()) -> None:
    """Compose the configuration from the command line and run it.

    Args:
        showing: the flags of the command line that show something and run nothing.
    """
    ConfigStore.instance().store(name="schema", node=TrainConfig)
    mistakes.clear()
    shown[:] = showing
    logging.raiseExceptions = False  # a log that cannot be written is no reason for a traceback
    try:
        hydra.main(version_base="1.3", config_path="pkg://gan_cli.configs", config_name="train")(
            _job
        )()
    finally:
        rundir.let_go()
    if mistakes:
        raise mistakes[0]
