"""One run: start or resume it, train it, and roll it back after a divergence."""

import gc
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
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
from gan_cli.runs.signals import Stopper, stopped_by_signals
from gan_cli.runs.standard_hooks import hooks_of
from gan_cli.runs.summary import summary
from gan_cli.training import build
from gan_cli.training.nan_check import DivergedError
from gan_cli.training.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One process's part of a run: everything that stays the same after a rollback.

    Args:
        notes: sentences that the first lines of the run's log tell.
    """

    config: Mapping[str, Any]
    folder: Path
    dataset: Dataset
    device: torch.device
    world: World
    notes: Sequence[str] = ()

    @property
    def writes(self) -> bool:
        """Whether this process writes the records of the run; only the first process does."""
        return self.world.rank == 0


def run(
    config: dict[str, Any],
    folder: Path,
    overrides: list[str],
    logs: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> float | None:
    """Train the checked configuration in its folder, in one process or in several.

    Args:
        overrides: the typed `key=value`.
        logs: configuration of Python's logging, for the other processes.
        notes: sentences on the settings, for the first lines of the log.

    Returns:
        The last value of the objective, for searches; None without one.

    Raises:
        UserError: a problem that the user can solve.
        SystemExit: a signal stopped the run after it was saved; 130 for Ctrl-C, 143 for SIGTERM,
            138 for SIGUSR1.
    """
    hardware = config["hardware"]
    if processes.launched():  # by torchrun, which has assigned a device to each process
        return play(config, folder, overrides, None, notes)

    with lease.lease(hardware) as leased:
        if hardware["devices"] * hardware["nodes"] == 1:
            return play(config, folder, overrides, leased, notes)

        choose_device(hardware)  # raises for a device that this machine lacks
        from gan_cli.devices import launch

        return launch.run(
            play, (config, folder, overrides, leased, notes), fingerprint(config), hardware, logs
        )


def play(
    config: dict[str, Any],
    folder: Path,
    overrides: list[str],
    leased: Sequence[int] | None = None,
    notes: Sequence[str] = (),
) -> float | None:
    """One process's part of a run; the first process locks the folder and writes the records.

    Args:
        leased: indices of the GPUs that may be used; None allows all of them.
    """
    for plugin in config["plugins"]:
        registry.add_plugin(plugin)
    world = processes.join()
    is_first = world.rank == 0

    with (
        rundir.hold(folder) if is_first else nullcontext(),
        settings(config, world),
        explain_torch_errors(config),
    ):
        state = _previous_state(config, folder)
        if is_first:
            _write_config_and_card(config, folder, overrides)

        device = _device(config, world, leased)
        with world.first_on_this_machine():
            dataset = build.build_dataset(config, device)
        _refuse_other_data(dataset, state, config, folder)

        trainer = _trained(Job(config, folder, dataset, device, world, notes), state)

        # wait: a process that leaves looks dead to one that is still saving
        world.barrier()
        processes.leave()

        if trainer.interrupted and not trainer.finished:
            _exit_after_signal(trainer.interrupted, trainer.step, is_first)
        return _final_score(folder) if is_first else None


def _device(config: Mapping[str, Any], world: World, leased: Sequence[int] | None) -> torch.device:
    """The device of this process; a GPU becomes the current one."""
    index = leased[world.local_rank] if leased else world.local_rank
    device = choose_device(config["hardware"], index)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # default of CUDA streams and graphs
    return device


def _exit_after_signal(number: int, step: int, is_first: bool) -> NoReturn:
    """Exit with the shell's status for the signal; the first process logs it."""
    if is_first:
        log.info(
            "stopped by a signal at step %d and saved; the same command goes on from there",
            step,
        )
    raise SystemExit(128 + number)


def _start_or_resume(job: Job, state: Mapping[str, Any] | None) -> Trainer:
    """The trainer at its last checkpoint, or at the start of the run."""
    if not job.world.all_equal(state["step"] if state else 0):
        raise UserError(
            f"hydra.run.dir={job.folder}: the processes find different checkpoints; all must see "
            "one disk."
        )

    trainer = build.build_trainer(job.config, job.dataset, job.device, job.world)
    if state:
        _load_state(trainer, state, job.config, job.folder)
    elif job.config["init_from"]:
        _load_initial_weights(trainer, Path(job.config["init_from"]), job.config["init_networks"])
    return trainer


