"""`BoxReport`: all that is known of one box of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.box_index import BoxIndex
from chunkflow_worker.report.scrub import scrub, scrubbed
from producer.look.failures import reproduce_command
from producer.page.box_states import OUTSIDE, STATES

if TYPE_CHECKING:
    from producer.look.view_link import Scene
    from producer.page.job_watch import Target
    from producer.page.preview import Previews
    from producer.page.snapshot import Snapshot

_SHOWN = {
    "state", "attempts", "worker", "compute_device", "precision", "patches", "patches_skipped",
    "waited", "timer", "seconds", "memory_peak", "voxels", "bytes_read", "bytes_written",
    "started", "finished", "skipped", "job", "versions", "pipeline",
}  # fmt: skip


class BoxReport:
    """Reads the records of a box, when someone asks for it. Several threads may use it."""

    def __init__(self, target: Target, scene: Scene | None, previews: Previews | None):
        self._target, self._scene, self.previews = target, scene, previews
        self._indexed: tuple[Any, BoxIndex] | None = None

    def place(self, snapshot: Snapshot, name: str) -> int | None:
        """The place of a box of the job; None for any other text."""
        if self._indexed is None or self._indexed[0] is not snapshot.boxes:
            self._indexed = (snapshot.boxes, BoxIndex(snapshot.boxes))
        place = self._indexed[1].of(name)
        return None if place is None or snapshot.states[place] == OUTSIDE else place

    def of(self, snapshot: Snapshot, name: str) -> dict[str, Any] | None:
        """What is known of a box; None for a box that is not of the job.

        Raises StorageUnavailable, and ConfigError for an archive that is damaged.
        """
        place = self.place(snapshot, name)
        if place is None:
            return None
        ledger, box = self._target.ledger, BoundingBox.parse(name)
        record = next(iter(ledger.records([name])), None)
        failure = None if record else next(iter(ledger.records([name], failed=True)), None)
        found = record or failure
        return {
            "box": name,
            "place": place,
            "state": STATES[snapshot.states[place]],
            "size": [*box.size],
            "record": scrubbed(found.model_dump(mode="json", include=_SHOWN)) if found else None,
            "error": scrub(failure.error) if failure else "",
            "final": bool(failure and failure.final),
            "log": [scrub(line) for line in failure.log] if failure else [],
            "written": [
                scrub(f"{one.volume}, mip {one.mip}") for one in (found.written if found else [])
            ][:20],
            "reproduce": reproduce_command(name, self._target.pipeline),
            "link": self._scene.link(box) if self._scene else "",
            "previews": self.previews.names if self.previews else [],
        }
