"""Files of torch: written atomically, and read without running any code in them."""

import errno
import pickle
import zipfile
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch

from gan_cli import files
from gan_cli.errors import UserError
from gan_cli.files import replacing
from gan_cli.reading.pickles import ForeignError, refuse_bombs


def save(content: dict[str, Any], path: Path) -> None:
    """Write a file atomically: at any moment, the old or the new content is complete.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is unchanged.
    """
    try:
        with replacing(path, durable=True) as temporary:
            torch.save(content, temporary)
    except RuntimeError as error:  # torch's zip writer raises it for a full disk
        raise OSError(f"cannot write {path}: {error}") from None


def load(path: Path) -> Any:
    """The content of a file, loaded by torch after it was checked.

    Raises:
        UserError: it does not exist, is damaged, too large, or could run code; the message does not
            name the file.
    """
    try:
        with files.opened(path) as file:
            size = path.stat().st_size
            if size > files.memory():
                raise UserError(
                    f"refused, it holds {size / 2**30:,.0f} GiB, more than this machine's memory."
                )

            refuse_bombs(_pickle_of(file, size), size)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except ForeignError as error:
        raise UserError(
            f"refused, it holds more than tensors and plain types and could run code ({error}); "
            "only checkpoints written by gan-train are read."
        ) from None
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        raise UserError("no such file." if missing else f"{error.strerror or error}.") from None
    except Exception as error:  # a pickle, a zip file and torch raise many types
        clear = isinstance(error, ValueError | zipfile.BadZipFile | pickle.UnpicklingError)
        reason = str(error).partition("\n")[0] if clear else ""
        raise UserError(
            f"damaged or not a checkpoint ({reason or type(error).__name__:.200})."
        ) from None


def _pickle_of(file: BufferedReader, size: int) -> bytes:
    """The pickle in a checkpoint, whose parts are all verified by their checksums.

    Raises:
        UserError: the file is compressed, or two readers could read it differently: gan-train never
            writes such files.
    """
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise UserError("refused, its content is compressed, as gan-train never writes it.")

        names = {entry.filename.lower() for entry in entries}
        roots = {name.split("/")[0] for name in names}
        whole = (
            sum(entry.file_size for entry in entries) <= size
            and min(e.header_offset for e in entries) == 0
        )
        if len(names) < len(entries) or len(roots) != 1 or archive.comment or not whole:
            raise UserError(
                "damaged or not a checkpoint (its parts overlap, or are not those that gan-train "
                "writes)."
            )

        if damaged := archive.testzip():
            raise UserError(f"damaged ({damaged} fails its checksum).")
        return archive.read(f"{entries[0].filename.split('/')[0]}/data.pkl")
