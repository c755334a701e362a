"""`final_rows`: the rows of the table that a region writes: each object is in those of one region.

An object is complete in the region that joined its last parts. Those that are complete in a box are
with the region right above it.
"""

from __future__ import annotations

import numpy as np

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.labels.answer import DROPPED
from chunkflow_worker.labels.folder import Folder
from chunkflow_worker.labels.layout import Ids
from chunkflow_worker.labels.objects import Objects


def final_rows(folder: Folder, region: BoundingBox, compact: bool) -> tuple[Ids, Objects]:
    """The final ids of the objects that are complete in a region or in its boxes, and their rows.

    Raises DataMissing for a file that is absent or damaged.
    """
    layout = folder.layout()
    above = [] if region == layout.tree.region else layout.path(region)
    before = sum(folder.answer(box).offset for box in above)
    complete = folder.complete(region)
    parts, numbers = [complete], [np.arange(1, len(complete) + 1)]
    for box in layout.children(region):
        if layout.is_leaf(box) and (faces := folder.faces(box)):
            own = folder.objects(box).without(faces.ids)
            answer = folder.answer(box)
            found = answer.numbers[answer.rows(own.ids)]
            parts.append(own.take(found != DROPPED))
            numbers.append(found[found != DROPPED])
    whole = Objects.joined(parts)
    if not compact:
        return whole.ids, whole
    order = np.argsort(np.concatenate([part.ids for part in parts]), kind="stable")
    return (np.concatenate(numbers)[order] + before).astype(np.uint64), whole
