"""`find_ids`: where ids are among others."""

from __future__ import annotations

import numpy as np

from chunkflow_worker.labels.layout import Ids, Whole


def find_ids(ids: Ids, wanted: Ids) -> tuple[Whole, Ids]:
    """Where the wanted ids are in `ids`, which is in order; and those of them that are absent."""
    rows = np.searchsorted(ids, wanted)
    known = rows < len(ids)
    known[known] = ids[rows[known]] == wanted[known]
    return rows, wanted[~known]
