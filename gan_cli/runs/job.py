"""One run: resume it, train it, and roll it back where it diverges."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

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
    """Train the checked configuration in its folder, in one process or in several.

    Args:
        overrides: the typed `key=value`.
        logs: the configuration of Python's logging, for other processes.

    Returns:
        The objective, for searches.

    Raises:
        UserError: a problem that the user can solve.
        SystemExit: a signal stopped the run after it was saved; 130 for Ctrl-C, 143 for SIGTERM,
            138 for SIGUSR1.
    """
    hardware = config["hardware"]
    if processes.launched():  # by torchrun, which has assigned a device to each process
        return play(config, folder, overrides)

    with lease.lease(hardware) as leased:
        if hardware["devices"] * hardware["nodes"] == 1:
            return play(config, folder, overrides, leased)

        choose_device(hardware)  # raises for a device that this machine lacks
        from gan_cli.devices import launch

        return launch.run(
            play, (config, folder, overrides, leased), fingerprint(config), hardware, logs
        )


def play(
    config: dict[str, Any], folder: Path, overrides: list[str], leased: Sequence[int] | None = None
) -> float | None:
    """One process's part of a run; the first process holds the folder and writes the records.

    Args:
        leased: GPUs to choose from; all of them if None.
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
        state = _previous_state(config, folder)
        if first:
            _write_config_and_card(config, folder, overrides)

        device = _device(config, world, leased)
        with world.first_on_this_machine():
            dataset = build.build_dataset(config, device)
        _refuse_other_data(dataset, state, config, folder)
        trainer = _start_or_resume(config, folder, dataset, state, device, world)

        if first and state:
            # a process killed right after its checkpoint could not do this
            hooks.write_card(folder, trainer)
            hooks.delete_old_checkpoints(folder, config["keep_checkpoints"])

        if not trainer.finished:
            trainer = _fit(config, folder, dataset, trainer, device)
        elif first:
            log.info("%s; nothing is left to do", _introduction(config, folder, trainer, device))

        # no process leaves, and so looks dead, while another one is still saving
        world.barrier()
        processes.leave()

        if trainer.interrupted and not trainer.finished:
            _exit_after_signal(trainer.interrupted, trainer.step, first)
        return _final_score(folder) if first else None


def _device(config: Mapping[str, Any], world: World, leased: Sequence[int] | None) -> torch.device:
    """The device of this process; a GPU becomes the current one."""
    number = leased[world.local_rank] if leased else world.local_rank
    device = choose_device(config["hardware"], number)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # default of CUDA streams and graphs
    return device


def _exit_after_signal(number: int, step: int, first: bool) -> NoReturn:
    """Exit with the shell's status for the signal; the first process logs it."""
    if first:
        log.info(
            "stopped by a signal at step %d and saved; the same command goes on from there",
            step,
        )
    raise SystemExit(128 + number)


def _start_or_resume(
    config: Mapping[str, Any],
    folder: Path,
    dataset: Dataset,
    state: Mapping[str, Any] | None,
    device: torch.device,
    world: World,
) -> Trainer:
    """The trainer at its last checkpoint, or at the start of the run."""
    if not world.all_equal(state["step"] if state else 0):
        raise UserError(
            f"hydra.run.dir={folder}: the processes find different checkpoints; all must see one "
            "disk."
        )

    trainer = build.build_trainer(config, dataset, device, world)
    if state:
        _load_state(trainer, state, config, folder)
    elif config["init_from"]:
        _load_initial_weights(trainer, Path(config["init_from"]))
    return trainer


def _fit(
    config: Mapping[str, Any],
    folder: Path,
    dataset: Dataset,
    trainer: Trainer,
    device: torch.device,
) -> Trainer:
    """Train to the end; after a divergence, roll back to the last checkpoint.

    Training then goes on with other random numbers.

    Raises:
        UserError: the run diverged more than `max_rollbacks` times.
    """
    stage = Stage(trainer)
    world = trainer.shards.world
    with stopped_by_signals(stage, world), logging_redirect_tqdm([logging.getLogger()]):
        while cause := _divergence(config, folder, dataset, trainer, device, stage):
            rollbacks = trainer.rollbacks + 1
            seconds = trainer.seconds
            interrupted = trainer.interrupted
            _refuse_rollback(config, cause, rollbacks, seconds)

            stage.trainer = None
            stage.preparing = True
            del trainer  # frees its memory for the next one
            state = checkpoint.newest(folder / "checkpoints")
            trainer = _start_or_resume(config, folder, dataset, state, device, world)
            trainer.roll_back(rollbacks, seconds)
            stage.enter(trainer)
            log.warning(
                "%s; going back to step %d with other random numbers (%d of max_rollbacks=%d)",
                cause, trainer.step, rollbacks, config["max_rollbacks"],
            )  # fmt: skip

            if interrupted:  # in every process; the checkpoint holds the state to save
                trainer.mark_interrupted(interrupted)
                break
    return trainer


