"""The chain as a local run does it, which overlaps two tasks."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from benchmarks.job import Job
from benchmarks.runners.serve import Load, Run, serve
from chunkflow_worker.cli.local import LocalOptions, run_here
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.volumes.block_cache import block_cache


def start(job: Job) -> tuple[Load, dict[str, str]]:
    volume = f"file://{job.volumes}"
    chain = Pipeline.parse(
        {
            "tasks": {
                "op": "generate-tasks",
                "volume_path": f"{volume}/in",
                "chunk_size": list(job.box),
            },
            "operators": [
                {"op": "load-precomputed", "volume_path": f"{volume}/in"},
                {
                    "op": "inference",
                    "framework": "identity",
                    "input_patch_size": list(job.patch),
                    "output_patch_overlap": list(job.overlap),
                    "num_output_channels": job.channels,
                    "mask_output_chunk": True,
                    "dtype": job.dtype,
                },
                {"op": "save-precomputed", "volume_path": f"{volume}/out", "compress": "gzip"},
            ],
        }
    )

    def load(_: NDArray[Any]) -> Run:
        def run() -> None:
            block_cache().forget(f"{volume}/in")  # of the run before
            run_here(chain, None, LocalOptions())

        return run

    return load, {}


if __name__ == "__main__":
    serve(start, ["chunkflow-worker"])
