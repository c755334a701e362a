"""What authors of operators and models import."""

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ConfigError, PermanentError, RetryableError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.pipeline.operator import Operator, Run, Step, TaskSource
from chunkflow_worker.pipeline.task import SkipTask, Task

__all__ = [
    "BoundingBox",
    "Chunk",
    "ConfigError",
    "Operator",
    "PermanentError",
    "RetryableError",
    "Run",
    "SkipTask",
    "Step",
    "Task",
    "TaskSource",
    "Vec3",
    "field",
]
