from __future__ import annotations

import pytest

from chunkflow_worker.image.bbox import BoundingBox
from producer.look.job_link import box_layer


def test_the_boxes_of_a_job_are_a_layer_that_neuroglancer_reads() -> None:
    neuroglancer = pytest.importorskip("neuroglancer")
    boxes = {"0-4_0-8_0-16": "done", "-4-0_0-8_16-32": "failed", "4-8_0-8_0-16": "waiting"}
    states = [(BoundingBox.parse(name), state) for name, state in boxes.items()]
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
    assert shown[1].description == "-4-0_0-8_16-32 failed"
