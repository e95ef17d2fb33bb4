"""Where a run computes, and in which precision. Games and networks know nothing of either."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gan_cli.errors import UserError


def choose_device(hardware: Mapping[str, Any]) -> torch.device:
    """The device that `hardware` asks for. Raises UserError if this machine has none of that kind."""
    wanted = hardware["device"]
    if wanted == "mps":
        raise UserError("hardware.device=mps: Apple's GPU is not supported yet; set hardware=cpu.")
    if wanted == "gpu" and not torch.cuda.is_available():
        raise UserError("hardware=gpu: torch sees no CUDA device on this machine; set hardware=cpu or hardware=auto.")
    return torch.device("cpu" if wanted == "cpu" or not torch.cuda.is_available() else "cuda")


def with_precision(network: nn.Module, device: torch.device, precision: str) -> nn.Module:
    """Let a network compute in bfloat16 and return float32, so that losses, norms and means stay float32.

    The network's class is replaced by a subclass whose forward is wrapped: names in its `state_dict` stay, and copies
    of it behave alike.
    """
    if precision == "fp32":
        return network

    plain = type(network)

    def forward(self: nn.Module, *inputs: Tensor) -> Any:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            outputs = plain.forward(self, *inputs)
        return outputs.float()

    network.__class__ = type(plain.__name__, (plain,), {"forward": forward})
    return network
