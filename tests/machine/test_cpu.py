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


@pytest.fixture(autouse=True)
def _no_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run in a container that has one."""
    monkeypatch.setattr(cpu, "_quota", lambda: None)


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


@pytest.mark.parametrize(("quota", "count"), [(None, 8), (0.5, 1), (2.0, 2), (2.5, 3), (16.0, 8)])
def test_a_container_may_use_the_processors_of_its_quota(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, count: int
) -> None:
    monkeypatch.setattr(cpu, "_affinity", lambda: 8)
    monkeypatch.setattr(cpu, "_quota", lambda: quota)
    assert cpu.cpu_count() == count


@pytest.mark.parametrize(
    ("line", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2.0),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "400000 100000"}, 2.0),
        ("0::/", {"cpu.max": "max 100000"}, None),
        (
            "3:cpu,cpuacct:/c",
            {"cpu/c/cpu.cfs_quota_us": "50000", "cpu/c/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("4:memory:/x", {"x/cpu.max": "100000 100000"}, None),
    ],
)
def test_the_quota_is_read_from_the_cgroups(
    tmp_path: Path, line: str, files: dict[str, str], quota: float | None
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(line + "\n")
    for name, text in files.items():
        place = tmp_path / "cgroup" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + "\n")
    assert cpu.cpu_quota(tmp_path / "proc", tmp_path / "cgroup") == quota


def test_without_a_cgroup_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu.cpu_quota(tmp_path, tmp_path) is None


@pytest.mark.parametrize(
    ("told", "threads"), [(None, 5), ("", 5), ("2", 2), ("8,4", 8), ("0", 5), ("many", 5)]
)
def test_a_net_gets_all_processors_or_as_many_as_the_user_says(
    monkeypatch: pytest.MonkeyPatch, told: str | None, threads: int
) -> None:
    monkeypatch.setattr(cpu, "cpu_count", lambda: 5)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert cpu.thread_count() == threads
