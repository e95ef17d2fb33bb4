"""Images and what is said of them: `t`, a caption, as places of its words in a vocabulary, and `i`,
the number of its image."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from gan_cli import noise
from gan_cli.data.dataset import Dataset
from gan_cli.data.folder import refuse_unreadable
from gan_cli.data.listing import Listing, listing
from gan_cli.data.packing import packed
from gan_cli.data.shapes import COLOURS, GROUND, SHAPES, SIZES, Scenes, drawn
from gan_cli.data.spec import Field, Spec
from gan_cli.data.words import END, UNKNOWN, encoded, words_of
from gan_cli.errors import UserError
from gan_cli.files import cache_folder, write_text
from gan_cli.reading.arrays import arrays
from gan_cli.registry import Count, datasets

DRAWN_SIZE, FILE_SIZE = 16, 32  # pixels a side of drawn images, and of those of files
PLACES = {"left": 0.33, "middle": 0.5, "right": 0.67}
"""Names of the places of a drawn object, and its centre in fractions of the width."""
JITTER = 0.04  # how far an object may lie from its place, as a fraction of the side
SAID: dict[str, tuple[str, ...]] = {
    "size": tuple(SIZES), "colour": tuple(COLOURS)[:4], "shape": SHAPES[:3], "place": tuple(PLACES),
}  # fmt: skip
"""The words of drawn captions, in their order."""
COMBINATIONS = tuple(itertools.product(*map(range, map(len, SAID.values()))))
"""All drawn captions, as the places of their words in SAID."""

Caption = TypeVar("Caption")


@datasets.register("captions")
class Captions(Dataset):
    """Images with captions; an image of several captions comes once with each.

    - `data.folder=F data.file=captions.csv`: a table of the columns `file` and `caption`;
    - `data.folder=F`: a text beside every image, `cat.txt` for `cat.png`, a caption a line;
    - `data.folder=F data.embeddings=captions.npz`: vectors that another network made of captions,
      the arrays `name` (of the images) and `embedding` (a row each);
    - without a folder: drawn shapes, such as `small red disc left`; of the 72 captions some are
      never shown, but held out.

    The vocabulary is that of the training split. Files without a caption, or that cannot be read,
    and captions without a file are left out, counted and listed in a file.

    Args:
        folder: where the images are.
        file: the table.
        embeddings: the arrays, whose vectors take the place of words.
        image_size: side; null takes 16 for drawn images, 32 for those of files.
        channels: of the images of a folder: 3 for colour, 1 for grey.
        length: words of a caption at most, further ones are cut; null takes the longest one's.
        size: drawn images to learn from; a fifth as many more are held out.
        never: drawn captions that are never learnt from.
        heldout: share held out, where the folder has no split of its own.
        unreadable: share of images, and of captions, that may be left out.

    Attributes:
        never: numbers of the drawn captions that are never learnt from.
    """

    kind: ClassVar[str] = "image"
    fields: ClassVar[tuple[str, ...]] = ("x", "t", "i")
    metrics: ClassVar[tuple[str, ...]] = ("drawn_captions", "retrieval", "patches")

    def __init__(
        self,
        folder: str | None = None,
        file: str | None = None,
        embeddings: str | None = None,
        image_size: Count | None = None,
        channels: Literal[1, 3] = 3,
        length: Count | None = None,
        size: Count = 5000,
        never: Annotated[int, Ge(0), Lt(len(COMBINATIONS))] = 8,
        heldout: Annotated[float, Gt(0), Lt(1)] = 0.1,
        unreadable: Annotated[float, Ge(0), Lt(1)] = 0.01,
    ) -> None:
        told = {"file": file, "embeddings": embeddings}
        typed = [f"data.{name}={value}" for name, value in told.items() if value is not None]
        if typed and folder is None:
            raise UserError(f"{typed[0]}: needs data.folder=FOLDER, where its images are.")
        if len(typed) > 1:
            raise UserError(f"{typed[1]}: not beside {typed[0]}; leave one of them out.")
        if folder is None:
            self._draw(image_size or DRAWN_SIZE, size, never)
            return
        side = image_size or FILE_SIZE
        self._read(Path(folder).expanduser(), file, embeddings, (channels, side, side), length,
                   heldout, unreadable)  # fmt: skip

    def _draw(self, side: int, size: int, never: int) -> None:
        """Set the fields to drawn scenes and their captions."""
        order = torch.randperm(len(COMBINATIONS), generator=noise.generator("never"))
        self.never, self.judged = order[:never].tolist(), True
        words = [END, UNKNOWN, *itertools.chain(*SAID.values())]
        self.spec = Spec(
            "image", (3, side, side),
            fields={"t": Field("words", (len(SAID),), size=len(words), names=tuple(words))},
        )  # fmt: skip
        everything, captions = torch.arange(len(COMBINATIONS)), self.captions()
        splits = {"train": (size, order[never:]), "heldout": (max(1, size // 5), everything)}
        self.train, self.heldout = (
            {"x": x, "t": captions[y], "i": torch.arange(len(x))}
            for x, y in (_drawn_split(name, n, some, side) for name, (n, some) in splits.items())
        )
        self.note = (
            f"{size} drawn images to learn from, {never} of the {len(COMBINATIONS)} captions among "
            "the held-out ones only"
        )

    def _read(
        self,
        folder: Path,
        said: str | None,
        vectors: str | None,
        shape: tuple[int, int, int],
        length: int | None,
        share: float,
        unreadable: float,
    ) -> None:
        """Set the fields to images of files and their captions, or the vectors of these.

        Args:
            said, vectors: the table, and the arrays; neither where texts lie beside the images.
        """
        files = listing(folder, False, share)
        images = packed(files, folder, shape, None)
        refuse_unreadable(str(folder), files, images, unreadable)
        place = np.cumsum(images.readable) - 1
        if vectors is not None:
            known, table = _vectors(Path(vectors).expanduser())
            rows, chosen = _matched(files, known, images.readable, folder, unreadable)
            t, field = table[chosen], Field("points", (table.shape[1],), bounded=False)
        else:
            lines = _table(Path(said).expanduser(), folder) if said else _beside(files)
            texts = {name: [words_of(line) for line in each] for name, each in lines.items()}
            rows, captions = _matched(files, texts, images.readable, folder, unreadable)
            learnt = np.flatnonzero(~files.heldout[rows])
            words = _vocabulary(captions[i] for i in learnt)
            length = length or max(map(len, captions))
            t = encoded(captions, {word: i for i, word in enumerate(words)}, length)
            field = Field("words", (length,), size=len(words), names=tuple(words))

        self.spec = Spec("image", shape, fields={"t": field})
        self.resizing = f"every image to {shape[1]}x{shape[2]} by Lanczos, the middle kept"
        self._split(folder, images.images, torch.from_numpy(place[rows]), t, files.heldout[rows])

    def _split(self, folder: Path, images: Tensor, i: Tensor, t: Tensor, heldout: Any) -> None:
        """Set both splits.

        Args:
            i: the image of each caption.
            heldout: whether it is held out.
        """
        self.train, self.heldout = (
            {"x": images[i[part]], "t": t[part], "i": i[part]}
            for part in (torch.from_numpy(~heldout), torch.from_numpy(heldout))
        )
        for name, part in (("learn from", self.train), ("hold out", self.heldout)):
            if not len(part["x"]):
                raise UserError(f"data.folder={folder}: no image with a caption to {name}.")
        self.note = (
            f"{len(self.train['x'])} captions to learn from, {len(self.heldout['x'])} held out"
        )
        if size := self.spec.fields["t"].size:
            unknown = int((self.heldout["t"] == 1).sum())
            self.note += f", {size - 2} words; {unknown} held-out words are unknown"

    def captions(self) -> Tensor:
        """All drawn captions, (72, words)."""
        known = {word: i for i, word in enumerate(self.spec.fields["t"].names)}
        return encoded([_words(row) for row in COMBINATIONS], known, len(SAID))

    def judge(self, purpose: str = "scores") -> Dataset:
        """Drawn images of all captions, whose class is the caption."""
        side, everything = self.spec.shape[-1], torch.arange(len(COMBINATIONS))
        drawn = "judge" if purpose == "scores" else f"judge {purpose}"
        judge = Dataset()
        names = tuple(" ".join(_words(row)) for row in COMBINATIONS)
        judge.spec = Spec("image", self.spec.shape, classes=len(COMBINATIONS), names=names)
        judge.train, judge.heldout = (
            dict(zip("xy", _drawn_split(f"{drawn} {split}", n, everything, side), strict=True))
            for split, n in (("train", JUDGED), ("heldout", JUDGED // 5))
        )
        return judge


JUDGED = 10_000  # drawn images that a judge learns from


# --- drawn captions -------------------------------------------------------------------------------


def _drawn_split(split: str, n: int, chosen: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """n drawn images of some of the captions, each as often as the others; and their numbers."""
    random = noise.generator(f"captions {split}")
    y = chosen[torch.randperm(n, generator=random) % len(chosen)]
    size, colour, shape, place = torch.tensor(COMBINATIONS)[y].unbind(dim=1)
    centre = torch.tensor(list(PLACES.values()))[place]
    across, down = JITTER * (2 * torch.rand(2, n, generator=random) - 1)
    texture = torch.rand(n, 3, generator=random) * torch.tensor([torch.pi, 0.4, 2 * torch.pi])
    first = torch.randint(len(GROUND), (n,), generator=random)
    world = Scenes(
        shape=shape[:, None],
        colour=colour[:, None],
        size=size[:, None],
        place=torch.stack([centre + across, 0.5 + down], dim=1)[:, None],
        texture=texture,
        ground=torch.stack([first, (first + 1) % len(GROUND)], dim=1),
    )
    return drawn(world, side), y


def _words(combination: Sequence[int]) -> list[str]:
    return [names[i] for names, i in zip(SAID.values(), combination, strict=True)]


# --- captions of files ----------------------------------------------------------------------------


def _vocabulary(captions: Iterable[Sequence[str]]) -> list[str]:
    """All words, the frequent ones first."""
    counts = Counter(itertools.chain.from_iterable(captions))
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return [END, UNKNOWN, *ordered]


def _table(file: Path, folder: Path) -> dict[str, list[str]]:
    """The captions of a table, by the name of the image's file.

    Raises:
        UserError: no such file, or it lacks a column.
    """
    import pandas

    try:
        table = pandas.read_csv(file, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"data.file={file}: no such file.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"data.file={file}: is no table ({error!s:.150}).") from None
    if missing := [name for name in ("file", "caption") if name not in table.columns]:
        raise UserError(
            f"data.file={file}: has no column {missing[0]} (it has "
            f"{', '.join(map(str, table.columns[:10]))}); name the columns file and caption."
        )
    said: dict[str, list[str]] = {}
    for name, caption in zip(table["file"], table["caption"], strict=True):
        said.setdefault(str(name), []).append(caption)
    return said


def _beside(files: Listing) -> dict[str, list[str]]:
    """The lines of the texts beside images, by the name of the image's file."""
    said = {}
    for path in files.paths(0, len(files)):
        text = path.with_suffix(".txt")
        if text.exists():
            lines = text.read_text(encoding="utf-8", errors="replace").splitlines()
            said[str(path.relative_to(files.folder))] = lines
    return said


