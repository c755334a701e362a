"""`EngineSpec`: one record, which engines cannot change."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.engine import EngineSpec


def test_a_spec_cannot_be_changed() -> None:
    spec = EngineSpec(Vec3(4, 8, 8), Vec3(4, 8, 8), channels=1)
    with pytest.raises(FrozenInstanceError):
        spec.channels = 2  # type: ignore[misc]


def test_equal_specs_are_one_key() -> None:
    specs = {EngineSpec(Vec3(4, 8, 8), Vec3(4, 8, 8), channels=n) for n in (1, 1, 3)}
    assert {spec.channels for spec in specs} == {1, 3}
    assert len(specs) == 2


def test_a_spec_says_by_default_that_weights_run_no_code() -> None:
    spec = EngineSpec(Vec3(4, 8, 8), Vec3(4, 8, 8), channels=1)
    assert spec.trust_weights is False
    assert (spec.precision, spec.acceleration) == ("auto", "none")
