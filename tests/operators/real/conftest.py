"""Real volumes, where they are at hand: CHUNKFLOW_TEST_DATA names their folder. Chains run as a
user types them.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from chunkflow_worker.cli.chunkflow import cli
from tests.support.paths import DATA


@dataclass(frozen=True)
class Sample:
    """A dataset of a file of real voxels, zyx. The file's first voxel is at 0 0 0.

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
    """EM of a fly's brain, uint8 of 250 voxels a side, nowhere 0."""
    return Sample(DATA / "fib25" / "training_sample2.h5", "raw", (10, 10, 10))


@pytest.fixture(scope="session")
def bodies() -> Sample:
    """Its neurons by hand, uint32; all voxels belong to one."""
    return Sample(
        DATA / "fib25" / "training_sample2.h5", "groundtruth_bodies", (10, 10, 10), "segmentation"
    )


@pytest.fixture(scope="session")
def pieces() -> Sample:
    """Its neurons in too many pieces, uint32."""
    return Sample(
        DATA / "fib25" / "training_sample2.h5", "oversegmentation", (10, 10, 10), "segmentation"
    )


@pytest.fixture(scope="session")
def pinky() -> Sample:
    """EM of a mouse's cortex with a synapse, uint8 of 18 192 192 voxels; the net that finds clefts
    lies beside it.
    """
    return Sample(DATA / "pinky100" / "sample1_input.h5", "main", (40, 7.16, 7.16))


Chunkflow = Callable[..., str]


@pytest.fixture
def chunkflow(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Chunkflow]:
    """Run `chunkflow` in the test's folder on a chain; returns what it printed.

    Each operator is one text with its options.

    When the test ends, all operators that its mark `shows` names must have run.
    """
    for folder in ("fib25", "pinky100"):
        if not (DATA / folder).is_dir():
            pytest.skip(f"{folder} is not in CHUNKFLOW_TEST_DATA")
    monkeypatch.chdir(tmp_path)
    ran: set[str] = set()

    def run(*chain: str) -> str:
        words = [shlex.split(operator) for operator in chain]
        done = CliRunner().invoke(
            cli, [word for operator in words for word in operator], catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        ran.update(operator[0] for operator in words)
        return done.output

    yield run
    shown = {name for mark in request.node.iter_markers("shows") for name in mark.args}
    assert shown <= ran, f"{sorted(shown - ran)} did not run"
