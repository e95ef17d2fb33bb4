"""`gan-zoo`: every model at an equal budget, and a page of what came out."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gan_cli.commands import dispatch, evaluate, train
from gan_cli.commands.keys import key
from gan_cli.config.papers import Entry, entries
from gan_cli.errors import UserError, closest, on_one_line
from gan_cli.files import read_json, write_json
from gan_cli.reports import zoo_page
from gan_cli.runs.finished import FURTHER, Run, find_runs

MINUTES = 2  # of a run, where no budget is typed
ROOT = Path("outputs") / "zoo"
SHOWN = ("precision", "recall")


@dataclass
class ZooConfig:
    """Keys of `gan-zoo`."""

    models: list[str] = key("[names]; all models that fit the data if not given", [])
    seeds: list[int] = key("[numbers]: a run of each model with each", [1, 2, 3])
    jobs: int = key("runs at a time, each with one thread; more than 1 needs gan-cli[joblib]", 1)
    folder: str = key(
        "FOLDER of the runs; the same line goes on in it; named after what is typed if not given",
        "",
    )
    output: str = key(
        "FILE.md of the table, beside it the gallery; zoo.md of folder if not given", ""
    )


def run(config: ZooConfig, typed: list[str]) -> None:
    """Train every model with every seed, and write the page.

    Args:
        typed: arguments of `gan-train` that every run has.

    Raises:
        UserError: a value is unknown, or a run has failed; the page is written all the same.
    """
    config = _placed(config, typed)
    _check(config, typed)
    if not any(item.partition("=")[0] in ("minutes", "steps") for item in typed):
        typed = [*typed, f"minutes={MINUTES}"]

    listed, left_out = _playable(_chosen(config.models), typed)
    if not listed:
        raise UserError(f"no model fits; the first: {left_out[0]}")
    failure = _sweep(config, [entry.model for entry in listed], typed)

    standings = _standings(config, listed)
    seeds = ", ".join(map(str, config.seeds))
    budget = f"Each model by `gan-train {' '.join(typed)} hardware.threads=1`, seeds {seeds}."
    zoo_page.write(Path(config.output), standings, budget, left_out)
    print(config.output)
    if failure:
        raise failure


def _placed(config: ZooConfig, typed: Sequence[str]) -> ZooConfig:
    """The keys with the places that were not given: different lines have different folders."""
    named = "+".join(item.strip("/").replace("/", "_") for item in typed) or "usual"
    folder = config.folder or str(ROOT / named)
    return replace(config, folder=folder, output=config.output or str(Path(folder) / "zoo.md"))


def _check(config: ZooConfig, typed: Sequence[str]) -> None:
    """Raise UserError for a value that cannot be, or for what the command itself decides."""
    if not config.seeds or min(config.seeds) < 0 or len(set(config.seeds)) < len(config.seeds):
        raise UserError(f"zoo.seeds={config.seeds}: expected different numbers of at least 0.")
    if config.jobs < 1:
        raise UserError(f"zoo.jobs={config.jobs}: must be at least 1.")
    if Path(config.output).suffix != ".md":
        raise UserError(f"zoo.output={config.output}: the name must end in .md.")
    for item in typed:
        name = item.lstrip("+").partition("=")[0]
        if name in ("model", "seed", "hydra.sweep.dir", "-m", "--multirun"):
            remedy = {"model": "zoo.models=[NAMES]", "seed": "zoo.seeds=[NUMBERS]"}
            raise UserError(
                f"{item}: gan-zoo decides it; take {remedy.get(name, 'zoo.folder=FOLDER')}."
            )


def _chosen(names: Sequence[str]) -> list[Entry]:
    """Entries of these models, or of all. Raises UserError for an unknown one."""
    known = {entry.model: entry for entry in entries()}
    for name in names:
        if name not in known:
            raise UserError(f"zoo.models=[{name}]: no such model{closest(name, known)}.")
    return [known[name] for name in names] or list(known.values())


def _playable(chosen: Sequence[Entry], typed: Sequence[str]) -> tuple[list[Entry], list[str]]:
    """The models that fit what was typed, and a sentence for each that does not."""
    fitting, left_out = [], []
    for entry in chosen:
        try:
            train.composed([f"model={entry.model}", *typed])
        except UserError as error:
            left_out.append(f"{entry.model}: {on_one_line(str(error))}")
        else:
            fitting.append(entry)
    return fitting, left_out


def _sweep(config: ZooConfig, models: Sequence[str], typed: Sequence[str]) -> UserError | None:
    """Train what is not trained yet; the error says which runs have failed."""
    # the launcher's processes ask for it before they import torch
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    pool = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={config.jobs}"]
    try:
        dispatch.run(
            [
                "-m",
                f"model={','.join(models)}",
                f"seed={','.join(map(str, config.seeds))}",
                *typed,
                "hardware.threads=1",
                f"hydra.sweep.dir={config.folder}",
                *(pool if config.jobs > 1 else []),
            ]
        )
    except UserError as error:
        return error
    return None


def _standings(config: ZooConfig, listed: Sequence[Entry]) -> list[zoo_page.Standing]:
    """What came out of each model that has a finished run."""
    runs, _ = find_runs([Path(config.folder)])
    wanted = {str(seed) for seed in config.seeds}
    finished = [run for run in runs if run.card.get("finished") and run.seed in wanted]

    standings = []
    for entry in listed:
        own = [run for run in finished if run.setting("model") == entry.model]
        if own:
            middle = zoo_page.Standing(entry, own).middle
            standings.append(zoo_page.Standing(entry, own, _further(middle)))
    return standings


def _further(run: Run) -> dict[str, float]:
    """Precision and recall of a run, measured once; nothing where they cannot be."""
    file = run.folder / FURTHER
    if not file.exists():
        config = evaluate.EvaluateConfig(checkpoint=str(run.folder), metrics=["prdc"])
        try:
            scores = evaluate.evaluated(config, [])["scores"]
        except UserError:  # data or games without it
            scores = {}
        write_json(file, {name: scores[name] for name in SHOWN if name in scores})
    known = read_json(file)
    return {name: float(known[name]) for name in SHOWN if name in known}
