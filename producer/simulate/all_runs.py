"""`run_all`: the same job with several fleets and interruptions, on all processors."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product

from producer.simulate.assumptions import Assumptions
from producer.simulate.result import Result
from producer.simulate.run import check_installed, simulate

_SMALL = 100_000  # tasks, in all runs together, that are not worth another process


def run_all(
    assumed: Assumptions,
    workers: Sequence[int],
    interruptions: Sequence[float],
    records: Sequence[float] = (),
) -> Iterator[Result]:
    """Runs for all pairs of a number of workers and a share of interruptions, in this order.

    records: see `simulate`. Raises ConfigError when SimPy is not installed.
    """
    check_installed()
    cases = list(product(workers, interruptions))
    processes = min(len(cases), os.cpu_count() or 1)
    if processes == 1 or len(cases) * assumed.tasks <= _SMALL:
        yield from (simulate(assumed, *case, records) for case in cases)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context) as pool:
        running = [pool.submit(simulate, assumed, *case, records) for case in cases]
        yield from (future.result() for future in running)
