"""Common wrapper of all commands: `--version`, standard streams, error messages, exit codes."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper

from gan_cli.errors import UserError, on_one_line, shortened


def run(name: str, command: Callable[[list[str]], None]) -> None:
    """Run a command with the arguments of the process.

    A mistake of the user ends in a one-line message and exit code 2; internal errors are raised.
    """
    arguments = sys.argv[1:]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra raise exceptions instead of exiting
    _open_streams()
    try:
        if "--version" in arguments:
            _print_version(arguments)
        else:
            with _silent_log():
                command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # gan-train --help | head
        _discard_output()
        sys.exit(141)
    except Exception as error:
        from gan_cli.commands import mistakes

        sentence = mistakes.explain(error, arguments)
        if sentence is None:
            raise
        with suppress(OSError):  # standard error is closed
            print(f"{name}: {shortened(on_one_line(sentence))}", file=sys.stderr)
        sys.exit(2)


@contextmanager
def _silent_log() -> Iterator[None]:
    """Print no traceback for a log that cannot be written, as on a full disk."""
    before = logging.raiseExceptions
    logging.raiseExceptions = False
    try:
        yield
    finally:
        logging.raiseExceptions = before


def _open_streams() -> None:
    """Replace closed standard streams by the null device, and escape unsupported characters."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if not _is_open(number):  # otherwise the next file would get this number
                os.dup2(null, number)
            setattr(sys, name, os.fdopen(null, "w" if number else "r", encoding="utf-8"))

    for output in (sys.stdout, sys.stderr):
        if isinstance(output, TextIOWrapper):
            output.reconfigure(errors="backslashreplace")


def _is_open(number: int) -> bool:
    """Whether a file descriptor is open."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _discard_output() -> None:
    """Redirect output, including that at interpreter shutdown, to the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            os.dup2(null, stream.fileno())


def _print_version(arguments: list[str]) -> None:
    """Print the version. Raises UserError for further arguments."""
    from gan_cli import __version__

    if rest := [argument for argument in arguments if argument != "--version"]:
        raise UserError(f"{rest[0]}: --version stands alone; leave out the rest.")
    print(f"gan-cli {__version__}")
