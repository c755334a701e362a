from __future__ import annotations

from pathlib import Path

import pytest

from chunkflow_worker.machine.cgroup import cgroup_folders


@pytest.mark.parametrize(
    ("line", "folders"),
    [
        ("0::/a/b", {"", "memory", "a", "a/b"}),
        ("4:cpu,memory:/c", {"", "memory", "memory/c"}),
        ("4:cpu:/c", {"", "memory"}),
        ("nonsense", {"", "memory"}),
    ],
)
def test_the_folders_are_those_of_the_cgroup_and_its_parents(
    tmp_path: Path, line: str, folders: set[str]
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(line + "\n")
    root = tmp_path / "mounted"
    assert cgroup_folders("memory", tmp_path, root) == {root / name for name in folders}


def test_without_the_proc_file_system_the_mounts_count(tmp_path: Path) -> None:
    assert cgroup_folders("cpu", tmp_path, tmp_path) == {tmp_path, tmp_path / "cpu"}
