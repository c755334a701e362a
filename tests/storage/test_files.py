from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from chunkflow_worker.errors import ConfigError, StorageUnavailable
from chunkflow_worker.storage.cloud import cloud_files
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.written_file import WrittenFile, checksum_of, noting
from tests.support.s3_semantics import S3Semantics


@pytest.fixture(params=["file", "mem", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path, unique_name: str) -> Files:
    """The same objects over a local folder, memory and S3."""
    if request.param == "file":
        return Files(str(tmp_path / "some folder"))
    if request.param == "s3":
        request.getfixturevalue("aws")
        boto3.client("s3").create_bucket(Bucket=unique_name)
    return Files(f"{request.param}://{unique_name}/folder")


def test_objects_come_back(files: Files) -> None:
    assert files.get_json("a.json") is None
    assert files.list() == []
    content = {"x": [1, None, "ä"]}
    files.put_json("a.json", content)
    files.put_json("-8-0_0-1_0-1.json", 2)
    assert files.get_json("a.json") == content
    assert list(files.get_jsons(["-8-0_0-1_0-1.json", "absent", "a.json"])) == [2, None, content]
    assert sorted(files.list()) == ["-8-0_0-1_0-1.json", "a.json"]
    files.put_json("a.json", 3)
    assert files.get_json("a.json") == 3
    files.delete("a.json")
    files.delete("a.json")
    assert files.list() == ["-8-0_0-1_0-1.json"]


def test_objects_in_folders_below_are_not_listed(files: Files) -> None:
    Files(f"{files.path}/below").put_json("b.json", 1)
    files.put_json("a.json", 1)
    assert "b.json" not in files.list()
    assert [n for n in files.list() if n.endswith(".json")] == ["a.json"]


def test_many_objects_at_once(files: Files) -> None:
    for i in range(30):
        files.put_json(f"{i}.json", i)
    assert list(files.get_jsons([f"{i}.json" for i in range(40)])) == [*range(30), *[None] * 10]
    assert list(files.get_jsons([])) == []


def test_many_objects_at_once_as_bytes_and_by_prefix(files: Files) -> None:
    contents = {f"{i}:0:0-4": bytes([i]) * 9 for i in range(30)}
    files.put_all(contents, "application/octet-stream")
    assert files.get_all([*contents, "absent"]) == contents | {"absent": None}
    assert files.get_all([]) == {}
    assert sorted(files.list("2:")) == ["2:0:0-4"]
    assert sorted(files.list("2")) == sorted(n for n in contents if n.startswith("2"))


def test_which_of_some_objects_there_are(files: Files) -> None:
    names = ["0-4.json", "0-4.failed.json", "0-4.late.json"]
    assert files.present(names) == set()
    for name in ("0-4.json", "0-4.late.json", "0-4.other.json", "0-40.json"):
        files.put_json(name, 1)
    Files(f"{files.path}/0-4.failed.json").put_json("b.json", 1)
    assert files.present(names) == {"0-4.json", "0-4.late.json"}
    assert files.present(["0-40.json", "x"]) == {"0-40.json"}


def test_threads_may_share_it(files: Files) -> None:
    def write(i: int) -> None:
        files.put_json("same.json", {"text": str(i) * 10_000})

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    text = files.get_json("same.json")["text"]
    assert len(text) == 10_000
    assert len(set(text)) == 1
    assert files.list() == ["same.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"not json"])
def test_content_that_is_not_json_counts_as_absent(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert Files(str(tmp_path)).get_json("a.json") is None
    assert list(Files(str(tmp_path)).get_jsons(["a.json"])) == [None]


@pytest.mark.parametrize(
    "content", [b"[" * 100_000 + b"]" * 100_000, b"1" * 100_000, b'{"a":' * 5000]
)
def test_json_that_python_cannot_hold_counts_as_absent(files: Files, content: bytes) -> None:
    files.put("a.json", content, "application/json")
    assert files.get_json("a.json") is None
    assert list(files.get_jsons(["a.json", "a.json"])) == [None, None]


@pytest.mark.parametrize("gzip", [None, "gzip"])
def test_no_more_than_the_largest_size_is_read(files: Files, gzip: str | None) -> None:
    cloud = cloud_files(files.path)
    for name, content in (("fits", b'"' + b"a" * 98 + b'"'), ("not", b'"' + b"a" * 99 + b'"')):
        cloud.put(name, content, compress=gzip)
    cloud.put("bomb", b" " * 10**7 + b"1", compress=gzip)
    cloud.put("empty", b"", compress=gzip)
    names = ["fits", "not", "bomb", "empty", "absent", "fits"]
    found = list(files.get_jsons(names, largest=100))
    assert found == ["a" * 98, None, None, None, None, "a" * 98]
    assert [files.get_json(name, largest=100) for name in names] == found


@pytest.mark.parametrize("size", [2**16 - 1, 2**16, 2**16 + 1, 200_000])
def test_a_long_object_is_read_whole(files: Files, size: int) -> None:
    files.put("long", b'"' + b"a" * (size - 2) + b'"', "application/json")
    assert files.get_json("long", largest=size) == "a" * (size - 2)
    assert files.get_json("long", largest=size - 1) is None


def test_what_is_packed_in_another_way_counts_as_absent(files: Files) -> None:
    cloud_files(files.path).put("a", b"1", compress="zstd")
    cloud_files(files.path).put("b", b"no gzip", compress=None)
    assert list(files.get_jsons(["a", "b"], largest=100)) == [None, None]
    assert files.get_json("a") == 1


def test_an_empty_object_is_asked_for_once(real_s3: S3Semantics, unique_name: str) -> None:
    """S3 answers that an empty object has no such range, which no other attempt changes."""
    boto3.client("s3").create_bucket(Bucket=unique_name)
    files = Files(f"s3://{unique_name}")
    files.put("a", b"", "application/json")
    assert files.get_json("a", largest=9) is None
    assert real_s3.requests[f"GET /{unique_name}/a"] == 1


def test_a_folder_that_cannot_be_written_is_unavailable_storage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailable, match=r"file/a\.json"):
        Files(str(tmp_path / "file")).put_json("a.json", 1)


def test_the_size_is_that_of_the_stored_bytes(files: Files) -> None:
    assert files.size("a") is None
    files.put("a", b"12345", "application/octet-stream")
    assert files.size("a") == 5
    assert files.size("a/b") is None, "an object is no folder"


def test_sizes_times_and_checksums_of_many_objects(files: Files) -> None:
    contents = {"a": b"", "b": b"12345"}
    files.put_all(contents, "application/octet-stream")
    stored = files.stored([*contents, "absent"])
    assert {name: found and found.size for name, found in stored.items()} == {
        "a": 0,
        "b": 5,
        "absent": None,
    }
    if not files.path.startswith("mem://"):  # which keeps no times
        assert stored["b"] is not None
        age = datetime.now(UTC) - datetime.fromisoformat(stored["b"].time)
        assert timedelta(seconds=-2) < age < timedelta(minutes=1)
    assert files.checksums([*contents, "absent"]) == {
        "a": checksum_of(b""),
        "b": checksum_of(b"12345"),
        "absent": None,
    }
    assert files.stored([]) == files.checksums([]) == {}


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    files = Files(str(tmp_path))
    assert files.stored(["folder", "folder/a"]) == {"folder": None, "folder/a": None}
    assert files.checksums(["folder"]) == {"folder": None}


def test_what_is_written_is_noted_as_it_is_stored(files: Files) -> None:
    noted: dict[str, WrittenFile] = {}
    with noting(noted):
        files.put("a", b"12345", "text/plain")
        files.put_all({"b": b"1", "c": b""}, "text/plain")
        files.put_json("d", {})
        files.put_info({"scales": []})
    assert list(noted) == [f"{files.path}/{name}" for name in ("a", "b", "c", "d", "info")]
    assert noted.pop(f"{files.path}/info") == WrittenFile(f"{files.path}/info")
    for path, file in noted.items():
        name = path.rpartition("/")[2]
        stored = files.stored([name])[name]
        assert (file.size, file.stored) == stored
        assert file.crc32 == files.checksums([name])[name]


def test_what_is_not_stored_after_writing_is_an_error(
    aws: dict[str, str], unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    files = Files(f"s3://{unique_name}/folder")
    monkeypatch.setattr(Files, "stored", lambda self, names: dict.fromkeys(names))
    files.put("a", b"1", "text/plain")
    for content in ({"a": b"1"}, {"a": b"1", "b": b"2"}):
        with noting({}), pytest.raises(StorageUnavailable, match="/folder/a is not stored after"):
            files.put_all(content, "text/plain")


@pytest.mark.parametrize(
    "write",
    [
        lambda files: files.put_json("a", {}),
        lambda files: files.put_all({"a": b""}, "text/plain"),
        lambda files: files.delete("a"),
        lambda files: files.check_writable(),
    ],
    ids=["one", "many", "delete", "check"],
)
def test_a_web_address_is_read_only(write: Callable[[Files], None]) -> None:
    with pytest.raises(ConfigError, match="https://host/log: is read only"):
        write(Files("https://host/log"))


def test_all_objects_below_a_path_are_deleted_and_no_others(path: str) -> None:
    below, beside = Files(f"{path}/a"), Files(f"{path}/ab")
    for name in ("x", "b/y", "b/c/z"):
        below.put(name, b"1", "text/plain")
    beside.put("x", b"1", "text/plain")
    below.clear()
    assert [below.get(name) for name in ("x", "b/y", "b/c/z")] == [None] * 3
    assert beside.get("x") == b"1"
    below.clear()
