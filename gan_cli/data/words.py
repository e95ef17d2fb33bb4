"""Words of captions, and their places in a vocabulary."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

WORD = re.compile("[^\\W_]+(?:['\N{RIGHT SINGLE QUOTATION MARK}][^\\W_]+)*")
END, UNKNOWN = "", "?"  # the first words of every vocabulary


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters."""
    return WORD.findall(text.lower())


def encoded(captions: Sequence[Sequence[str]], known: Mapping[str, int], length: int) -> Tensor:
    """Places of words, (n, length); 0 after the last word, 1 for an unknown one."""
    rows = np.zeros((len(captions), length), np.int64)
    for row, words in zip(rows, captions, strict=True):
        places = [known.get(word, 1) for word in words[:length]]
        row[: len(places)] = places
    return torch.from_numpy(rows)
