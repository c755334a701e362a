"""`cgroup_folders`: where the limits of this process's cgroup are written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PROC, ROOT = Path("/proc"), Path("/sys/fs/cgroup")


def cgroup_folders(controller: str, proc: Path = PROC, root: Path = ROOT) -> set[Path]:
    """The folders of the cgroups (v2 or v1) that limit this process, and of their parents.

    controller: of cgroup v1, for example memory.
    proc, root: where the proc and the cgroup file systems are mounted.
    """
    folders = {root, root / controller}
    try:
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            folders.update(_folders(line, controller, root))
    except (OSError, ValueError):
        pass
    return folders


def _folders(line: str, controller: str, root: Path) -> Iterator[Path]:
    """The folders of the cgroup that a line of /proc/self/cgroup names, and of its parents."""
    _, controllers, path = line.split(":", 2)
    if not controllers:  # cgroup v2
        mount = root
    elif controller in controllers.split(","):
        mount = root / controller
    else:
        return
    folder = mount / path.lstrip("/")
    yield from (part for part in (folder, *folder.parents) if part.is_relative_to(root))
