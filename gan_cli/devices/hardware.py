"""Where a run computes, and in which precision. Games and networks know nothing of either."""

import ctypes
import gc
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gan_cli.devices.processes import World
from gan_cli.errors import UserError


def count_devices(wanted: str) -> int:
    """How many processes `hardware.devices=all` is: one for each GPU, or a single one on the
    CPU."""
    return 1 if wanted == "cpu" else max(1, torch.cuda.device_count())


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(hardware: Mapping[str, Any], index: int = 0) -> torch.device:
    """The device that `hardware` asks for; of several GPUs, the one of this index.

    Raises:
        UserError: this machine has none of that kind, or too few.
    """
    wanted = hardware["device"]
    if wanted == "mps":
        raise UserError("hardware.device=mps: Apple's GPU is not supported yet; set hardware=cpu.")
    if wanted == "gpu" and not torch.cuda.is_available():
        raise UserError(
            "hardware=gpu: torch sees no CUDA device on this machine; set hardware=cpu or "
            "hardware=auto."
        )
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    found = torch.cuda.device_count()
    if hardware["devices"] > found:
        raise UserError(
            f"hardware.devices={hardware['devices']}: torch sees {found} on this machine; set "
            "hardware.devices=all."
        )
    return torch.device("cuda", index)


@contextmanager
def explain_torch_errors(config: Mapping[str, Any]) -> Iterator[None]:
    """What of torch's errors the user can mend: an allocation that fails, an operation that is not
    deterministic."""
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
    """Whether an allocation has failed. (Many other errors speak of memory: its format, an access
    to it.)"""
    # the CPU's, and the driver's own word
    allocator = ("DefaultCPUAllocator: ", "CUDA error: out of memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        said in str(error) for said in allocator
    )


@contextmanager
def settings(config: Mapping[str, Any], world: World) -> Iterator[None]:
    """What of torch is set for this run alone: a multirun plays its cells in one process, and
    processes share cores."""
    before, exact = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    share = before if world.size == 1 else max(1, cores() // world.local_size)
    torch.set_num_threads(config["hardware"]["threads"] or share)
    wanted = config["hardware"]["deterministic"]
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    if wanted != exact:  # to say what is so already would load torch's compiler, for a second
        torch.use_deterministic_algorithms(wanted)
    # what was imported stays: a search for garbage need not go through it, which takes a tenth of a
    # second
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        torch.set_num_threads(before)
        if wanted != exact:
            torch.use_deterministic_algorithms(exact)


def resolve_auto(
    hardware: Mapping[str, Any], device: torch.device
) -> tuple[dict[str, Any], list[str]]:
    """The hardware with `auto` decided for this device, and what was decided, in words.

    Raises:
        UserError: the device has no such precision.
    """
    tensor_cores = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    chosen, said = dict(hardware), []
    if hardware["precision"] == "tf32" and not tensor_cores:
        raise UserError(
            "hardware.precision=tf32: needs an NVIDIA GPU of 2020 or later; take fp32 or bf16."
        )
    if hardware["precision"] == "auto":
        chosen["precision"] = "tf32" if tensor_cores else "fp32"
        said = (
            ["hardware.precision=tf32: this GPU's fast products of float32"] if tensor_cores else []
        )
    half = chosen["precision"] in ("bf16", "fp16")
    if hardware["channels_last"] == "auto":
        chosen["channels_last"] = half
        said += (
            ["hardware.channels_last=true: half precision has its fast convolutions there"]
            if half
            else []
        )
    return chosen, said


def set_tf32(precision: str) -> None:
    """Let a GPU multiply float32 as it is, or rounded to TF32's ten bits (`tf32`), from now on in
    this process."""
    rule = "tf32" if precision == "tf32" else "ieee"
    cudnn: Any = torch.backends.cudnn
    for products in (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn):
        products.fp32_precision = rule


def keep_memory(kept: bool = True) -> None:
    """Let the memory that a turn on a CPU frees stay with this process for the next, from now on;
    or as is usual.

    As is usual most of it goes back to the system, which clears every page before it hands it out
    again: a sixth and more of the time of a ResNet's turn. The most that a run holds stays the
    same. Only the GNU C library can be told so; where there is another, nothing changes.
    """
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    # where the library's own adaptation ends; larger pieces would leave gaps
    tell(M_MMAP_THRESHOLD, 2**25)
    tell(M_TRIM_THRESHOLD, 2**31 - 1 if kept else 2**26)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as malloc.h names them

HALVED = ("forward", "features", "log_likelihood")


def with_precision(network: nn.Module, device: torch.device, precision: str) -> nn.Module:
    """Let a network compute in half precision and return float32, so that losses, norms and means
    stay float32.

    Under float16, whose range is small, a penalty on the gradient with respect to an input is
    computed in float32: an input that is itself to have a gradient is known by being a leaf that
    requires one.

    The network's class is replaced by a subclass whose methods of `HALVED` are wrapped: names in
    its `state_dict` stay, and copies of it behave alike.
    """
    if precision not in ("bf16", "fp16"):
        return network

    plain, dtype = type(network), {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]

    def halved(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: nn.Module, *inputs: Tensor) -> Any:
            exact = dtype is torch.float16 and any(x.is_leaf and x.requires_grad for x in inputs)
            with torch.autocast(device.type, dtype=dtype, enabled=not exact):
                outputs = method(self, *inputs)
            return (
                tuple(part.float() for part in outputs)
                if isinstance(outputs, tuple)
                else outputs.float()
            )

        return call

    methods = {name: getattr(plain, name) for name in HALVED if hasattr(plain, name)}
    network.__class__ = type(
        plain.__name__, (plain,), {name: halved(method) for name, method in methods.items()}
    )
    return network