def _trained(job: Job, state: Mapping[str, Any] | None) -> Trainer:
    """The trainer at the end of the run, or after a signal.

    After a divergence, training goes back to the last checkpoint and on with other random numbers.

    Args:
        state: content of the checkpoint to start from, if any.

    Raises:
        UserError: the run diverged more than `max_rollbacks` times.
    """
    # the only reference to the trainer, so that a rollback can free its memory
    trainer = _start_or_resume(job, state)
    if job.writes and state:
        # repeated, since the process may have been killed right after it wrote the checkpoint
        hooks.write_card(job.folder, trainer)
        hooks.delete_old_checkpoints(job.folder, job.config["keep_checkpoints"])
    if trainer.finished:
        if job.writes:
            log.info("%s; nothing is left to do", _introduction(job, trainer))
        return trainer

    stopper = Stopper(trainer)
    with stopped_by_signals(stopper, job.world), logging_redirect_tqdm([logging.getLogger()]):
        while cause := _train(job, trainer, stopper):
            rollbacks = trainer.rollbacks + 1
            seconds = trainer.seconds
            interrupted = trainer.interrupted
            _refuse_rollback(job.config, cause, rollbacks, seconds)

            stopper.detach()
            del trainer
            gc.collect()  # frees its memory for the next one: a trainer has reference cycles
            trainer = _rolled_back(job, rollbacks, seconds)
            stopper.attach(trainer)
            log.warning(
                "%s; going back to step %d with other random numbers (%d of max_rollbacks=%d)",
                cause, trainer.step, rollbacks, job.config["max_rollbacks"],
            )  # fmt: skip

            if interrupted:  # in every process; the checkpoint holds the state to save
                trainer.mark_interrupted(interrupted)
                break
    return trainer


def _train(job: Job, trainer: Trainer, stopper: Stopper) -> str | None:
    """Train to the end of the run or to a divergence.

    Returns:
        The cause of the divergence; None at the end of the run.
    """
    try:
        run_hooks = []
        introduction = _introduction(job, trainer)
        if job.writes:
            run_hooks = hooks_of(
                job.config, job.folder, trainer, job.dataset, introduction, job.notes
            )
        stopper.preparing = False
        trainer.fit(run_hooks)
    except DivergedError as error:
        return str(error)
    return None


def _rolled_back(job: Job, rollbacks: int, seconds: float) -> Trainer:
    """A trainer at the last checkpoint that uses other random numbers from there on.

    Args:
        rollbacks: number of rollbacks of the run, this one included.
        seconds: time trained so far.
    """
    trainer = _start_or_resume(job, checkpoint.newest(job.folder / "checkpoints"))
    trainer.roll_back(rollbacks, seconds)
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


def _final_score(folder: Path) -> float | None:
    """Log the summary of the run and return the last value of its objective, if it has one."""
    log.info(summary(folder))
    card = rundir.read_card(folder)
    return card.get("scores", {}).get(card.get("objective"))


def _previous_state(config: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """Content of the newest good checkpoint in the folder; None if there is none.

    Raises:
        UserError: all checkpoints are damaged, or this configuration may not continue the run.
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
    """A saved configuration, with defaults for keys and options that were added after it."""
    try:
        defaults = yaml.safe_load(yaml.safe_dump({**DEFAULTS, **config}))
        # not checked, since the check depends on the processes of the current run
        hardware = {**DEFAULTS["hardware"], **config["hardware"]}
        return {**check({**defaults, "hardware": hardware}), "hardware": hardware}
    except (UserError, KeyError, TypeError, AttributeError):
        return config


def _load_state(
    trainer: Trainer, state: Mapping[str, Any], config: Mapping[str, Any], folder: Path
) -> None:
    """Load the state of a run into the trainer.

    Raises:
        UserError: the state does not fit this configuration, possible with `resume=force`.
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
    """Write the configuration, the typed overrides, and the fingerprint in the run's card."""
    files.remove_leftovers(folder / "checkpoints")

    config_text = yaml.safe_dump(dict(config), sort_keys=False)
    files.write_text(folder / ".hydra" / "config.yaml", config_text)
    files.write_text(folder / ".hydra" / "overrides.yaml", yaml.safe_dump(overrides))

    card = rundir.read_card(folder) | {"fingerprint": fingerprint(config)}
    files.write_json(folder / rundir.CARD, card)


def _load_initial_weights(trainer: Trainer, path: Path, networks: Sequence[str]) -> None:
    """Load the weights of another run; the optimizers begin without state.

    Args:
        networks: those that are loaded, of a game that may be another one; empty for the whole
            game.
    """
    file = path / "checkpoints" / "last.pt" if path.is_dir() else path
    state = checkpoint.load(file, "init_from")
    try:
        for name in networks:
            prefix = f"{name}."
            weights = {
                key.removeprefix(prefix): value
                for key, value in state["game"].items()
                if key.startswith(prefix)
            }
            trainer.game.get_submodule(name).load_state_dict(weights)
        if not networks:
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
    which = f" of {', '.join(networks)}" if networks else ""
    log.info("starting from the weights%s of %s (step %d)", which, path, state["step"])


def _introduction(job: Job, trainer: Trainer) -> str:
    """First line of the log: new or resumed, folder, budget, devices and precision."""
    start = "new run"
    if trainer.step:
        start = f"going on at step {trainer.step} after {trainer.seconds:.0f} s"

    budget = f"{trainer.steps} steps"
    if trainer.minutes is not None:
        budget += f" or {trainer.minutes:g} minutes, whichever comes first"

    precision = trainer.hardware["precision"]
    return f"{start} in {job.folder}: {budget}, on {_device_names(job)} in {precision}"


def _device_names(job: Job) -> str:
    """The devices of all processes, for the log."""
    if job.world.size > 1:
        return f"{job.world.size} processes of {job.device.type}"
    if job.device.type == "cuda":
        return torch.cuda.get_device_name(job.device)
    return str(job.device)
