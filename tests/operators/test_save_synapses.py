from __future__ import annotations

import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.synapses import Synapses
from chunkflow_worker.operators.load_synapses import LoadSynapses
from chunkflow_worker.operators.save_synapses import SaveSynapses

PLACES = st.integers(-(2**31), 2**31 - 1)


@st.composite
def synapses(draw: st.DrawFn) -> Synapses:
    n = draw(st.integers(0, 5))
    m = draw(st.integers(0, 6)) if n else 0
    confidence = st.none() | arrays(np.float32, n, elements=st.floats(0, 1, width=32))
    return Synapses(
        draw(arrays(np.int32, (n, 3), elements=PLACES)),
        draw(arrays(np.int32, (m, 3), elements=PLACES)),
        draw(arrays(np.int32, m, elements=st.integers(0, max(n - 1, 0)))),
        pre_confidence=draw(confidence),
        voxel_size=draw(st.none() | st.just((40.0, 4.0, 8.0))),
    )


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_synapses=synapses(), ending=st.sampled_from(["h5", "json"]))
def test_load_synapses_restores_the_synapses(
    run_step, given_synapses: Synapses, ending: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_step(SaveSynapses(file_path=f"{folder}/s.{ending}"), syns=given_synapses)
        back = run_step(LoadSynapses(file_path=f"{folder}/s.{ending}")).values["syns"]
    for name in ("pre", "post", "parents", "pre_confidence"):
        was, now = getattr(given_synapses, name), getattr(back, name)
        assert (was is None) == (now is None)
        assert was is None or (np.array_equal(was, now) and was.dtype == now.dtype)
    assert back.voxel_size == given_synapses.voxel_size


def test_a_prefix_names_another_file_for_each_task_in_the_peers_layout(
    run_step, tmp_path: Path
) -> None:
    operator = SaveSynapses(file_path=f"{tmp_path}/")
    for z in (0, 1):
        one = Synapses(
            np.array([[z, 1, 2]], np.int32), np.array([[z, 3, 4]], np.int32), np.zeros(1, np.int32)
        )
        run_step(operator, bbox=BoundingBox.parse(f"{z}-{z + 1}_0-9_0-9"), syns=one)
    for z in (0, 1):
        with h5py.File(tmp_path / f"{z}-{z + 1}_0-9_0-9.h5") as file:
            assert file["pre"][()].tolist() == [[z, 1, 2]]
            assert file["post"][()].tolist() == [[0, z, 3, 4]], "the first column is the parent"


def test_other_values_than_synapses_are_refused(run_step, tmp_path: Path) -> None:
    with pytest.raises(ChunkflowError, match="synapses are needed"):
        run_step(SaveSynapses(file_path=f"{tmp_path}/s.h5"), syns=3)
