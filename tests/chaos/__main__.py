"""The script of `make chaos`: runs scenarios and prints their figures.

With --write, the figures also go to docs/reliability.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp

from chunkflow_worker.local_aws.serve import local_aws
from tests.chaos import (
    clock,
    disk,
    kills,
    kms,
    messages,
    outages,
    pause,
    poison,
    shards,
    slowdown,
    spoilt,
    sqs_long,
    stages,
    update,
)
from tests.chaos.report import Report, joined, put

Scenario = Callable[[Path, dict[str, str], int], Report]

# Each with its usual number of seeds. A new scenario is one line here, and its marks in the page.
SCENARIOS: dict[str, tuple[Scenario, int]] = {
    "kills": (kills.scenario, 10),
    "shards": (shards.scenario, 5),
    "pause": (pause.scenario, 5),
    "update": (update.scenario, 5),
    "sqs-long": (sqs_long.scenario, 5),
    "slowdown": (slowdown.scenario, 5),
    "kms": (kms.scenario, 5),
    "clock": (clock.scenario, 5),
    "stages": (stages.scenario, 5),
    "poison": (poison.scenario, 1),
    "outages": (outages.scenario, 1),
    "messages": (messages.scenario, 1),
    "disk": (disk.scenario, 1),
    "spoilt": (spoilt.scenario, 1),
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    failed = []
    with local_aws() as aws:
        os.environ.update(aws)
        for name in options.scenarios or SCENARIOS:
            scenario, usual = SCENARIOS[name]
            seeds = range(options.seed_start, options.seed_start + (options.seeds or usual))
            report = joined([_run(name, scenario, aws, seed) for seed in seeds])
            print(f"\n{report.table()}\n", flush=True)
            if options.write:
                put(report)
            if report.broken:
                failed.append(name)
    print(f"promises were broken in: {', '.join(failed)}" if failed else "all promises were kept")
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "scenarios", nargs="*", help=f"those to run, all when none is named: {', '.join(SCENARIOS)}"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        help="number of seeds for each scenario; its usual number when not given",
    )
    parser.add_argument("--seed-start", type=int, default=1, help="the first seed")
    parser.add_argument(
        "--write", action="store_true", help="also write the tables to docs/reliability.md"
    )
    options = parser.parse_args(arguments)
    unknown = set(options.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(
            f"no scenario is named {', '.join(sorted(unknown))}; known: {', '.join(SCENARIOS)}"
        )
    if options.seeds is not None and options.seeds < 1:
        parser.error("--seeds must be 1 or more")
    return options


def _run(name: str, scenario: Scenario, aws: dict[str, str], seed: int) -> Report:
    """Run a scenario once. Its folder, with the workers' logs, stays when a promise was broken."""
    print(f"{name}, seed {seed} ...", flush=True)
    began = time.monotonic()
    folder = Path(mkdtemp(prefix=f"chaos-{name}-{seed}-"))
    report = scenario(folder, aws, seed)
    kept = f"BROKEN: {'; '.join(report.broken)}; see {folder}" if report.broken else "kept"
    print(f"{name}, seed {seed}: {kept}, {time.monotonic() - began:.0f} s")
    for row in report.rows:
        cells = zip(report.columns, row, strict=True)
        print("    " + ", ".join(f"{column}: {cell}" for column, cell in cells), flush=True)
    if not report.broken:
        shutil.rmtree(folder)
    return report


if __name__ == "__main__":
    sys.exit(main())
