"""Mistakes with files, volumes, nets, pipelines and queues. Each ends with status 2 and a cure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from chunkflow_worker.cli.chunkflow import cli as chunkflow
from chunkflow_worker.config.commands import run_command
from producer.cli.options import sqs_client
from producer.send.queue import create_queue, delete_queue
from tests.support.mistakes import told

TASK = "create-bbox -s 0 0 0 -z 8 32 32"
NET = "inference -f pytorch -s 8 16 16 -v 0 0 0 -c 1"

# (what was done wrong, the command line, words that name the cure)
MISTAKES = [
    # Names and options
    ("an operator mistyped", "chunkflow laod-h5 -f em.h5", "load-h5"),
    ("an option mistyped", "chunkflow load-h5 --flie-name em.h5", "--file-name"),
    ("a required option left out", "chunkflow load-h5", "--file-name"),
    ("text for a number", "chunkflow create-chunk -s 8 a 32", "a"),
    ("too few numbers", "chunkflow create-chunk -s 8 32", "3"),
    ("a size of 0", "chunkflow create-chunk -s 0 32 32", "above 0"),
    ("no operator at all", "chunkflow --dry-run", "--help"),
    ("two makers of tasks", f"chunkflow {TASK} {TASK} create-chunk", "only one"),
    ("a value that nobody made", "chunkflow load-h5 -f em.h5 threshold -i map", "chunk"),
    ("no value before it is used", "chunkflow threshold", "made"),
    ("a choice that is none", "chunkflow create-chunk -d uint9", "uint8"),
    ("0 tasks in flight", f"chunkflow --in-flight 0 {TASK} create-chunk", "1"),
    ("a box that is no box", "chunkflow generate-tasks -b 0-8_0-32 create-chunk", "z0-z1_y0-y1"),
    # Files
    ("a file that is not there", "chunkflow load-h5 -f nope.h5", "check the path"),
    ("a dataset that is not there", "chunkflow load-h5 -f em.h5 -d volumes/raw", "main"),
    ("several datasets", "chunkflow load-h5 -f several.h5", "labels"),
    ("a TIFF as HDF5", "chunkflow load-h5 -f em.tif", "HDF5"),
    ("an HDF5 as TIFF", "chunkflow load-tif -f em.h5", "TIFF"),
    ("text as NumPy", "chunkflow load-npy -f text.npy", "NumPy"),
    ("Python objects in NumPy", "chunkflow load-npy -f objects.npy", "objects"),
    ("a NumPy file whose header is damaged",
     "chunkflow load-npy -f header.npy", "its header is damaged"),
    ("words in an NRRD header", "chunkflow load-nrrd -f words.nrrd", "where a number belongs"),
    ("half of a JSON file", "chunkflow load-json -f half.json", "line 1, column 2"),
    ("a row of SWC that is too short", "chunkflow load-skeleton -p 7.swc", "SWC has 7"),
    ("a node of SWC without its parent", "chunkflow load-skeleton -p 8.swc", "parent 5"),
    ("text in SWC", "chunkflow load-skeleton -p 9.swc", "'a' where a number belongs"),
    ("boxes in no NumPy file",
     "chunkflow fetch-task-from-file -f text.npy create-chunk", "rows of z0 y0 x0"),
    ("an info that is cut", "chunkflow load-precomputed -v cut", "restore it"),
    ("the info of a volume", "chunkflow load-precomputed -v em/info", "did you mean em?"),
    ("a bucket without its protocol",
     "chunkflow create-chunk save-zarr -s lab.s3.amazonaws.com/em", "s3://lab/em"),
    ("a path of Windows", r"chunkflow create-chunk save-zarr -s 'C:\em'", "begins with /"),
    ("a picture in colour", "chunkflow load-png -p colour/", "colour"),
    ("a section missing", "chunkflow load-png -p gap/", "missing"),
    ("a cutout beyond the file", "chunkflow load-h5 -f em.h5 -t 0 0 0 -s 99 32 32", "inside"),
    ("a box beyond the file",
     "chunkflow create-bbox -s 99 0 0 -z 8 32 32 load-h5 -f em.h5", "outside"),
    ("channels of none", "chunkflow load-h5 -f em.h5 -c 3", "channels"),
    ("a folder that is a file", "chunkflow load-h5 -f em.h5 save-h5 -f text.npy/o.h5", "text.npy"),
    ("one file for all boxes",
     "chunkflow generate-tasks -b 0-8_0-32_0-32 -c 8 16 16 create-chunk save-h5 -f one.h5",
     "prefix"),
    # Places
    ("a volume that is not there", "chunkflow load-precomputed -v file://nope", "check the path"),
    ("a mip that is not there",
     f"chunkflow {TASK} load-precomputed -v file://em -m 7", "mip 0 alone"),
    ("a box outside the volume",
     "chunkflow create-bbox -s 99 0 0 -z 8 32 32 load-precomputed -v em", "outside"),
    ("an output that is not there",
     f"chunkflow {TASK} create-chunk save-precomputed -v file://nope", "create-volume"),
    ("boxes that share blocks",
     "chunkflow create-bbox -s 0 0 0 -z 8 24 32 create-chunk -s 8 24 32 save-precomputed -v em",
     "multiples"),
    ("a slash lost",
     f"chunkflow {TASK} create-chunk save-precomputed -v s3:/lab/out", "s3://lab/out"),
    ("an unknown protocol", f"chunkflow {TASK} load-precomputed -v ftp://lab/em", "s3://"),
    ("a variable not expanded",
     f"chunkflow {TASK} create-chunk save-precomputed -v '$OUT/em'", "OUT"),
    ("an output on the web",
     f"chunkflow {TASK} create-chunk save-precomputed -v http://127.0.0.1:9/em", "read"),
    ("no Zarr", f"chunkflow {TASK} load-volume -v zarr://em", "there is no zarr volume here"),
    ("precomputed as Zarr", f"chunkflow {TASK} load-zarr -f precomputed://em", "load-volume"),
    ("a graph as a volume",
     f"chunkflow {TASK} load-precomputed -v graphene://https://127.0.0.1:9/table", "graphene"),
    ("another volume at this place",
     "chunkflow create-info -v em -z 9 9 9 -b 9 9 9", "another path"),
    ("an encoding that does not take the type",
     "chunkflow create-info -v new -z 8 8 8 -b 8 8 8 -e jpeg -d float32", "uint8"),
    # Values
    ("ids that do not fit", "chunkflow load-h5 -f ids.h5 save-precomputed -v em", "uint64"),
    ("a mesh of an image", "chunkflow load-h5 -f em.h5 mesh -o file://meshes", "segmentation"),
    ("a skeleton of an image", "chunkflow load-h5 -f em.h5 skeletonize -o s", "segmentation"),
    ("boxes that differ",
     "chunkflow load-h5 -f em.h5 load-h5 -f small.h5 -o m multiply -m m", "same box"),
    ("a margin larger than the chunk", "chunkflow load-h5 -f em.h5 crop-margin -m 9 9 9", "margin"),
    # Nets and plugins
    ("a net that is not there", f"chunkflow load-h5 -f em.h5 {NET} -m nope.py", "nope.py"),
    ("a file without a net", f"chunkflow load-h5 -f em.h5 {NET} -m empty.py", "InstantiatedModel"),
    ("weights of another net",
     f"chunkflow load-h5 -f em.h5 {NET} -m net.py -w other.pt", "of another shape"),
    ("a net of 2D", f"chunkflow load-h5 -f em.h5 {NET} -m flat.py", "2D"),
    ("a net that is random",
     f"chunkflow load-h5 -f em.h5 {NET} -m random_net.py", "--allow-random"),
    ("several outputs", f"chunkflow load-h5 -f em.h5 {NET} -m several.py", "post_process"),
    ("a patch larger than the chunk",
     "chunkflow load-h5 -f em.h5 inference -f identity -s 16 64 64 -v 0 0 0 -c 1", "patch"),
    ("an overlap as large as the patch",
     "chunkflow load-h5 -f em.h5 inference -f identity -s 8 16 16 -v 8 16 16 -c 1", "overlap"),
    ("a framework that is none",
     "chunkflow load-h5 -f em.h5 inference -f tensorflow -s 8 16 16", "pytorch"),
    ("a plugin that is not there",
     "chunkflow load-h5 -f em.h5 plugin -f nope", "CHUNKFLOW_PLUGIN_DIR"),
    # Pipeline files
    ("a pipeline file that is not there", "chunkflow-worker check nope.yaml", "nope.yaml"),
    ("a pipeline file that is no YAML", "chunkflow-worker check broken.yaml", "indentation"),
    ("a key twice", "chunkflow-worker check twice.yaml", "line"),
    ("an operator mistyped in a file", "chunkflow-worker check mistyped.yaml", "save-h5"),
    ("a number that YAML changes", "chunkflow-worker check number.yaml", "quotes"),
    ("a variable in a file", "chunkflow-worker check variable.yaml", "${env:OUT}"),
    ("a web output in a file", "chunkflow-worker check web.yaml", "read"),
    # The producer
    ("no queue of this name",
     "chunkflow-producer status --queue nope --ledger log", "queue create"),
    ("a FIFO queue", "chunkflow-producer queue create jobs.fifo", "FIFO"),
    ("a dead-letter queue", "chunkflow-producer redrive --queue jobs-dead", "give jobs"),
    ("no grid",
     "chunkflow-producer enqueue --queue jobs --pipeline good.yaml",
     "give a volume path, a bounding box"),
    ("a box that is no box, enqueued",
     "chunkflow-producer enqueue --queue jobs --pipeline good.yaml -b 0-8", "z0-z1_y0-y1"),
    ("boxes that share blocks, enqueued",
     "chunkflow-producer enqueue --queue jobs --pipeline good.yaml -b 0-8_0-32_0-32 -c 8 24 24",
     "--force"),
    ("a ledger without a job", "chunkflow-producer verify --ledger log", "has no job"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files and volumes that the command lines name."""
    folder = tmp_path_factory.mktemp("mistakes")
    image = np.random.default_rng(0).integers(0, 255, (8, 32, 32), np.uint8)
    ids = np.full(image.shape, 2**40, np.uint64)
    _h5(folder / "em.h5", main=image)
    _h5(folder / "ids.h5", main=ids)
    _h5(folder / "small.h5", main=image[:, :16])
    _h5(folder / "several.h5", labels=ids, image=image)
    tifffile.imwrite(folder / "em.tif", image)
    (folder / "text.npy").write_text("z y x\n")
    np.save(folder / "objects.npy", np.array([{"a": 1}], object))
    (folder / "header.npy").write_bytes(b"\x93NUMPY\1\0v\0{'descr': '<q9'}")
    (folder / "words.nrrd").write_text("NRRD0005\ntype: uint8\ndimension: three\n\n")
    (folder / "half.json").write_text("{")
    for number, row in ((7, "1 2 3"), (8, "1 0 0 0 0 1 5"), (9, "1 0 a 0 0 1 -1")):
        (folder / f"{number}.swc").write_text(f"{row}\n")
    for name, mode, numbers in (("colour", "RGB", (0, 1)), ("gap", "L", (0, 2))):
        (folder / name).mkdir()
        for z in numbers:
            colour = (9, 99, 199) if mode == "RGB" else 9
            Image.new(mode, (32, 32), colour).save(folder / name / f"{z:05}.png")
    _nets(folder)
    _pipelines(folder)
    create = f"create-info -v {folder}/em -z 8 32 32 -b 8 16 16 -d uint8 -t image"
    assert run_command(chunkflow, "chunkflow", create.split()) == 0
    info = (folder / "em" / "info").read_text()
    (folder / "cut").mkdir()
    (folder / "cut" / "info").write_text(info[:-9])
    return folder


