"""The precision of networks: TF32 products, or half precision with float32 around it."""

from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
METHODS = ("forward", "features", "log_likelihood")
"""Methods of a network that compute its outputs from its inputs."""


def _products() -> list[Any]:
    """The settings of torch's products of float32 matrices, convolutions and recurrent layers."""
    cudnn: Any = torch.backends.cudnn
    return [torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn]


def set_tf32(precision: str) -> None:
    """Multiply float32 on GPUs as it is, or with `tf32` rounded to TF32's ten bits."""
    for products in _products():
        products.fp32_precision = "tf32" if precision == "tf32" else "ieee"


def fp32_products() -> list[str]:
    """How this process multiplies float32, for `restore_fp32_products`."""
    return [products.fp32_precision for products in _products()]


def restore_fp32_products(before: list[str]) -> None:
    """Multiply float32 as before."""
    for products, precision in zip(_products(), before, strict=True):
        products.fp32_precision = precision


def halve(network: nn.Module, device: torch.device, precision: str) -> None:
    """Let a network compute in half precision and return float32, so that losses, norms and means
    stay float32; other precisions than `bf16` and `fp16` change nothing.

    Under float16, whose range is small, a penalty on the gradient with respect to an input is
    computed in float32. Such an input is a leaf that requires a gradient.

    The methods are bound to this instance: names in its `state_dict` stay, and `copy.deepcopy`
    binds them to the copy.
    """
    if precision not in HALF:
        return
    for name in METHODS:
        method = getattr(type(network), name, None)
        if method is not None:
            autocast = _autocast(method, device.type, HALF[precision])
            setattr(network, name, MethodType(autocast, network))


def _autocast(method: Callable[..., Any], device: str, dtype: torch.dtype) -> Callable[..., Any]:
    @wraps(method)
    def call(self: nn.Module, *inputs: Tensor) -> Any:
        penalised = any(x.is_leaf and x.requires_grad for x in inputs)
        enabled = not (dtype is torch.float16 and penalised)
        with torch.autocast(device, dtype=dtype, enabled=enabled):
            outputs = method(self, *inputs)
        if isinstance(outputs, tuple):
            return tuple(part.float() for part in outputs)
        return outputs.float()

    return call
