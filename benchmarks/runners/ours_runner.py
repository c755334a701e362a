"""The operator `inference`, opened and called on a chunk as in a chain."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.job import Job
from benchmarks.runners.serve import Load, Run, serve
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.inference import Inference
from chunkflow_worker.pipeline.operator import Run as Context
from chunkflow_worker.pipeline.task import Task

_open = ExitStack()


def operator(job: Job) -> Inference:
    options: dict[str, Any] = {
        "precision": job.precision,
        "acceleration": job.acceleration,
        "dtype": job.dtype,
        "framework": "pytorch" if job.model else "identity",
        "convnet_model": job.model or None,
        "input_patch_size": job.patch,
        "output_patch_overlap": job.overlap,
        "num_output_channels": job.channels,
        "mask_output_chunk": not job.fits,
    }
    return Inference(**options)


def engine(job: Job) -> Any:
    """Return the engine of the operator. Only this function uses private parts of the operator."""
    return operator(job)._engine()


def facts(computed_by: Any) -> dict[str, str]:
    return {"precision": computed_by.precision, "device": computed_by.device}


def start(job: Job) -> tuple[Load, dict[str, str]]:
    step = _open.enter_context(operator(job).open(Context(needed_box=lambda box, _: box)))

    def load(image: NDArray[np.uint8]) -> Run:
        chunk = Chunk(image)

        def run() -> Any:
            task = Task(values={"chunk": chunk})
            step(task)
            return task.chunk("chunk").array

        return run

    return load, facts(engine(job)) if job.model else {}


if __name__ == "__main__":
    with _open:
        serve(start, ["chunkflow-worker", "openvino"])
