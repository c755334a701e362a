from __future__ import annotations

import cc3d
import numpy as np
import pytest

from chunkflow_worker.errors import DataMissing, DataRefused
from chunkflow_worker.labels.answer import settle_all
from chunkflow_worker.labels.gather import gather
from chunkflow_worker.labels.objects import Filter
from chunkflow_worker.labels.unite import unite
from tests.support.labelled import labelled


def test_a_file_of_another_run_is_noticed() -> None:
    """A box that was segmented again after its region was joined."""
    made = labelled(np.ones((2, 2, 8), np.uint8), cc3d.connected_components, (2, 2, 2)).folder
    layout = made.layout()
    _, left = layout.children(layout.tree.region)
    old = made.stored[made.name("open", left)]
    made.stored[made.name("open", left)] = old | {"face_ids": old["face_ids"] + np.uint64(1)}
    children, links = gather(made, layout.tree.region, Filter(), False)
    with pytest.raises(DataMissing, match=r"linked ids are not known.*join them again"):
        unite(layout, layout.tree.region, list(children.values()), links, Filter())
    with pytest.raises(DataMissing, match="1 ids are not in the labelling, for example 2"):
        settle_all(layout, np.array([1, 2], np.uint64), made.answer, False)


def test_an_absent_box_is_no_empty_box_unless_that_is_said() -> None:
    made = labelled(np.ones((2, 2, 4), np.uint8), cc3d.connected_components, (2, 2, 2)).folder
    region = made.layout().tree.region
    del made.stored[made.name("faces", made.layout().boxes[1])]
    with pytest.raises(DataMissing, match=r"faces/0-2_0-2_2-4\.npz.*--fill-missing"):
        gather(made, region, Filter(), False)
    children, links = gather(made, region, Filter(), True)
    assert list(children) == [made.layout().boxes[0]]
    assert not len(links)


def test_sums_that_would_not_be_exact_are_refused() -> None:
    made = labelled(np.ones((2, 2, 4), np.uint8), cc3d.connected_components, (2, 2, 2)).folder
    rows = made.objects(made.layout().boxes[0])
    rows.sums[:] = 2**62
    twice = rows.take(np.array([0, 0]))
    assert len(rows.merged(np.array([0]))) == 1
    with pytest.raises(DataRefused, match="too large"):
        twice.merged(np.array([0, 0]))
