"""`sample_of`: some of the boxes that are done, the same ones each time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from chunkflow_worker.image.bbox import BoundingBox
from producer.look.job import boxes_of_job

if TYPE_CHECKING:
    from chunkflow_worker.job.ledger import JobRecord, Ledger


def sample_of(ledger: Ledger, job: JobRecord, count: int) -> tuple[list[BoundingBox], int]:
    """`count` of the boxes of a job that the ledger has as done, or all of them; and how many are.

    They are chosen at random by the name of the job, so that a repeat chooses the same while no
    further boxes are done. They come in the order of their places, z first.
    Raises ConfigError and StorageUnavailable.
    """
    done = sorted(boxes_of_job(job.boxes(), ledger.listing().done))
    chosen = random.Random(job.job).sample(done, min(count, len(done)))
    return sorted(map(BoundingBox.parse, chosen)), len(done)
