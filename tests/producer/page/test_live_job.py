"""The page in a browser beside a job that runs: a worker is killed, and two boxes are poison."""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.sqs import find_queue
from producer.page.job_watch import Target
from tests.chaos.calm import place_on_s3
from tests.support.axe import axe_faults
from tests.support.http import ask
from tests.support.page_looks import Looks
from tests.support.served_page import ServedPage, served
from tests.support.service import Service

pytestmark = [pytest.mark.e2e, pytest.mark.long]

SIZE = Vec3(32, 192, 256)
TOTAL = 24
POISON = ("0-16_0-64_64-128", "16-32_64-128_128-192")
LAST = "16-32_128-192_192-256"
WORDS = "<b>a spoilt section</b>"
PICTURES = "CHUNKFLOW_TEST_PICTURES"
"""Names a folder for pictures of the page."""


@pytest.fixture
def service(tmp_path: Path, aws: dict[str, str]) -> Iterator[Service]:
    made = Service(tmp_path, f"q-{uuid.uuid4().hex[:8]}", aws)
    place_on_s3(made, f"b-{uuid.uuid4().hex[:8]}")
    made.volumes(SIZE)
    poison = tmp_path / "poison"
    poison.write_text("\n".join(POISON))
    made.chain(
        {"op": "hold", "folder": str(tmp_path), "seconds": 120.0},
        {"op": "fail", "file": str(poison), "permanent": True, "words": WORDS},
    )
    made.create_queue()
    made.enqueue()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def page(service: Service) -> Iterator[ServedPage]:
    queue = find_queue(service.sqs, service.queue)
    target = Target(service.ledger, "job", service.sqs, queue, service.pipeline)
    with served(target, allow_actions=True) as page:
        yield page


@pytest.fixture
def looks(page: ServedPage, service: Service) -> Iterator[Looks]:
    looks = Looks(page, service)
    with looks.going_on():
        yield looks


@pytest.fixture
def tab(browser: Any, page: ServedPage) -> Iterator[Any]:
    tab = browser.new_page(viewport={"width": 1280, "height": 1000})
    tab.goto(page.address)
    tab.locator("#percent", has_text="%").wait_for()
    yield tab
    tab.close()


class Scene:
    """What the steps of the run do, and what each of them checks."""

    def __init__(self, service: Service, page: ServedPage, looks: Looks, tab: Any):
        self.service, self.page, self.looks, self.tab = service, page, looks, tab

    def held(self) -> list[str]:
        """Boxes that were started last, and wait."""
        return [box for box in self.service.starts() if not self._go(box).exists()]

    def release(self, *boxes: str) -> None:
        for box in boxes:
            self._go(box).touch()

    def alive(self) -> int:
        return int(self.page.feed.snapshot.facts["alive"])

    def check(self, **counts: int) -> None:
        """Page, ledger and queue are equal now that nothing moves, and these are the counts."""
        wanted = dict.fromkeys(("waiting", "running", "done", "failed", "dead"), 0) | counts
        self.service.wait(lambda: self._seen() == wanted, f"{wanted}, not {self._seen()}", 40, 0.2)
        snapshot, truth = self.looks.settled()
        status = snapshot.status
        assert (status.done, status.failed) == (truth.done, truth.failed)
        assert (status.waiting, status.dead) == (truth.visible, truth.dead)
        assert (status.in_flight or 0) + (status.delayed or 0) == truth.hidden
        percent = self.tab.locator("#percent").inner_text()
        assert percent == f"{int(1000 * truth.done / TOTAL) / 10:.1f}%"
        assert self.tab.locator("#done").inner_text() == f"{truth.done} of {TOTAL} boxes done"
        assert self.looks.faults == []

    def _seen(self) -> dict[str, int]:
        """The numbers of the legend; slow boxes are done."""
        found = {
            one.get_attribute("data-state"): int(one.locator("b").inner_text())
            for one in self.tab.locator("#legend button").all()
        }
        found["done"] += found.pop("slow") + found.pop("skipped")
        return found

    def _go(self, box: str) -> Path:
        return self.service.root / f"go-{box}"


def test_page_beside_a_killed_worker_and_poison_boxes(
    service: Service, page: ServedPage, looks: Looks, tab: Any
) -> None:
    scene = Scene(service, page, looks, tab)
    scene.check(waiting=TOTAL)
    _one_worker_is_killed(scene)
    _poison_ends_in_dead_letters(scene)
    _failure_is_told(scene)
    _box_is_shown(scene)
    _pictures(scene)
    _dead_letters_are_sent_back(scene)
    scene.release(LAST)
    scene.check(done=TOTAL)
    assert tab.locator("#eta").inner_text() == "all boxes are done"
    assert looks.count > 20


