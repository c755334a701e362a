"""`refused`: why workers would refuse the boxes of a job."""

from __future__ import annotations

from collections.abc import Iterator

from chunkflow_worker.errors import Fault
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.output import absent_volumes, refusal
from chunkflow_worker.job.volumes import no_ledger
from producer.plan.pipeline_file import PipelineFile


def refused(boxes: Boxes, file: PipelineFile, ledger: str | None) -> Iterator[Fault]:
    """What is wrong with these boxes for the chain of a file, and a ledger that has no place.

    Raises StorageUnavailable when a volume of the chain cannot be read.
    """
    yield from absent_volumes(file.chain)
    why = refusal(boxes, file.chain)
    if why:
        yield Fault("boxes", why)
    if not ledger:
        yield from no_ledger(str(file.path)).faults
