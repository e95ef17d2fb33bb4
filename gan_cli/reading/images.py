"""The one way to open an image that somebody else made. Nothing here imports torch.

Only regular files of the formats below are read, whatever they are called: others of Pillow's
formats start a program (EPS runs Ghostscript) or are hardly ever tried. The size of an image is
known before it is decoded, and images that are decoded at one time share a part of the machine's
memory.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from threading import Condition
from warnings import filterwarnings

from PIL import Image, UnidentifiedImageError

from gan_cli import files

for plugin in ("Png", "Jpeg", "Gif", "Bmp", "WebP", "Tiff", "Ppm", "Jpeg2K", "Avif", "Tga"):
    with suppress(ImportError):  # of an older Pillow
        import_module(f"PIL.{plugin}ImagePlugin")
FORMATS = tuple(
    name
    for name in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
    if name in Image.OPEN
)
"""What Pillow decodes by itself and knows by the first bytes."""
SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm",
    ".pgm", ".pbm", ".pnm",
    ".pfm", ".jp2", ".j2k", ".avif", ".tga",
}  # fmt: skip
BEGINNINGS = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*",
    b"\0\0\0\x0cjP  ",
)  # fmt: skip
"""First bytes that tell an image without a suffix."""
# of the machine's memory: for all images decoded at a time; for one, decoded alone
SHARE, MOST = 1 / 8, 1 / 2
# bytes of a pixel while it is decoded and brought to colours; of those that take more steps
PIXEL, MORE = 8, 20
# pixels of a JPEG from which it is decoded at a half, a quarter or an eighth of its sides
LARGE = 2**25
PASSING = (errno.EIO, errno.EACCES, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE,
errno.ETIMEDOUT,
           errno.ENOTCONN, errno.EINTR)  # fmt: skip

# what an image needs is counted here
filterwarnings("ignore", category=Image.DecompressionBombWarning)


@contextmanager
def looked_at(path: Path) -> Iterator[Image.Image]:
    """An image of which the first bytes are read: its format, mode and size. Raises what Pillow
    raises."""
    # TGA has no first bytes to know it by
    formats = (*FORMATS, "TGA") if path.suffix.lower() == ".tga" else FORMATS
    with files.opened(path) as file, Image.open(file, formats=formats) as image:
        yield image


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image that may be decoded in the block: the memory for it is kept free of other images'
    pixels.

    Raises:
        Exception: whatever a decoder raises for a damaged file; see `why`.
        OSError: it is no regular file, or needs too large a share of the memory.
    """
    with looked_at(path) as image:
        needed = image.width * image.height * (MORE if _takes_more(image) else PIXEL)
        if needed > MOST * files.memory():
            size = f"{image.width} x {image.height} pixels need {needed / 2**30:.3g} GiB"
            raise OSError(
                errno.EFBIG, f"its {size}, more than the share of the memory for one image"
            )
        with ROOM.taken(needed):
            yield image


def draft(image: Image.Image, side: int) -> None:
    """Let a very large JPEG be decoded smaller, at a half, a quarter or an eighth, where its
    shorter side is wanted at no more than half of that."""
    if image.format in ("JPEG", "MPO") and image.width * image.height > LARGE:
        image.draft(image.mode, (2 * side, 2 * side))


def loses_bits(image: Image.Image) -> bool:
    """Whether Pillow will take the upper 8 of 16 bits: it has no colours of more. To be asked
    before it is decoded."""
    return not image.mode.startswith("I") and any(
        ";16" in str(tile[3]) for tile in getattr(image, "tile", [])
    )


def _takes_more(image: Image.Image) -> bool:
    """Whether an image passes through more copies than colours need: an alpha channel, wide values,
    progressive."""
    eight = image.mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr")
    return not eight or "transparency" in image.info or "progressive" in image.info


class _Room:
    """Memory that the images which are decoded at a time may take together; an image larger than
    that is alone."""

    def __init__(self) -> None:
        self._taken, self._changed = 0, Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(
                lambda: not self._taken or self._taken + size <= SHARE * files.memory()
            )
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()


ROOM = _Room()


def is_image(path: Path) -> bool:
    """Whether a file without a suffix begins as an image."""
    try:
        with files.opened(path) as file:
            beginning = file.read(12)
    except OSError:
        return False
    return beginning.startswith(BEGINNINGS) or (beginning[:4], beginning[8:]) == (b"RIFF", b"WEBP")


def why(error: Exception) -> str:
    """Why an image could not be read, in a few words on one line."""
    if isinstance(error, UnidentifiedImageError):
        return "holds no image of a format that is read here"
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()).rstrip(".") or type(error).__name__


def is_passing(error: Exception) -> bool:
    """Whether the disk, the network or the machine was at fault, and the file may be readable
    another time."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in PASSING
