from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.machine.memory import cgroup_limit, resident_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_grows_with_what_is_held() -> None:
    before = resident_bytes()
    held = np.ones(50_000_000, np.uint8)
    assert resident_bytes() - before > 0.9 * held.nbytes


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
def test_the_limit_is_that_of_the_cgroup(
    tmp_path: Path, line: str, file: str, text: str, limit: int | None
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(line + "\n")
    place = tmp_path / "cgroup" / file
    place.parent.mkdir(parents=True)
    place.write_text(text)
    assert cgroup_limit(tmp_path / "proc", tmp_path / "cgroup") == limit


def test_no_cgroup_is_no_limit(tmp_path: Path) -> None:
    assert cgroup_limit(tmp_path, tmp_path) is None
