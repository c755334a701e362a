"""`FailingBoxes`: boxes of a job that failed for one cause, as its workers noted them.

    <ledger>/states/<job>/<since>/<cause>-<box>.json

One listing tells all workers how many boxes fail for a cause, without reading a record. Workers
note a box only while most of their own tasks fail for this cause, so these objects are few. The
producer deletes them when the job is resumed or cancelled, or its records are archived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.state import JobState
from chunkflow_worker.storage.files import Files


class FailingBoxes:
    """Those of one ledger. Methods raise StorageUnavailable.

    Each start of a job counts anew: `state` is that of the job, with the time of its last start.
    """

    def __init__(self, ledger: str):
        self._ledger = ledger

    def note(self, job: str, state: JobState, cause: str, box: str) -> None:
        """Note that a box failed."""
        self._files(job, state).put_json(f"{_digest(cause)}-{box}.json", {"cause": cause})

    def boxes(self, job: str, state: JobState, cause: str) -> set[str]:
        """The boxes that were noted for the cause."""
        prefix = f"{_digest(cause)}-"
        names = self._files(job, state).list(prefix)
        return set(_boxes(name.removeprefix(prefix).removesuffix(".json") for name in names))

    def forget(self, job: str, state: JobState | None = None) -> None:
        """Delete the notes of a job, but for those since the start that `state` tells of."""
        files = Files(f"{self._ledger}/states/{job}")
        kept = f"{_since(state)}/" if state else None
        names = (found.name for found in files.listed(deep=True))
        old = [name for name in names if not (kept and name.startswith(kept))]
        if old:
            files.delete_all(old)

    def _files(self, job: str, state: JobState) -> Files:
        return Files(f"{self._ledger}/states/{job}/{_since(state)}")


def _since(state: JobState) -> str:
    return f"{state.at:%Y%m%dT%H%M%S}" if state.at else "begin"


def _boxes(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        try:
            yield str(BoundingBox.parse(name))
        except ValueError:
            continue


def _digest(cause: str) -> str:
    return hashlib.sha256(cause.encode()).hexdigest()[:12]
