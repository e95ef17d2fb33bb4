"""Texts as windows of a fixed number of characters."""

import codecs
import errno
import logging
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor

from gan_cli.data.dataset import Dataset, Fields
from gan_cli.data.spec import Spec
from gan_cli.errors import UserError
from gan_cli.files import memory, read_unpacked
from gan_cli.networks.layers import one_hot
from gan_cli.registry import Count, datasets

log = logging.getLogger(__name__)

# the text is cut into 100 blocks and every tenth is held out; no window crosses a cut
BLOCKS, HELD_OUT = 100, 10
OTHER = "\N{REPLACEMENT CHARACTER}"  # replaces characters that are too rare
MOST_LEFT_OUT = 0.1  # fraction of a file that may be left out without a warning
MOST_MEMORY = 1 / 4  # fraction of the machine's memory that windows, or strings, may need
MOST_INVALID = 1 / 4  # fraction of a text that may be NUL, or characters that do not exist
CHUNK = 2**20  # characters that are converted to indices at a time
BYTE_ORDER_MARKS = (  # the longer ones first: that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8,
    "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip


@datasets.register("text")
class Text(Dataset):
    """All windows of a text as one-hot characters, (V, length); generators make probabilities.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, section 5.3.

    Args:
        file: a text in UTF-8, or in UTF-16 with its byte order mark; it may be compressed (.gz,
            .bz2). All kinds of line breaks become one. null takes the help topics that come with
            Python.
        length: characters in a window.
        vocabulary: the most frequent characters are kept, at most so many; all others become one.
    """

    kind: ClassVar[str] = "text"
    metrics: ClassVar[tuple[str, ...]] = ("ngrams",)

    def __init__(
        self,
        file: str | None = None,
        length: Count = 32,
        vocabulary: Annotated[int, Ge(2), Le(256)] = 128,
    ) -> None:
        text = _read(Path(file).expanduser()) if file else _help_topics()
        if len(text) < BLOCKS * 2 * length:
            raise UserError(
                f"data.file={file}: {len(text)} characters are too few for windows of {length}; "
                "take a longer text, or a smaller data.length."
            )
        refuse_beyond_memory(len(text), length, f"data.file={file}", "windows")
        counts = Counter(text)
        if len(counts) < 2:
            raise UserError(
                f"data.file={file}: all its characters are {min(counts)!r}; there is "
                "nothing to learn."
            )

        known = _most_frequent(counts, vocabulary)
        codes = indices_of(text, known, len(known) - 1)
        windows = [block.unfold(0, length, 1) for block in codes.tensor_split(BLOCKS)]
        train = [part for i, part in enumerate(windows) if (i + 1) % HELD_OUT]
        self.train = {"x": torch.cat(train)}
        self.heldout = {"x": torch.cat(windows[HELD_OUT - 1 :: HELD_OUT])}
        self.spec = Spec("text", (len(known), length), bounded=False, vocabulary="".join(known))
        self.note = (
            f"{len(codes)} characters, {len(known)} different ones; a tenth of the text is held out"
        )
        self.note += _rare_characters(counts, known, vocabulary)

    def decode(self, stored: Fields) -> Fields:
        return {**stored, "x": one_hot_characters(stored["x"], self.spec.shape[0])}


def _most_frequent(counts: Counter[str], most: int) -> list[str]:
    """At most `most` frequent characters; if there are more, the last one replaces all others."""
    by_count = sorted(counts, key=lambda character: (-counts[character], character))
    if len(by_count) <= most:
        return by_count
    return [*[character for character in by_count if character != OTHER][: most - 1], OTHER]


def _rare_characters(counts: Counter[str], known: list[str], most: int) -> str:
    """A remark on the replaced characters, if any; logs a warning if they are frequent."""
    rare = counts.total() - sum(counts[character] for character in known)
    if not rare:
        return ""

    fraction = rare / counts.total()
    message = (
        f"{fraction:.1%} of it are {len(counts) - len(known) + 1} rarer characters, which are all "
        f"read as {OTHER}"
    )
    if fraction > MOST_LEFT_OUT:
        possible = len(counts) <= 256
        remedy = (
            f"data.vocabulary={len(counts)} keeps all" if possible else "at most 256 can be kept"
        )
        log.warning(
            "data.vocabulary=%d keeps too little of the text: %s; %s", most, message, remedy
        )
    return f"; {message}"


def indices_of(text: str, vocabulary: list[str] | str, others: int = 0) -> Tensor:
    """Index in the vocabulary of each character, (len(text),) uint8; `others` for unknown ones."""
    table = np.full(0x110000, others, np.uint8)
    table[[ord(character) for character in vocabulary]] = range(len(vocabulary))
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    chunks = np.array_split(points, 1 + len(points) // CHUNK)
    return torch.from_numpy(np.concatenate([table[chunk] for chunk in chunks]))


def refuse_beyond_memory(count: int, length: int, setting: str, noun: str) -> None:
    """Raise UserError if `count` strings of `length` bytes need too much of the memory."""
    if count * length > MOST_MEMORY * memory():
        raise UserError(
            f"{setting}: {count} {noun} of data.length={length} need {count * length / 2**30:.3g} "
            f"GiB, more than a quarter of the {memory() / 2**30:.3g} GiB here; take a part of the "
            "file, or a smaller data.length."
        )


def one_hot_characters(codes: Tensor, size: int) -> Tensor:
    """One-hot vectors, (N, size, length), of indices of characters, (N, length)."""
    return one_hot(codes, size).movedim(-1, 1)


def characters(samples: Tensor) -> Tensor:
    """Index of the most likely character at each position, (N, length), of (N, V, length)."""
    return samples.argmax(dim=1)


def _read(path: Path) -> str:
    """The text in a file.

    Raises:
        UserError: it cannot be read, or is no text.
    """
    try:
        return decoded(read_unpacked(path))
    except OSError as error:
        raise UserError(f"data.file={path}: {unreadable(error)}.") from None
    except ValueError as error:
        raise UserError(
            f"data.file={path}: not a text in UTF-8 or UTF-16 ({error}); bring it to UTF-8 by "
            "iconv -f ENCODING -t UTF-8 FILE, where LATIN1 is a common ENCODING."
        ) from None


def unreadable(error: OSError) -> str:
    """The reason why a file cannot be read, with a remedy if it is too long."""
    return f"{error.strerror}{'; take a part of it' if error.errno == errno.EFBIG else ''}"


def decoded(content: bytes) -> str:
    """The text in a file, with line feeds as line breaks.

    It is in UTF-8 unless a byte order mark says otherwise.

    Raises:
        ValueError: it is in another encoding, or no text; the message is the reason.
    """
    marks = ((mark, name) for mark, name in BYTE_ORDER_MARKS if content.startswith(mark))
    _, encoding = next(marks, (b"", "utf-8"))
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{error.reason} at byte {error.start}") from None

    if text.count("\0") > MOST_INVALID * len(text):
        raise ValueError("it is full of NUL, as UTF-16 without its byte order mark is")
    unassigned = sorted(c for c in set(text) if unicodedata.category(c) == "Cn")
    # counting each of thousands would take long, and twenty are enough
    if sum(map(text.count, unassigned[:20])) > MOST_INVALID * len(text):
        raise ValueError("it is full of characters that do not exist")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _help_topics() -> str:
    """The help topics that come with Python, as one text."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))
