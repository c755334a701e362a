from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.machine.memory import cgroup_limit, resident_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_grows_with_the_pages_in_use() -> None:
    # Pages straight from the kernel: an allocator may hand out again what it has kept.
    size = 50_000_000
    before = resident_bytes()
    with mmap.mmap(-1, size) as pages:
        np.frombuffer(pages, np.uint8)[...] = 1
        assert resident_bytes() - before > 0.9 * size


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_children_and_their_children_counts() -> None:
    hold = "a = bytearray(b'x') * 40_000_000; print(flush=True); input()"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    before = resident_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        during = resident_bytes()
        child.communicate(b"\n")
    assert during - before > 40_000_000


def test_the_smallest_limit_of_all_levels_applies(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text("3:cpu:/x\n4:memory:/a/b\n0::/c\n")
    limits = {"memory/a/b": 3000, "memory/a": 2000, "memory": 5000, "c": 4000, "x": 1}
    for folder, limit in limits.items():
        place = tmp_path / "cgroup" / folder
        place.mkdir(parents=True, exist_ok=True)
        name = "memory.max" if folder == "c" else "memory.limit_in_bytes"
        (place / name).write_text(f"{limit}\n")
    assert cgroup_limit(tmp_path, tmp_path / "cgroup") == 2000, "x limits no memory"


@pytest.mark.parametrize(
    ("line", "file", "text", "limit"),
    [
        ("0::/", "memory.max", "1000", 1000),
        ("0::/a/b", "a/memory.max", "1000", 1000),
        ("0::/", "memory.max", "max", None),
        ("4:cpu,memory:/c", "memory/c/memory.limit_in_bytes", "1000", 1000),
        ("4:memory:/", "memory/memory.limit_in_bytes", "9223372036854771712", None),
    ],
)
def test_the_limit_is_read_from_the_cgroup(
    tmp_path: Path, line: str, file: str, text: str, limit: int | None
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(line + "\n")
    place = tmp_path / "cgroup" / file
    place.parent.mkdir(parents=True)
    place.write_text(text)
    assert cgroup_limit(tmp_path / "proc", tmp_path / "cgroup") == limit


def test_without_a_cgroup_there_is_no_limit(tmp_path: Path) -> None:
    assert cgroup_limit(tmp_path, tmp_path) is None
