from __future__ import annotations

from pathlib import Path

import boto3
import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.storage.flags import Flags

BOX = BoundingBox.parse("0-8_-4-4_10-20")


def test_a_flag_is_an_empty_file_named_by_its_box(tmp_path: Path) -> None:
    flags = Flags(f"{tmp_path}/new/done_", ".flag", adjust_size=2)
    assert flags.size(BOX) is None
    flags.mark(BOX)
    file = tmp_path / "new" / "done_-2-10_-6-6_8-22.flag"
    assert [*(tmp_path / "new").iterdir()] == [file]
    assert flags.size(BOX) == file.stat().st_size == 0


@pytest.mark.parametrize("prefix", ["done_", "sub/", "./sub/done_", ""])
def test_prefixes_are_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Flags(prefix).mark(BOX)
    assert (tmp_path / f"{prefix}{BOX}").stat().st_size == 0


def test_a_flag_never_empties_a_file(tmp_path: Path) -> None:
    """A prefix and suffix may be those of a result."""
    result = tmp_path / f"{BOX}.h5"
    result.write_text("voxels")
    Flags(f"{tmp_path}/", ".h5").mark(BOX)
    assert result.read_text() == "voxels"


def test_flags_in_object_storage_are_seen_by_all_workers(
    aws: dict[str, str], unique_name: str
) -> None:
    """Named defect of the peer: completion flags were local files only."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=unique_name)
    flags = Flags(f"s3://{unique_name}/flags/done_", ".flag")
    assert flags.size(BOX) is None
    flags.mark(BOX)
    assert flags.size(BOX) == 0
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=unique_name)["Contents"]] == [
        f"flags/done_{BOX}.flag"
    ]
    with pytest.raises(ConfigError, match="there is no such bucket"):
        Flags("s3://no-such-bucket-at-all/x").mark(BOX)


def test_without_a_box_there_is_no_name() -> None:
    with pytest.raises(ConfigError, match="there is no box"):
        Flags("a").size(None)
    with pytest.raises(ConfigError, match="leaves nothing of a box"):
        Flags("a", adjust_size=-5).name(BOX)
