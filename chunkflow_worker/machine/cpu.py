"""What the processor is called and can do."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path


def cpu_count() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """Model name of the processor, as the system tells it."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor, as Linux names them, for example avx2 and amx_bf16."""
    return frozenset(_cpu_info("flags").split())


@cache
def _cpu_info(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
