"""Pictures for the documentation, by a headless Chromium: `python docs/screenshots.py [FOLDER]`.

Writes page.png and report.png of a job that is made up, with boxes in every state. If
CHUNKFLOW_TEST_DATA has the volume FIB-25, writes look.png too: its image, objects and meshes, and
the boxes of a job, in Neuroglancer. With a folder, writes all of the page there instead: light,
dark, and as a phone shows it. tests/producer/page/test_live_job.py makes pictures of a real job.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from PIL import Image

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from tests.support.browser import BROWSER, draw
from tests.support.served_page import served
from tests.support.shown_job import ShownJob

HERE = Path(__file__).parent
_SIZES = {"page": (1280, 1120), "phone": (390, 844), "report": (1080, 1320)}
_COLOURS = 128  # of a picture, so that the repository stays small
_MOST_BYTES = 150_000
_FIB25 = Path(os.environ.get("CHUNKFLOW_TEST_DATA", "shared/data"), "fib25/training_sample2.h5")


def main(folder: Path | None) -> None:
    with tempfile.TemporaryDirectory() as made, chromium() as browser:
        job = ShownJob(Path(made))
        job.write_volumes()
        if folder:
            for name, scheme in (("page", "light"), ("page", "dark"), ("phone", "light")):
                png = page_of(browser, job, name, scheme, whole=True)
                (folder / f"{name}-{scheme}.png").write_bytes(png)
            return
        write("page.png", page_of(browser, job, "page", "light", whole=False))
        write("report.png", report_of(browser, job, Path(made)))
    if _FIB25.exists():
        write("look.png", look_of(_FIB25), colours=96)


def write(name: str, png: bytes, colours: int = _COLOURS) -> None:
    small, file = Image.open(io.BytesIO(png)).convert("RGB"), HERE / name
    small.quantize(colours, dither=Image.Dither.NONE).save(file, optimize=True)
    assert file.stat().st_size < _MOST_BYTES


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=shutil.which(BROWSER))
        yield browser
        browser.close()


def page_of(browser: Any, job: ShownJob, name: str, scheme: str, whole: bool) -> bytes:
    """The page of a job. whole: also what is below the window."""
    width, height = _SIZES[name]
    with served(job.target, allow_actions=True) as page:
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
        png = tab.screenshot(full_page=whole)
        tab.close()
    return bytes(png)


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


def report_of(browser: Any, job: ShownJob, folder: Path) -> bytes:
    from producer.cli import main as producer

    file = folder / "report.html"
    words = ["report", "--pipeline", str(job.pipeline), "--machine", "g6.xlarge", "--spot"]
    assert producer([*words, "--output", str(file)]) == 0
    width, height = _SIZES["report"]
    tab = browser.new_page(viewport={"width": width, "height": height})
    tab.goto(file.as_uri())
    png = tab.screenshot()
    tab.close()
    return bytes(png)


def look_of(data: Path) -> bytes:
    """Image, objects with their meshes, and boxes by their state."""
    from chunkflow_worker.view.file_server import FileServer
    from chunkflow_worker.view.look import Asked, Scene
    from chunkflow_worker.view.neuroglancer import page
    from producer.look.box_layer import ShownBox, box_layer

    with tempfile.TemporaryDirectory() as made, FileServer().serving() as server, page() as viewer:
        _write_objects(data, Path(made))
        scene = Scene(server)
        for name in ("em", "objects"):
            scene.add(Asked(f"{made}/{name}", None, name))
        state = scene.state()
        states = ["done"] * 5 + ["failed", "running", "waiting"]
        boxes = [
            ShownBox(BoundingBox.sized(Vec3(*place) * 125, Vec3(125, 125, 125)), state)
            for place, state in zip(np.ndindex(2, 2, 2), states, strict=True)
        ]
        state["layers"].append(box_layer(boxes, (10, 10, 10)))
        viewer.set_state(state | {"showAxisLines": False})
        out = io.BytesIO()
        picture = draw(viewer, 1000, 640, Path(made))
        Image.fromarray(picture.astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def _write_objects(data: Path, folder: Path) -> None:
    import h5py

    from chunkflow_worker.cli.chunkflow import main as chunkflow
    from chunkflow_worker.volumes.create_volume import create_volume
    from chunkflow_worker.volumes.open_volume import open_volume
    from tests.support.run_command import run_command

    with h5py.File(data) as file:
        volumes = {"em": file["raw"][:], "objects": file["groundtruth_bodies"][:]}
    for name, voxels in volumes.items():
        bounds = BoundingBox.sized(Vec3(0, 0, 0), Vec3(*voxels.shape))
        shape: dict[str, Any] = {"voxel_size": (10, 10, 10), "block_size": Vec3(64, 64, 64)}
        kind = "segmentation" if name == "objects" else "image"
        path = f"file://{folder}/{name}"
        create_volume(path, bounds=bounds, dtype=str(voxels.dtype), layer_type=kind, **shape)
        open_volume(path).write(bounds, voxels)
    objects = f"file://{folder}/objects"
    words = ["load-precomputed", "-v", objects, "mesh", "--output-path", objects, "--manifest"]
    box = ["generate-tasks", "--bounding-box", "0-250_0-250_0-250"]
    done = run_command(chunkflow, *box, *words)
    assert done.status == 0, done.stderr


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
