"""Characters of a text, in windows of fixed length."""

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
OTHER = "\N{REPLACEMENT CHARACTER}"  # stands for characters that are too rare
MOST_LEFT_OUT = 0.1  # of what a file holds, before that is a warning
SHARE = 1 / 4  # of the machine's memory: the most that windows, or strings, may need
MARKS = (  # the longer ones first: that of UTF-16 begins that of UTF-32
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8,
    "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip


@datasets.register("text")
class Text(Dataset):
    """Every window of a text as one-hot characters, (V, length): real text has ones and zeros, a
    generator a softmax.

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
        refuse_too_much(len(text), length, f"data.file={file}", "windows")
        counts = Counter(text)
        if len(counts) < 2:
            raise UserError(
                f"data.file={file}: all its characters are {min(counts)!r}; there is "
                "nothing to learn."
            )
        kept = _kept(counts, vocabulary)
        codes = numbered(text, kept, len(kept) - 1)
        windows = [block.unfold(0, length, 1) for block in codes.tensor_split(BLOCKS)]
        self.train = {
            "x": torch.cat([part for i, part in enumerate(windows) if (i + 1) % HELD_OUT])
        }
        self.heldout = {"x": torch.cat(windows[HELD_OUT - 1 :: HELD_OUT])}
        self.spec = Spec("text", (len(kept), length), bounded=False, vocabulary="".join(kept))
        self.note = (
            f"{len(codes)} characters, {len(kept)} different ones; a tenth of the text is held out"
        )
        self.note += _rare(counts, kept, vocabulary)

    def decode(self, stored: Fields) -> Fields:
        return {**stored, "x": one_hot_characters(stored["x"], self.spec.shape[0])}


def _kept(counts: Counter[str], most: int) -> list[str]:
    """The most frequent characters, at most so many; the last of them stands for all others if
    there are more."""
    by_count = sorted(counts, key=lambda character: (-counts[character], character))
    if len(by_count) <= most:
        return by_count
    return [*[character for character in by_count if character != OTHER][: most - 1], OTHER]


def _rare(counts: Counter[str], kept: list[str], most: int) -> str:
    """What to say of the characters that are not kept; a warning too where they are much of the
    text."""
    rare = counts.total() - sum(counts[character] for character in kept)
    if not rare:
        return ""
    share = rare / counts.total()
    said = (
        f"{share:.1%} of it are {len(counts) - len(kept) + 1} rarer characters, which are all "
        f"read as {OTHER}"
    )
    if share > MOST_LEFT_OUT:
        every = len(counts) <= 256
        remedy = f"data.vocabulary={len(counts)} keeps all" if every else "at most 256 can be kept"
        log.warning("data.vocabulary=%d keeps too little of the text: %s; %s", most, said, remedy)
    return f"; {said}"


def numbered(text: str, vocabulary: list[str] | str, others: int = 0) -> Tensor:
    """The place in the vocabulary of each character, (len(text),) bytes; `others` for those that
    are not in it."""
    table = np.full(0x110000, others, np.uint8)
    table[[ord(character) for character in vocabulary]] = range(len(vocabulary))
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    return torch.from_numpy(
        np.concatenate([table[part] for part in np.array_split(points, 1 + len(points) // 2**20)])
    )


def refuse_too_much(count: int, length: int, setting: str, what: str) -> None:
    """Raise UserError where `count` strings of `length` bytes need more than a share of this
    machine's memory."""
    if count * length > SHARE * memory():
        raise UserError(
            f"{setting}: {count} {what} of data.length={length} need {count * length / 2**30:.3g} "
            f"GiB, more than a quarter of the {memory() / 2**30:.3g} GiB here; take a part of the "
            "file, or a smaller data.length."
        )


def one_hot_characters(codes: Tensor, size: int) -> Tensor:
    """Characters by number, (N, length), one-hot: (N, size, length)."""
    return one_hot(codes, size).movedim(-1, 1)


def characters(samples: Tensor) -> Tensor:
    """The most likely character at every place of (N, V, length): (N, length)."""
    return samples.argmax(dim=1)


def lines(samples: Tensor, vocabulary: str) -> list[str]:
    """Samples (N, V, length) as readable lines; a line break in the text shows as a sign."""
    rows = characters(samples).tolist()
    return [
        "".join(vocabulary[i] for i in row).replace("\n", "\N{RETURN SYMBOL}").replace("\t", " ")
        for row in rows
    ]


def _read(path: Path) -> str:
    try:
        return decoded(read_unpacked(path))
    except OSError as error:
        raise UserError(f"data.file={path}: {unread(error)}.") from None
    except ValueError as error:
        raise UserError(
            f"data.file={path}: not a text in UTF-8 or UTF-16 ({error}); bring it to UTF-8 by "
            "iconv -f ENCODING -t UTF-8 FILE, where LATIN1 is a common ENCODING."
        ) from None


def unread(error: OSError) -> str:
    """Why a file could not be read, and what to do about one that is too long."""
    return f"{error.strerror}{'; take a part of it' if error.errno == errno.EFBIG else ''}"


def decoded(content: bytes) -> str:
    """A text in UTF-8, or in what its byte order mark says, with one kind of line breaks.

    Raises:
        ValueError: it is in another encoding, or no text; the message is the reason.
    """
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{error.reason} at byte {error.start}") from None
    if text.count("\0") > len(text) / 4:
        raise ValueError("it is full of NUL, as UTF-16 without its byte order mark is")
    odd = {character for character in set(text) if unicodedata.category(character) == "Cn"}
    if sum(map(text.count, sorted(odd)[:20])) > len(text) / 4:
        raise ValueError("it is full of characters that do not exist")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _help_topics() -> str:
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))
