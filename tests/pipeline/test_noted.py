from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.errors import DataMissing
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from chunkflow_worker.volumes.zarr.volume import open_zarr
from tests.support.two_boxes import BOUNDS, FIRST, SECOND, TwoBoxes

SKIP = {"op": "skip-all-zero"}
WRITER = """
from pathlib import Path
{imports}
def execute(bbox, output_path=None):
    {write}
"""


@pytest.fixture
def job(tmp_path: Path) -> TwoBoxes:
    return TwoBoxes(tmp_path)


@pytest.fixture
def half_empty(job: TwoBoxes) -> TwoBoxes:
    """The image is zero in the first box."""
    em = PrecomputedVolume(f"file://{job.folder}/em").read(BOUNDS)
    em[:9] = 0  # and what the operators on objects read after it
    PrecomputedVolume(f"file://{job.folder}/em").write(BOUNDS, em)
    return job


def plugin(job: TwoBoxes, write: str, imports: str = "", **options: Any) -> dict[str, Any]:
    path = job.folder / "own.py"
    path.write_text(WRITER.format(write=write, imports=imports))
    return {"op": "plugin", "file": str(path), "input_names": "bbox", **options}


def test_a_record_names_each_file_once_and_those_that_must_not_exist(job: TwoBoxes) -> None:
    out = job.folder / "out"
    save = {"op": "save-npy", "file_name": f"{out}/c_"}
    first, second = job.work(job.load(), save, {**save, "name": "again"})
    path = f"file://{out}/c_{FIRST}.npy"
    assert [file.path for file in first.files] == first.no_files == [path]
    assert [file.path for file in second.files] == [f"file://{out}/c_{SECOND}.npy"]
    assert first.unchecked == first.unseen == []
    assert first.files[0].size == (out / f"c_{FIRST}.npy").stat().st_size


def test_a_box_without_objects_has_no_fragments(
    job: TwoBoxes, capsys: pytest.CaptureFixture[str]
) -> None:
    out = job.folder / "mesh"
    load, mesh = job.load("seg"), {"op": "mesh", "output_path": f"file://{out}"}
    job.work(load, mesh)
    assert {p.name.partition(":")[0] for p in out.glob("*:0:*_0-8")} == {"7", "9"}
    PrecomputedVolume(f"file://{job.folder}/seg").write(BOUNDS, np.zeros(BOUNDS.size, np.uint32))
    first, _ = job.work(load, mesh)
    assert first.no_files == [f"file://{out}/*:0:0-16_0-16_0-8"]
    assert [file.path for file in first.files] == [f"file://{out}/info"]

    status, report = job.verify(capsys)
    detail = "of another run: the task wrote no such file"
    left = ["7:0:0-16_0-16_0-8", "9:0:0-16_0-16_0-8"]
    problem = {"box": FIRST, "kind": "stale", "volume": f"file://{out}", "detail": detail}
    assert (status, report["problems"][0]) == (1, problem | {"blocks": left})
    assert job.left_out(capsys) == 0
    for path in out.glob("*:0:*"):
        path.unlink()
    assert job.verify(capsys)[0] == job.verify(capsys, "--quick")[0] == 0
    assert job.left_out(capsys) == 2


