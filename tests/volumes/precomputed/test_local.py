"""Block files on a local disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chunkflow_worker.errors import StorageFull
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.volumes.precomputed.local import (
    has_both_forms,
    remove_other_form,
    staged_blocks,
)
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from chunkflow_worker.volumes.volume import blocks_of
from tests.support.sample import BOUNDS, make, noise
from tests.support.small_disk import NoMount, small_disk


def test_blocks_take_their_places_when_all_are_written(tmp_path: Path) -> None:
    (tmp_path / "4_4_40").mkdir()
    (tmp_path / "4_4_40" / "a.gz").write_text("old")
    with staged_blocks(tmp_path, "4_4_40") as folder:
        (folder / "4_4_40").mkdir(parents=True)
        (folder / "4_4_40" / "a.gz").write_text("new")
        (folder / "4_4_40" / "b").write_text("b")
        assert (tmp_path / "4_4_40" / "a.gz").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["4_4_40"]
    contents = {path.name: path.read_text() for path in (tmp_path / "4_4_40").iterdir()}
    assert contents == {"a.gz": "new", "b": "b"}


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with staged_blocks(tmp_path, "4_4_40") as folder:
            (folder / "4_4_40").mkdir(parents=True)
            (folder / "4_4_40" / "a").write_text("half")
            raise KeyError("boom")

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("compressed", "before", "after"),
    [
        (True, {"b", "b.gz"}, {"b.gz"}),
        (True, {"b"}, {"b"}),  # an encoding that gains nothing by gzip is written without it
        (True, {"b.gz"}, {"b.gz"}),
        (False, {"b", "b.gz"}, {"b"}),
        (False, {"b"}, {"b"}),
    ],
)
def test_one_form_of_a_block_remains(
    tmp_path: Path, compressed: bool, before: set[str], after: set[str]
) -> None:
    for name in before:
        (tmp_path / name).touch()
    remove_other_form(tmp_path / "b", compressed)
    assert {path.name for path in tmp_path.iterdir()} == after


@pytest.mark.parametrize("names", [set(), {"b"}, {"b.gz"}, {"b", "b.gz"}])
def test_both_forms_are_told(tmp_path: Path, names: set[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert has_both_forms(tmp_path / "b") is (len(names) == 2)


def test_a_volume_may_be_written_again_with_and_without_gzip(tmp_path: Path) -> None:
    path = make(f"file://{tmp_path}/v").path
    for compress, value in ((True, 1), (False, 2), (True, 3), (None, 4)):
        volume = PrecomputedVolume(path, compress=compress)
        volume.write(BOUNDS, np.full(BOUNDS.size, value, np.uint8))
        assert (PrecomputedVolume(path).read(BOUNDS) == value).all()
        blocks = list((tmp_path / "v" / "7.16_7.16_40.0").iterdir())
        assert len(blocks) == 27
        assert all((block.suffix == ".gz") is bool(compress) for block in blocks)


def test_a_volume_of_gzip_blocks_goes_on_with_plain_ones(tmp_path: Path) -> None:
    """Earlier versions wrote *.gz by default: what is left of them counts as before."""
    path = make(f"file://{tmp_path}/v").path
    image, first = noise(BOUNDS), BoundingBox.parse("-3-5_10-26_0-32")
    PrecomputedVolume(path, compress=True).write(BOUNDS, image)
    volume = PrecomputedVolume(path)
    sums = volume.checksums(blocks_of(volume, BOUNDS))
    volume.write(first, image[first.slices(BOUNDS.start)])
    files = {file.name for file in (tmp_path / "v" / "7.16_7.16_40.0").iterdir()}
    assert {name for name in files if not name.endswith(".gz")} == {"0-32_10-26_-3-5"}
    assert len(files) == len(volume.stored_at(blocks_of(volume, BOUNDS))) == 27
    assert volume.checksums(blocks_of(volume, BOUNDS)) == sums
    assert np.array_equal(volume.read(BOUNDS), image)
    for file in ("0-32_10-26_-3-5", "32-64_10-26_-3-5.gz"):
        (tmp_path / "v" / "7.16_7.16_40.0" / file).unlink()
    gone = ["7.16_7.16_40.0/0-32_10-26_-3-5", "7.16_7.16_40.0/32-64_10-26_-3-5"]
    assert volume.missing(BOUNDS) == gone
    assert len(volume.stored_at(blocks_of(volume, BOUNDS))) == 25


def test_a_full_disk_leaves_no_half_blocks(tmp_path: Path) -> None:
    try:
        with small_disk(tmp_path / "disk", megabytes=1) as disk:
            volume = make(f"file://{disk.path}/volume", "uint64")
            disk.fill(leave=20_000)
            text = "disk/volume: No space left on device"
            with pytest.raises(StorageFull, match=text):
                volume.write(BOUNDS, noise(BOUNDS, dtype="float64").view("uint64"))
            assert len(volume.missing(BOUNDS)) == 27, "all blocks"
            files = {file.name for file in disk.path.rglob("*") if file.is_file()}
            assert files <= {"info", "provenance", "ballast"}
            disk.free()
            whole = np.ones(BOUNDS.size, np.uint64)
            volume.write(BOUNDS, whole)
            assert np.array_equal(volume.read(BOUNDS), whole)
    except NoMount as reason:
        pytest.skip(f"no small disk here: {reason}")


def test_a_kill_leaves_no_half_blocks(tmp_path: Path) -> None:
    """Half a file that counts as a block would be skipped when the job runs again."""
    volume = make(f"file://{tmp_path}/v")
    script = """
import os, sys
import numpy as np
from cloudfiles.interfaces import FileInterface
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

def half(self, file_path, content, *args, **kwargs):
    path = self.get_path_to_file(file_path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2])
    os._exit(9)

FileInterface.put_file = half
volume = PrecomputedVolume(sys.argv[1])
volume.write(volume.bounds, np.ones(volume.bounds.size, volume.dtype))
"""
    command = [sys.executable, "-c", script, volume.path]
    assert subprocess.run(command, timeout=120, check=False).returncode == 9
    assert list(tmp_path.rglob(".*.part/*/*")), "half a file was written"
    assert len(volume.missing(BOUNDS)) == 27
    image = noise(BOUNDS)
    volume.write(BOUNDS, image)
    assert np.array_equal(volume.read(BOUNDS), image)
