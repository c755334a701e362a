"""Local files: their names, errors when one is read, and writes of whole files."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from chunkflow_worker.errors import (
    ChunkMismatch,
    ConfigError,
    DataMissing,
    StorageFull,
    StorageUnavailable,
)
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.pipeline.operator import Run, find_operator
from chunkflow_worker.storage.local_file import (
    OneBoxPerFile,
    atomic_file,
    file_to_read,
    in_folder,
    local_name,
    reading,
    storage_error,
    task_file,
)

BOX = BoundingBox.parse("-8-56_0-64_128-192")
OTHER = BoundingBox.parse("56-120_0-64_128-192")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.tif", "a.tif"),
        ("a.TIFF", "a.TIFF"),
        ("out/", "out/-8-56_0-64_128-192.tif"),
        ("out/a_", "out/a_-8-56_0-64_128-192.tif"),
        ("", "-8-56_0-64_128-192.tif"),
        ("a.h5", "a.h5-8-56_0-64_128-192.tif"),
    ],
)
def test_a_name_without_the_ending_is_completed_by_the_box(name: str, file: str) -> None:
    assert task_file(name, BOX, ".tif", ".tiff") == Path(file)


def test_a_file_that_exists_is_read_whatever_its_ending(tmp_path: Path) -> None:
    """Named by the peer's tutorial: load-h5 --file-name sample_A.hdf."""
    file = tmp_path / "sample_A.hdf"
    named = Path(f"{file}{BOX}.h5")
    assert file_to_read(str(file), BOX, ".h5") == named
    file.touch()
    assert file_to_read(str(file), BOX, ".h5") == file_to_read(str(file), None, ".h5") == file
    assert task_file(str(file), BOX, ".h5") == named  # a file to write depends on its ending only


def test_a_tilde_is_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert local_name("~/em.h5") == "/home/ada/em.h5"


def test_a_folder_as_a_prefix_gets_a_slash(tmp_path: Path) -> None:
    assert in_folder(str(tmp_path)) == in_folder(f"{tmp_path}/") == f"{tmp_path}/"
    assert in_folder(f"{tmp_path}/em_") == f"{tmp_path}/em_"


def test_a_prefix_without_a_box_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'out/': is a prefix.*\n.*end it with \.h5"):
        task_file("out/", None, ".h5")


@pytest.mark.parametrize("name", ["s3://bucket/a.h5", "file:///a.h5"])
def test_an_address_is_not_a_local_name(name: str) -> None:
    with pytest.raises(ValueError, match="without a protocol"):
        local_name(name)


def test_a_whole_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a"
    with atomic_file(path) as part:
        part.write_text("all")
        assert not path.exists()
    assert path.read_text() == "all"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def fail() -> None:
        with atomic_file(path) as part:
            part.write_text("half")
            raise KeyError("boom")

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_retryable(tmp_path: Path) -> None:
    def fill() -> None:
        with atomic_file(tmp_path / "a") as part:
            part.write_text("half")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(StorageUnavailable, match=r"a cannot be written: No space left"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with (
        pytest.raises(StorageUnavailable, match="a/b cannot be written: Not a directory"),
        atomic_file(tmp_path / "a" / "b"),
    ):
        pass


@pytest.mark.parametrize(
    ("raised", "reported", "text"),
    [
        (FileNotFoundError(errno.ENOENT, "x"), DataMissing, "there is no file a.h5"),
        (IsADirectoryError(errno.EISDIR, "x"), DataMissing, "there is no file a.h5"),
        (OSError(errno.EIO, "x"), StorageUnavailable, "a.h5 cannot be read: Input/output error"),
        (OSError("bad signature"), DataMissing, "a.h5 cannot be read as HDF5: bad signature"),
        (KeyError("x"), DataMissing, "a.h5 cannot be read as HDF5"),
        (
            ValueError("invalid literal for int() with base 10: '1e'"),
            DataMissing,
            "it has '1e' where a number belongs",
        ),
        (
            ValueError("could not convert string to float: '4,0'"),
            DataMissing,
            "it has '4,0' where a number belongs",
        ),
        (ChunkMismatch("ours"), ChunkMismatch, "^ours$"),
        (MemoryError("full"), MemoryError, "^full$"),
    ],
)
def test_errors_of_a_library_are_translated(
    raised: Exception, reported: type[Exception], text: str
) -> None:
    with pytest.raises(reported, match=text), reading(Path("a.h5"), "HDF5"):
        raise raised


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("emm.h5", r"did you mean .*/em\.h5\?"),
        ("em.hdf5", r"did you mean .*/em\.h5\?"),
        ("other/em.h5", "/.* has no other$"),
        ("other/deeper/em.h5", "/.* has no other$"),
        ("folder", "it is a folder; name a file in it"),
        ("nothing.tif", "check the path"),
    ],
)
def test_a_file_that_does_not_exist_has_a_cure(tmp_path: Path, name: str, cure: str) -> None:
    (tmp_path / "em.h5").touch()
    (tmp_path / "folder").mkdir()
    path = tmp_path / name
    with (
        pytest.raises(DataMissing, match=rf"there is no file .*{name}: {cure}"),
        reading(path, "HDF5"),
    ):
        path.read_bytes()


