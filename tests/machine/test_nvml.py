"""The figures of a GPU, by a double of pynvml: no GPU is needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chunkflow_worker.machine.nvml import GpuFigures, GpuMeter


class NvmlError(Exception):
    pass


class Nvml:
    """Stands for pynvml on a machine with these GPUs."""

    NVMLError = NvmlError

    def __init__(self, *gpus: str, mig: bool = False):
        self.gpus, self.mig, self.fails, self.opened = gpus, mig, False, 0

    def nvmlInit(self) -> None:
        self.opened += 1
        if not self.gpus:
            raise NvmlError("no driver")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlDeviceGetName(self, gpu: str) -> str:
        return f"NVIDIA {gpu}"

    def nvmlDeviceGetMemoryInfo(self, gpu: str) -> Any:
        if self.fails:
            raise NvmlError("lost")
        return SimpleNamespace(used=5, total=24)

    def nvmlDeviceGetUtilizationRates(self, gpu: str) -> Any:
        if self.mig:
            raise NvmlError("not supported")
        return SimpleNamespace(gpu=50)


@pytest.mark.parametrize(
    ("visible", "name"), [("1", "NVIDIA B"), ("1,0", "NVIDIA B"), ("GPU-1", "NVIDIA GPU-1")]
)
def test_it_reads_the_first_gpu_that_the_process_sees(visible: str, name: str) -> None:
    meter = GpuMeter(visible, Nvml("A", "B"))
    assert meter.read() == meter.read() == GpuFigures(name, 5, 24, 0.5)


def test_without_the_variable_it_is_the_first_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert GpuMeter(nvml=Nvml("A", "B")).read() == GpuFigures("NVIDIA A", 5, 24, 0.5)


def test_a_mig_instance_has_no_utilization() -> None:
    assert GpuMeter("MIG-1", Nvml("A", mig=True)).read() == GpuFigures("NVIDIA MIG-1", 5, 24, None)


@pytest.mark.parametrize("visible", ["", "-1"])
def test_a_hidden_gpu_is_none(visible: str) -> None:
    nvml = Nvml("A")
    assert GpuMeter(visible, nvml).read() is None
    assert nvml.opened == 0


def test_a_machine_without_a_gpu_is_asked_once() -> None:
    nvml = Nvml()
    meter = GpuMeter("0", nvml)
    assert meter.read() is meter.read() is None
    assert nvml.opened == 1
    assert GpuMeter("5", Nvml("A")).read() is None


def test_a_driver_that_fails_for_a_moment_is_asked_again() -> None:
    nvml = Nvml("A")
    meter = GpuMeter("0", nvml)
    assert meter.read() is not None
    nvml.fails = True
    assert meter.read() is None
    nvml.fails = False
    assert meter.read() is not None
