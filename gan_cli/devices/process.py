"""Settings of this process: threads, memory, determinism; and which of torch's errors a user can
mend.
"""

import ctypes
import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from gan_cli.devices.precision import fp32_products, restore_fp32_products
from gan_cli.devices.processes import World
from gan_cli.errors import UserError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as malloc.h names them
OUT_OF_MEMORY = ("DefaultCPUAllocator: ", "CUDA error: out of memory")
"""Messages of torch's CPU allocator and of the CUDA driver, for which torch has no exception."""


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def settings(config: Mapping[str, Any], world: World) -> Iterator[None]:
    """Settings of torch and of this process for one run; afterwards they are as before.

    A multirun trains its cells in one process after another run, and the processes of a run share
    the cores.
    """
    hardware = config["hardware"]
    with ExitStack() as restore:
        restore.enter_context(_threads(hardware["threads"], world))
        restore.enter_context(_determinism(hardware["deterministic"]))
        restore.callback(restore_fp32_products, fp32_products())
        restore.callback(keep_memory, False)

        # a garbage collection need not traverse the imported modules, which takes 0.1 s
        gc.freeze()
        restore.callback(gc.unfreeze)
        yield


@contextmanager
def _threads(wanted: int | None, world: World) -> Iterator[None]:
    """CPU threads of torch; by default the processes of this machine share its cores."""
    before = torch.get_num_threads()
    default = before if world.size == 1 else max(1, cores() // world.local_size)
    torch.set_num_threads(wanted or default)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    if wanted == before:  # torch would load its compiler to set the same again, which takes 1 s
        yield
        return

    torch.use_deterministic_algorithms(wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def keep_memory(kept: bool = True) -> None:
    """Keep the memory that a turn on a CPU frees in this process for the next turn.

    By default most of it is returned to the system, which clears every page before it hands it out
    again: a sixth and more of the time of a ResNet's turn. The peak is the same. Only the GNU C
    library has such a setting; elsewhere nothing changes.

    Args:
        kept: False restores the default.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    # the largest value that the library's own adaptation reaches; larger pieces would leave gaps
    set_option(M_MMAP_THRESHOLD, 2**25)
    set_option(M_TRIM_THRESHOLD, 2**31 - 1 if kept else 2**26)


@contextmanager
def explain_torch_errors(config: Mapping[str, Any]) -> Iterator[None]:
    """Raise UserError for errors of torch that a user can mend: not enough memory, an operation
    that is not deterministic.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if "deterministic implementation" in str(error):
            operation = str(error).split()[0]
            raise UserError(
                f"hardware.deterministic=true: torch has no such {operation}; set it to false."
            ) from None
        if not lacks_memory(error):
            raise

        nodes = [node for node in config["network"].values() if isinstance(node, dict)]
        widths = {f"network.width={node['width']}" for node in nodes if "width" in node}
        raise UserError(
            f"batch_size={config['batch_size']} {' '.join(sorted(widths))}: not enough memory; "
            "make one of them smaller, or play a batch in parts with hardware.shards=2."
        ) from None


def lacks_memory(error: BaseException) -> bool:
    """Whether an allocation has failed; other errors mention memory too, its format for example."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(message in str(error) for message in OUT_OF_MEMORY)
