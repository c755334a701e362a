from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from osteoid import Skeleton

from chunkflow_worker.view.values import is_skeletons, not_shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({7: Skeleton(np.zeros((1, 3), np.float32))}, True),
        ({}, True),
        ({7: Skeleton(), 8: "text"}, False),
        ([Skeleton()], False),
        (None, False),
    ],
)
def test_skeletons_are_a_mapping_of_them(value: Any, expected: bool) -> None:
    assert is_skeletons(value) is expected


def test_a_value_of_another_kind_is_reported_with_its_type() -> None:
    text = "'a' is a str; napari shows chunks, synapses, points and skeletons"
    assert str(not_shown("a", "text", "napari")) == text
