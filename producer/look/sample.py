"""`sample_of`: some of the boxes that are done, the same ones each time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from chunkflow_worker.image.bbox import BoundingBox
from producer.look.survey import Survey

if TYPE_CHECKING:
    from chunkflow_worker.job.job_record import JobRecord
    from chunkflow_worker.job.ledger import Ledger


def sample_of(ledger: Ledger, job: JobRecord, count: int) -> tuple[list[BoundingBox], int]:
    """`count` of the boxes of a job that the ledger has as done, or all of them; and how many are.

    They are chosen at random by the name of the job, so that a repeat chooses the same while no
    further boxes are done. They come in the order of their places, z first.
    Raises ConfigError and StorageUnavailable.
    """
    survey = Survey(ledger, job.boxes())
    done = survey.look().done
    return sorted(map(BoundingBox.parse, survey.sample(count, random.Random(job.job)))), done
