"""What a headless browser draws of a Neuroglancer viewer."""

from __future__ import annotations

import io
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BROWSER = "chromium"
_COMMAND = (
    BROWSER,
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--enable-unsafe-swiftshader",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    # Nothing but the viewer's own server can be reached.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_ANSWER_SECONDS = 120


def draw(viewer: Any, width: int, height: int, folder: Path) -> NDArray[np.int_]:
    """A picture of the viewer without its controls: (height, width, 3), RGB.

    folder: for the browser's profile and log.
    """
    with viewer.config_state.txn() as page:
        page.show_ui_controls = page.show_panel_borders = False
        page.viewer_size = [width, height]
    answers: list[Any] = []
    answered = threading.Event()
    viewer.async_screenshot(lambda answer: (answers.append(answer), answered.set()))
    command = [*_COMMAND, f"--user-data-dir={folder}/profile", viewer.get_viewer_url()]
    log = folder / "browser.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out) as browser,
    ):
        try:
            assert answered.wait(_ANSWER_SECONDS), log.read_text()[-3000:]
        finally:
            browser.terminate()
    image = Image.open(io.BytesIO(answers[0].screenshot.image))
    picture = np.asarray(image.convert("RGB")).astype(int)
    assert picture.shape == (height, width, 3)
    return picture
