"""`JobRecord`: what a producer enqueued, or a local run began."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chunkflow_worker.config.options import faults_of
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.chosen_boxes import ChosenBoxes
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.message import JOB_NAME
from chunkflow_worker.job.order import PLAIN, Order

_QUEUE_NAME = r"^([A-Za-z0-9_-]{1,80}(\.fifo)?)?$"


class JobRecord(BaseModel):
    """What a producer enqueued, or a local run began.

    queue: its name; empty for a job without one. tasks: number of boxes.
    grid: the options that make them.
    chosen: marks those of the grid that belong to the job, see `ChosenBoxes`; empty for all.
    began, enqueued: when its first and its last part were sent. order: of the boxes of the latter.
    stage: of the pipeline file that it is of; empty for a file without stages.
    """

    model_config = ConfigDict(extra="ignore")

    job: str = Field(pattern=JOB_NAME)
    queue: str = Field("", pattern=_QUEUE_NAME)
    tasks: int
    pipeline: str = ""
    grid: dict[str, Any] = Field(default_factory=dict)
    chosen: str = ""
    bounds: str | None = None
    enqueued: str = ""
    began: str = ""
    order: Order = PLAIN
    stage: str = ""

    def boxes(self) -> Boxes:
        """The boxes that the job was enqueued with.

        Raises ConfigError when this version can't read the record.
        """
        try:
            bounds = BoundingBox.parse(self.bounds) if self.bounds else None
            boxes = Grid.model_validate(self.grid).boxes(bounds)
            if self.chosen:
                boxes = ChosenBoxes.from_text(boxes, self.chosen)
            if len(boxes) != self.tasks:
                raise ValueError(f"it names {self.tasks} tasks, and makes {len(boxes)} boxes")
            return boxes
        except ValidationError as error:
            raise ConfigError(f"job {self.job}", faults_of(error, Grid, "grid")) from None
        except ConfigError as error:
            raise ConfigError(f"job {self.job}", error.faults) from None
        except ValueError as error:
            problem = f"its record can't be read: {error}"
            raise ConfigError.one(f"job {self.job}", "grid", problem) from None
