"""No file of the product knows the name of an operator: an operator says itself what it is.

A file that needs to know something about an operator asks for its facts, see
`chunkflow_worker/config/facts.py`. So a new operator needs its own file and its test, and no other
file changes.

Searched are the tracked files of the two packages, without `operators/`, and those at the root.
Documentation, examples, deployment, benchmarks and tests contain chains, and name operators as
users do.

What counts as a name:

- A name with a hyphen, such as `load-h5`, wherever it stands as a word of its own.
- A name without one is often an ordinary word or the name of a library, such as `mask` or `napari`.
  It counts if it stands alone in quotes or backticks, or after `op:`, `operator` or `chunkflow`.
  WORDS lists the files where a quoted word means something else.
- The import of an operator's module.
"""

from __future__ import annotations

import re
import subprocess

import pytest

from chunkflow_worker.config.catalog import folder_names
from tests.support.paths import ROOT

CHAINS = ("docs/", "examples/", "deploy/", "benchmarks/", "tests/")
WORDS = {
    ("mesh", "chunkflow_worker/volumes/mesh.py"): "a key of a volume's info file",
    ("mesh", "chunkflow_worker/volumes/precomputed/reading.py"): "a key of a volume's info file",
    ("napari", "chunkflow_worker/view/napari.py"): "the library",
    ("neuroglancer", "chunkflow_worker/view/neuroglancer.py"): "the library",
    ("inference", "pyproject.toml"): "a keyword of the package",
    ("neuroglancer", "pyproject.toml"): "a keyword of the package",
    ("threshold", "chunkflow_worker/inference/reduction.py"): "what users call the reduction",
    ("mesh", "chunkflow_worker/cli/look.py"): "a kind of layer",
    ("mesh", "chunkflow_worker/view/look.py"): "a kind of layer",
    ("mesh", "chunkflow_worker/volumes/scene/layers.py"): "a kind of layer",
    ("mesh", "chunkflow_worker/volumes/scene/object_layer.py"): "a kind of layer",
    ("mesh", "chunkflow_worker/volumes/scene/volume_layer.py"): "a key of a volume's info file",
    ("neuroglancer", "chunkflow_worker/cli/look.py"): "the library",
    ("neuroglancer", "producer/page/app.py"): "the library",
    ("neuroglancer", "producer/page/assets/index.html"): "the library",
    ("neuroglancer", "producer/page/assets/main.js"): "the library",
    ("view", "producer/page/assets/index.html"): "a control of the page",
    ("view", "producer/page/assets/map.js"): "a control of the page",
    ("view", "chunkflow_worker/view/neuroglancer.py"): "the extra that brings the library",
}


def pattern(name: str) -> re.Pattern[str]:
    """What counts as the name of the operator, see above."""
    module = name.replace("-", "_")
    imports = rf"\boperators\.{module}\b|\boperators import (?:\w+, )*{module}\b"
    word = rf"(?<![\w-]){name}(?![\w-])"
    if "-" in name:
        return re.compile(f"{word}|{imports}")
    quoted = rf"""(?P<quote>["'`]){name}(?P=quote)"""
    return re.compile(rf"{quoted}|\b(?:op:|operator|chunkflow) *{word}|{imports}")


PATTERNS = {name: pattern(name) for name in sorted(folder_names())}


def named_operators(text: str) -> set[str]:
    return {
        name
        for name, found in PATTERNS.items()
        if (name in text or name.replace("-", "_") in text) and found.search(text)
    }


def product_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [
        path
        for path in listed
        if not path.startswith((*CHAINS, "chunkflow_worker/operators/")) and path[-3:] != ".md"
    ]


def test_no_file_of_the_product_names_an_operator() -> None:
    files = product_files()
    assert {"producer/look/verify.py", "chunkflow_worker/cli/chunkflow.py", "Makefile"} <= {*files}
    found = {
        (name, path)
        for path in files
        if (ROOT / path).is_file()
        for name in named_operators((ROOT / path).read_text(encoding="utf-8"))
    }
    assert found - WORDS.keys() == set(), "ask for a fact of the operator instead"
    assert found >= WORDS.keys(), "leave out of WORDS what is no longer there"


@pytest.mark.parametrize(
    "text",
    [
        '_OTHER_BOXES = {"adjust-bbox"}',
        "cure = 'for example generate-tasks'",
        'o["op"] == "mask"',
        "op: mask",
        "{op: mask, mip: 5}",
        "`mask`",
        "chunkflow mask --help",
        "use the operator mask",
        "from chunkflow_worker.operators.mask import Mask",
        "from chunkflow_worker.operators import mesh, mask",
        "chunkflow_worker.operators.load_h5",
    ],
)
def test_a_name_is_found(text: str) -> None:
    assert named_operators(text)


@pytest.mark.parametrize(
    "text",
    [
        "connected-components-3d>=3.20",
        "a mask of the volume",
        'mask = "mask_volume_path"',
        "from chunkflow_worker.volumes.mask import CoarseMask",
        "chunkflow masks",
    ],
)
def test_an_ordinary_word_is_no_name(text: str) -> None:
    assert not named_operators(text)
