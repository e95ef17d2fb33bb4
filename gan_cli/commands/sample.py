"""`gan-sample`: samples of a checkpoint; only its file is needed."""

from collections.abc import Sequence
from functools import partial

from gan_cli.commands.dotted import settings_of
from gan_cli.errors import UserError
from gan_cli.sampling.generator import Generator, load_generator
from gan_cli.sampling.options import FROM_INPUTS, THROUGH_CODES, Mode, SampleConfig, refuse_unread
from gan_cli.sampling.output import output_of

__all__ = ["SampleConfig", "run"]


def run(config: SampleConfig, changed: Sequence[str] = ()) -> None:
    """Render and write the configured samples, and print the output path.

    Args:
        changed: typed `data.KEY=VALUE`, options of the data that differ from the checkpoint's, and
            `input.FIELD=VALUE`.
    """
    refuse_unread(config, changed)
    mode = config.mode
    output = output_of(config)

    from gan_cli.runs.restore import own_or_other_data
    from gan_cli.sampling import modes, projections, through_codes, units

    if mode is Mode.timeline:
        modes.write_timeline(config, output)
        return

    generator = load_generator(
        config.checkpoint,
        config.weights,
        config.plugins,
        config.statistics,
        config.direction,
        config.truncation,
    )
    _refuse_mismatched_mode(generator, mode)
    change = units.intervention_of(generator, config.layer, config.units, config.strength)
    generator = generator.changed(change)

    settings = settings_of(changed)
    load_data = partial(
        own_or_other_data,
        generator.config,
        generator.spec,
        config.data,
        settings.get("data", {}),
    )
    if mode in THROUGH_CODES:
        through_codes.write_through_codes(config, generator, load_data, output)
    elif mode is Mode.project:
        projections.write_projections(config, generator, load_data, output)
    elif config.codes is not None:
        projections.write_codes(config, generator, output)
    else:
        modes.write_drawn(config, generator, load_data, output, settings.get("input", {}))


def _refuse_mismatched_mode(generator: Generator, mode: Mode) -> None:
    """Raise UserError for a mode that cannot show samples of the checkpoint's kind."""
    from gan_cli.data.kinds import kind_of

    through = generator.game.encodes and mode in THROUGH_CODES
    if generator.game.sampling.given and mode not in FROM_INPUTS and not through:
        fitting = ", ".join(f"mode={item.value}" for item in FROM_INPUTS)
        raise UserError(
            f"mode={mode.value}: the checkpoint's model makes samples from inputs; take {fitting}."
        )
    readable = kind_of(generator.spec).readable
    if readable == (mode is Mode.text) or mode in (Mode.npz, Mode.encode):
        return
    fitting = "mode=text" if readable else "mode=grid, mode=images"
    raise UserError(
        f"mode={mode.value}: the checkpoint makes {generator.spec.kind}; take {fitting} or "
        "mode=npz."
    )
