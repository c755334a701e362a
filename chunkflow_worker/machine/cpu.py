"""Number, name and instruction sets of the processors that this process may use."""

from __future__ import annotations

import math
import os
import platform
from functools import cache
from pathlib import Path

from chunkflow_worker.machine.cgroup import PROC, ROOT, cgroup_folders

_CPU_INFO = Path("/proc/cpuinfo")


def cpu_count() -> int:
    """Number of processors that this process may use: its affinity, and its cgroup's quota."""
    quota = _quota()
    return _affinity() if quota is None else max(1, min(_affinity(), math.ceil(quota)))


def thread_count() -> int:
    """Number of threads for one net: OMP_NUM_THREADS, or else `cpu_count`, as in PyTorch."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else cpu_count()


def cpu_quota(proc: Path = PROC, root: Path = ROOT) -> float | None:
    """The smallest CPU quota, in processors, of this process's cgroups (v2 or v1); None for none.

    proc, root: where the proc and the cgroup file systems are mounted.
    """
    quotas = map(_read_quota, cgroup_folders("cpu", proc, root))
    return min((quota for quota in quotas if quota is not None), default=None)


def cpu_name() -> str:
    """Model name of the processor as the system gives it, or else its architecture."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor in Linux's names, for example avx2; empty elsewhere."""
    return frozenset(_cpu_info("flags").split())


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_quota = cache(cpu_quota)


def _read_quota(folder: Path) -> float | None:
    """The quota of one cgroup: `cpu.max` of v2, or the two files of v1."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        processors = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # absent, or the word max
        return None
    return processors if processors > 0 else None  # v1 writes -1 for no quota


@cache
def _cpu_info(key: str) -> str:
    """The value of the first line with `key` in /proc/cpuinfo; empty when there is none."""
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
