"""`gan-train` before the composition of its configuration: help, dry run, sweep or run."""

from gan_cli.commands.keys import HELP
from gan_cli.config import commandline
from gan_cli.config import own_options as own
from gan_cli.config.options import configs
from gan_cli.config.schema import GROUPS
from gan_cli.errors import UserError


def run(arguments: list[str]) -> None:
    """Run `gan-train` with these arguments.

    Hydra is not imported for `--help`, and torch only after the configuration has been validated.

    Raises:
        UserError: an argument is invalid.
    """
    _refuse_unreadable(arguments)
    own.use_folders(commandline.folders(arguments))
    if HELP & set(arguments):
        from gan_cli.commands import help

        words, _ = commandline.apart([item for item in arguments if item not in HELP])
        print(help.page(words))
        return

    from gan_cli.commands import dry_run, train
    from gan_cli.sweeps import multirun

    typed = commandline.flags_last(commandline.overrides(arguments))
    own.check(typed, configs(), GROUPS)
    if dry_run.requested(arguments):
        dry_run.run(arguments)
        return

    with multirun.sweep(typed, commandline.OUTPUTS / "sweeps", train.hydra_node) as complete:
        train.main(complete)


def _refuse_unreadable(arguments: list[str]) -> None:
    """Raise UserError for an argument that is not UTF-8, which cannot be recorded in files."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{argument}: is not UTF-8; give the file or folder another name."
            ) from None
