"""The GPUs of this machine, and the devices that a list such as ``0,1`` selects."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from chunkflow_worker.errors import ConfigError, Fault

_VARIABLE = "CHUNKFLOW_DEVICES"
_DEVICE = re.compile(r"0|[1-9]\d*|GPU-[0-9A-Fa-f-]+|MIG-[\w/-]+", re.ASCII)
_LEGAL = (
    "legal: numbers or UUIDs as nvidia-smi -L prints them, separated by commas "
    "(0,1 or GPU-8f6a...,MIG-31c2...), or all"
)
_NO_GPU = "without a GPU, leave it out; with GPUs but without nvidia-smi, name them: 0,1"


class Gpu(NamedTuple):
    """A GPU as nvidia-smi lists it.

    instances: UUIDs of the MIG instances that it is divided into; empty for a whole GPU.
    """

    number: str
    uuid: str
    instances: list[str]


def list_gpus() -> list[Gpu]:
    """The GPUs of this machine; an empty list when nvidia-smi is missing or fails."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_listing(listing)


def parse_listing(listing: str) -> list[Gpu]:
    """Read the output of `nvidia-smi -L`."""
    gpus: list[Gpu] = []
    for line in listing.splitlines():
        if gpu := re.match(r"GPU (\d+):.*\(UUID: (\S+)\)", line):
            gpus.append(Gpu(gpu[1], gpu[2], []))
        elif gpus and (instance := re.match(r"\s+MIG .*\(UUID: (\S+)\)", line)):
            gpus[-1].instances.append(instance[1])
    return gpus


def parse_devices(text: str, gpus: Sequence[Gpu]) -> list[str]:
    """The devices that `text` selects, each a value for CUDA_VISIBLE_DEVICES.

    gpus: those of this machine. A device must be one of them, because a worker that sees no GPU
        would run on the CPU; an empty list skips this check.
    Raises ConfigError, which lists every fault.
    """
    if text.strip() == "all":
        if not gpus:
            problem = "all: nvidia-smi -L lists no GPU here"
            raise ConfigError.one("settings", _VARIABLE, problem, _NO_GPU)
        return [device for gpu in gpus for device in gpu.instances or [gpu.number]]

    present = ", ".join(f"{gpu.number} ({gpu.uuid})" for gpu in gpus)
    faults: list[Fault] = []
    devices: dict[str, str] = {}  # by UUID when it is known, so that one GPU has one key
    for position, entry in enumerate(text.split(","), 1):
        device = entry.strip()
        uuid = _find_uuid(device, gpus)
        key = uuid or device.lower()
        if not device:
            faults.append(Fault(_VARIABLE, f"entry {position} of {text!r} is empty", _LEGAL))
        elif not _DEVICE.fullmatch(device):
            faults.append(Fault(_VARIABLE, f"{device!r} is no device", _LEGAL))
        elif gpus and uuid is None:
            cure = f"nvidia-smi -L lists {present}"
            faults.append(Fault(_VARIABLE, f"{device} is not on this machine", cure))
        elif key in devices:
            cure = "name each GPU once; two workers on one GPU would share its memory"
            faults.append(Fault(_VARIABLE, f"{device} is named twice", cure))
        else:
            devices[key] = device
    if faults:
        raise ConfigError("settings", faults)
    return list(devices.values())


def _find_uuid(device: str, gpus: Sequence[Gpu]) -> str | None:
    """UUID of the GPU or instance that a number, a UUID or the beginning of a UUID names."""
    for gpu in gpus:
        if device == gpu.number:
            return gpu.uuid
        for uuid in (gpu.uuid, *gpu.instances):
            if uuid.lower().startswith(device.lower()):
                return uuid
    return None
