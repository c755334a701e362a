from __future__ import annotations

from typing import Any

import pytest

from chunkflow_worker.job import many_objects as module
from chunkflow_worker.job.many_objects import get_jsons
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.zarr import read_listed

NAMES = [f"{z}_{y}_{x}.json" for z in range(2) for y in range(2) for x in range(20)]
LARGEST = 1000


@pytest.fixture
def files(path: str) -> Files:
    """Objects of all kinds, two of which are absent."""
    files = Files(path)
    for n, name in enumerate(NAMES):
        if n % 40 != 39:
            files.put(name, b'{"n": %d}' % n, "application/json")
    files.put(NAMES[3], b"", "application/json")
    files.put(NAMES[4], b"no json", "application/json")
    files.put(NAMES[5], b'"%s"' % (b"x" * LARGEST), "application/json")
    return files


def expected() -> list[Any]:
    absent = {3, 4, 5, 39, 79}
    return [None if n in absent else {"n": n} for n in range(len(NAMES))]


def test_many_are_read_as_a_few_are(files: Files) -> None:
    assert list(get_jsons(files, NAMES, LARGEST)) == expected()
    assert list(get_jsons(files, NAMES[:10], LARGEST)) == expected()[:10]
    assert list(get_jsons(files, [], LARGEST)) == []


@pytest.mark.parametrize("path", ["s3"], indirect=True)
@pytest.mark.parametrize("content", [b'{"n": "new and longer"}', b'{"n":2}', b'{"n": 7}', b""])
def test_what_is_written_after_the_listing_is_read_anew(
    files: Files, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    read = read_listed.read_listed

    def read_later(place: str, listed: Any) -> Any:
        listed = list(listed)
        files.put(NAMES[2], content, "application/json")
        return read(place, listed)

    monkeypatch.setattr(read_listed, "read_listed", read_later)
    found = list(get_jsons(files, NAMES, LARGEST))
    anew = next(files.get_jsons([NAMES[2]], LARGEST))
    assert found == [*expected()[:2], anew, *expected()[3:]]


def test_the_names_of_a_row_or_a_layer_are_listed_together() -> None:
    rows = [f"{z}_{y}_{x}.json" for z in range(2) for y in range(40) for x in range(4)]
    assert module._prefixes(rows) == ["0_", "1_"]
    assert module._prefixes(rows[:20]) == []
    assert module._prefixes(NAMES) == ["0_0_", "0_1_", "1_0_", "1_1_"]
    assert module._prefixes([f"{z}_0_0.json" for z in range(100)]) == []
