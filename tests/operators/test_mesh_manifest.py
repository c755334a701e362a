"""mesh-manifest"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.share import Share
from chunkflow_worker.operators.mesh_manifest import MeshManifest
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.written_file import WrittenFile, noting


def run(operator: MeshManifest, dry_run: bool = False, box: BoundingBox | None = None) -> None:
    with operator.open(Run(needed_box=lambda b, _: b, dry_run=dry_run)) as step:
        step(Task(box))


def make(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"mesh")


def manifests(folder: Path) -> dict[str, Any]:
    return {
        p.name: json.loads(p.read_text()) for p in sorted(folder.iterdir()) if p.name.endswith(":0")
    }


def test_the_manifest_of_an_object_lists_only_its_fragments(tmp_path: Path) -> None:
    make(tmp_path, "7:0:0-4_0-4_0-4", "7:0:4-8_0-4_0-4", "70:0:0-4_0-4_0-4", "0-4_0-4_0-4.spatial")
    (tmp_path / "info").write_text("{}")
    for _ in range(2):  # existing manifests are not taken for fragments
        run(MeshManifest(volume_path=str(tmp_path)))
        assert manifests(tmp_path) == {
            "7:0": {"fragments": ["7:0:0-4_0-4_0-4", "7:0:4-8_0-4_0-4"]},
            "70:0": {"fragments": ["70:0:0-4_0-4_0-4"]},
        }


@settings(max_examples=20, deadline=None)
@given(ids=st.sets(st.integers(1, 3000), max_size=12), digits=st.integers(1, 2))
def test_the_prefixes_cover_each_object_exactly_once(
    tmp_path_factory, ids: set[int], digits: int
) -> None:
    folder = tmp_path_factory.mktemp("meshes")
    make(folder, *(f"{i}:0:0-1_0-1_0-1" for i in ids))
    done: list[str] = []
    for prefix in range(10**digits):
        run(MeshManifest(volume_path=str(folder), prefix=prefix, digits=digits))
        done += manifests(folder)
        for name in manifests(folder):
            (folder / name).unlink()
    assert sorted(done) == sorted(f"{i}:0" for i in ids)


def test_a_share_without_objects_notes_what_can_be_checked(tmp_path: Path) -> None:
    make(tmp_path, "7:0:0-4_0-4_0-4", "info")
    for number, made in ((7, {"7:0"}), (8, {"info"})):
        files: dict[str, WrittenFile] = {}
        with noting(files):
            run(MeshManifest(volume_path=str(tmp_path)), box=Share(number, number + 1, 10).box)
        assert {Path(path).name for path in files} == made


def test_disbatch_sets_the_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "7:0:a", "70:0:a", "8:0:a")
    monkeypatch.setenv("DISBATCH_REPEAT_INDEX", "07")
    run(MeshManifest(volume_path=str(tmp_path), disbatch=True))
    assert sorted(manifests(tmp_path)) == ["70:0", "7:0"]
    monkeypatch.delenv("DISBATCH_REPEAT_INDEX")
    with pytest.raises(ConfigError, match="DISBATCH_REPEAT_INDEX"):
        run(MeshManifest(volume_path=str(tmp_path), disbatch=True))
    with pytest.raises(ValidationError, match="have the same meaning"):
        MeshManifest(volume_path="x", disbatch=True, prefix=1)


def test_a_box_and_a_volume_without_meshes_are_refused(tmp_path: Path, volume: Any) -> None:
    with pytest.raises(ConfigError, match="all boxes"):
        run(MeshManifest(volume_path=str(tmp_path)), box=BoundingBox.parse("0-1_0-1_0-1"))
    stored = volume("seg", np.zeros((8, 16, 16), np.uint32), layer_type="segmentation")
    with pytest.raises(ConfigError, match="names no folder"):
        run(MeshManifest(volume_path=stored.path))


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    make(tmp_path, "7:0:a")
    run(MeshManifest(volume_path=str(tmp_path)), dry_run=True)
    assert manifests(tmp_path) == {}