def _one_worker_is_killed(scene: Scene) -> None:
    service = scene.service
    worker = service.start_worker(in_flight=2, heartbeat_seconds=1, lease_seconds=5)
    service.wait(lambda: len(scene.held()) == 2, "two boxes held")
    scene.check(running=2, waiting=TOTAL - 2)
    for _ in range(3):
        scene.release(next(box for box in scene.held() if box not in (*POISON, LAST)))
        service.wait(lambda: len(scene.held()) == 2, "two boxes held")
    scene.check(running=2, done=3, waiting=TOTAL - 5)
    worker.kill()
    worker.wait()
    service.wait(lambda: scene.alive() == 0, "no sign of the worker")
    service.wait(lambda: service.messages() == (TOTAL - 3, 0, 0), "the end of the leases")
    scene.check(done=3, waiting=TOTAL - 3)
    gone = scene.tab.locator("#workers tr.gone")
    assert "gone for" in gone.inner_text()


def _poison_ends_in_dead_letters(scene: Scene) -> None:
    boxes = [str(box) for box in scene.page.feed.snapshot.boxes]
    scene.release(*(box for box in boxes if box != LAST))
    scene.service.start_worker(in_flight=2, heartbeat_seconds=1, lease_seconds=30)
    scene.check(running=1, done=TOTAL - 3, dead=2)


def _failure_is_told(scene: Scene) -> None:
    failure = scene.tab.locator(".failure")
    assert failure.count() == 1, "both boxes have one cause"
    failure.locator("summary").click()
    error = failure.locator("pre.error").inner_text()
    assert f"{WORDS} for good" in error
    assert "fail on " in error
    commands = [one.inner_text() for one in failure.locator(".command pre").all()]
    assert commands[0].startswith("chunkflow --verbose --dry-run")
    assert commands[1].startswith(f"chunkflow-producer redrive --queue {scene.service.queue}")
    assert scene.tab.locator("b", has_text="spoilt").count() == 0


def _box_is_shown(scene: Scene) -> None:
    """The dead box and a done one: error, previews, and the link to Neuroglancer."""
    tab, service = scene.tab, scene.service
    tab.locator(".failure .boxes button", has_text=POISON[0]).click()
    tab.locator("#box pre.error", has_text=WORDS).wait_for()
    done = next(box for box in service.ledger.boxes()[0] if box != LAST)
    tab.evaluate("name => import('/box.js').then((box) => box.showBox(name))", done)
    tab.locator(".box-name", has_text=done).wait_for()
    tab.locator("#box img").nth(1).wait_for()
    box = BoundingBox.parse(done)
    section = service.input()[box.slices()][box.size.z // 2]
    for image in tab.locator("#box img").all():
        answer = ask(scene.page.address, image.get_attribute("src"))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.body))), section)
    link = tab.locator("#box a", has_text="Neuroglancer").get_attribute("href")
    state = json.loads(unquote(link.partition("#!")[2]))
    assert {"in", "out"} <= {layer["name"] for layer in state["layers"]}
    assert all("127.0.0.1" in str(layer["source"]) for layer in state["layers"][:2])
    middle = [(a + b) / 2 for a, b in zip(box.start[::-1], box.stop[::-1], strict=True)]
    assert state["position"] == middle


def _pictures(scene: Scene) -> None:
    """No part is wider than the page, or a fault to axe-core; pictures for those who want them."""
    folder = os.environ.get(PICTURES)
    for name, width, height in (("wide", 1280, 1000), ("phone", 390, 844)):
        scene.tab.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            scene.tab.emulate_media(color_scheme=scheme)
            scene.tab.wait_for_timeout(400)
            assert scene.tab.evaluate("document.documentElement.scrollWidth") <= width, name
            assert not axe_faults(scene.tab), (name, scheme)
            if folder:
                path = Path(folder) / f"live-{name}-{scheme}.png"
                scene.tab.screenshot(path=path, full_page=True)
    scene.tab.set_viewport_size({"width": 1280, "height": 1000})


def _dead_letters_are_sent_back(scene: Scene) -> None:
    """From the page, after a question; now the boxes can be done."""
    (scene.service.root / "poison").write_text("")
    scene.tab.locator(".failure button.redrive").click()
    scene.tab.locator("#ask-yes").click()
    scene.tab.locator("#notice", has_text="sent 2 dead letters back").wait_for()
    scene.check(running=1, done=TOTAL - 1)
    assert "No box has failed" in scene.tab.locator("#failures").inner_text()
