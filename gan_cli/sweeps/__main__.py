"""Former command `python -m gan_cli.sweeps`: names the `gan-compare` line for its arguments."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

from gan_cli.errors import on_one_line

PATTERN = "samples/*.png"
"""Default of the former `--pattern`."""


class _Parser(argparse.ArgumentParser):
    """A parser that raises ValueError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def main() -> NoReturn:
    """Print what to type instead, and exit 2."""
    line = shlex.join(["gan-compare", *translate(sys.argv[1:])])
    print(f"gan_cli.sweeps: gan-compare reads sweeps; type {on_one_line(line)}", file=sys.stderr)
    sys.exit(2)


def translate(arguments: Sequence[str]) -> list[str]:
    """Arguments of `gan-compare` for those of the former command; a placeholder for wrong ones."""
    try:
        typed = _build_parser().parse_intermixed_args(arguments)
    except ValueError:
        return ["outputs/sweeps/FOLDER"]

    scores = _join("scores", typed.scores)
    if typed.cells:
        return [typed.folder, "cells=true"]
    if typed.curves:
        curves = _join("curves", typed.scores)
        return [typed.folder, f"over={typed.curves}", *curves, "statistic=median", typed.output]
    if typed.grid:
        sides = [f"rows={typed.grid[0]}", f"columns={typed.grid[1]}"]
        pictures = [] if typed.pattern == PATTERN else [f"pictures={typed.pattern}"]
        return [typed.folder, *sides, *_join("scores", typed.scores[:1]), *pictures, typed.output]
    if typed.success:
        scores = _join("scores", typed.scores[:1] or ["NAME"])
        thresholds = _join("at", typed.at)
        return [typed.folder, f"success={typed.success}", *scores, *thresholds, "format=markdown"]
    scores = scores or ["scores=[all]"]
    return [typed.folder, *scores, "statistic=median", "best=false", "format=markdown"]


def _build_parser() -> _Parser:
    """Parser of the former command."""
    parser = _Parser(add_help=False)
    parser.add_argument("folder")
    parser.add_argument("scores", nargs="*")
    parser.add_argument("--cells", action="store_true")
    parser.add_argument("--success")
    parser.add_argument("--at", nargs="*", default=())
    parser.add_argument("--curves")
    parser.add_argument("--grid", nargs=2)
    parser.add_argument("--pattern", default=PATTERN)
    parser.add_argument("--output", type="output={}".format, default="sweep.png")
    return parser


def _join(key: str, values: Sequence[str]) -> list[str]:
    """`key=[a,b]`; nothing without values."""
    return [f"{key}=[{','.join(values)}]"] if values else []


if __name__ == "__main__":
    main()
