"""Reading and writing real voxels: the library of each format reads what we write, and we read what
it writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nrrd
import numpy as np
import pytest
import tensorstore
import tifffile
import zarr
from cloudvolume import CloudVolume
from PIL import Image

BOX, SLICES = "create-bbox -s 60 61 62 -z 16 32 48", np.s_[60:76, 61:93, 62:110]
NEW = "--shape 16 32 48 --voxel-offset 60 61 62 -c 8 16 16"
INFO = (
    "create-info -v file://a -z 16 32 48 -o 60 61 62 -s 10 10 10 -b 8 16 16 "
    "-t segmentation -d uint32"
)


def stored(name: str) -> np.ndarray:
    with h5py.File(name) as file:
        return file["main"][:]


def open_with_tensorstore(driver: str, path: str) -> Any:
    """Open with tensorstore. The axes stay in their stored order."""
    spec = {
        "driver": driver,
        "kvstore": {"driver": "file", "path": f"{Path.cwd()}/{path}"},
        "open": True,
    }
    return tensorstore.open(spec).result()


@pytest.mark.parametrize(
    ("writer", "read"),
    [
        pytest.param(
            "save-h5 -f a.h5 -c lzf", lambda: stored("a.h5"), marks=pytest.mark.shows("save-h5")
        ),
        pytest.param(
            "save-npy -f a.npy", lambda: np.load("a.npy"), marks=pytest.mark.shows("save-npy")
        ),
        pytest.param(
            "save-tif -f a.tif -c lzw",
            lambda: tifffile.imread("a.tif"),
            marks=pytest.mark.shows("save-tif"),
        ),
        pytest.param(
            "save-nrrd -f a.nrrd",
            lambda: nrrd.read("a.nrrd")[0].T,
            marks=pytest.mark.shows("save-nrrd"),
        ),
        pytest.param(
            f"save-zarr -s a {NEW}",
            lambda: zarr.open_array("a/0")[:],
            marks=pytest.mark.shows("save-zarr"),
        ),
        pytest.param(f"save-zarr -s a {NEW} -b zarr3 -o xyz", lambda: zarr.open_array("a/0")[:].T),
        pytest.param(
            f"save-zarr -s a {NEW} -b n5",
            lambda: open_with_tensorstore("n5", "a/s0").read().result().T,
        ),
    ],
)
def test_the_libraries_of_the_formats_read_what_we_write(
    chunkflow, pieces, writer: str, read: Callable[[], np.ndarray]
) -> None:
    chunkflow(BOX, pieces.load, writer)
    made = read()
    assert made.dtype == np.uint32
    assert np.array_equal(made, pieces.array[SLICES])


@pytest.mark.shows("create-info", "save-precomputed")
def test_tensorstore_reads_what_we_write(chunkflow, pieces) -> None:
    chunkflow(f"{INFO} -e compressed_segmentation")
    chunkflow(BOX, pieces.load, "save-precomputed -v file://a")
    volume = open_with_tensorstore("neuroglancer_precomputed", "a")
    assert volume.domain.origin[:3] == (62, 61, 60)
    assert volume.dimension_units[0] == tensorstore.Unit("10 nm")
    assert np.array_equal(volume[..., 0].read().result().T, pieces.array[SLICES])


@pytest.mark.shows("save-h5")
def test_metadata_and_ids_in_an_hdf5_file(chunkflow, pieces) -> None:
    chunkflow(BOX, pieces.load, "save-h5 -f cut/")
    with h5py.File("cut/60-76_61-93_62-110.h5") as file:
        about = {name: file[name][:].tolist() for name in file if name != "main"}
    ids = sorted(set(pieces.array[SLICES].ravel().tolist()))
    assert about == {
        "voxel_offset": [60, 61, 62],
        "voxel_size": [10, 10, 10],
        "unique_nonzeros": ids,
    }


@pytest.mark.shows("save-pngs")
def test_pillow_reads_what_we_write(chunkflow, raw) -> None:
    chunkflow(BOX, raw.load, "save-pngs -o sections")
    names = [f"{z:05d}.png" for z in range(60, 76)]
    assert sorted(path.name for path in Path("sections").iterdir()) == names
    for name, section in zip(names, raw.array[SLICES], strict=True):
        assert np.array_equal(np.asarray(Image.open(f"sections/{name}")), section)


def write_pngs(array: np.ndarray) -> None:
    Path("sections").mkdir()
    for z, section in enumerate(array):
        Image.fromarray(section).save(f"sections/{z:05d}.png")


def write_h5(array: np.ndarray) -> None:
    with h5py.File("a.h5", "w") as file:
        file.create_dataset("volumes/em", data=array, chunks=(8, 16, 16), compression="gzip")


def write_volume(array: np.ndarray) -> None:
    options: dict[str, Any] = {
        "voxel_offset": (62, 61, 60),
        "chunk_size": (32, 32, 32),
        "layer_type": "image",
    }
    CloudVolume.from_numpy(
        array.T,
        f"file://{Path('a').absolute()}",
        resolution=(10, 10, 10),
        progress=False,
        **options,
    )


@pytest.mark.parametrize(
    ("reader", "write"),
    [
        pytest.param(
            "load-h5 -f a.h5 -d volumes/em -v 60 61 62",
            write_h5,
            marks=pytest.mark.shows("load-h5"),
        ),
        pytest.param(
            "load-npy -f a.npy -t 60 61 62",
            lambda a: np.save("a.npy", a),
            marks=pytest.mark.shows("load-npy"),
        ),
        pytest.param(
            "load-tif -f a.tif -v 60 61 62",
            lambda a: tifffile.imwrite("a.tif", a),
            marks=pytest.mark.shows("load-tif"),
        ),
        pytest.param(
            "load-nrrd -f a.nrrd -v 60 61 62",
            lambda a: nrrd.write("a.nrrd", a.T),
            marks=pytest.mark.shows("load-nrrd"),
        ),
        pytest.param(
            "load-png -p sections -t 60 61 62", write_pngs, marks=pytest.mark.shows("load-png")
        ),
        pytest.param(
            "load-precomputed -v file://a",
            write_volume,
            marks=pytest.mark.shows("load-precomputed"),
        ),
    ],
)
def test_we_read_what_the_libraries_of_the_formats_write(
    chunkflow, raw, reader: str, write: Callable[[np.ndarray], Any]
) -> None:
    """Reads a box of a file that starts at 60 61 62, and the whole file."""
    array = raw.array[60:92, 61:125, 62:142]
    write(array)
    chunkflow("create-bbox -s 61 70 80 -z 10 20 30", reader, "save-npy -f box.npy")
    assert np.array_equal(np.load("box.npy"), raw.array[61:71, 70:90, 80:110])
    chunkflow(reader, "save-npy -f whole.npy")
    assert np.array_equal(np.load("whole.npy"), array)


@pytest.mark.shows("load-zarr")
@pytest.mark.parametrize("version", [2, 3])
def test_we_read_what_zarr_python_writes(chunkflow, raw, version: int) -> None:
    zarr.create_array(
        "a.zarr",
        data=raw.array[:32, :64, :80],
        chunks=(8, 16, 16),
        zarr_format=version,
        fill_value=0,
    )
    chunkflow("create-bbox -s 1 10 20 -z 10 20 30", "load-zarr -f a.zarr", "save-npy -f box.npy")
    assert np.array_equal(np.load("box.npy"), raw.array[1:11, 10:30, 20:50])


@pytest.mark.shows("load-json")
def test_a_json_file_for_each_box(chunkflow, bodies) -> None:
    """A plugin keeps the largest neuron of each box. A JSON file of the box gives its id."""
    Path("keep.py").write_text(
        "import numpy as np\n\n\ndef execute(chunk, chosen):\n"
        "    return np.where(chunk.array == chosen['id'], chunk.array, 0)\n"
    )
    expected = {}
    for x in (60, 84):
        part = bodies.array[60:76, 60:92, x : x + 24]
        largest = int(np.bincount(part.ravel()).argmax())
        Path(f"about_60-76_60-92_{x}-{x + 24}.json").write_text(json.dumps({"id": largest}))
        expected[x] = part * (part == largest)
    chunkflow(
        "generate-tasks -b 60-76_60-92_60-108 -c 16 32 24",
        bodies.load,
        "load-json -f about_ -o chosen",
        "plugin -f keep -i chunk,chosen -o chunk",
        "save-npy -f kept_",
    )
    for x, part in expected.items():
        assert np.array_equal(np.load(f"kept_60-76_60-92_{x}-{x + 24}.npy"), part)
