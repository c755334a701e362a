"""For tests of operators: small volumes, samples of real volumes from the folder
CHUNKFLOW_TEST_DATA, and a fixture that runs a chain as a user types it.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from tests.support.paths import DATA


@pytest.fixture
def volume(tmp_path: Path) -> Callable[..., PrecomputedVolume]:
    """Create a volume in the folder of the test: `volume(name, array or box, **options)`."""

    def make(
        name: str, content: Any, offset: tuple[int, int, int] = (0, 0, 0), **options: Any
    ) -> PrecomputedVolume:
        array = content if isinstance(content, np.ndarray) else None
        bounds = content if array is None else BoundingBox.sized(offset, array.shape)
        defaults = {
            "voxel_size": (40, 8, 8),
            "block_size": Vec3(8, 16, 16),
            "dtype": str(array.dtype) if array is not None else "",
        }
        path = f"file://{tmp_path}/{name}"
        create_volume(path, bounds=bounds, **(defaults | options))
        opened = PrecomputedVolume(path)
        if array is not None:
            opened.write(bounds, array)
        return opened

    return make


@dataclass(frozen=True)
class Sample:
    """A dataset of a file of real voxels, in zyx. The first voxel of the file is at 0 0 0.

    load: the operator that reads it, with its options.
    """

    file: Path
    dataset: str
    voxel_size: tuple[float, float, float]
    layer_type: str = "image"

    @cached_property
    def array(self) -> np.ndarray:
        with h5py.File(self.file) as h5:
            return h5[self.dataset][:]

    @property
    def load(self) -> str:
        size = " ".join(f"{n:g}" for n in self.voxel_size)
        return f"load-h5 -f {self.file} -d {self.dataset} -x {size} -l {self.layer_type}"


@pytest.fixture(scope="session")
def raw() -> Sample:
    """EM of a fly's brain: uint8, 250 voxels a side, no voxel is 0."""
    return Sample(DATA / "fib25" / "training_sample2.h5", "raw", (10, 10, 10))


@pytest.fixture(scope="session")
def bodies() -> Sample:
    """The neurons of `raw`, segmented by hand: uint32, every voxel belongs to one."""
    return Sample(
        DATA / "fib25" / "training_sample2.h5", "groundtruth_bodies", (10, 10, 10), "segmentation"
    )


@pytest.fixture(scope="session")
def pieces() -> Sample:
    """An oversegmentation of the neurons of `raw`: uint32."""
    return Sample(
        DATA / "fib25" / "training_sample2.h5", "oversegmentation", (10, 10, 10), "segmentation"
    )


@pytest.fixture(scope="session")
def pinky() -> Sample:
    """EM of a mouse's cortex with a synapse: uint8, 18 192 192 voxels. The net that finds clefts is
    in the same folder.
    """
    return Sample(DATA / "pinky100" / "sample1_input.h5", "main", (40, 7.16, 7.16))


Chunkflow = Callable[..., str]


@pytest.fixture
def chunkflow(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Chunkflow]:
    """Run `chunkflow` on a chain in the folder of the test. Returns what it printed.

    Each argument is one operator with its options.

    When the test ends, all operators in its `shows` marks must have run.
    """
    for folder in ("fib25", "pinky100"):
        if not (DATA / folder).is_dir():
            pytest.skip(f"{folder} is not in CHUNKFLOW_TEST_DATA")
    monkeypatch.chdir(tmp_path)
    ran: set[str] = set()

    def run(*chain: str) -> str:
        operators = [shlex.split(operator) for operator in chain]
        done = CliRunner().invoke(
            cli, list(itertools.chain.from_iterable(operators)), catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        ran.update(words[0] for words in operators)
        return done.output

    yield run
    shown = {name for mark in request.node.iter_markers("shows") for name in mark.args}
    assert shown <= ran, f"{sorted(shown - ran)} did not run"
