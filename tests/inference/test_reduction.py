"""What the channels of a net become before they leave its device."""

from __future__ import annotations

import pytest

from chunkflow_worker.errors import Mistake
from chunkflow_worker.inference.reduction import Reduction


@pytest.mark.parametrize(
    ("text", "kind", "threshold", "channels"),
    [
        ("threshold", "threshold", 0.5, 4),
        ("threshold:0.25", "threshold", 0.25, 4),
        ("threshold:-1e3", "threshold", -1000, 4),
        ("argmax", "argmax", 0.5, 1),
        ("max", "max", 0.5, 1),
    ],
)
def test_reductions(text: str, kind: str, threshold: float, channels: int) -> None:
    reduction = Reduction.parse(text)
    assert (reduction.kind, reduction.threshold) == (kind, threshold)
    assert reduction.channels(4) == channels


@pytest.mark.parametrize(
    "text", ["", "mean", "argmax:1", "max:0.5", "threshold:x", "threshold:nan"]
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(Mistake) as refusal:
        Reduction.parse(text)
    assert refusal.value.cure.startswith("legal: argmax, max, threshold")
