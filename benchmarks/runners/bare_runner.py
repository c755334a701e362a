"""Only the net, on the same patches: as torch runs it (`plain`) or as our engine runs it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.job import Job
from benchmarks.net import make_net
from benchmarks.runners import ours_runner as ours
from benchmarks.runners.serve import Load, Run, serve

Windows = list[tuple[slice, slice, slice]]


def start(job: Job) -> tuple[Load, dict[str, str]]:
    return _plain(job) if job.precision == "plain" else _engine(job)


def _plain(job: Job) -> tuple[Load, dict[str, str]]:
    torch.backends.cudnn.benchmark = True  # as chunkflow does
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = make_net().to(device)

    def load(image: NDArray[np.uint8]) -> Run:
        data = torch.from_numpy(image).to(device).float().div_(255)

        def run() -> None:
            with torch.inference_mode():
                for window in _windows(job, image):
                    net(data[window][None, None])
            _wait()

        return run

    return load, {}


def _engine(job: Job) -> tuple[Load, dict[str, str]]:
    engine = ours.engine(job)
    size = engine.batch_size((1, *job.patch))

    def load(image: NDArray[np.uint8]) -> Run:
        data = engine.arrays.put(image[np.newaxis])

        def run() -> None:
            for windows in _batches(_windows(job, image), size):
                engine.predict([data[(slice(None), *window)] for window in windows])
            _wait()

        return run

    return load, ours.facts(engine)


def _windows(job: Job, image: NDArray[Any]) -> Windows:
    """Return the patches of the image; the image of the warm-up is itself one patch."""
    whole = (slice(None), slice(None), slice(None))
    return list(job.windows()) if image.shape == job.chunk else [whole]


def _batches(windows: Windows, size: int) -> Iterator[Windows]:
    items = iter(windows)
    while batch := list(itertools.islice(items, size)):
        yield batch


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    serve(start, ["chunkflow-worker", "openvino"])
