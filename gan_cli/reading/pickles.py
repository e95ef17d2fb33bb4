"""What the pickle of a checkpoint holds, found out before torch makes anything of it.

torch's `weights_only` runs no code, but it does what it is told: a few bytes ask for a `bytearray`
of gigabytes, or for a tensor far beyond its storage, which is then made as large. Here the pickle
is read with outlines in the place of tensors.
"""

import io
import pickle
import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch

from gan_cli.reading.safe_yaml import refuse_odd

OPCODES = {
    "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINFLOAT",
    "BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND",
    "APPENDS",
    "EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL",
    "REDUCE",
    "BUILD", "BINPERSID",
}  # fmt: skip
"""What `torch.save` writes of plain types and tensors."""
STORAGES = {
    "ByteStorage": 1, "CharStorage": 1, "BoolStorage": 1, "UntypedStorage": 1, "ShortStorage": 2,
    "HalfStorage": 2,
    "BFloat16Storage": 2, "IntStorage": 4, "FloatStorage": 4, "LongStorage": 8, "DoubleStorage": 8,
    "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16,
}  # fmt: skip
"""Bytes of a number in each."""
SLACK = 16 * 2**20  # bytes that views of one storage may add up to beside what a file holds
NESTED = 4  # times that a value may be seen again from elsewhere


class ForeignError(ValueError):
    """A pickle asks for what gan-train never writes."""


class Held:
    """Stands for a tensor."""

    def __init__(self, size: int) -> None:
        self.bytes = size

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it changes a tensor")


class _Reader(pickle.Unpickler):
    """Makes mappings, lists and outlines, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in CALLS:
            return CALLS[full]
        if module in ("torch", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise ForeignError(f"it holds {full:.80}")

    def persistent_load(self, saved: Any) -> tuple[int, int]:
        """A storage: the bytes of a number, and how many of them torch will find in the file."""
        _, size, _, _, count = saved
        return size, count


def _tensor(
    storage: tuple[int, int], offset: int, shape: tuple[int, ...], stride: tuple[int, ...],
    _grad: bool, hooks: Any,
    *more: Any,
) -> Held:  # fmt: skip
    """The outline of a tensor, all of which must lie in its storage."""
    size, count = storage
    if more and isinstance(more[0], torch.dtype):
        size, count = more[0].itemsize, size * count // more[0].itemsize
    if hooks or len(shape) != len(stride) or min(offset, *shape, *stride, 0) < 0:
        raise ValueError("one of its tensors has no proper shape")
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if prod(shape) and last >= count:
        raise ValueError("one of its tensors does not lie in its storage")
    return Held(prod(shape) * size)


def _parameter(data: Any, _grad: bool, hooks: Any) -> Any:
    if hooks:
        raise ValueError("one of its tensors has hooks")
    return data


CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": tuple,
    "torch.device": lambda *named: ":".join(map(str, named)),
    "builtins.set": set,
    "__builtin__.set": set,
}
"""What the functions that a pickle names are here; the last ones are for the state of plug-ins."""


def refuse_bombs(pickled: bytes, size: int) -> None:
    """Refuse a pickle that holds more than plain types and tensors, or unfolds to more than its
    file holds.

    Args:
        size: of the whole file, in bytes.

    Raises:
        ForeignError: it holds something that gan-train never writes.
        Exception: it is damaged, or unfolds to too much; whatever the unpickler raises.
    """
    operations = 0
    for operation, argument, _ in pickletools.genops(pickled):
        operations += 1
        if operation.name not in OPCODES or (operation.name == "PROTO" and argument != 2):
            raise ForeignError(f"its pickle has {operation.name}")
        if operation.name == "LONG_BINPUT" and int(argument or 0) > len(
            pickled
        ):  # a table of that length would be made
            raise ValueError("its pickle counts to more than it holds")
    content = _Reader(io.BytesIO(pickled)).load()
    refuse_odd(content, NESTED * operations, (Held, set, torch.dtype))
    unfolded = _measured(content)
    if unfolded > 4 * size + SLACK:
        raise ValueError(
            f"its tensors unfold to {unfolded / 2**20:,.0f} MiB from a file of "
            f"{size / 2**20:,.1f} MiB"
        )


def _measured(content: Any) -> int:
    """Bytes of all tensors. Raises ValueError for a mapping that carries more than torch gives
    it."""
    waiting, total = [content], 0
    while waiting:
        node = waiting.pop()
        total += node.bytes if isinstance(node, Held) else 0
        if getattr(node, "__dict__", {}).keys() - {"_metadata", "bytes"}:
            raise ValueError("one of its mappings is not what it seems")
        waiting += (
            node.values()
            if isinstance(node, Mapping)
            else node
            if isinstance(node, list | tuple)
            else ()
        )
    return total
