"""`DeviceUse`: what work took of the device while it had it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from chunkflow_worker.inference.engine import Engine
from chunkflow_worker.machine.nvml import GpuMeter


@dataclass
class DeviceUse:
    """seconds: for which the work had the device.

    memory_peak: the most bytes of the device's memory that the process held meanwhile; 0 where the
        engine does not know it, as on the CPU.
    utilization: the share of the last second or less in which the GPU was busy, for all processes
        on it; None where its driver does not tell it.
    """

    seconds: float = 0.0
    memory_peak: int = 0
    utilization: float | None = None

    @contextmanager
    def measured(self, engine: Engine, meter: GpuMeter) -> Iterator[None]:
        """Fill in the figures when the block ends. It must end with the result on the host."""
        engine.memory_peak()
        began = perf_counter()
        yield
        self.seconds = perf_counter() - began
        self.memory_peak = engine.memory_peak()
        gpu = meter.read() if self.memory_peak else None
        # Where the numbers of CUDA and NVML differ, another GPU could be meant.
        if gpu is not None and engine.device.startswith(gpu.name):
            self.utilization = gpu.utilization
