from __future__ import annotations

import hashlib
from importlib.resources import files


def test_vendored_files_are_those_of_their_release() -> None:
    folder = files("producer.page") / "assets"
    lines = (folder / "VENDORED").read_text().splitlines()
    sums = dict(reversed(line.split()) for line in lines if len(line.split()) == 2)
    assert sums.keys() == {"uPlot.js", "uPlot.css", "uPlot.LICENSE"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
