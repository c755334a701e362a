"""Memory that this process and its children use, and the limit that their cgroup sets."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

from chunkflow_worker.machine.cgroup import PROC, ROOT, cgroup_folders

_LIMIT_FILES = ("memory.max", "memory.limit_in_bytes")  # of cgroup v2 and v1
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")
_UNLIMITED = 1 << 60  # cgroup v1 writes a number near 2**63 for no limit


def resident_bytes() -> int:
    """Resident memory of this process and all its descendants; 0 on systems without /proc."""
    page = os.sysconf("SC_PAGE_SIZE")
    total, waiting = 0, [os.getpid()]
    while waiting:
        process = PROC / str(waiting.pop())
        try:
            resident_pages = (process / "statm").read_text().split()[1]
            total += int(resident_pages) * page
            for children in (process / "task").glob("*/children"):
                waiting.extend(map(int, children.read_text().split()))
        except (OSError, IndexError, ValueError):
            continue  # the process has ended
    return total


def peak_bytes() -> int:
    """The most memory that this process has had so far; 0 on systems without /proc."""
    try:
        found = _PEAK.search((PROC / "self" / "status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def usable_bytes() -> int:
    """The memory that this process can use: the machine's, or the limits of cgroup and shell."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    limits = [installed, cgroup_limit(), address_space if address_space > 0 else None]
    return min(limit for limit in limits if limit is not None)


def cgroup_limit(proc: Path = PROC, root: Path = ROOT) -> int | None:
    """The smallest memory limit, in bytes, of this process's cgroups (v2 or v1); None for no limit.

    proc, root: where the proc and the cgroup file systems are mounted.
    """
    folders = cgroup_folders("memory", proc, root)
    limits = (_read_limit(folder / name) for folder in folders for name in _LIMIT_FILES)
    return min((limit for limit in limits if limit is not None), default=None)


def _read_limit(file: Path) -> int | None:
    try:
        limit = int(file.read_text())
    except (OSError, ValueError):  # absent, or the word max
        return None
    return limit if 0 < limit < _UNLIMITED else None