def _refuse_rollback(config: Mapping[str, Any], cause: str, rollbacks: int, seconds: float) -> None:
    """Raise UserError if the run has no rollback or no time left."""
    out_of_time = config["minutes"] is not None and seconds >= 60 * config["minutes"]
    if rollbacks > config["max_rollbacks"] or out_of_time:
        raise UserError(
            f"the run diverged: {cause}, after {rollbacks - 1} rollbacks (max_rollbacks); "
            "lower optimizer.lr or take a gentler loss or regularizer. The checkpoints "
            "written before stay."
        )


def _divergence(
    config: Mapping[str, Any],
    folder: Path,
    dataset: Dataset,
    trainer: Trainer,
    device: torch.device,
    stage: Stage,
) -> str | None:
    """The cause of a divergence, after training until there; None if training reached its end."""
    introduction = _introduction(config, folder, trainer, device)
    first = trainer.shards.world.rank == 0
    try:
        run_hooks = hooks_of(config, folder, trainer, dataset, introduction) if first else []
        stage.preparing = False
        trainer.fit(run_hooks)
    except DivergedError as error:
        return str(error)
    return None


def _final_score(folder: Path) -> float | None:
    """The last value of the objective, after logging the summary of the run."""
    log.info(report.summary(folder))
    card = rundir.read_card(folder)
    return card.get("scores", {}).get(card.get("objective"))


def _previous_state(config: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """The newest good checkpoint in the folder, if there is one.

    Raises:
        UserError: every checkpoint is damaged, or this configuration may not continue the run.
    """
    state = checkpoint.newest(folder / "checkpoints")
    if state is None:
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
    changed = differences(_with_defaults(yaml.safe_load(state["config"])), config)
    if changed and config["resume"] != "force":
        raise UserError(
            f"hydra.run.dir={folder} holds a run of another configuration ({'; '.join(changed)}); "
            "choose another folder, or resume=force to go on all the same."
        )
    return state


def _refuse_other_data(
    dataset: Dataset, state: Mapping[str, Any] | None, config: Mapping[str, Any], folder: Path
) -> None:
    """Raise UserError if the data changed since the run began, unless `resume=force`."""
    if not state or config["resume"] == "force":
        return
    if state.get("mark", dataset.digest) != dataset.digest:
        raise UserError(
            f"hydra.run.dir={folder}: the data is not what this run began with; bring it back, "
            "choose another folder, or resume=force to go on all the same."
        )


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """A saved configuration, with defaults for keys and options that are newer than it."""
    try:
        defaults = yaml.safe_load(yaml.safe_dump({**DEFAULTS, **config}))
        # unchecked, since the check depends on the processes of the current run
        hardware = {**DEFAULTS["hardware"], **config["hardware"]}
        return {**check({**defaults, "hardware": hardware}), "hardware": hardware}
    except (UserError, KeyError, TypeError, AttributeError):
        return config


def _load_state(
    trainer: Trainer, state: Mapping[str, Any], config: Mapping[str, Any], folder: Path
) -> None:
    """Load the state of a run into the trainer.

    Raises:
        UserError: the state does not fit this configuration, as may happen with `resume=force`.
    """
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


def _write_config_and_card(config: Mapping[str, Any], folder: Path, overrides: list[str]) -> None:
    """Write the configuration, the overrides, and the card that identifies an unfinished run."""
    files.remove_leftovers(folder / "checkpoints")

    config_text = yaml.safe_dump(dict(config), sort_keys=False)
    files.write_text(folder / ".hydra" / "config.yaml", config_text)
    files.write_text(folder / ".hydra" / "overrides.yaml", yaml.safe_dump(overrides))

    card = rundir.read_card(folder) | {"fingerprint": fingerprint(config)}
    files.write_json(folder / rundir.CARD, card)


def _load_initial_weights(trainer: Trainer, path: Path) -> None:
    """Load the weights of another run; the optimizers start afresh."""
    file = path / "checkpoints" / "last.pt" if path.is_dir() else path
    state = checkpoint.load(file, "init_from")
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
    """First line of the log: new or resumed, folder, budget, device and precision."""
    size = trainer.shards.world.size
    if size > 1:
        where = f"{size} processes of {device.type}"
    elif device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        where = str(device)

    budget = f"{trainer.steps} steps"
    if trainer.minutes is not None:
        budget += f" or {trainer.minutes:g} minutes, whichever comes first"

    start = "new run"
    if trainer.step:
        start = f"going on at step {trainer.step} after {trainer.seconds:.0f} s"
    return f"{start} in {folder}: {budget}, on {where} in {trainer.hardware['precision']}"
