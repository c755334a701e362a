"""The page of a job of a million boxes: `python benchmarks/page_of_many_boxes.py [EDGE]`.

The ledger is made up: its listings are those of a job whose boxes get done one after the other, so
that the looks, the server and the browser are the real ones. Prints the memory of the server, the
time and the requests of a look, and what a browser needs to show the page and an update.
"""

from __future__ import annotations

import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import yaml

from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.ledger import Kind, Ledger
from chunkflow_worker.job.record import Record
from producer.page.job_watch import Target
from producer.plan.job import make_plan
from tests.support.browser import BROWSER
from tests.support.records import task_record
from tests.support.served_page import served

_NEW = 3000  # boxes that get done between two looks
_UPDATES = 12
_NAMES = 1000  # that a request lists


class MadeLedger(Ledger):
    """The first `done` boxes are done, but a few that failed. requests: counted as S3 would."""

    def __init__(self, boxes: Boxes):
        super().__init__("mem://page-of-many-boxes")
        self.boxes_of_job, self.done, self.requests = boxes, 0, 0

    def records_named(self, prefix: str = "") -> Iterator[tuple[str, Kind]]:
        layer = self.boxes_of_job.grid_size.y * self.boxes_of_job.grid_size.x
        size = self.boxes_of_job.chunk_size.z
        first = int(prefix.partition("-")[0]) // size * layer if prefix else 0
        last = min(self.done, first + layer if prefix else self.done)
        self.requests += max(0, last - first) // _NAMES + 1
        for place, name in enumerate(self.boxes_of_job.texts(first, last), first):
            yield name, "failed" if place % 997 == 0 else "done"

    def records(self, boxes: Iterable[str], failed: bool = False) -> Iterator[Record]:
        for box in boxes:
            self.requests += 1
            if failed:
                yield task_record(box, "failed", error=f"box {box}: out of memory", job="many")
            else:
                yield task_record(box, seconds=40.0, voxels=10**6, timer={"inference": 40.0})


def main(edge: int) -> None:
    from playwright.sync_api import sync_playwright

    boxes = Grid(chunk_size=(10, 100, 100), grid_size=(edge, edge, edge)).boxes()
    ledger = MadeLedger(boxes)
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Path(folder, "pipeline.yaml")
        pipeline.write_text(yaml.safe_dump({"operators": [{"op": "inference"}]}))
        grid = Grid(chunk_size=(10, 100, 100), grid_size=(edge, edge, edge))
        ledger.write_job(make_plan("", "many", grid).record)
        ledger.done = len(boxes) * 6 // 10
        target = Target(ledger, "many", pipeline=pipeline)
        before = _memory()
        begin = time.perf_counter()
        with served(target) as page, sync_playwright() as engine:
            print(
                f"boxes: {len(boxes):,}; first look: {time.perf_counter() - begin:.1f} s, ", end=""
            )
            print(f"requests: {ledger.requests}; memory added: {_memory() - before:.0f} MB")
            browser = engine.chromium.launch(executable_path=shutil.which(BROWSER))
            tab = browser.new_page(viewport={"width": 1280, "height": 860})
            tab.goto(page.address)
            tab.locator("#percent", has_text="%").wait_for()
            shown = tab.evaluate("performance.getEntriesByName('map')[0].startTime / 1000")
            print(f"first map after: {shown:.2f} s")
            weight = tab.evaluate(
                "performance.getEntriesByType('resource').map(e => e.encodedBodySize)"
                ".reduce((a, b) => a + b, 0) / 1024"
            )
            print(f"sent in all: {weight:.0f} KiB")
            for view in ("plane-0", "share-0"):
                tab.locator("#view").select_option(view)
                _updates(tab, page, ledger, view)
            print(f"memory added: {_memory() - before:.0f} MB")
            browser.close()


def _updates(tab: Any, page: Any, ledger: MadeLedger, view: str) -> None:
    looks, requests = [], []
    tab.evaluate("performance.clearMeasures()")
    for _ in range(_UPDATES):
        ledger.done, ledger.requests = ledger.done + _NEW, 0
        begin = time.perf_counter()
        page.feed.look()
        looks.append(time.perf_counter() - begin)
        requests.append(ledger.requests)
        tab.wait_for_timeout(400)
    names = ("update", "paint")
    costs = {
        name: tab.evaluate(f"performance.getEntriesByName('{name}').map(e => e.duration)")
        for name in names
    }
    print(f"{view}: look: {statistics.median(looks):.2f} s, requests: {max(requests)}", end="")
    for name, values in costs.items():
        median, most = statistics.median(values), max(values)
        print(f"; {name}: {median:.1f} ms, at most {most:.1f} ms, of {len(values)}", end="")
    print()


def _memory() -> float:
    """The most memory of this process until now, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
