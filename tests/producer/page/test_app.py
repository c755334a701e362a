from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from producer.page.assets import assets
from producer.page.box_states import STATES
from tests.support.http import ask, asked
from tests.support.records import task_record
from tests.support.served_page import ServedPage
from tests.support.shown_job import HTML, ShownJob

ACTIONS = ("redrive", "pause", "resume", "cancel")


def states_of(page: ServedPage) -> list[str]:
    answer = ask(page.address, "/api/map", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    sent = np.frombuffer(gzip.decompress(answer.body), np.uint8)
    count = ask(page.address, "/api/job").json["grid"]["count"]
    return [STATES[state] for state in np.stack([sent & 15, sent >> 4], 1).ravel()[:count]]


def test_the_counts_are_those_of_the_ledger(page: ServedPage, shown: ShownJob) -> None:
    sent = ask(page.address, "/api/job").json
    done, failed = shown.ledger.boxes()
    status, counts = sent["status"], sent["counts"]
    assert (status["done"], status["failed"]) == (len(done), len(failed))
    assert counts["done"] + counts["slow"] + counts["skipped"] == len(done)
    assert counts["failed"] + counts["dead"] == len(failed)
    assert sum(counts.values()) == status["total"] == len(shown.boxes)
    assert status["dead"] == len(shown.state("dead"))


def test_the_map_has_each_box_in_its_state(page: ServedPage, shown: ShownJob) -> None:
    found = dict(zip(shown.boxes, states_of(page), strict=True))
    made = {name: state for state, names in shown.states.items() for name in names}
    assert found == made
    assert {"running", "waiting", "done", "skipped"} <= {*made.values()}


def test_failures_are_grouped_with_their_commands(page: ServedPage, shown: ShownJob) -> None:
    failures = ask(page.address, "/api/job").json["failures"]
    assert sum(one["count"] for one in failures) == len(shown.ledger.boxes()[1])
    for one in failures:
        assert one["reproduce"].startswith("chunkflow --verbose --dry-run")
        assert one["reproduce"].endswith(f"--bounding-box={one['boxes'][0]}")
        assert one["redrive"].startswith("chunkflow-producer redrive --queue em")


def test_a_box_is_told_with_its_pictures(page: ServedPage, shown: ShownJob) -> None:
    box = shown.state("done")[0]
    found = ask(page.address, f"/api/box/{box}").json
    assert (found["box"], found["state"], found["previews"]) == (box, "done", ["input", "output"])
    assert found["record"]["timer"].keys() == {"load-precomputed", "inference", "save-precomputed"}
    for name in found["previews"]:
        answer = ask(page.address, f"/api/box/{box}/{name}.png")
        assert answer.headers["content-type"] == "image/png"
        picture = np.asarray(Image.open(io.BytesIO(answer.body)))
        assert picture.shape == (64, 64)
        assert picture.std() > 0


def test_one_link_shows_all_boxes_in_neuroglancer(page: ServedPage, shown: ShownJob) -> None:
    link = ask(page.address, "/api/neuroglancer").json["link"]
    layer = json.loads(unquote(link.partition("#!")[2]))["layers"][-1]
    names = layer["annotationProperties"][0]["enum_labels"]
    found = {one["id"]: names[one["props"][0]] for one in layer["annotations"]}
    assert found == {name: state for state, boxes in shown.states.items() for name in boxes}
    dead = next(one for one in layer["annotations"] if one["id"] == shown.state("dead")[0])
    assert "dead: operator " in dead["description"]
    assert len(link) < 300 * len(found)
    assert ask(page.address, "/neuroglancer").headers["content-type"].startswith("text/html")


def test_nothing_is_told_of_boxes_of_other_jobs(page: ServedPage, shown: ShownJob) -> None:
    stranger = "900-916_0-64_0-64"
    shown.ledger.write(task_record(stranger))
    for path in (stranger, f"{stranger}/input.png", f"{shown.boxes[0]}/log.png"):
        assert ask(page.address, f"/api/box/{path}").status == 404
    shown.ledger.remove(stranger)


def test_an_error_of_a_megabyte_is_sent_as_it_is(page: ServedPage, shown: ShownJob) -> None:
    box = shown.state("waiting")[-1]
    error = HTML + "x" * 2**20
    shown.ledger.write(task_record(box, "failed", error=error))
    try:
        answer = ask(page.address, f"/api/box/{box}")
        assert answer.json["error"] == error
        assert answer.headers["content-type"] == "application/json"
    finally:
        shown.ledger.remove(box)


def test_no_script_touches_text_but_as_text() -> None:
    for path, asset in assets().items():
        text = asset.content.decode()
        if path.endswith(".js") and "uPlot" not in path:
            for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
                assert word not in text, path
        if path.endswith(".html"):
            assert "style=" not in text
            assert "onclick" not in text


@pytest.mark.parametrize("path", ["/", "/main.js", "/api/job", "/api/map", "/nothing"])
def test_a_browser_runs_nothing_but_the_page_s_own_files(page: ServedPage, path: str) -> None:
    headers = ask(page.address, path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("[::1]:8760", 200),
        ("page.localhost:8760", 200),
        ("10.0.0.7:8760", 421),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:80", 421),
        ("", 421),
    ],
)
def test_only_names_of_this_machine_are_served(page: ServedPage, host: str, status: int) -> None:
    for path in ("/", "/api/job"):
        assert ask(page.address, path, headers={"Host": host}).status == status


