"""chunkflow 1.2.0 as released, through the class behind its `inference` command.

It needs some help to run. All of it is in this file; the package is unchanged.

- Weights: it loads a weight file even if the model needs none. So the net's weights are written to
  a file.
- GPU: it leaves a model in the form `InstantiatedModel` on the CPU and sends patches to the GPU,
  which fails. So the model is moved to the GPU.
- Training mode: it never calls `eval()`. The net of the benchmarks is already in evaluation mode.
- cv2: only its command line imports cv2, which the package does not declare. So the command line is
  not used.
"""

from __future__ import annotations

import tempfile
import warnings
from typing import Any

import numpy as np
import torch
from chunkflow.chunk import Chunk
from chunkflow.flow.divid_conquer.inferencer import Inferencer
from numpy.typing import NDArray

from benchmarks.job import Job
from benchmarks.runners.serve import Load, Run, serve


def start(job: Job) -> tuple[Load, dict[str, str]]:
    warnings.filterwarnings("ignore", message="the input size has changed")
    with tempfile.NamedTemporaryFile(suffix=".pt") as weights:
        if job.model:
            from benchmarks.net import InstantiatedModel

            torch.save(InstantiatedModel.state_dict(), weights.name)
        inferencer = Inferencer(
            job.model or None,
            weights.name if job.model else None,
            job.patch,
            output_patch_overlap=job.overlap,
            input_size=job.chunk if job.fits else None,
            num_output_channels=job.channels,
            framework="pytorch" if job.model else "identity",
            mask_output_chunk=not job.fits,
        )
    if job.model and torch.cuda.is_available():
        inferencer.patch_inferencer.model.cuda()

    def load(image: NDArray[np.uint8]) -> Run:
        chunk = Chunk(image)

        def run() -> Any:
            return inferencer(chunk).array

        return run

    return load, {}


if __name__ == "__main__":
    serve(start, ["chunkflow"])
