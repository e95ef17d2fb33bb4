"""One run: find where it stopped, fit, and go back where it diverges."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm.contrib.logging import logging_redirect_tqdm

from gan_cli import files, registry
from gan_cli.config.check import check
from gan_cli.config.identity import differences, fingerprint
from gan_cli.config.schema import DEFAULTS
from gan_cli.data.dataset import Dataset
from gan_cli.devices import lease, processes
from gan_cli.devices.hardware import choose_device
from gan_cli.devices.process import explain_torch_errors, settings
from gan_cli.devices.processes import World
from gan_cli.errors import UserError
from gan_cli.runs import checkpoint, hooks, rundir
from gan_cli.runs import summary as report
from gan_cli.runs.signals import Stage, stopped_by_signals
from gan_cli.runs.standard_hooks import hooks_of
from gan_cli.training import build
from gan_cli.training.nan_check import DivergedError
from gan_cli.training.trainer import Trainer

log = logging.getLogger(__name__)


def run(
    config: dict[str, Any], folder: Path, overrides: list[str], logs: Mapping[str, Any]
) -> float | None:
    """Train the checked configuration in its folder, here or in as many processes as it asks for.

    Args:
        overrides: what was typed.
        logs: the configuration of Python's logging, for other processes.

    Returns:
        The objective, for searches.

    Raises:
        UserError: something the user can mend.
        SystemExit: a signal stopped the run after it was saved; 130 for Ctrl-C, 143 for SIGTERM,
            138 for SIGUSR1.
    """
    hardware = config["hardware"]
    if processes.launched():  # by torchrun, which has given each its device
        return play(config, folder, overrides)
    with lease.lease(hardware) as leased:
        if hardware["devices"] * hardware["nodes"] == 1:
            return play(config, folder, overrides, leased)
        choose_device(hardware)  # refuses what this machine does not have
        from gan_cli.devices import launch

        return launch.run(
            play, (config, folder, overrides, leased), fingerprint(config), hardware, logs
        )


def play(
    config: dict[str, Any], folder: Path, overrides: list[str], leased: Sequence[int] | None = None
) -> float | None:
    """One process's share of a run; the first process holds the folder and keeps the records.

    Args:
        leased: GPUs to choose from; all of them if not given.
    """
    for plugin in config["plugins"]:
        registry.add_plugin(plugin)
    world = processes.join()
    first = world.rank == 0
    with (
        rundir.hold(folder) if first else nullcontext(),
        settings(config, world),
        explain_torch_errors(config),
    ):
        state = _earlier(config, folder)
        if first:
            _write_down(config, folder, overrides)
        device = choose_device(
            config["hardware"], leased[world.local_rank] if leased else world.local_rank
        )
        if device.type == "cuda":
            torch.cuda.set_device(device)  # where streams and recordings go that name none
        with world.first_on_this_machine():
            dataset = build.build_dataset(config, device)
        _refuse_other_data(dataset, state, config, folder)
        trainer = _begun(config, folder, dataset, state, device, world)
        # what a process that was killed right after its checkpoint could not do
        if first and state:
            hooks.write_card(folder, trainer)
            hooks.forget_old(folder, config["keep_checkpoints"])
        if not trainer.finished:
            trainer = _fit(config, folder, dataset, trainer, device)
        elif first:
            log.info("%s; nothing is left to do", _introduction(config, folder, trainer, device))
        world.barrier()  # so that none is taken for dead while another still saves
        processes.leave()
        if trainer.interrupted and not trainer.finished:
            if first:
                log.info(
                    "stopped by a signal at step %d and saved; the same command goes on from there",
                    trainer.step,
                )
            raise SystemExit(128 + trainer.interrupted)
        return _conclusion(folder) if first else None


def _begun(
    config: Mapping[str, Any],
    folder: Path,
    dataset: Dataset,
    state: Mapping[str, Any] | None,
    device: torch.device,
    world: World,
) -> Trainer:
    """The trainer where its last checkpoint left it, or at its start."""
    if not world.all_equal(state["step"] if state else 0):
        raise UserError(
            f"hydra.run.dir={folder}: the processes find different checkpoints; all must see one "
            "disk."
        )
    trainer = build.build_trainer(config, dataset, device, world)
    if state:
        _go_on(trainer, state, config, folder)
    elif config["init_from"]:
        _start_from(trainer, Path(config["init_from"]))
    return trainer


def _fit(
    config: Mapping[str, Any],
    folder: Path,
    dataset: Dataset,
    trainer: Trainer,
    device: torch.device,
) -> Trainer:
    """Play to the end; where something is not finite, go back to the last checkpoint and on with
    other random numbers.

    Raises:
        UserError: it happened more than `max_rollbacks` times.
    """
    stage = Stage(trainer)
    world = trainer.shards.world
    with stopped_by_signals(stage, world), logging_redirect_tqdm([logging.getLogger()]):
        while cause := _diverged(config, folder, dataset, trainer, device, stage):
            again, seconds = trainer.rollbacks + 1, trainer.seconds
            late = config["minutes"] is not None and seconds >= 60 * config["minutes"]
            if again > config["max_rollbacks"] or late:
                raise UserError(
                    f"the run diverged: {cause}, after {again - 1} rollbacks (max_rollbacks); "
                    "lower optimizer.lr or take a gentler loss or regularizer. The checkpoints "
                    "written before stay."
                )
            stopped, stage.trainer, stage.preparing = trainer.interrupted, None, True
            del trainer  # its memory is needed for the next one
            trainer = _begun(
                config, folder, dataset, checkpoint.newest(folder / "checkpoints"), device, world
            )
            trainer.roll_back(again, seconds)
            stage.enter(trainer)
            log.warning(
                "%s; going back to step %d with other random numbers (%d of max_rollbacks=%d)",
                cause, trainer.step, again, config["max_rollbacks"],
            )  # fmt: skip
            if stopped:  # all processes know; what there is to keep is in the checkpoint
                trainer.mark_interrupted(stopped)
                break
    return trainer


def _diverged(
    config: Mapping[str, Any],
    folder: Path,
    dataset: Dataset,
    trainer: Trainer,
    device: torch.device,
    stage: Stage,
) -> str | None:
    """Play to the end; what was not finite, if something was."""
    introduction = _introduction(config, folder, trainer, device)
    first = trainer.shards.world.rank == 0
    try:
        beside = hooks_of(config, folder, trainer, dataset, introduction) if first else []
        stage.preparing = False
        trainer.fit(beside)
    except DivergedError as error:
        return str(error)
    return None


def _conclusion(folder: Path) -> float | None:
    log.info(report.summary(folder))
    card = rundir.read_card(folder)
    return card.get("scores", {}).get(card.get("objective"))


def _earlier(config: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """The newest good checkpoint in the folder, if it is one this configuration may continue."""
    found = checkpoint.newest(folder / "checkpoints")
    if found is None:
        if any((folder / "checkpoints").glob("*.pt")):
            raise UserError(
                f"hydra.run.dir={folder}: none of its checkpoints can be read; choose "
                "another folder."
            )
        return None
    if config["resume"] == "never":
        raise UserError(
            f"resume=never: {folder} already holds a run; choose another hydra.run.dir or "
            "resume=auto."
        )
    changed = differences(_completed(yaml.safe_load(found["config"])), config)
    if changed and config["resume"] != "force":
        raise UserError(
            f"hydra.run.dir={folder} holds a run of another configuration ({'; '.join(changed)}); "
            "choose another folder, or resume=force to go on all the same."
        )
    return found


def _refuse_other_data(
    dataset: Dataset, state: Mapping[str, Any] | None, config: Mapping[str, Any], folder: Path
) -> None:
    """A run goes on with the data it began with."""
    if (
        state
        and state.get("mark", dataset.digest) != dataset.digest
        and config["resume"] != "force"
    ):
        raise UserError(
            f"hydra.run.dir={folder}: the data is not what this run began with; bring it back, "
            "choose another folder, or resume=force to go on all the same."
        )


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    """A saved configuration with the defaults of keys and options that it did not know."""
    try:
        defaults = yaml.safe_load(yaml.safe_dump({**DEFAULTS, **config}))
        # as it was: this run may have other processes
        hardware = {**DEFAULTS["hardware"], **config["hardware"]}
        return {**check({**defaults, "hardware": hardware}), "hardware": hardware}
    except (UserError, KeyError, TypeError, AttributeError):
        return config


def _go_on(
    trainer: Trainer, state: Mapping[str, Any], config: Mapping[str, Any], folder: Path
) -> None:
    """Load the state of the run; under `resume=force` it may be one that does not fit."""
    try:
        trainer.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"resume={config['resume']}: the state in {folder} does not fit this configuration: "
            f"{reason}"
        ) from None
    if yaml.safe_load(state["config"]).get("objective") != config["objective"]:
        trainer.scoreboard.forget_best()


def _write_down(config: Mapping[str, Any], folder: Path, overrides: list[str]) -> None:
    """The composed configuration and what was typed, and the card by which the same command finds
    this run."""
    files.remove_leftovers(folder / "checkpoints")
    files.write_text(
        folder / ".hydra" / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False)
    )
    files.write_text(folder / ".hydra" / "overrides.yaml", yaml.safe_dump(overrides))
    card = rundir.read_card(folder) | {"fingerprint": fingerprint(config)}
    files.write_json(folder / rundir.CARD, card)


def _start_from(trainer: Trainer, path: Path) -> None:
    """Weights of another run, fresh optimizers."""
    state = checkpoint.load(
        path / "checkpoints" / "last.pt" if path.is_dir() else path, "init_from"
    )
    try:
        trainer.game.load_state_dict(state["game"])
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"init_from={path}: its networks differ from this configuration's ({reason})"
        ) from None
    if trainer.ema:
        for name in trainer.game.averaged:
            trainer.ema.get_submodule(name).load_state_dict(
                trainer.game.get_submodule(name).state_dict()
            )
    log.info("starting from the weights of %s (step %d)", path, state["step"])


def _introduction(
    config: Mapping[str, Any], folder: Path, trainer: Trainer, device: torch.device
) -> str:
    where, size = str(device), trainer.shards.world.size
    if size > 1:
        where = f"{size} processes of {device.type}"
    elif device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    budget = f"{trainer.steps} steps"
    if trainer.minutes is not None:
        budget += f" or {trainer.minutes:g} minutes, whichever comes first"
    spent = (
        f"going on at step {trainer.step} after {trainer.seconds:.0f} s"
        if trainer.step
        else "new run"
    )
    return f"{spent} in {folder}: {budget}, on {where} in {trainer.hardware['precision']}"