@pytest.mark.parametrize(
    ("save", "left"),
    [
        ({"op": "save-h5", "file_name": "{out}/c_"}, "c_{box}.h5"),
        ({"op": "mark-complete", "prefix": "{out}/"}, "{box}"),
        ({"op": "skeletonize", "fragments_path": "{out}"}, "12:0-16_0-16_0-8"),
        ({"op": "mesh", "output_path": "{out}", "output_format": "obj"}, "5_{box}.obj"),
    ],
    ids=lambda value: value["op"] if isinstance(value, dict) else "",
)
def test_a_box_that_is_skipped_as_empty_has_no_files(
    half_empty: TwoBoxes, save: dict[str, str], left: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job, out = half_empty, half_empty.folder / "out"
    save = {key: text.format(out=out) for key, text in save.items()}
    to_ids = {"op": "load-precomputed", "volume_path": f"file://{job.folder}/seg"}
    first, _ = job.work(job.load(), SKIP, to_ids, save)
    assert (first.state, first.files, first.unchecked) == ("skipped", [], [])
    assert job.verify(capsys)[0] == 0
    assert job.left_out(capsys) == 2
    out.mkdir(exist_ok=True)
    (out / left.format(box=FIRST)).write_bytes(b"of an earlier run")
    status, report = job.verify(capsys)
    assert (status, report["problems"][0]["blocks"]) == (1, [left.format(box=FIRST)])
    assert job.left_out(capsys) == 1


@pytest.mark.parametrize("driver", ["zarr", "zarr3", "n5"])
def test_a_box_that_is_skipped_as_empty_has_no_blocks_in_an_array(
    half_empty: TwoBoxes, driver: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job, store = half_empty, f"file://{half_empty.folder}/out"
    save = {"op": "save-zarr", "store": store, "driver": driver, "chunk_size": [8, 8, 8]}
    first, _ = job.work(job.load(), SKIP, save)
    assert [written.empty for written in first.written] == [True]
    assert job.verify(capsys)[0] == job.verify(capsys, "--quick")[0] == 0
    array = open_zarr(store)
    assert array is not None
    box = BoundingBox.parse(FIRST)
    array.write(box, np.ones(box.size, np.uint8))
    for options in ([], ["--quick"]):
        status, report = job.verify(capsys, *options)
        assert (status, {p["kind"] for p in report["problems"]}) == (1, {"stale"})


def test_a_box_that_is_skipped_for_another_reason_is_not_checked(
    job: TwoBoxes, capsys: pytest.CaptureFixture[str]
) -> None:
    (job.folder / FIRST).touch()
    skip = {"op": "skip-task-by-file", "prefix": f"{job.folder}/"}
    save = {"op": "save-h5", "file_name": f"{job.folder}/out/c_"}
    first, second = job.work(job.load(), skip, save)
    assert (first.state, first.no_files, first.unchecked) == ("skipped", [], ["save-h5"])
    assert second.state == "done"
    status, report = job.verify(capsys)
    assert (status, report["not_checked"]) == (3, 1)
    assert report["problems"][0]["detail"].startswith("of save-h5; skipped: ")


def test_what_a_plugin_writes_is_checked_if_it_writes_whole_files(
    job: TwoBoxes, capsys: pytest.CaptureFixture[str]
) -> None:
    out = job.folder / "out"
    write = f"with atomic_file(Path('{out}', str(bbox))) as part: part.write_text('x')"
    imports = "from chunkflow_worker.api import atomic_file"
    first, _ = job.work(job.load(), plugin(job, write, imports))
    assert [file.path for file in first.files] == [f"file://{out}/{FIRST}"]
    assert first.unseen == []
    status, report = job.verify(capsys)
    detail = "its record names a path that the pipeline does not write"
    assert (status, report["problems"][0]["detail"]) == (3, detail)
    assert report["problems"][0]["volume"] == f"file://{out}/{FIRST}"
    assert report["seen"] == {"files that are not checked": 2}

    job.work(job.load(), plugin(job, write, imports, output_path=f"{out}/"))
    assert job.verify(capsys)[0] == 0
    assert job.left_out(capsys) == 2


def test_a_plugin_notes_files_that_others_write_for_it(
    job: TwoBoxes, capsys: pytest.CaptureFixture[str]
) -> None:
    out = job.folder / "out"
    write = (
        "for n in range(2): Path(output_path, f'{bbox}.{n}').write_text(str(n))\n"
        "    note_files(*(Path(output_path, f'{bbox}.{n}') for n in range(2)))"
    )
    imports = "from chunkflow_worker.api import note_files"
    out.mkdir()
    first, _ = job.work(job.load(), plugin(job, write, imports, output_path=f"{out}/"))
    assert [file.path for file in first.files] == [f"file://{out}/{FIRST}.{n}" for n in range(2)]
    assert first.unseen == first.unchecked == []
    assert job.verify(capsys)[0] == job.verify(capsys, "--quick")[0] == 0
    assert job.left_out(capsys) == 2
    (out / f"{FIRST}.1").write_text("2")
    status, report = job.verify(capsys)
    assert (status, report["problems"][0]["blocks"]) == (1, [f"{FIRST}.1"])


def test_a_plugin_may_say_that_it_wrote_nothing(
    job: TwoBoxes, capsys: pytest.CaptureFixture[str]
) -> None:
    save = {"op": "save-npy", "file_name": f"{job.folder}/out/c_"}
    tell = plugin(job, "note_files()", "from chunkflow_worker.api import note_files")
    for options in ({}, {"output_path": f"{job.folder}/own/"}):
        first, _ = job.work(job.load(), tell | options, save)
        assert first.unseen == first.unchecked == []
        assert job.verify(capsys)[0] == 0


def test_a_plugin_that_notes_nothing_below_its_output_path_is_not_checked(
    job: TwoBoxes, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = job.work(job.load(), plugin(job, "pass", output_path=f"{job.folder}/own/"))
    assert (first.unseen, first.unchecked) == ([], ["plugin"])
    assert job.verify(capsys)[0] == 3


def test_a_file_that_a_plugin_notes_and_has_not_written_fails_the_task(job: TwoBoxes) -> None:
    imports = "from chunkflow_worker.api import note_files"
    own = plugin(job, f"note_files('{job.folder}/absent')", imports)
    with pytest.raises(DataMissing, match="absent, which was noted as written"):
        job.work(job.load(), own)


def test_what_else_a_plugin_writes_is_not_known(
    job: TwoBoxes, capsys: pytest.CaptureFixture[str]
) -> None:
    write = plugin(job, f"Path('{job.folder}', f'own {{bbox}}').touch()")
    first, _ = job.work(job.load(), write)
    assert (first.files, first.unseen) == ([], ["plugin"])
    status, report = job.verify(capsys)
    detail = "of plugin, which may have written files"
    assert (status, report["problems"][0]["detail"]) == (3, detail)
    assert job.left_out(capsys) == 0

    job.work(job.load(), write, {"op": "save-npy", "file_name": f"{job.folder}/out/c_"})
    for options in ([], ["--quick"]):
        status, report = job.verify(capsys, *options)
        assert (status, {p["detail"] for p in report["problems"]}) == (3, {detail})
    seen = report["seen"]
    assert seen["boxes where plugin may have written files, which are not checked"] == 2
    assert job.left_out(capsys) == 0


def test_a_record_has_room_for_so_many_files(
    job: TwoBoxes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkflow_worker.service.attempt._ROOM_FOR_FILES", 400)
    save = {"op": "save-pngs", "output_path": f"{job.folder}/out"}
    first, _ = job.work(job.load(), save)
    assert (first.files, first.no_files) == ([], [])
    assert first.unchecked == ["8 files, too many for a record"]
    assert job.verify(capsys)[0] == 3
