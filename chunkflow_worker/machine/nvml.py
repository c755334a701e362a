"""How the GPU of this process is used, by NVIDIA's driver; needs the extra `prometheus`."""

from __future__ import annotations

import importlib
import os
import threading
from typing import Any, NamedTuple


class GpuFigures(NamedTuple):
    """Of all processes on a GPU. memory, memory_total: bytes. utilization: from 0 to 1.

    utilization: the share of the last second or less in which a kernel ran; None where the driver
        does not tell it, as for MIG instances.
    """

    name: str
    memory: int
    memory_total: int
    utilization: float | None


class GpuMeter:
    """Reads the figures of the first GPU that this process sees. Several threads may ask.

    visible: the value of CUDA_VISIBLE_DEVICES; that of the environment when not given.
    nvml: the module pynvml; imported when not given.
    """

    def __init__(self, visible: str | None = None, nvml: Any = None):
        self._visible = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
        self._nvml, self._handle = nvml, None
        self._lock = threading.Lock()
        self._can_read: bool | None = None

    def read(self) -> GpuFigures | None:
        """None without a GPU, without its driver or the library, and when the driver fails."""
        with self._lock:
            if self._can_read is None:
                self._can_read = self._open()
            if not self._can_read:
                return None
            try:
                memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
                name = str(self._nvml.nvmlDeviceGetName(self._handle))
            except self._nvml.NVMLError:
                return None
            return GpuFigures(name, int(memory.used), int(memory.total), self._utilization())

    def _open(self) -> bool:
        """Find the GPU, once: a machine without a driver gets none while this process runs."""
        device = _first(self._visible)
        if device is None:
            return False
        try:
            if self._nvml is None:
                self._nvml = importlib.import_module("pynvml")
            nvml = self._nvml
            nvml.nvmlInit()
            if device.isdecimal():
                self._handle = nvml.nvmlDeviceGetHandleByIndex(int(device))
            else:
                self._handle = nvml.nvmlDeviceGetHandleByUUID(device)
        except Exception:
            return False
        return True

    def _utilization(self) -> float | None:
        try:
            return int(self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu) / 100
        except self._nvml.NVMLError:
            return None


def _first(visible: str | None) -> str | None:
    """The first of the visible devices; None where none is to be seen."""
    if visible is None:
        return "0"
    first = visible.split(",")[0].strip()
    return first if first and not first.startswith("-") else None
