from __future__ import annotations

import pytest

from chunkflow_worker.image.bbox import BoundingBox
from producer.look.box_layer import MOST_BOXES, ShownBox, box_layer, chosen


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
