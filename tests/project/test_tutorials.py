"""Runs the tutorials exactly as they are written.

Their files are written, their commands run in one shell, and the lines that they promise must
appear in the output.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from tests.support.pages import blocks, check_promised, run, script_of
from tests.support.paths import ROOT

TUTORIALS = ROOT / "docs" / "tutorials"


def files_of_the_reader(folder: Path) -> None:
    """An image as a microscope's software writes it: nothing says how large its voxels are."""
    z, y, x = np.indices((40, 200, 300))
    image = (128 + 100 * np.sin(z / 9) * np.sin(y / 11) * np.sin(x / 13)).astype(np.uint8)
    with h5py.File(folder / "image.h5", "w") as file:
        file["main"] = image
    tifffile.imwrite(folder / "image.tif", image, photometric="minisblack")


BEFORE: dict[str, Callable[[Path], None]] = {"own-data": files_of_the_reader}
"""What a reader has before a tutorial begins; usually nothing."""


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sorted(page.stem for page in TUTORIALS.glob("*.md") if page.stem != "index")
)
def test_tutorial(name: str, tmp_path: Path) -> None:
    if name in BEFORE:
        BEFORE[name](tmp_path)
    page = blocks(TUTORIALS / f"{name}.md")
    check_promised(page, run(script_of(page), tmp_path))


def test_the_index_lists_all_tutorials() -> None:
    linked = set(re.findall(r"\((\S+)\.md\)", (TUTORIALS / "index.md").read_text()))
    assert linked == {page.stem for page in TUTORIALS.glob("*.md")} - {"index"}
