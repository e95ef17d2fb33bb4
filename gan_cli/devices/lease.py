"""Leases of devices, so that concurrent jobs of a sweep do not use the same one.

A device has `SLOTS` slots, each a locked file in a folder of this user on this machine; a share of
a device is so many of its slots. The system lets go of a lease however its process ends.
"""

import logging
import math
import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from gan_cli import files
from gan_cli.errors import UserError

log = logging.getLogger(__name__)

SLOTS = 12  # of a device: halves, thirds, quarters, sixths and twelfths of it can be leased
POLL = 0.5  # seconds between looks for a free device


@contextmanager
def lease(hardware: Mapping[str, Any]) -> Iterator[list[int] | None]:
    """Indices of the GPUs that this job may use; waits for them. None if the job leases nothing.

    Without a GPU the machine is leased as one device, so that no more jobs compute at once than it
    has shares.

    Raises:
        UserError: more devices than there are.
    """
    wanted = hardware["devices_per_job"]
    if wanted is None:
        yield None
        return
    names = _devices(hardware["device"])
    whole, slots = (int(wanted), SLOTS) if wanted >= 1 else (1, math.ceil(SLOTS * wanted - 1e-6))
    if whole > len(names):
        raise UserError(
            f"hardware.devices_per_job={wanted}: this machine has {len(names)}; take at most that "
            "many."
        )
    with ExitStack() as held:
        waiting = False
        while not (taken := _taken(names, whole, slots, held)):
            if not waiting:
                log.info("hardware.devices_per_job=%g: waiting for a device", wanted)
            waiting = True
            # or two that want the same would meet for ever
            time.sleep(POLL * random.uniform(0.5, 1.5))
        yield taken


def _devices(wanted: str) -> list[str]:
    """The devices that can be leased: GPUs by names that all processes share, or the machine."""
    if wanted == "cpu" or not torch.cuda.is_available():
        return ["cpu"]
    return [
        str(torch.cuda.get_device_properties(index).uuid)
        for index in range(torch.cuda.device_count())
    ]


def _taken(names: Sequence[str], whole: int, slots: int, held: ExitStack) -> list[int]:
    """Lock slots of several devices, all of them or none. Returns the indices of the devices."""
    taken: list[int] = []
    with ExitStack() as attempt:
        for index, name in enumerate(names):
            if len(taken) < whole and _take(name, slots, attempt):
                taken.append(index)
        if len(taken) < whole:
            return []
        held.enter_context(attempt.pop_all())
    return taken


def _take(name: str, slots: int, attempt: ExitStack) -> bool:
    """Lock slots of a device, all of them or none."""
    folder = Path(tempfile.gettempdir()) / f"gan-cli-{os.getuid()}" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = 0
    with ExitStack() as some:
        for slot in range(SLOTS):
            file = some.enter_context((folder / str(slot)).open("a"))
            if not files.lock(file, wait=False):
                continue
            found += 1
            if found == slots:
                attempt.enter_context(some.pop_all())
                return True
    return False
