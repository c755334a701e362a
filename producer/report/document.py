"""`Report`: what a report says: figures, plan, what was verified, chain and dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from producer.figures.rounding import rounded
from producer.report.words import safe

if TYPE_CHECKING:
    from chunkflow_worker.image.bbox import Vec3
    from chunkflow_worker.job.job_record import JobRecord
    from producer.figures.dollars import Dollars
    from producer.figures.job import JobFigures
    from producer.figures.spent import Spent

_LONGEST = 50_000  # characters of a text, such as a pipeline file


@dataclass(frozen=True)
class Checked:
    """Boxes whose output was read back for the report, and compared with their records.

    wrong, unknown: of these; unknown could not be read, or not be compared.
    """

    boxes: int
    wrong: int
    unknown: int

    @property
    def right(self) -> int:
        return self.boxes - self.wrong - self.unknown


@dataclass(frozen=True)
class Chain:
    """A pipeline file. is_of_job: it has the digest that the job was enqueued with."""

    text: str
    digest: str
    is_of_job: bool


@dataclass(frozen=True)
class Report:
    """A job, told with all that is known of it.

    chunk_size: of a box, in voxels, zyx. voxel_size: in nanometres, zyx; None if unknown.
    twice, late: see `JobStatus`; numbers of boxes.
    checked: None if nothing was read back. chain: None without a pipeline file.
    """

    job: JobRecord
    ledger: str
    state: str
    figures: JobFigures
    chunk_size: Vec3
    voxel_size: tuple[float, float, float] | None = None
    twice: int = 0
    late: int = 0
    checked: Checked | None = None
    chain: Chain | None = None
    spent: Spent | None = None
    dollars: Sequence[Dollars] = ()

    @property
    def verified_share(self) -> float | None:
        """The share of all boxes whose output was read back and is right; None if none was."""
        if self.checked is None or not self.figures.total:
            return None
        return self.checked.right / self.figures.total

    def as_json(self) -> dict[str, Any]:
        """Without the time of the report, so that a repeat is the same while records are."""
        content = {
            "job": self.job.model_dump(exclude={"chosen"}),
            "ledger": self.ledger,
            "state": self.state,
            "chunk_size": [*self.chunk_size],
            "voxel_size": None if self.voxel_size is None else [*self.voxel_size],
            "boxes_done_twice": self.twice,
            "boxes_written_late": self.late,
            "checked": asdict(self.checked) if self.checked else None,
            "verified_share": self.verified_share,
            "spent": asdict(self.spent) if self.spent else None,
            "dollars": [asdict(one) for one in self.dollars],
            "figures": self.figures.as_json(),
        }
        if self.chain:
            content["chain"] = asdict(self.chain)
        found: dict[str, Any] = _safe(rounded(content))
        return found


def _safe(value: Any) -> Any:
    """The same without secrets and control characters; lines stay lines."""
    if isinstance(value, str):
        return safe(value, _LONGEST)
    if isinstance(value, dict):
        return {safe(key): _safe(item) for key, item in value.items()}
    return [_safe(item) for item in value] if isinstance(value, list) else value
