"""The GPUs that a list of devices names."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from chunkflow_worker.errors import ConfigError, Fault

_DEVICE = re.compile(r"0|[1-9]\d*|GPU-[0-9A-Fa-f-]+|MIG-[\w/-]+", re.ASCII)
_LEGAL = "legal: numbers or UUIDs as nvidia-smi -L prints them, with commas between (0,1 or GPU-8f6a...,MIG-31c2...), or all"

_NO_GPU = "without a GPU leave it out; where there are some and no nvidia-smi, name them: 0,1"


class Gpu(NamedTuple):
    """A GPU as nvidia-smi lists it, with the UUIDs of the instances (MIG) that it is cut into."""

    number: str
    uuid: str
    instances: list[str]


def listed_gpus(listing: str) -> list[Gpu]:
    """What `nvidia-smi -L` printed."""
    gpus: list[Gpu] = []
    for line in listing.splitlines():
        if gpu := re.match(r"GPU (\d+):.*\(UUID: (\S+)\)", line):
            gpus.append(Gpu(gpu[1], gpu[2], []))
        elif gpus and (instance := re.match(r"\s+MIG .*\(UUID: (\S+)\)", line)):
            gpus[-1].instances.append(instance[1])
    return gpus


def parse_devices(text: str, gpus: Sequence[Gpu]) -> list[str]:
    """The devices that a list names, each a value for CUDA_VISIBLE_DEVICES; ConfigError with all the faults.

    Whether a device exists is checked where nvidia-smi lists some: a worker that sees no GPU would run on the CPU.
    """
    if text.strip() == "all":
        if not gpus:
            raise ConfigError.one(
                "settings", "CHUNKFLOW_DEVICES", "all: nvidia-smi -L lists no GPU here", _NO_GPU
            )
        return [device for gpu in gpus for device in gpu.instances or [gpu.number]]
    faults: list[Fault] = []
    devices: dict[str, str] = {}  # by their UUID where it is known

    def refuse(problem: str, cure: str) -> None:
        faults.append(Fault("CHUNKFLOW_DEVICES", problem, cure))

    for i, entry in enumerate(text.split(","), 1):
        device = entry.strip()
        if not _DEVICE.fullmatch(device):
            refuse(
                f"entry {i} of {text!r} is empty" if not device else f"{device!r} is no device",
                _LEGAL,
            )
            continue
        key = _identity(device, gpus)
        if gpus and key is None:
            refuse(
                f"{device} is not here",
                f"nvidia-smi -L lists {', '.join(f'{g.number} ({g.uuid})' for g in gpus)}",
            )
        elif (key or device.lower()) in devices:
            refuse(
                f"{device} is named twice",
                "name each GPU once; two workers on one would share its memory",
            )
        else:
            devices[key or device.lower()] = device
    if faults:
        raise ConfigError("settings", faults)
    return list(devices.values())


def _identity(device: str, gpus: Sequence[Gpu]) -> str | None:
    """UUID of the listed device that a number, a UUID or the beginning of one names."""
    for gpu in gpus:
        if device == gpu.number:
            return gpu.uuid
        for uuid in (gpu.uuid, *gpu.instances):
            if uuid.lower().startswith(device.lower()):
                return uuid
    return None


def ask_nvidia_smi() -> list[Gpu]:
    """The GPUs of this machine; none where nvidia-smi is missing or fails."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return listed_gpus(listing)
