"""The exception for a user's mistake, and helpers for the sentence that it carries."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from gan_cli import synonyms


class UserError(Exception):
    """A user's mistake, as one sentence with the setting, the value and the remedy; exit code 2."""


def on_one_line(text: str) -> str:
    """A text, perhaps from other people, without line breaks and terminal control characters."""
    return "".join(
        c if c.isprintable() else " " if c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def closest(word: str, known: Iterable[str]) -> str:
    """` (did you mean ...?)` with the known word closest to `word`; empty if none is close.

    A synonym of `word` in other tools precedes a word of similar spelling.
    """
    names = [str(name) for name in known if str(name) != str(word)]
    match = synonyms.meant(str(word), names) or next(
        iter(get_close_matches(str(word), names, n=1, cutoff=0.5)), None
    )
    return f" (did you mean {match}?)" if match else ""


LONG = 400  # characters from which on a word is shortened
SHOWN = 100  # characters that remain of it


def shortened(text: str) -> str:
    """A sentence with very long words shortened, such as numbers of a thousand digits."""
    return re.sub(
        rf"\S{{{LONG},}}", lambda match: f"{match[0][:SHOWN]}... ({len(match[0])} characters)", text
    )


def explain_os(error: OSError) -> str:
    """A sentence about a system's error, with the name of the file that the user knows."""
    # the file itself instead of the temporary one beside it
    name = re.sub(r"\.([^/]+?)(\.\d+)?\.part$", r"\1", str(error.filename))
    return f"{name}: {error.strerror}." if error.filename else f"{error}."
