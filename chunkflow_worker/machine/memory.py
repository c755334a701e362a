"""What memory this process and its children hold, and what they may hold."""

from __future__ import annotations

import os
from pathlib import Path

_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # cgroup v1 says so with a number near 2**63


def resident_bytes() -> int:
    """Resident set of this process and all below it; 0 where the system does not tell."""
    total, waiting = 0, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        try:
            total += int((_PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf(
                "SC_PAGE_SIZE"
            )
            for children in (_PROC / str(pid) / "task").glob("*/children"):
                waiting.extend(map(int, children.read_text().split()))
        except (OSError, IndexError, ValueError):
            continue  # it ended meanwhile
    return total


def cgroup_limit(proc: Path = _PROC, root: Path = _CGROUP) -> int | None:
    """The smallest memory limit of the cgroups (v2 or v1) that this process is in; None when there is none."""
    folders = {root, root / "memory"}
    try:
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            top = (
                root
                if not controllers
                else root / "memory"
                if "memory" in controllers.split(",")
                else None
            )
            if top is not None:
                inside = top / path.lstrip("/")
                folders.update(
                    folder for folder in (inside, *inside.parents) if folder.is_relative_to(root)
                )
    except (OSError, ValueError):
        pass
    limits = [
        limit
        for folder in folders
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := _read(folder / name))
    ]
    return min(limits, default=None)


def _read(file: Path) -> int | None:
    try:
        limit = int(file.read_text())
    except (OSError, ValueError):  # absent, or the word max
        return None
    return limit if 0 < limit < _UNLIMITED else None
