"""`Workers`: what workers say of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chunkflow_worker.job.heartbeat import Heartbeats

if TYPE_CHECKING:
    from chunkflow_worker.job.heartbeat import Beat

AT_A_LOOK = 40  # heartbeats that a look may read on average
_SENT = 500  # workers that are sent


class Workers:
    """Reads the heartbeats of a ledger; those of very many workers not at each look."""

    def __init__(self, ledger: str):
        self._heartbeats = Heartbeats(ledger)
        self._beats: list[Beat] = []
        self._looks_left = 0

    def look(self) -> list[Beat]:
        """The heartbeats of all workers. Raises StorageUnavailable."""
        self._looks_left -= 1
        if self._looks_left <= 0:
            self._beats = self._heartbeats.all()
            self._looks_left = -(-len(self._beats) // AT_A_LOOK)
        return self._beats


def boxes_in_hand(beats: list[Beat], job: str) -> list[str]:
    """Boxes of a job that workers are working on."""
    alive = (beat.heartbeat for beat in beats if beat.is_alive)
    return [one.bbox for heartbeat in alive for one in heartbeat.in_hand if one.job == job]


def rows(beats: list[Beat]) -> list[dict[str, Any]]:
    """The workers as they are sent."""
    return [
        beat.heartbeat.model_dump(mode="json", exclude={"pipeline", "interval"})
        | {"age": round(beat.age, 1), "alive": beat.is_alive}
        for beat in beats[:_SENT]
    ]