def _vectors(file: Path) -> tuple[dict[str, list[int]], Tensor]:
    """The rows of vectors by the name of the image's file, and the vectors, (rows, width).

    Raises:
        UserError: no such file, or no such arrays.
    """
    said = f"data.embeddings={file}"
    found = arrays(file, ("name", "embedding"), said)
    names, table = found.get("name"), found.get("embedding")
    if (
        names is None
        or table is None
        or names.ndim != 1
        or names.dtype.kind != "U"
        or table.dtype.kind != "f"
        or table.ndim != 2
        or len(names) != len(table)
    ):
        raise UserError(
            f"{said}: needs the arrays `name`, texts (n,), and `embedding`, numbers (n, width)."
        )
    if not np.isfinite(table).all():
        raise UserError(f"{said}: some of its numbers are not finite.")
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(str(name), []).append(row)
    return rows, torch.from_numpy(table.astype(np.float32))


def _matched(
    files: Listing,
    said: Mapping[str, Sequence[Caption]],
    readable: Any,
    folder: Path,
    share: float,
) -> tuple[Any, list[Caption]]:
    """The number of the image's file of every caption, and the caption.

    Args:
        said: by the name of the image's file: the words of captions, or rows of their vectors.

    Raises:
        UserError: too many files have no caption, or too many captions no file or no word.
    """
    paths = [str(path.relative_to(files.folder)) for path in files.paths(0, len(files))]
    # a table may name files without the folders above them, or without the suffix
    ways = (lambda name: name, lambda name: Path(name).name, lambda name: Path(name).stem)
    places = [{way(path): i for i, path in enumerate(paths)} for way in ways]
    rows, captions, wrong = [], [], []
    for name, lines in said.items():
        found = next((known[way(name)] for known, way in zip(places, ways, strict=True)
                      if way(name) in known), None)  # fmt: skip
        if found is None:
            wrong.append(f"{name}: no such image")
            continue
        for caption in lines:
            if caption == []:
                wrong.append(f"{name}: a caption without a word")
            elif readable[found]:
                rows.append(found)
                captions.append(caption)
    spoken = set(rows)
    wrong += [
        f"{path}: no caption" for i, path in enumerate(paths) if i not in spoken and readable[i]
    ]

    report = cache_folder() / "captions" / f"{files.digest}.txt"
    if wrong:
        write_text(report, "\n".join([*wrong, ""]))
    if len(wrong) > share * max(len(paths), len(captions)):
        raise UserError(
            f"data.folder={folder}: {len(wrong)} images or captions have no partner (they are in "
            f"{report}; the first: {wrong[0]}), more than data.unreadable={share}; mend or remove "
            "them, or allow a larger share."
        )
    return np.array(rows, int), captions
