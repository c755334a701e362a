"""The protocol of a runner: a line "go" on the input starts one run; the output is JSON lines."""

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
"""One timed run. It returns the result, or None if there is nothing to compare."""

Load = Callable[[NDArray[np.uint8]], Run]
"""Takes the image, does what is not timed, and returns the run."""


def serve(start: Callable[[Job], tuple[Load, dict[str, str]]], packages: Iterable[str]) -> None:
    """Run the protocol until the input ends.

    `start` loads libraries and nets. It returns a function that loads an image, and the facts to
    report.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what programs print must not disturb the protocol on the standard output

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
    """Return a value of /proc/self/status, in bytes; 0 on other systems than Linux."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)


def _forget_peak() -> int:
    """Reset the peak of resident memory; return the resident memory now, in bytes."""
    # If the reset fails, the peak of the start-up counts too: the figure can only be too large.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")
