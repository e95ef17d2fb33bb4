"""The one exception that a user's mistake ends in, and the sentence that helps him out of it."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake of the user's: one sentence that names the setting, the value and the remedy. Exit code 2."""


def closest(word: str, known: Iterable[str]) -> str:
    """` (did you mean ...?)` for the known word nearest to `word`, or nothing if none is near."""
    match = get_close_matches(str(word), [str(name) for name in known], n=1, cutoff=0.5)
    return f" (did you mean {match[0]}?)" if match else ""
