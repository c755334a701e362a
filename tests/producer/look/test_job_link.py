from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.create_volume import create_volume
from chunkflow_worker.volumes.open_volume import open_volume
from chunkflow_worker.volumes.scene import source
from producer.look.box_layer import MOST_BOXES, ShownBox, box_layer, chosen
from producer.look.job_link import look_command, result_link
from producer.plan.pipeline_file import PipelineFile


def test_the_boxes_of_a_job_are_a_layer_that_neuroglancer_reads() -> None:
    neuroglancer = pytest.importorskip("neuroglancer")
    boxes = {"0-4_0-8_0-16": "done", "-4-0_0-8_16-32": "dead", "4-8_0-8_0-16": "waiting"}
    states = [
        ShownBox(BoundingBox.parse(name), state, "no memory" if state == "dead" else "")
        for name, state in boxes.items()
    ]
    layer = box_layer(states, (40.0, 8.0, 4.0))
    state = neuroglancer.ViewerState({"layers": [layer]})
    shown = state.layers["boxes"].annotations
    assert [(a.id, list(a.point_a), list(a.point_b)) for a in shown] == [
        ("0-4_0-8_0-16", [0, 0, 0], [16, 8, 4]),
        ("-4-0_0-8_16-32", [16, 0, -4], [32, 8, 0]),
        ("4-8_0-8_0-16", [0, 0, 4], [16, 8, 8]),
    ]
    labels = layer["annotationProperties"][0]["enum_labels"]
    assert [labels[a.props[0]] for a in shown] == [*boxes.values()]
    assert shown[1].description == "-4-0_0-8_16-32 dead: no memory"


def test_of_very_many_boxes_those_in_trouble_are_shown() -> None:
    states = ["done"] * (2 * MOST_BOXES)
    states[-1], states[7], states[MOST_BOXES] = "dead", "failed", "running"
    places = chosen(states)
    assert len(places) == MOST_BOXES
    assert places == sorted(places)
    assert {7, MOST_BOXES, 2 * MOST_BOXES - 1} < {*places}
    layer = box_layer([], (1.0, 1.0, 1.0), total=9)
    assert layer["name"] == "boxes (0 of 9)"


def test_the_result_of_all_stages_is_shown_with_the_last_segmentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """em is loaded first; parts, then objects, are made of it; nothing is stored at lost."""
    box = BoundingBox.sized(Vec3(0, 0, 0), Vec3(4, 4, 4))
    options = {"bounds": box, "voxel_size": (4, 4, 4), "block_size": Vec3(4, 4, 4)}
    for name, dtype in (("em", "uint8"), ("parts", "uint64"), ("objects", "uint64")):
        kind = "image" if name == "em" else "segmentation"
        create_volume(f"file://{tmp_path}/{name}", dtype=dtype, layer_type=kind, **options)
        open_volume(f"file://{tmp_path}/{name}").write(box, np.ones((4, 4, 4), dtype))
    grid = {"op": "generate-tasks", "chunk_size": [4, 4, 4]}
    stages = []
    for loaded, target in (("em", "parts"), ("parts", "objects"), ("objects", "lost")):
        load = {"op": "load-precomputed", "volume_path": f"file://{tmp_path}/{loaded}"}
        save = {"op": "save-precomputed", "volume_path": f"file://{tmp_path}/{target}"}
        stages.append({"name": target, "tasks": grid, "operators": [load, save]})
    (tmp_path / "em.yaml").write_text(json.dumps({"stages": stages}))
    files = PipelineFile.load_all(tmp_path / "em.yaml")
    assert result_link(files) == "", "no browser reads a folder of this machine"
    command = look_command(files)
    assert command == f"chunkflow look file://{tmp_path}/em file://{tmp_path}/objects"
    monkeypatch.setattr(source, "source_of", lambda place, driver="": place)
    state = json.loads(unquote(result_link(files).partition("#!")[2]))
    seen = {layer["name"]: layer.get("visible", True) for layer in state["layers"]}
    assert seen == {"em": True, "parts": False, "objects": True}
