"""The Hydra application of `gan-train`: composition, validation and execution.

Torch is imported after the configuration has been validated.
"""

import hashlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from traceback import format_exc
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gan_cli.commands import mistakes
from gan_cli.config import commandline, guards, guidance
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

MAX_NAME = 200  # characters of a cell's name; file systems allow 255 bytes


def plain(node: DictConfig) -> dict[str, Any]:
    """Resolved configuration as plain types, with enums as their names."""
    container: Any = OmegaConf.to_container(node, resolve=True, enum_to_str=True)
    return container


# --- resolvers ------------------------------------------------------------------------------------


def unused_folder(*, _root_: DictConfig) -> str:
    """Name of a new run folder, for commands that only show something; no folder is created."""
    return str(_parent(_root_) / rundir.stamp())


def run_folder(*, _root_: DictConfig) -> str:
    """Folder of the newest unfinished run of this configuration, or a new folder.

    With `resume=force`, the configuration may differ in everything but model and data.
    """
    parent, config = _parent(_root_), check(_without_hydra(_root_))
    _refuse_dry_run(config)
    if config["guard"] == "error":
        guards.check(config)  # before a folder is created

    if config["hardware"]["rendezvous"]:
        raise UserError(
            "hardware.rendezvous: several machines need hydra.run.dir=FOLDER on a disk that they "
            "share."
        )

    if config["resume"] != "never":
        name = None if config["resume"] == "force" else fingerprint(config)
        if unfinished := rundir.find(parent, name, config["steps"], config["minutes"]):
            return str(unfinished)

    # only new runs read `init_from`
    if config["init_from"] and not Path(config["init_from"]).exists():
        raise UserError(f"init_from={config['init_from']}: no such file, and no such run.")
    return str(rundir.new_folder(parent))


def _parent(root: DictConfig) -> Path:
    """Parent folder of the runs with this model and data."""
    choices = root.hydra.runtime.choices
    return OUTPUTS / str(choices.get("model")) / str(choices.get("data"))


def _without_hydra(root: DictConfig) -> dict[str, Any]:
    """Configuration without Hydra's own node."""
    return plain(OmegaConf.masked_copy(root, [str(key) for key in root if key != "hydra"]))


def _refuse_dry_run(config: dict[str, Any]) -> None:
    """Raise UserError for `dry_run=true` in a file; the command line is handled before Hydra."""
    if config["dry_run"]:
        raise UserError("dry_run=true: stands in a file; type it, or set it to false.")


def common_folder(*, _root_: DictConfig) -> str:
    """Resolver of `hydra.run.dir`: `run_folder`, called in the first of torchrun's processes."""
    if "RANK" not in os.environ:
        return run_folder(_root_=_root_)

    from gan_cli.devices import processes

    return processes.decided_by_the_first(lambda: run_folder(_root_=_root_))


def cell_folder(dirname: str) -> str:
    """Resolver of `hydra.sweep.subdir`: the overrides of this cell, without `++`."""
    name = dirname.replace("++", "") or "run"  # a sweep without swept keys has one cell
    if len(name) <= MAX_NAME:
        return name
    return f"{name[:MAX_NAME]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def direction(*, _root_: DictConfig) -> str:
    """Resolver of `${gan.direction:}`: the direction of the objective, in Optuna's terms."""
    return multirun.direction(objective(_without_hydra(_root_)))


def register_resolvers(showing: bool = False) -> None:
    """Register the resolvers of configs/train.yaml.

    Args:
        showing: whether the command only shows something.
    """
    folder = unused_folder if showing else common_folder
    OmegaConf.register_new_resolver("gan.run_folder", folder, replace=True)
    OmegaConf.register_new_resolver("gan.cell_folder", cell_folder, replace=True)
    OmegaConf.register_new_resolver("gan.direction", direction, replace=True)


register_resolvers()  # worker processes of launchers import this module to resolve cell folders


# --- the task -------------------------------------------------------------------------------------


@dataclass
class Task:
    """Task function for Hydra, which also stores the error that `hydra.main` cannot return.

    Launchers may call a copy in another process for the cells of a sweep.

    Args:
        mistake: error that ended a single run. It is not raised inside Hydra, which would print an
            additional line.
    """

    mistake: UserError | OSError | None = None

    def __call__(self, node: DictConfig) -> float | None:
        """Run the configuration and return the objective, which a search optimises."""
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            return _run_cell(node)
        try:
            return _train(check(plain(node)), _folder(), guidance.sentences(node))
        except (UserError, OSError) as error:
            self.mistake = error
            return None


