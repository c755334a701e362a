"""What authors of operators, plugins and models import: one module, which later versions keep."""

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import (
    BoxOutsideVolume,
    ChunkMismatch,
    ConfigError,
    DataMissing,
    PermanentError,
    RetryableError,
)
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.image.conversion import convert
from chunkflow_worker.image.points import Points
from chunkflow_worker.image.synapses import Synapses
from chunkflow_worker.pipeline.operator import Operator, Run, Step, TaskSource
from chunkflow_worker.pipeline.task import SkipTask, Task
from chunkflow_worker.storage.local_file import atomic_file
from chunkflow_worker.storage.note_files import note_files

__all__ = [
    "BoundingBox",
    "BoxOutsideVolume",
    "Chunk",
    "ChunkMismatch",
    "ConfigError",
    "DataMissing",
    "Operator",
    "PermanentError",
    "Points",
    "RetryableError",
    "Run",
    "SkipTask",
    "Step",
    "Synapses",
    "Task",
    "TaskSource",
    "Vec3",
    "atomic_file",
    "convert",
    "field",
    "note_files",
]
