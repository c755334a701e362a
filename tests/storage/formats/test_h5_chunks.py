"""Chunks of HDF5 that unpack to more than they say."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from chunkflow_worker.config.largest_block import VARIABLE
from chunkflow_worker.errors import DataRefused
from chunkflow_worker.pipeline.operator import find_operator


def test_a_chunk_above_the_bound_is_refused_before_it_is_unpacked(
    run_step: Any, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        shape = (1024, 1024, 1024)
        file.create_dataset("main", shape, "u1", chunks=shape, compression="gzip")
    operator = find_operator("load-h5")(file_name=f"{tmp_path}/a.h5", cutout_size=(1, 1, 1))
    with pytest.raises(DataRefused, match=r"a chunk .* 1 GiB .*\n.*CHUNKFLOW_LARGEST_BLOCK"):
        run_step(operator)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_stream_longer_than_its_chunk_is_refused(
    run_step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shuffle: bool
) -> None:
    monkeypatch.setenv(VARIABLE, "1MiB")
    rng, size = np.random.default_rng(0), (8, 64, 64)
    bomb = zlib.compress(bytes(3 << 20))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset(
            "main", size, "u1", chunks=(4, 64, 64), compression="gzip", shuffle=shuffle
        )
        data[:] = rng.integers(0, 255, size, np.uint8)
        data.id.write_direct_chunk((4, 0, 0), bomb)
    with pytest.raises(DataRefused, match="unpacks to more than its 16384 bytes"):
        run_step(find_operator("load-h5")(file_name=f"{tmp_path}/a.h5"))


def test_what_does_not_fit_the_machine_is_refused(run_step: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("main", (1 << 20,) * 3, "u8", chunks=(8, 8, 8))
    with pytest.raises(DataRefused, match=r"8 EiB.*half of the memory\n.*in boxes"):
        run_step(find_operator("load-h5")(file_name=f"{tmp_path}/a.h5"))
