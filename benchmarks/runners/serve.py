"""The protocol of a runner: JSON lines on the output; a line "go" on the input starts one run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.job import Job

Run = Callable[[], Any]
"""One timed run; what it returns is the result, or None where there is none to compare."""

Load = Callable[[NDArray[np.uint8]], Run]
"""Takes the image, and does what is not timed."""


def serve(start: Callable[[Job], tuple[Load, dict[str, str]]], packages: Iterable[str]) -> None:
    """Be a runner. `start` loads libraries and nets, and returns how to load an image, and what to report beside times."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # programs print to the standard output, which is the protocol's

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    job = Job.load(sys.argv[1])
    load, facts = start(job)
    if job.warm_up == "patch":
        load(job.image(job.patch))()
    baseline = _forget_peak()
    run = load(job.image())
    if job.warm_up == "chunk":
        run()
    answer(facts=facts, versions={name: _version(name) for name in ("torch", "numpy", *packages)})
    saved = not job.output
    for _ in sys.stdin:
        started, busy = perf_counter(), process_time()
        result = run()
        seconds, cpu_seconds = perf_counter() - started, process_time() - busy
        peak = _status("VmHWM") - baseline
        if not saved and result is not None:
            np.save(job.output, np.asarray(result))
            saved = True
        del result
        answer(seconds=seconds, cpu_seconds=cpu_seconds, peak=peak)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _status(key: str) -> int:
    """A figure of this process in bytes, as Linux tells it; 0 elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)


def _forget_peak() -> int:
    """Resident bytes now, from which the peak counts anew."""
    with suppress(
        OSError
    ):  # then the peak of the start-up counts too, which can only make the figure larger
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")
