"""The one exception that a user's mistake ends in, and the sentence that helps him out of it."""

import re
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake of the user's: one sentence that names the setting, the value and the remedy. Exit code 2."""


def on_one_line(text: str) -> str:
    """A sentence that may quote what a stranger wrote: no line breaks, and nothing that a terminal would obey."""
    return "".join(c if c.isprintable() else " " if c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def closest(word: str, known: Iterable[str]) -> str:
    """` (did you mean ...?)` for the known word nearest to `word`, or nothing if none is near."""
    match = get_close_matches(str(word), [str(name) for name in known], n=1, cutoff=0.5)
    return f" (did you mean {match[0]}?)" if match else ""


def explain_os(error: OSError) -> str:
    """The system's complaint about a file, by the name that the user knows it by."""
    wanted = re.sub(r"\.([^/]+?)(\.\d+)?\.part$", r"\1", str(error.filename))  # not the name it is written under
    return f"{wanted}: {error.strerror}." if error.filename else f"{error}."
