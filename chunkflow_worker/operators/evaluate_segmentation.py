"""evaluate-segmentation"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)


class EvaluateSegmentation(Operator):
    """Compare a segmentation with the ground truth: Rand error and variation of information.

    Voxels where the truth is 0 do not count. Makes a mapping of `rand_error` (adapted),
    `rand_precision` and `rand_recall` (0 to 1), `voi_split` and `voi_merge` (bits), which is logged
    too. Formulas: Arganda-Carreras et al. 2015, Frontiers in Neuroanatomy 9:142; Meila 2003, LNCS
    2777:173.
    """

    group: ClassVar[str] = "Segmentation"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f seg.h5 load-h5 -f truth.h5 -o groundtruth evaluate-segmentation"
    )
    differs: ClassVar[str] = "These scores replace those of chunkflow."
    op: Literal["evaluate-segmentation"] = "evaluate-segmentation"
    segmentation_chunk_name: str = field("chunk", flag="-s", help="Segmentation to evaluate.")
    groundtruth_chunk_name: str = field("groundtruth", flag="-g", help="The ground truth.")
    output: str = field("seg_score", flag="-o", help="Name of the scores to make.")

    def reads(self) -> tuple[str, ...]:
        return (self.segmentation_chunk_name, self.groundtruth_chunk_name)

    def writes(self) -> tuple[str, ...]:
        return (self.output,)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        def step(task: Task) -> None:
            names = (self.segmentation_chunk_name, self.groundtruth_chunk_name)
            ours, truth = task.chunks_of_one_box(*names)
            made, true = ours.object_ids(names[0]), truth.object_ids(names[1])
            labelled = true != 0
            if not labelled.any():
                raise ChunkMismatch(
                    f"{names[1]!r} is zero everywhere: there is nothing to compare with"
                )
            scores = _scores(made[labelled], true[labelled])
            task.values[self.output] = scores
            log.warning("%s %s: %s", self.label, task.bbox or ours.bbox, json.dumps(scores))

        yield step


def _scores(made: NDArray[Any], true: NDArray[Any]) -> dict[str, float]:
    """The scores of two lists of ids, one of each voxel."""
    import numpy as np

    rows, in_made = np.unique(made, return_inverse=True, return_counts=True)[1:]
    columns, in_true = np.unique(true, return_inverse=True, return_counts=True)[1:]
    cells, shared = np.unique(rows.astype(np.int64) * len(in_true) + columns, return_counts=True)
    n = made.size
    together, of_made, of_true = (
        float((count.astype(float) ** 2).sum() - n) for count in (shared, in_made, in_true)
    )
    part = shared / n
    return {
        "rand_error": 1 - 2 * together / (of_made + of_true) if of_made + of_true else 0.0,
        "rand_precision": together / of_made if of_made else 1.0,
        "rand_recall": together / of_true if of_true else 1.0,
        "voi_split": float(abs((part * np.log2(shared / in_true[cells % len(in_true)])).sum())),
        "voi_merge": float(abs((part * np.log2(shared / in_made[cells // len(in_true)])).sum())),
    }
