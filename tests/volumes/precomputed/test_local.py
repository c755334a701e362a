"""Block files on a local disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cloudvolume import CloudVolume

from chunkflow_worker.errors import StorageFull
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.storage.files import ENDINGS, Packing
from chunkflow_worker.volumes.precomputed.compression import Compression
from chunkflow_worker.volumes.precomputed.local import has_both_forms, remove_other_forms
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from chunkflow_worker.volumes.volume import blocks_of
from tests.support.sample import BOUNDS, make, noise
from tests.support.small_disk import NoMount, small_disk


@pytest.mark.parametrize("packing", ENDINGS)
def test_one_form_of_a_block_remains(tmp_path: Path, packing: Packing) -> None:
    for ending in ENDINGS.values():
        (tmp_path / f"b{ending}").touch()
    remove_other_forms(tmp_path / "b", packing)
    assert [path.name for path in tmp_path.iterdir()] == [f"b{ENDINGS[packing]}"]
    remove_other_forms(tmp_path / "absent", packing)


@pytest.mark.parametrize("names", [set(), {"b"}, {"b.gz"}, {"b", "b.gz"}, {"b.br", "b.gz"}])
def test_both_forms_are_told(tmp_path: Path, names: set[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert has_both_forms(str(tmp_path / "b")) is (len(names) == 2)


def test_a_volume_may_be_written_again_in_another_compression(tmp_path: Path) -> None:
    path = make(f"file://{tmp_path}/v").path
    packings: tuple[Packing | None, ...] = ("gzip", "none", "br", "gzip", "zstd", None)
    for value, packing in enumerate(packings):
        volume = PrecomputedVolume(path, compression=Compression(packing))
        volume.write(BOUNDS, np.full(BOUNDS.size, value, np.uint8))
        assert (PrecomputedVolume(path).read(BOUNDS) == value).all()
        blocks = list((tmp_path / "v" / "7.16_7.16_40.0").iterdir())
        assert len(blocks) == 27
        assert {block.suffix for block in blocks} == {ENDINGS[packing or "none"]}
        theirs = CloudVolume(path, progress=False, bounded=True)[:]
        assert (np.asarray(theirs) == value).all()


def test_a_volume_of_gzip_blocks_goes_on_with_plain_ones(tmp_path: Path) -> None:
    """Earlier versions wrote *.gz by default: what is left of them counts as before."""
    path = make(f"file://{tmp_path}/v").path
    image, first = noise(BOUNDS), BoundingBox.parse("-3-5_10-26_0-32")
    PrecomputedVolume(path, compression=Compression("gzip")).write(BOUNDS, image)
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
            text = "disk/volume/.* cannot be written: No space left on device"
            array = noise(BOUNDS, dtype="float64").view("uint64")
            with pytest.raises(StorageFull, match=text):
                volume.write(BOUNDS, array)
            missing = volume.missing(BOUNDS)
            assert missing
            for block in blocks_of(volume, BOUNDS):
                if volume.block_name(block) not in missing:
                    assert np.array_equal(volume.read(block), array[block.slices(BOUNDS.start)])
            assert not list(disk.path.rglob("*.part"))
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
from pathlib import Path
import numpy as np
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

def half(self, content):
    with open(self, "wb") as file:
        file.write(content[: len(content) // 2])
    os._exit(9)

Path.write_bytes = half
volume = PrecomputedVolume(sys.argv[1])
volume.write(volume.bounds, np.ones(volume.bounds.size, volume.dtype))
"""
    command = [sys.executable, "-c", script, volume.path]
    assert subprocess.run(command, timeout=120, check=False).returncode == 9
    assert list(tmp_path.rglob(".*.part")), "half a file was written"
    assert len(volume.missing(BOUNDS)) == 27
    image = noise(BOUNDS)
    volume.write(BOUNDS, image)
    assert np.array_equal(volume.read(BOUNDS), image)