def _h5(path: Path, **datasets: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        for name, array in datasets.items():
            file[name] = array


def _nets(folder: Path) -> None:
    import torch

    head = "import torch\nfrom torch import nn\n"
    (folder / "empty.py").write_text(head)
    (folder / "net.py").write_text(f"{head}InstantiatedModel = nn.Conv3d(1, 1, 1)\n")
    (folder / "flat.py").write_text(f"{head}InstantiatedModel = nn.Conv2d(1, 1, 3, padding=1)\n")
    for name, result in (
        ("random_net", "nn.functional.dropout(self.conv(x))"),
        ("several", "{'half': self.conv(x)[..., ::2, ::2], 'whole': self.conv(x)}"),
    ):
        (folder / f"{name}.py").write_text(
            f"{head}class Net(nn.Module):\n"
            "    def __init__(self):\n"
            "        super().__init__()\n"
            "        self.conv = nn.Conv3d(1, 1, 1)\n"
            f"    def forward(self, x):\n        return {result}\n"
            "InstantiatedModel = Net()\n"
        )
    torch.save(torch.nn.Linear(2, 2).state_dict(), folder / "other.pt")


def _pipelines(folder: Path) -> None:
    files = {
        "good": [
            "{op: create-chunk, size: [8, 16, 16]}",
            "{op: save-precomputed, volume_path: em}",
        ],
        "broken": ["{op: create-chunk"],
        "twice": ["{op: create-chunk, size: [1, 1, 1], size: [2, 2, 2]}"],
        "mistyped": ["{op: create-chunk}", "{op: svae-h5, file_name: o_}"],
        "number": ["{op: create-chunk}", "{op: save-h5, file_name: 007}"],
        "variable": ["{op: create-chunk}", "{op: save-zarr, store: '${OUT}/o.zarr'}"],
        "web": ["{op: create-chunk}", "{op: save-precomputed, volume_path: 'https://lab.org/em'}"],
    }
    for name, operators in files.items():
        text = "operators:\n" + "".join(f"  - {operator}\n" for operator in operators)
        (folder / f"{name}.yaml").write_text(text)


@pytest.fixture(scope="module")
def jobs(aws: dict[str, str]) -> Iterator[None]:
    """A queue with its dead-letter queue, in the local AWS."""
    client = sqs_client()
    create_queue(client, "jobs")
    yield
    delete_queue(client, "jobs")


def test_there_are_sixty_and_more() -> None:
    assert len({line for _, line, _ in MISTAKES}) == len(MISTAKES) >= 60


@pytest.mark.parametrize(("line", "cure"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
@pytest.mark.usefixtures("jobs")
def test_a_mistake_ends_with_status_2_and_the_cure(
    line: str,
    cure: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert cure in told(line, capsys)
