"""Arrays in .npz files of users."""

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from gan_cli.errors import UserError, on_one_line


def arrays(file: Path, names: Sequence[str], said: str) -> dict[str, np.ndarray]:
    """Those of these arrays that a file holds, by name.

    Args:
        said: the setting and its value, for messages.

    Raises:
        UserError: no such file, or it is none of arrays.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in names if name in archive}
    except FileNotFoundError:
        raise UserError(f"{said}: no such file.") from None
    except (OSError, ValueError, EOFError, TypeError, AttributeError, BadZipFile) as error:
        raise UserError(f"{said}: is no .npz file of arrays ({on_one_line(str(error))}).") from None