def test_one_file_is_not_written_for_two_boxes() -> None:
    files = OneBoxPerFile(cure="use a prefix")
    files.claim(Path("a.h5"), BOX)
    files.claim(Path("a.h5"), BOX)
    files.claim(Path("b.h5"), OTHER)
    with pytest.raises(ConfigError, match=rf"a.h5.*{OTHER}.*overwrite.*{BOX}\n.*use a prefix"):
        files.claim(Path("a.h5"), OTHER)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("save-h5", {"file_name": "out.h5"}),
        ("save-npy", {"file_name": "out.npy"}),
        ("save-nrrd", {"file_name": "out.NRRD"}),
        ("save-tif", {"file_name": "out.tiff"}),
        ("save-points", {"file_path": "out.h5"}),
        ("save-synapses", {"file_path": "out.json"}),
    ],
)
def test_workers_refuse_one_file_for_all_boxes(name: str, options: dict[str, str]) -> None:
    """Each of them would overwrite the boxes of the others."""
    ((option, value),) = options.items()
    run = Run(needed_box=lambda box, bounds: box, recorded=True)
    text = f"(?s){option}.*'{value}'.*workers would overwrite it.*it is then a prefix"
    with pytest.raises(ConfigError, match=text):
        find_operator(name)(**options).open(run).__enter__()
    with find_operator(name)(**{option: "prefix_"}).open(run):
        pass


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (OSError(errno.ENOSPC, "x"), StorageFull),
        (OSError(errno.EDQUOT, "x"), StorageFull),
        (OSError(errno.EROFS, "x"), StorageFull),
        (OSError(errno.EIO, "x"), StorageUnavailable),
        (ValueError("x"), StorageUnavailable),
    ],
)
def test_a_full_or_read_only_disk_has_its_own_error(cause: Exception, kind: type) -> None:
    assert type(storage_error("text", cause)) is kind


@pytest.mark.parametrize("name", ["em.hdf5", "em", "folder/em.npz"])
def test_a_file_that_is_missing_is_no_unfinished_prefix(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no such file, .*\n.*check the path, or give"):
        file_to_read(f"{tmp_path}/{name}", None, ".h5")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (KeyError("dimension"), "it lacks 'dimension'$"),
        (IndexError("list index out of range"), "it is damaged"),
        (ZeroDivisionError("integer division or modulo by zero"), "it is damaged"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "invalid start byte"), "it is damaged"),
        (TypeError("int() argument must be a string"), "it is damaged"),
        (ValueError("not enough values to unpack (expected 7, got 3)"), "it is damaged"),
        (ValueError("cannot reshape array of size 9 into shape (3,4)"), "it is damaged"),
        (ValueError("mmap length is greater than file size"), "its end is missing"),
        (ValueError("bad IDAT"), "bad IDAT$"),
    ],
)
def test_errors_of_a_librarys_code_become_words_about_the_file(
    tmp_path: Path, error: Exception, cause: str
) -> None:
    path = tmp_path / "a.png"
    text = f"a.png cannot be read as PNG: {cause}"
    with pytest.raises(DataMissing, match=text), reading(path, "PNG"):
        raise error