def _run_cell(node: DictConfig) -> float | None:
    """Run a cell of a sweep unless it is complete, and log the reason of a failure.

    Hydra prints only the reason of the first failure.
    """
    folder, pool = _folder(), launchers.pool_in(HydraConfig.get().launcher)
    survives = stopping.surviving() if pool else nullcontext()

    # a search may start the same cell twice at the same time
    with survives, rundir.hold(folder, multirun.CELL_LOCK, wait=True):
        try:
            return _cell_objective(check(plain(node)), folder, guidance.sentences(node))
        except Exception as error:
            mistake = mistakes.explain(error, list(HydraConfig.get().overrides.task))
            name = cell_folder(HydraConfig.get().job.override_dirname)
            log.error("%s: %s", name, mistake or format_exc())
            reason = mistake or f"{type(error).__name__}: {error}"
            multirun.write_failure(folder, reason)
            raise


def _cell_objective(config: dict[str, Any], folder: Path, guided: list[str]) -> float | None:
    """Objective of a cell, which is run unless it is complete."""
    multirun.check_search(HydraConfig.get().sweeper, config, objective(config))
    with rundir.hold(folder, wait=True):  # a process of an earlier sweep may still be running it
        done = multirun.finished(folder, fingerprint(config), config["steps"], config["minutes"])
    if done:
        log.info("%s: played before", folder)
        card = rundir.read_card(folder)
        return card.get("scores", {}).get(card.get("objective"))

    value = _train(config, folder, guided)
    multirun.forget_failure(folder)
    return value


def _folder() -> Path:
    """Run folder, relative to the current folder if possible."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _train(config: dict[str, Any], folder: Path, guided: list[str]) -> float | None:
    """Train and return the objective.

    Args:
        guided: sentences on the settings that follow the data.
    """
    _refuse_dry_run(config)
    guards.check(config)

    from gan_cli.runs import job

    if config["hardware"]["devices"] * config["hardware"]["nodes"] > 1:
        rundir.let_go(folder)  # the first training process acquires the lock
    runtime = HydraConfig.get()
    logs: Any = OmegaConf.to_container(runtime.job_logging, resolve=True)
    return job.run(config, folder, list(runtime.overrides.task), logs, guided)


# --- composition ----------------------------------------------------------------------------------


def composed(arguments: list[str], guarded: bool = True) -> dict[str, Any]:
    """Validated configuration of `gan-train ARGUMENTS`; the only flag allowed is `--config-dir`."""
    config = check(plain(compose(arguments)))
    if guarded:
        guards.check(config)
    return config


def compose(arguments: list[str], whole: bool = False) -> DictConfig:
    """Configuration as composed by Hydra, including Hydra's own node if `whole`."""
    ConfigStore.instance().store(name="schema", node=TrainConfig)
    own.use_folders(commandline.folders(arguments))
    own.check(arguments, configs(), GROUPS)
    with hydra.initialize_config_module("gan_cli.configs", version_base="1.3"):
        typed = commandline.with_search_path(commandline.overrides(arguments))
        return hydra.compose("train", overrides=typed, return_hydra_config=whole)


def hydra_node(arguments: list[str]) -> Any:
    """Hydra's own node (launcher, sweeper, folders) for a sweep of these arguments, unresolved."""
    shared = compose(commandline.constant(arguments), whole=True)
    return OmegaConf.to_container(shared.hydra, resolve=False)


# --- the application ------------------------------------------------------------------------------


def main(arguments: list[str]) -> None:
    """Run the configuration of the command line, or one of Hydra's flags such as `--cfg`.

    Raises:
        UserError, OSError: the reason why a run failed or could not start.
    """
    showing = bool(commandline.SHOWING & set(arguments))
    register_resolvers(showing)
    ConfigStore.instance().store(name="schema", node=TrainConfig)
    task = Task()
    application = hydra.main(
        version_base="1.3", config_path="pkg://gan_cli.configs", config_name="train"
    )(task)

    try:
        with _command_line(arguments), _exit_as_mistake(arguments) if showing else nullcontext():
            application()
    finally:
        register_resolvers()
        rundir.let_go()

    if task.mistake:
        raise task.mistake


@contextmanager
def _command_line(arguments: Sequence[str]) -> Iterator[None]:
    """Context with these arguments in `sys.argv`, the only place where hydra.main reads them."""
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _exit_as_mistake(arguments: Sequence[str]) -> Iterator[None]:
    """Context that raises UserError when Hydra prints a message and exits.

    This happens with flags that show something, such as `--cfg job --package nope`.
    """
    printed = StringIO()
    try:
        with redirect_stderr(printed):
            yield
    except SystemExit as stop:
        lines = printed.getvalue().strip().splitlines()
        if not stop.code or not lines:
            raise

        flags = " ".join(item for item in arguments if "=" not in item)
        raise UserError(f"{flags}: {lines[-1]}.") from None

    sys.stderr.write(printed.getvalue())
