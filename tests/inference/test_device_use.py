from __future__ import annotations

import pytest

from chunkflow_worker.inference import device_use as module
from chunkflow_worker.inference.device_use import DeviceUse
from chunkflow_worker.inference.host_engine import HostEngine
from chunkflow_worker.machine.nvml import GpuFigures, GpuMeter


class Gpu(HostEngine):
    """Stands for an engine on a GPU, whose peak is that since it was asked last."""

    def __init__(self) -> None:
        super().__init__(1)
        self.device = "NVIDIA A10 by TensorRT"
        self.peak = 99

    def memory_peak(self) -> int:
        peak, self.peak = self.peak, 0
        return peak


class Meter(GpuMeter):
    def __init__(self, name: str = "NVIDIA A10"):
        self.name, self.asked = name, 0

    def read(self) -> GpuFigures:
        self.asked += 1
        return GpuFigures(self.name, 5, 24, 0.5)


def test_it_is_what_the_block_took(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 12.5])
    monkeypatch.setattr(module, "perf_counter", lambda: next(times))
    use, engine = DeviceUse(), Gpu()
    with use.measured(engine, Meter()):
        engine.peak = 7
    assert use == DeviceUse(2.5, 7, 0.5)


def test_another_gpu_is_not_taken_for_it() -> None:
    use, engine = DeviceUse(), Gpu()
    with use.measured(engine, Meter("NVIDIA T4")):
        engine.peak = 7
    assert (use.memory_peak, use.utilization) == (7, None)


def test_on_a_processor_there_are_seconds_alone() -> None:
    use, meter = DeviceUse(), Meter()
    with use.measured(HostEngine(1), meter):
        pass
    assert use.seconds > 0
    assert (use.memory_peak, use.utilization, meter.asked) == (0, None, 0)
