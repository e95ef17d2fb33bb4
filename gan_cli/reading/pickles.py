"""Inspection of the pickle in a checkpoint before torch loads it.

torch's `weights_only` runs no code, but it follows every request: a few bytes may ask for a
`bytearray` of gigabytes, or for a tensor far beyond its storage, which is then enlarged. Here the
pickle is read with placeholders instead of tensors.
"""

import io
import pickle
import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch

from gan_cli.reading.safe_yaml import refuse_excess

OPCODES = {
    "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINFLOAT",
    "BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND",
    "APPENDS",
    "EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL",
    "REDUCE",
    "BUILD", "BINPERSID",
}  # fmt: skip
"""Operations that `torch.save` writes for plain types and tensors."""
STORAGES = {
    "ByteStorage": 1, "CharStorage": 1, "BoolStorage": 1, "UntypedStorage": 1, "ShortStorage": 2,
    "HalfStorage": 2,
    "BFloat16Storage": 2, "IntStorage": 4, "FloatStorage": 4, "LongStorage": 8, "DoubleStorage": 8,
    "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16,
}  # fmt: skip
"""Bytes of one number in each type of storage."""
EXPANSION = 4  # times the size of the file that all tensors may have together
SLACK = 16 * 2**20  # bytes that they may have besides, as views of one storage
REFERENCES = 4  # values, for each operation, that may be reached through repeated references


class ForeignError(ValueError):
    """A pickle asks for something that gan-train never writes."""


class Placeholder:
    """The size of a tensor, in its place."""

    def __init__(self, size: int) -> None:
        self.bytes = size

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it changes a tensor")


class _Reader(pickle.Unpickler):
    """An unpickler that creates mappings, lists and placeholders, and calls nothing else."""

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
        """A storage: the bytes of a number, and the number of numbers that it claims to have."""
        _, size, _, _, count = saved
        return size, count


def _tensor(
    storage: tuple[int, int],
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    _grad: bool,
    hooks: Any,
    *more: Any,
) -> Placeholder:
    """The placeholder of a tensor.

    Raises:
        ValueError: a part of the tensor is outside its storage.
    """
    size, count = storage
    if more and isinstance(more[0], torch.dtype):  # an untyped storage
        size, count = more[0].itemsize, size * count // more[0].itemsize

    if hooks or len(shape) != len(stride) or min(offset, *shape, *stride, 0) < 0:
        raise ValueError("one of its tensors has no proper shape")
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if prod(shape) and last >= count:
        raise ValueError("one of its tensors does not lie in its storage")
    return Placeholder(prod(shape) * size)


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
"""Replacements of the functions that a pickle may name; sets are for the state of plug-ins."""


def refuse_bombs(pickled: bytes, size: int) -> None:
    """Refuse a pickle of anything but plain types and tensors, or of more than its file contains.

    Args:
        pickled: the pickle.
        size: size of the whole file in bytes.

    Raises:
        ForeignError: it contains something that gan-train never writes.
        Exception: it is damaged or unfolds to too much; the unpickler raises many types.
    """
    operations = 0
    for operation, argument, _ in pickletools.genops(pickled):
        operations += 1
        if operation.name not in OPCODES or (operation.name == "PROTO" and argument != 2):
            raise ForeignError(f"its pickle has {operation.name}")
        # the unpickler would create a table of that length
        if operation.name == "LONG_BINPUT" and int(argument or 0) > len(pickled):
            raise ValueError("its pickle counts to more than it holds")

    content = _Reader(io.BytesIO(pickled)).load()
    refuse_excess(content, REFERENCES * operations, (Placeholder, set, torch.dtype))
    unfolded = _bytes_of_tensors(content)
    if unfolded > EXPANSION * size + SLACK:
        raise ValueError(
            f"its tensors unfold to {unfolded / 2**20:,.0f} MiB from a file of "
            f"{size / 2**20:,.1f} MiB"
        )


def _bytes_of_tensors(content: Any) -> int:
    """Total size of all tensors in bytes.

    Raises:
        ValueError: a mapping has attributes that torch never sets.
    """
    pending, total = [content], 0
    while pending:
        node = pending.pop()
        total += node.bytes if isinstance(node, Placeholder) else 0
        if getattr(node, "__dict__", {}).keys() - {"_metadata", "bytes"}:
            raise ValueError("one of its mappings is not what it seems")
        if isinstance(node, Mapping):
            pending += node.values()
        elif isinstance(node, list | tuple):
            pending += node
    return total
