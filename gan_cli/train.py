"""`gan-train`: compose, check, run. Torch is imported when the configuration has been checked."""

import contextlib
import logging
import os
import traceback
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gan_cli import commandline, guards, rundir
from gan_cli import config as configuration
from gan_cli.commandline import OUTPUTS
from gan_cli.errors import UserError

log = logging.getLogger(__name__)

mistakes: list[UserError | OSError] = []


def plain(node: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain types: enums by their names."""
    container: Any = OmegaConf.to_container(node, resolve=True, enum_to_str=True)
    return container


def run_folder(*, _root_: DictConfig) -> str:
    """The newest unfinished run of this configuration, or a new folder.

    Under `resume=force`, of any configuration of this model and data.
    """
    root = OmegaConf.masked_copy(_root_, [str(key) for key in _root_ if key != "hydra"])
    config = configuration.check(plain(root))
    if config["guard"] == "error":
        guards.check(config)  # before a folder is made
    if config["hardware"]["rendezvous"]:
        raise UserError("hardware.rendezvous: several machines need hydra.run.dir=FOLDER on a disk that they share.")
    choices = _root_.hydra.runtime.choices
    parent = OUTPUTS / str(choices.get("model")) / str(choices.get("data"))
    if config["resume"] != "never":
        name = None if config["resume"] == "force" else configuration.fingerprint(config)
        found = rundir.find(parent, name, config["steps"], config["minutes"])
        if found:
            return str(found)
    if config["init_from"] and not Path(config["init_from"]).is_file():  # a run that goes on no longer needs it
        raise UserError(f"init_from={config['init_from']}: no such file.")
    return str(rundir.new_folder(parent))


def common_folder(*, _root_: DictConfig) -> str:
    """Resolver of `hydra.run.dir`: `run_folder`, decided by the first of the processes that torchrun has started."""
    if "RANK" not in os.environ:
        return run_folder(_root_=_root_)
    from gan_cli import processes

    return processes.decided_by_the_first(lambda: run_folder(_root_=_root_))


def cell_folder(dirname: str) -> str:
    """Resolver of `hydra.sweep.subdir`: what differs in this cell, without the `++` of an open option."""
    return dirname.replace("++", "")


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
        logs: Any = OmegaConf.to_container(runtime.job_logging, resolve=True)
        return job.run(config, folder, list(runtime.overrides.task), logs)
    except Exception as error:
        if HydraConfig.get().mode is RunMode.MULTIRUN:  # Hydra tells of the first failing cell only, and at the end
            told = error if isinstance(error, UserError | OSError) else traceback.format_exc()
            log.error("%s: %s", cell_folder(HydraConfig.get().job.override_dirname), told)
            raise
        if not isinstance(error, UserError | OSError):
            raise
        mistakes.append(error)  # Hydra would print more than the sentence
        return None


def composed(arguments: list[str]) -> dict[str, Any]:
    """The checked configuration of `gan-train ARGUMENTS`, without Hydra's flags."""
    ConfigStore.instance().store(name="schema", node=configuration.TrainConfig)
    with hydra.initialize_config_module("gan_cli.configs", version_base="1.3"):
        config = configuration.check(plain(hydra.compose("train", overrides=commandline.overrides(arguments))))
    guards.check(config)
    return config


def main() -> None:
    """Compose the configuration from the command line and run it."""
    ConfigStore.instance().store(name="schema", node=configuration.TrainConfig)
    OmegaConf.register_new_resolver("gan.run_folder", common_folder, replace=True)
    OmegaConf.register_new_resolver("gan.cell_folder", cell_folder, replace=True)
    mistakes.clear()
    logging.raiseExceptions = False  # a log that cannot be written is no reason for a traceback
    hydra.main(version_base="1.3", config_path="pkg://gan_cli.configs", config_name="train")(_job)()
    if mistakes:
        raise mistakes[0]
