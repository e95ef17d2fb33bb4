"""The device of a run, and the settings that depend on it."""

from collections.abc import Mapping
from typing import Any

import torch

from gan_cli.errors import UserError


def count_devices(wanted: str) -> int:
    """How many processes `hardware.devices=all` is: one for each GPU, or a single one on the
    CPU."""
    return 1 if wanted == "cpu" else max(1, torch.cuda.device_count())


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


def resolve_auto(
    hardware: Mapping[str, Any], device: torch.device
) -> tuple[dict[str, Any], list[str]]:
    """The hardware with every `auto` resolved for this device, and each choice in a sentence.

    Raises:
        UserError: the device does not have the precision.
    """
    tensor_cores = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    if hardware["precision"] == "tf32" and not tensor_cores:
        raise UserError(
            "hardware.precision=tf32: needs an NVIDIA GPU of 2020 or later; take fp32 or bf16."
        )

    resolved, choices = dict(hardware), []
    if hardware["precision"] == "auto":
        resolved["precision"] = "tf32" if tensor_cores else "fp32"
        if tensor_cores:
            choices.append("hardware.precision=tf32: this GPU's fast products of float32")

    if hardware["channels_last"] == "auto":
        half = resolved["precision"] in ("bf16", "fp16")
        resolved["channels_last"] = half
        if half:
            choices.append(
                "hardware.channels_last=true: half precision has its fast convolutions there"
            )
    return resolved, choices
