"""Processes and shards of a run, by its configuration. Loads torch only to count GPUs."""

import os
import re
from collections.abc import Mapping
from typing import Any

from gan_cli.errors import UserError


def resolve_world(hardware: Mapping[str, Any], batch_size: int) -> dict[str, Any]:
    """The node `hardware` with the number of processes, and with at least a shard for each."""
    # torchrun's number comes first, if it started this process
    devices = os.environ.get("LOCAL_WORLD_SIZE", hardware["devices"])
    if devices == "all":
        from gan_cli.devices.hardware import count_devices  # loads torch

        devices = count_devices(hardware["device"])
    if not str(devices).isdecimal():
        raise UserError(f"hardware.devices={devices}: expected a number of processes, or all.")

    nodes = int(os.environ.get("GROUP_WORLD_SIZE", hardware["nodes"]))
    if hardware["nodes"] > 1 and not re.fullmatch(r".+:\d+", hardware["rendezvous"] or ""):
        raise UserError(
            f"hardware.rendezvous={hardware['rendezvous']}: hardware.nodes={nodes} meet at the "
            "first of them; name it as HOST:PORT."
        )

    for name in ("cuda_graph", "channels_last"):
        if hardware[name] not in (True, False, "auto"):
            raise UserError(f"hardware.{name}={hardware[name]}: expected true, false or auto.")
    _check_share(hardware["devices_per_job"], int(devices))
    if hardware["reduce"] not in ("fp32", "bf16"):
        raise UserError(f"hardware.reduce={hardware['reduce']}: expected fp32 or bf16.")

    processes = nodes * int(devices)
    shards = max(hardware["shards"], processes)
    if shards % processes:
        raise UserError(
            f"hardware.shards={shards}: cannot be shared by {processes} processes; take a multiple."
        )
    if batch_size % shards:
        raise UserError(
            f"batch_size={batch_size}: cannot be cut into {shards} equal shards; take a multiple, "
            f"or change hardware.{'shards' if shards > processes else 'devices'}."
        )
    return {**hardware, "devices": int(devices), "nodes": nodes, "shards": shards}


def _check_share(share: float | None, devices: int) -> None:
    """A job leases a device for each process, or a fraction of one for a single process."""
    if share is None:
        return
    whole = share >= devices and share == int(share)
    part = 1 / 12 <= share < 1 and devices == 1
    if whole or part:
        return
    least = f"{devices} (hardware.devices)" if devices > 1 else "a share from 1/12 to 1"
    raise UserError(
        f"hardware.devices_per_job={share:g}: expected {least}, or a whole number above it."
    )
