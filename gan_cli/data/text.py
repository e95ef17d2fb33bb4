"""Characters of a text, in windows of fixed length."""

from pathlib import Path
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor

from gan_cli.data.dataset import Dataset, Fields, Spec
from gan_cli.errors import UserError
from gan_cli.networks.layers import one_hot
from gan_cli.registry import Count, datasets

BLOCKS, HELD_OUT = 100, 10  # the text is cut into 100 blocks and every tenth is held out; no window crosses a cut
OTHER = "\N{REPLACEMENT CHARACTER}"  # stands for characters that are too rare


@datasets.register("text")
class Text(Dataset):
    """Every window of a text as one-hot characters, (V, length): real text has ones and zeros, a generator a softmax.

    Reference: Gulrajani et al., 2017, arXiv 1704.00028, section 5.3.

    Args:
        file: a text in UTF-8; null takes the help topics that come with Python.
        length: characters in a window.
        vocabulary: the most frequent characters are kept, at most so many; all others become one.
    """

    kind: ClassVar[str] = "text"
    metrics: ClassVar[tuple[str, ...]] = ("ngrams",)

    def __init__(
        self, file: str | None = None, length: Count = 32, vocabulary: Annotated[int, Ge(2), Le(256)] = 128
    ) -> None:
        text = _read(Path(file).expanduser()) if file else _help_topics()
        by_count = sorted(set(text), key=lambda character: (-text.count(character), character))
        kept = by_count if len(by_count) <= vocabulary else [*by_count[: vocabulary - 1], OTHER]
        index = {character: i for i, character in enumerate(kept)}
        codes = torch.tensor([index.get(character, len(kept) - 1) for character in text], dtype=torch.uint8)
        if len(codes) < BLOCKS * 2 * length:
            raise UserError(f"data.file={file}: {len(text)} characters are too few for windows of {length}.")
        windows = [block.unfold(0, length, 1) for block in codes.tensor_split(BLOCKS)]
        self.train = {"x": torch.cat([part for i, part in enumerate(windows) if (i + 1) % HELD_OUT])}
        self.heldout = {"x": torch.cat(windows[HELD_OUT - 1 :: HELD_OUT])}
        self.spec = Spec("text", (len(kept), length), bounded=False, vocabulary="".join(kept))
        self.note = f"{len(codes)} characters, {len(kept)} different ones; a tenth of the text is held out"

    def decode(self, stored: Fields) -> Fields:
        return {**stored, "x": one_hot_characters(stored["x"], self.spec.shape[0])}


def one_hot_characters(codes: Tensor, size: int) -> Tensor:
    """Characters by number, (N, length), one-hot: (N, size, length)."""
    return one_hot(codes, size).movedim(-1, 1)


def characters(samples: Tensor) -> Tensor:
    """The most likely character at every place of (N, V, length): (N, length)."""
    return samples.argmax(dim=1)


def lines(samples: Tensor, vocabulary: str) -> list[str]:
    """Samples (N, V, length) as readable lines; a line break in the text shows as a sign."""
    rows = characters(samples).tolist()
    return ["".join(vocabulary[i] for i in row).replace("\n", "\N{RETURN SYMBOL}").replace("\t", " ") for row in rows]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"data.file={path}: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"data.file={path}: not a text in UTF-8 ({error.reason} at byte {error.start}).") from None


def _help_topics() -> str:
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))
