"""The command, the page that it writes and the figures beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.job.job_record import JobRecord
from chunkflow_worker.job.ledger import Ledger
from producer.cli import main
from producer.figures.job import figures_of
from tests.support.browser import BROWSER
from tests.support.job_records import ERROR, GRID, job_boxes, job_records
from tests.support.records import task_record

HOSTILE = "<img src=http://evil.example/x onerror=alert(1)> \x1b[31mred\x1b[0m \u202e" + "z" * 10**6


class Page(HTMLParser):
    """The elements, addresses and visible text of a page."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def finished(ledger: Ledger) -> Ledger:
    ledger.write_job(
        JobRecord(
            job="j", tasks=24, pipeline="abc", grid=GRID.model_dump(mode="json", exclude_none=True)
        )
    )
    for record in job_records():
        ledger.write(record)
    return ledger


def reported(ledger: Ledger, *options: str) -> tuple[str, dict[str, Any]]:
    assert main(["report", "--ledger", ledger.path, *options]) == 0
    folder = Path(ledger.path.removeprefix("file://"), "reports")
    return (folder / "j.html").read_text(), json.loads((folder / "j.json").read_text())


def test_the_report_lies_in_the_ledger_and_has_the_figures(
    finished: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    html, content = reported(finished)
    assert f"report of job j: {finished.path}/reports/j.html\n" in capsys.readouterr().out
    expected = figures_of("j", job_boxes(), job_records()).as_json()
    assert content["figures"] == json.loads(json.dumps(expected)) | {
        "failures": content["figures"]["failures"]
    }
    text = " ".join(Page(html).text.split())
    for words in ("79.2 %", "19 of 24 boxes", "2 failed, 3 without record", "host-gpu1"):
        assert words in text
    assert "chunkflow-worker 0.1.0 in 24 boxes of 4 × 8 × 8 voxels" in text  # noqa: RUF001
    assert "19 of 24 boxes were completed." in text


def test_a_repeat_writes_the_same_figures(finished: Ledger) -> None:
    _, first = reported(finished)
    file = Path(finished.path.removeprefix("file://"), "reports", "j.json")
    before = file.read_bytes()
    reported(finished)
    assert file.read_bytes() == before
    assert before.decode() == json.dumps(first, indent=1, sort_keys=True) + "\n"


def test_nothing_is_loaded_and_nothing_runs(finished: Ledger) -> None:
    page = Page(reported(finished)[0])
    assert page.addresses == page.handlers == []
    assert not {"script", "link", "iframe", "img", "object", "embed", "form"} & {*page.tags}
    assert "meta" in page.tags


def test_what_records_say_stays_text(finished: Ledger) -> None:
    box = str(job_boxes()[8])
    finished.write(
        task_record(
            box,
            "failed",
            error=HOSTILE,
            log=[HOSTILE],
            worker=f"<b>{HOSTILE[:200]}",
            started="2026-03-01T08:00:00+00:00",
            finished="2026-03-01T08:00:01+00:00",
        )
    )
    finished.write(
        task_record(
            str(job_boxes()[9]),
            worker="</text><script>",
            compute_device="<i>device",
            models={"<u>net": HOSTILE[:300]},
            versions={"<u>package": "<u>1"},
            timer={"<u>operator": 1.0},
            seconds=500.0,
            started="2026-03-01T08:00:00+00:00",
            finished="2026-03-01T08:00:01+00:00",
        )
    )
    html, content = reported(finished)
    page = Page(html)
    assert page.addresses == page.handlers == []
    assert not {"script", "img", "b", "u"} & {*page.tags}
    assert "<img src=http://evil.example/x onerror=alert(1)>" in page.text
    assert f"({len(HOSTILE):,} characters)" in page.text
    assert "no <b>membrane</b> at # \\x#b[#mred" in page.text  # the cause that `failures` shows
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert len(html) < 200_000
    assert "\x1b" not in json.dumps(content, ensure_ascii=False)
    assert ERROR.partition("\x1b")[0] in json.dumps(content)


def test_the_cost_and_the_plan(finished: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    plan = {
        "boxes": {"to_do": 24},
        "times": {"seconds": 10.0},
        "in_flight": 2,
        "options": [
            {
                "fleets": [
                    {
                        "machine": "g6.xlarge",
                        "market": "on demand",
                        "machine_hours": 0.1,
                        "dollars": 0.08,
                    }
                ]
            }
        ],
    }
    finished.files.put_json("plans/j.json", plan)
    html, content = reported(finished, "--machine", "g6.xlarge", "--spot")
    (dollars,) = content["dollars"]
    hours = (10 * 8 + 80) / 3600
    assert dollars["machine_hours"] == pytest.approx(hours, rel=1e-5)
    assert dollars["machines"] == pytest.approx(hours * dollars["an_hour"], rel=1e-5)
    assert dollars["a_gigavoxel"] == pytest.approx(dollars["machines"] / (17 * 256 / 1e9), rel=1e-5)
    spent = content["spent"]
    assert spent["planned_seconds"] == 10
    assert spent["seconds"] == pytest.approx((160 + 80) / 19, rel=1e-5)
    assert spent["forecast_hours"] == pytest.approx(spent["seconds"] * 24 / 3600, rel=1e-5)
    assert spent["forecast_dollars"] == pytest.approx(spent["forecast_hours"] * 0.8, rel=1e-5)
    assert "beside the plan, g6.xlarge on demand" in Page(html).text
    assert main(["report", "--ledger", finished.path, "--machine", "x"]) == 2
    assert "has no machine 'x'" in capsys.readouterr().err
    assert main(["report", "--ledger", finished.path, "--spot"]) == 2


def test_another_place(finished: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "here" / "my report.html"
    assert main(["report", "--ledger", finished.path, "--output", str(file)]) == 0
    assert file.read_text().startswith("<!DOCTYPE html>")
    assert json.loads(file.with_suffix(".json").read_text())["job"]["job"] == "j"
    assert not Path(finished.path.removeprefix("file://"), "reports").exists()


def test_json_is_printed_and_nothing_is_written(
    finished: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--ledger", finished.path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]["done"] == 19
    assert not Path(finished.path.removeprefix("file://"), "reports").exists()


def test_boxes_that_could_not_be_compared_are_not_called_right(
    finished: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    """These records do not say what the tasks wrote."""
    html, content = reported(finished, "--verify", "5")
    assert content["checked"] == {"boxes": 5, "wrong": 0, "unknown": 5}
    assert content["verified_share"] == 0
    text = Page(html).text
    assert "5 boxes were read back for this report: 0 right, 0 wrong, 5 not checked" in text
    assert "the output of 0 of 5 boxes that were read back agrees" in text
    assert "0 are wrong and 5 not checked or unreadable" in capsys.readouterr().err


def test_a_job_that_has_not_begun(ledger: Ledger) -> None:
    ledger.write_job(JobRecord(job="j", tasks=24, grid=GRID.model_dump(mode="json")))
    html, content = reported(ledger)
    assert content["figures"]["missing"] == 24
    assert "not complete" in Page(html).text


def test_the_records_of_an_archive(finished: Ledger) -> None:
    before = reported(finished)[1]["figures"]
    assert main(["archive", "--ledger", finished.path]) == 0
    for box in finished.listing().done:
        finished.files.delete(f"{box}.json")
    assert reported(finished)[1]["figures"] == before


@pytest.mark.skipif(shutil.which(BROWSER) is None, reason=f"{BROWSER} is not installed")
def test_a_browser_shows_it_from_disk_without_network(finished: Ledger, tmp_path: Path) -> None:
    reported(finished)
    page = Path(finished.path.removeprefix("file://"), "reports", "j.html")
    picture = tmp_path / "page.png"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path}/profile"]
    command += [f"--screenshot={picture}", "--window-size=1080,1400", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "Content Security Policy" not in done.stderr
    from PIL import Image

    colours = {pixel for _, pixel in Image.open(picture).convert("RGB").getcolors(1 << 20) or []}
    assert {(0, 114, 178), (201, 79, 0)} <= colours  # boxes that are done, and that failed
