"""Pictures of the page of a job, by a headless Chromium: `python docs/screenshots.py [FOLDER]`.

The job is made up: it has boxes in every state. Writes page.png for the documentation, and with a
folder, all pictures there: light, dark, and as a phone shows it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.browser import BROWSER
from tests.support.served_page import served
from tests.support.shown_job import ShownJob

_SIZES = {"page": (1280, 1120), "phone": (390, 844)}


def main(folder: Path | None) -> None:
    import shutil

    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as made:
        job = ShownJob(Path(made))
        job.write_volumes()
        with served(job.target, allow_actions=True) as page, sync_playwright() as engine:
            browser = engine.chromium.launch(executable_path=shutil.which(BROWSER))
            for name, scheme in (("page", "light"), ("page", "dark"), ("phone", "light")):
                width, height = _SIZES[name]
                tab = browser.new_page(
                    viewport={"width": width, "height": height},
                    color_scheme=scheme,
                    device_scale_factor=2 if name == "phone" else 1,
                )
                tab.goto(page.address)
                tab.locator("#percent", has_text="%").wait_for()
                tab.locator("#plane").fill("3")
                tab.locator("#plane").blur()
                _choose(tab, "dead" if scheme == "dark" else "done")
                if scheme == "dark":
                    tab.locator(".failure summary").first.click()
                tab.wait_for_load_state("load")
                tab.wait_for_timeout(600)
                if folder:
                    place = folder / f"{name}-{scheme}.png"
                    tab.screenshot(path=place, full_page=True)
                elif (name, scheme) == ("page", "light"):
                    tab.screenshot(path=Path(__file__).parent / "page.png")
                tab.close()
            browser.close()


def _choose(tab: Any, state: str) -> None:
    """Click a box of the map in this state."""
    canvas = tab.locator("#canvas")
    area = canvas.bounding_box()
    for row in range(10):
        for column in range(12):
            x = area["width"] * (0.08 + 0.07 * column + 0.035)
            y = area["height"] * (0.05 + 0.1 * row)
            canvas.hover(position={"x": x, "y": y})
            if tab.locator("#tip").inner_text().endswith(f": {state}"):
                canvas.click(position={"x": x, "y": y})
                tab.wait_for_selector(".box-name")
                tab.mouse.move(0, 0)
                tab.locator("#canvas").blur()
                return


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
