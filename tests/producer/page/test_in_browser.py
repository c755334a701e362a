from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.axe import MISSING, axe_faults
from tests.support.records import task_record
from tests.support.served_page import ServedPage
from tests.support.shown_job import HTML, ShownJob


@pytest.fixture
def tab(browser: Any, page_with_actions: ServedPage) -> Iterator[Any]:
    """The page in a browser that reports what goes wrong."""
    tab, problems = browser.new_page(), list[str]()
    tab.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto(page_with_actions.address)
    tab.locator("#percent", has_text="%").wait_for()
    yield tab
    tab.close()
    assert problems == []


def legend(tab: Any, state: str) -> int:
    return int(tab.locator(f"#legend button[data-state={state}] b").inner_text())


def colours(tab: Any) -> dict[str, str]:
    names = ("done", "dead", "failed", "skipped")
    return {
        tab.evaluate(
            f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')"
        ): name
        for name in names
    }


def colour_at_middle(tab: Any, column: int, row: int, job: ShownJob) -> str:
    """The colour, #rrggbb, that the map shows for a box of the plane."""
    return str(
        tab.evaluate(
            """([column, row, columns, rows]) => {
              const canvas = document.querySelector("#canvas");
              const most = 64 * devicePixelRatio;
              const cell = Math.min(canvas.width / columns, canvas.height / rows, most);
              const left = (canvas.width - cell * columns) / 2;
              const top = (canvas.height - cell * rows) / 2;
              const at = [left + (column + 0.5) * cell, top + (row + 0.5) * cell].map(Math.round);
              const [r, g, b] = canvas.getContext("2d").getImageData(...at, 1, 1).data;
              return "#" + [r, g, b].map((one) => one.toString(16).padStart(2, "0")).join("");
            }""",
            [column, row, job.counts.x, job.counts.y],
        )
    )


def test_the_map_shows_each_box_in_its_colour(tab: Any, job: ShownJob) -> None:
    known, made = colours(tab), {n: s for s, names in job.states.items() for n in names}
    first_plane = job.boxes[: job.counts.y * job.counts.x]
    for place, name in enumerate(first_plane):
        if made[name] in known.values():
            row, column = divmod(place, job.counts.x)
            assert known[colour_at_middle(tab, column, row, job)] == made[name], name
    for state, names in job.states.items():
        assert legend(tab, state) == len(names)


def test_a_box_is_found_by_keys_and_told_as_text(tab: Any, job: ShownJob) -> None:
    name = job.state("waiting")[-1]
    job.write_volumes()
    job.ledger.write(task_record(name, "failed", error=HTML, log=["<script>1</script>"]))
    tab.locator("#canvas").focus()
    for key, count in zip(("PageDown", "ArrowDown", "ArrowRight"), job.counts, strict=True):
        for _ in range(count):
            tab.keyboard.press(key)
    assert tab.locator("#spoken").inner_text() == f"{name}: waiting"
    tab.keyboard.press("Enter")
    error = tab.locator("#box pre.error")
    error.wait_for()
    assert error.inner_text() == HTML.replace("\x1b", "\u241b")
    assert "<script>1</script>" in tab.locator("#box").inner_text()
    assert tab.locator("#box img[src=x]").count() == 0
    assert "hacked" not in tab.title()


def test_a_change_is_seen_without_a_reload(
    tab: Any, page_with_actions: ServedPage, job: ShownJob
) -> None:
    done = legend(tab, "done")
    job.ledger.write(task_record(job.state("waiting")[0], job=job.job))
    page_with_actions.feed.look()
    tab.locator("#legend button[data-state=done] b", has_text=str(done + 1)).wait_for()


def test_dead_letters_are_sent_back_after_a_question(tab: Any, job: ShownJob) -> None:
    failure = tab.locator(".failure", has=tab.locator("button.redrive")).first
    failure.locator("summary").click()
    failure.locator("button.redrive").click()
    assert not tab.locator("#notice").is_visible()
    tab.locator("#ask-yes").click()
    tab.locator("#notice", has_text="dead letters back to queue em").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(browser: Any, page_with_actions: ServedPage, scheme: str) -> None:
    tab = browser.new_page(color_scheme=scheme)
    tab.goto(page_with_actions.address)
    tab.locator("#percent", has_text="%").wait_for()
    tab.locator(".failure summary").first.click()
    found = axe_faults(tab)
    tab.close()
    if found is None:
        pytest.skip(MISSING)
    assert found == []
