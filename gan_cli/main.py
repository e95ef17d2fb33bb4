"""Entry points of the commands, as referenced by the scripts in pyproject.toml."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from gan_cli.commands import keys, wrapper
from gan_cli.commands.keys import Command


def _train(arguments: list[str]) -> None:
    from gan_cli.commands import dispatch  # not needed by the other commands

    dispatch.run(arguments)


def _entry_point(name: str, command: Command) -> Callable[[], None]:
    return partial(wrapper.run, name, partial(keys.run, command))


train = partial(wrapper.run, "gan-train", _train)

sample = _entry_point(
    "gan-sample",
    Command(
        "gan_cli.commands.sample",
        "SampleConfig",
        usage="""gan-sample FILE|RUN|latest [key=value ...]

data.KEY=VALUE says what has changed of the data, such as data.folder=FOLDER where they
have moved.""",
        places_checkpoint=True,
        is_other=keys.sets_data_or_input,
    ),
)
evaluate = _entry_point(
    "gan-evaluate",
    Command(
        "gan_cli.commands.evaluate",
        "EvaluateConfig",
        places_checkpoint=True,
        is_other=keys.sets_part,
    ),
)
bench = _entry_point(
    "gan-bench",
    Command(
        "gan_cli.commands.bench",
        "BenchConfig",
        usage="gan-bench [bench.KEY=VALUE ...] [key=value of gan-train ...]",
        prefix="bench.",
        optional=True,
        is_other=partial(keys.is_of_training, prefix="bench."),
    ),
)
explore = _entry_point(
    "gan-explore",
    Command(
        "gan_cli.commands.explore",
        "ExploreConfig",
        usage="gan-explore FILE|RUN|latest [key=value ...]",
        places_checkpoint=True,
    ),
)
dissect = _entry_point(
    "gan-dissect",
    Command(
        "gan_cli.commands.dissect",
        "DissectConfig",
        usage="""gan-dissect FILE|RUN|latest [key=value ...]

data.KEY=VALUE says what has changed of the data, such as data.folder=FOLDER where they
have moved.""",
        places_checkpoint=True,
        is_other=keys.sets_data,
    ),
)
export = _entry_point(
    "gan-export",
    Command(
        "gan_cli.commands.export",
        "ExportConfig",
        usage="gan-export FILE|RUN|latest output=generator.pt2 [key=value ...]",
        places_checkpoint=True,
    ),
)
list_models = _entry_point(
    "gan-list",
    Command(
        "gan_cli.commands.list_models",
        "ListConfig",
        usage="gan-list [format=table|markdown|json]",
        optional=True,
    ),
)
zoo = _entry_point(
    "gan-zoo",
    Command(
        "gan_cli.commands.zoo",
        "ZooConfig",
        usage="gan-zoo [zoo.KEY=VALUE ...] [key=value of gan-train ...]",
        notes="Such as gan-zoo data=usps minutes=1. The same line goes on where it was.",
        prefix="zoo.",
        optional=True,
        is_other=partial(keys.is_of_training, prefix="zoo."),
    ),
)
compare = _entry_point(
    "gan-compare",
    Command(
        "gan_cli.commands.compare",
        "CompareConfig",
        usage="gan-compare RUNS... [key=value ...]",
        notes="RUNS are folders of runs, or folders with runs in them, such as "
        "outputs/sweeps/2026-01-01_12-00-00.",
        is_other=keys.is_place,
        other=Path,
    ),
)
