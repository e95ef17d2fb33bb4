"""The one exception that a user's mistake ends in, and the sentence that helps him out of it."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from gan_cli import synonyms


class UserError(Exception):
    """A mistake of the user's: one sentence that names the setting, the value and the remedy. Exit
    code 2."""


def on_one_line(text: str) -> str:
    """A sentence that may quote what a stranger wrote: no line breaks, and nothing that a terminal
    would obey."""
    return "".join(
        c if c.isprintable() else " " if c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def closest(word: str, known: Iterable[str]) -> str:
    """` (did you mean ...?)` for the known word nearest to `word`, or nothing if none is near.

    One that other tools call `word` is nearer than one that is spelt like it.
    """
    names = [str(name) for name in known if str(name) != str(word)]
    match = synonyms.meant(str(word), names) or next(
        iter(get_close_matches(str(word), names, n=1, cutoff=0.5)), None
    )
    return f" (did you mean {match}?)" if match else ""


LONG, SHOWN = 400, 100  # characters of a word, and those that are shown of a longer one


def shortened(text: str) -> str:
    """A sentence without the middle of words that nobody would read: numbers of a thousand digits,
    nested brackets."""
    return re.sub(
        rf"\S{{{LONG},}}", lambda match: f"{match[0][:SHOWN]}... ({len(match[0])} characters)", text
    )


def explain_os(error: OSError) -> str:
    """The system's complaint about a file, by the name that the user knows it by."""
    # not the name it is written under
    wanted = re.sub(r"\.([^/]+?)(\.\d+)?\.part$", r"\1", str(error.filename))
    return f"{wanted}: {error.strerror}." if error.filename else f"{error}."
