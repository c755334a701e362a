"""chunkflow 1.2.0: the classes behind load-precomputed, inference and save-precomputed."""

from __future__ import annotations

import itertools
from typing import Any

from chunkflow.flow.divid_conquer.inferencer import Inferencer
from chunkflow.flow.load_precomputed import LoadPrecomputedOperator
from chunkflow.flow.save_precomputed import SavePrecomputedOperator
from chunkflow.lib.cartesian_coordinate import BoundingBox
from numpy.typing import NDArray

from benchmarks.job import Job
from benchmarks.runners.serve import Load, Run, serve


def start(job: Job) -> tuple[Load, dict[str, str]]:
    volume = f"file://{job.volumes}"
    read = LoadPrecomputedOperator(f"{volume}/in")
    infer = Inferencer(
        None,
        None,
        job.patch,
        output_patch_overlap=job.overlap,
        num_output_channels=job.channels,
        framework="identity",
        mask_output_chunk=True,
    )
    save = SavePrecomputedOperator(f"{volume}/out", 0, upload_log=False)
    corners = itertools.product(
        *(range(0, size, step) for size, step in zip(job.chunk, job.box, strict=True))
    )
    boxes = [BoundingBox.from_delta(corner, job.box) for corner in corners]

    def load(_: NDArray[Any]) -> Run:
        def run() -> None:
            for box in boxes:
                save(infer(read(box)))

        return run

    return load, {}


if __name__ == "__main__":
    serve(start, ["chunkflow", "cloud-volume"])
