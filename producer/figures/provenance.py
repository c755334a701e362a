"""`Provenance`: chains, nets and versions that the boxes of a job come from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chunkflow_worker.job.record import Record

_MOST = 1000  # different ones of each kind


@dataclass(frozen=True)
class Sources:
    """Numbers of boxes that are done, by what they come from.

    versions: by package and version. nets: by operator, option and digest of a file.
    devices: by name and precision. volumes: that were written, by path and mip.
    """

    pipelines: dict[str, int]
    versions: dict[str, dict[str, int]]
    nets: dict[str, dict[str, int]]
    devices: dict[str, int]
    volumes: dict[str, int]


class Provenance:
    """Counts what boxes come from; those that were skipped come from a chain alone."""

    def __init__(self) -> None:
        self._pipelines, self._devices, self._volumes = _Tally(), _Tally(), _Tally()
        self._versions, self._nets = _Tally(), _Tally()

    def add(self, record: Record) -> None:
        if record.state == "failed":
            return
        self._pipelines.add((record.pipeline,))
        for package, version in record.versions.items():
            self._versions.add((package, version))
        for place, digest in record.models.items():
            self._nets.add((place, digest))
        if record.compute_device:
            self._devices.add((f"{record.compute_device} {record.precision}".strip(),))
        for volume, mip in {(one.volume, one.mip) for one in record.written}:
            self._volumes.add((f"{volume} mip {mip}",))

    def found(self) -> Sources:
        return Sources(
            self._pipelines.found(),
            self._versions.nested(),
            self._nets.nested(),
            self._devices.found(),
            self._volumes.found(),
        )


class _Tally:
    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()

    def add(self, key: tuple[str, ...]) -> None:
        if key in self._counts or len(self._counts) < _MOST:
            self._counts[key] += 1

    def found(self) -> dict[str, int]:
        return {key[0]: count for key, count in sorted(self._counts.items())}

    def nested(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for (outer, inner), count in sorted(self._counts.items()):
            found.setdefault(outer, {})[inner] = count
        return found
