from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkflow_worker.machine import cpu

INFO = """\
processor\t: 0
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu sse2 avx2 amx_bf16

processor\t: 1
model name\t: Another CPU
flags\t\t: fpu
"""


@pytest.fixture
def cpu_info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stands for /proc/cpuinfo, which is read once a process."""
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(cpu, "_CPU_INFO", file)
    cpu._cpu_info.cache_clear()
    yield file
    cpu._cpu_info.cache_clear()


def test_name_and_flags_are_those_of_the_first_processor(cpu_info: Path) -> None:
    cpu_info.write_text(INFO)
    assert cpu.cpu_name() == "Some CPU @ 2.00GHz"
    assert cpu.cpu_flags() == {"fpu", "sse2", "avx2", "amx_bf16"}


def test_without_the_file_the_name_is_the_platform_s_and_there_are_no_flags(cpu_info: Path) -> None:
    assert cpu.cpu_name() in (platform.processor(), platform.machine())
    assert cpu.cpu_name() != ""
    assert cpu.cpu_flags() == frozenset()


@pytest.mark.skipif(sys.platform != "linux", reason="sets the affinity")
def test_only_processors_that_the_process_may_use_are_counted() -> None:
    allowed = os.sched_getaffinity(0)
    assert cpu.cpu_count() == len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cpu.cpu_count() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_where_there_is_no_affinity_all_processors_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert cpu.cpu_count() == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu.cpu_count() == 1
