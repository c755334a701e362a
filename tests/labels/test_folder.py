from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cc3d
import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError, DataMissing
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.labels.folder import Folder
from chunkflow_worker.labels.layout import Links
from chunkflow_worker.labels.objects import Objects
from tests.support.labelled import FolderInMemory, labelled


@pytest.fixture(scope="module")
def made() -> FolderInMemory:
    volume = np.random.default_rng(0).random((4, 4, 4)) < 0.4
    return labelled(volume, cc3d.connected_components, (2, 2, 4)).folder


def test_all_that_is_written_is_read_back_from_any_storage(made: FolderInMemory, path: str) -> None:
    layout = made.layout()
    Folder(path).put_layout(layout)
    folder = Folder(path)
    assert folder.layout() == layout
    box, region = layout.boxes[0], layout.tree.region
    for kind, place in (("faces", box), ("objects", box), ("answers", box), ("open", region)):
        arrays = made.stored[made.name(kind, place)]
        folder.put(kind, place, arrays)
        stored = {"faces": folder.faces, "objects": folder.objects, "answers": folder.answer,
                  "open": folder.node}[kind](place)  # fmt: skip
        back = stored.arrays()
        assert back.keys() == arrays.keys()
        assert all(np.array_equal(back[name], arrays[name]) for name in arrays)


def test_the_same_task_writes_the_same_bytes(made: FolderInMemory, tmp_path: Path) -> None:
    box = made.layout().boxes[0]
    contents = set()
    for name in ("a", "b"):
        Folder(f"{tmp_path}/{name}").put("faces", box, made.stored[made.name("faces", box)])
        contents.add((tmp_path / name / made.name("faces", box)).read_bytes())
    assert len(contents) == 1


def test_a_folder_holds_one_labelling(made: FolderInMemory, tmp_path: Path) -> None:
    layout = made.layout()
    Folder(str(tmp_path)).put_layout(layout)
    Folder(str(tmp_path)).put_layout(layout)
    with pytest.raises(ConfigError, match="connectivity 6, not 26"):
        Folder(str(tmp_path)).put_layout(replace(layout, links=Links(connectivity=26)))
    moved = replace(layout.boxes, start=Vec3(1, 0, 0))
    with pytest.raises(ConfigError, match=r"(?s)start \[0, 0, 0\], not \[1, 0, 0\].*another work"):
        Folder(str(tmp_path)).put_layout(replace(layout, boxes=moved))


def test_absent_and_damaged_files_tell_what_to_do_first(
    made: FolderInMemory, tmp_path: Path
) -> None:
    folder, box = Folder(str(tmp_path)), made.layout().boxes[0]
    with pytest.raises(DataMissing, match=r"layout\.json: first label the boxes"):
        folder.layout()
    with pytest.raises(DataMissing, match=r"open/.*npz: join this region first"):
        folder.node(box)
    folder.put("objects", box, Objects.none().arrays())
    file = tmp_path / folder.name("objects", box)
    content = file.read_bytes()
    for damaged in (b"", content[:-30], content.replace(b"voxels", b"vexels"), b"\x93NUMPY"):
        file.write_bytes(damaged)
        with pytest.raises(DataMissing, match="is damaged"):
            folder.objects(box)
    (tmp_path / "layout.json").write_text('{"format": 1}')
    with pytest.raises(DataMissing, match=r"layout\.json is damaged"):
        folder.layout()
