"""The only way to open images from other people. Nothing here imports torch.

Only regular files of the formats below are read, whatever their names: Pillow's other formats start
a program (EPS runs Ghostscript) or are hardly ever tested. The size of an image is checked before
it is decoded, and images that are decoded at the same time share a fraction of the machine's
memory.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from threading import Condition
from warnings import filterwarnings

from PIL import Image, ImageFile, UnidentifiedImageError

from gan_cli import files

for plugin in ("Png", "Jpeg", "Gif", "Bmp", "WebP", "Tiff", "Ppm", "Jpeg2K", "Avif", "Tga"):
    with suppress(ImportError):  # an older Pillow lacks some
        import_module(f"PIL.{plugin}ImagePlugin")
FORMATS = tuple(
    name
    for name in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
    if name in Image.OPEN
)
"""Formats that Pillow decodes without other programs and recognises by the first bytes."""
SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm",
    ".pgm", ".pbm", ".pnm",
    ".pfm", ".jp2", ".j2k", ".avif", ".tga",
}  # fmt: skip
BEGINNINGS = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*",
    b"\0\0\0\x0cjP  ",
)  # fmt: skip
"""First bytes of images, for files without a suffix."""
SHARED_MEMORY = 1 / 8  # fraction of the machine's memory for all images decoded at the same time
LARGEST = 1 / 2  # fraction of the machine's memory for one image, which is then decoded alone
PIXEL = 8  # bytes that a pixel needs while it is decoded and converted
WIDE_PIXEL = 20  # the same, for images whose decoding takes more copies
LARGE = 2**25  # pixels from which on a JPEG may be decoded at a fraction of its sides
PASSING = (errno.EIO, errno.EACCES, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE,
errno.ETIMEDOUT,
           errno.ENOTCONN, errno.EINTR)  # fmt: skip

# this module limits the memory of images itself
filterwarnings("ignore", category=Image.DecompressionBombWarning)


@contextmanager
def looked_at(path: Path) -> Iterator[Image.Image]:
    """An image whose header is read: its format, mode and size.

    Raises:
        Exception: any type that Pillow raises for an invalid file; see `why`.
    """
    # TGA cannot be recognised by its first bytes
    formats = (*FORMATS, "TGA") if path.suffix.lower() == ".tga" else FORMATS
    with files.opened(path) as file, Image.open(file, formats=formats) as image:
        yield image


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image that may be decoded in the block, for which memory is reserved.

    Raises:
        Exception: any type that a decoder raises for a damaged file; see `why`.
        OSError: it is no regular file, or needs too large a fraction of the memory.
    """
    with looked_at(path) as image:
        needed = image.width * image.height * (WIDE_PIXEL if _needs_more(image) else PIXEL)
        if needed > LARGEST * files.memory():
            size = f"{image.width} x {image.height} pixels need {needed / 2**30:.3g} GiB"
            raise OSError(
                errno.EFBIG, f"its {size}, more than the share of the memory for one image"
            )
        with BUDGET.reserved(needed):
            yield image


def draft(image: Image.Image, side: int) -> None:
    """Prepare a very large JPEG to be decoded at 1/2, 1/4 or 1/8 of its sides.

    Its shorter side is then still at least twice the side that is needed.
    """
    if image.format in ("JPEG", "MPO") and image.width * image.height > LARGE:
        image.draft(image.mode, (2 * side, 2 * side))


def loses_bits(image: Image.Image) -> bool:
    """Whether Pillow will reduce colours of 16 bits to 8; to be called before decoding."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    return not image.mode.startswith("I") and any(";16" in str(tile[3]) for tile in tiles)


def _needs_more(image: Image.Image) -> bool:
    """Whether decoding needs more copies: with alpha, wide values or a progressive file."""
    simple = image.mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr")
    return not simple or "transparency" in image.info or "progressive" in image.info


class _MemoryBudget:
    """Memory for all images that are decoded at the same time; a larger image is decoded alone."""

    def __init__(self) -> None:
        self._reserved, self._changed = 0, Condition()

    @contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """Reserve `size` bytes for the block, after waiting until they are free."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    not self._reserved or self._reserved + size <= SHARED_MEMORY * files.memory()
                )
            )
            self._reserved += size
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= size
                self._changed.notify_all()


BUDGET = _MemoryBudget()


def is_image(path: Path) -> bool:
    """Whether a file begins with the first bytes of an image."""
    try:
        with files.opened(path) as file:
            beginning = file.read(12)
    except OSError:
        return False
    return beginning.startswith(BEGINNINGS) or (beginning[:4], beginning[8:]) == (b"RIFF", b"WEBP")


def why(error: Exception) -> str:
    """A short reason why an image could not be read, on one line."""
    if isinstance(error, UnidentifiedImageError):
        return "holds no image of a format that is read here"
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(message.split()).rstrip(".") or type(error).__name__


def is_passing(error: Exception) -> bool:
    """Whether the disk, the network or the machine failed: the file may be readable later."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in PASSING
