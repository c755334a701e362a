"""Number, name and instruction sets of the processors."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


def cpu_count() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name() -> str:
    """Model name of the processor as the system gives it, or else its architecture."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor in Linux's names, for example avx2; empty elsewhere."""
    return frozenset(_cpu_info("flags").split())


@cache
def _cpu_info(key: str) -> str:
    """The value of the first line with `key` in /proc/cpuinfo; empty when there is none."""
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