@given(st.lists(st.sampled_from(["..", ".", "%2e%2e", "%2f", "\\", "api", "box", "assets", "log"])))
@settings(max_examples=20, deadline=None)
def test_no_path_leads_out_of_the_job(page: ServedPage, parts: list[str]) -> None:
    for tail in ("etc/passwd", "VENDORED", "app.py", "jobs/membranes-v3.json", "x.png"):
        answer = ask(page.address, "/" + "/".join([*parts, tail]))
        assert answer.status in (400, 404), answer.body[:200]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_page_to_read_refuses_every_action(
    page: ServedPage, shown: ShownJob, action: str
) -> None:
    body = json.dumps({"action": action}).encode()
    answer = ask(page.address, "/api/actions", "POST", body, {"X-Chunkflow-Token": "guess"})
    assert answer.status == 403
    assert shown.ledger.states.read(shown.job).at is None


def test_pages_elsewhere_send_nothing_even_with_the_token(page_with_actions: ServedPage) -> None:
    assert page_with_actions.page.actions is not None
    headers = {"X-Chunkflow-Token": page_with_actions.page.actions.token}
    for origin in ("https://evil.example", "null"):
        sent = headers | {"Origin": origin}
        answer = ask(page_with_actions.address, "/api/actions", "POST", b"{}", sent)
        assert (answer.status, b"another page" in answer.body) == (403, True)
    own = headers | {"Origin": page_with_actions.address.partition("/#")[0]}
    assert ask(page_with_actions.address, "/api/actions", "POST", b"{}", own).status == 400


@pytest.mark.parametrize("token", ["", "guess", "\xe9"])
@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_needs_the_token(
    page_with_actions: ServedPage, job: ShownJob, action: str, token: str
) -> None:
    address, body = page_with_actions.address, json.dumps({"action": action}).encode()
    headers = {"X-Chunkflow-Token": token} if token else {}
    assert ask(address, "/api/actions", "POST", body, headers).status == 403
    assert job.ledger.states.read(job.job).at is None
    assert (
        job.client.get_queue_attributes(
            QueueUrl=job.queue.url, AttributeNames=["ApproximateNumberOfMessages"]
        )["Attributes"]["ApproximateNumberOfMessages"]
        == "0"
    )


def test_actions_do_what_the_commands_do(page_with_actions: ServedPage, job: ShownJob) -> None:
    page = page_with_actions.page
    assert page.actions is not None
    token = {"X-Chunkflow-Token": page.actions.token}

    def act(**asked: str) -> str:
        body = json.dumps(asked).encode()
        return str(ask(page_with_actions.address, "/api/actions", "POST", body, token).json)

    dead = len(job.state("dead"))
    assert dead > 1
    assert f"sent 1 dead letters back to queue em, left {dead - 1}" in act(
        action="redrive", box=job.state("dead")[0]
    )
    assert f"sent {dead - 1} dead" in act(action="redrive")
    assert "is paused" in act(action="pause", why="look at it")
    assert job.ledger.states.read(job.job).why == "look at it"
    assert "is running" in act(action="resume")
    assert "is running already" in act(action="resume")
    assert "is cancelled" in act(action="cancel")
    assert "there is nothing to pause" in act(action="pause")
    assert "this is no action" in act(action="drop")
    answer = ask(page_with_actions.address, "/api/actions", headers=token)
    assert answer.status == 405, "a link or a picture can't act"


def test_every_change_is_told_once(page_with_actions: ServedPage, job: ShownJob) -> None:
    feed, waiting = page_with_actions.feed, job.state("waiting")
    with asked(page_with_actions.address, "/api/events") as events:
        assert events.readline() == b": connected\n"
        for name in waiting[:2]:
            job.ledger.write(task_record(name, job=job.job))
        feed.look()
        while not (line := events.readline()).startswith(b"data:"):
            pass
    told = json.loads(line.removeprefix(b"data:"))
    first = job.boxes.index(waiting[0])
    assert told["runs"] == [first, 2, STATES.index("done")]
    assert told["status"]["done"] == len(job.ledger.boxes()[0])


def test_assets_are_files_of_the_package(tmp_path: Path) -> None:
    assert {"/", "/main.js", "/page.css"} <= assets().keys()
    assert not [path for path in assets() if ".." in path]
