from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.record import Written
from producer.look.left_last import RecordMismatch, left_last


@dataclass
class FakeVolume:
    """Its grid of blocks, without voxels."""

    bounds: BoundingBox
    path: str = "s3://b/v"
    block_size: Vec3 = field(default_factory=lambda: Vec3(4, 4, 2))


SMALL = FakeVolume(BoundingBox.parse("0-4_0-4_0-10"))


def write(x: str, empty: bool = False) -> Written:
    return Written("s3://b/v", 0, f"0-4_0-4_{x}", empty=empty)


def left(*writes: Written) -> list[tuple[str, dict[int, int], bool]]:
    """For each part: its box, the places of its blocks by their start, and whether it is whole."""
    return [
        (str(part.box)[8:], {b.start.x: n for b, n in part.blocks.items()}, part.is_whole)
        for part in left_last(SMALL, writes)
    ]


def test_one_write_leaves_all_its_blocks() -> None:
    assert left(write("2-8")) == [("2-8", {2: 0, 4: 1, 6: 2}, True)]


def test_later_writes_replace_what_they_cover() -> None:
    assert left(write("0-8"), write("4-10")) == [
        ("0-8", {0: 0, 2: 1}, False),
        ("4-10", {4: 0, 6: 1, 8: 2}, True),
    ]
    assert left(write("0-4"), write("0-4")) == [("0-4", {0: 0, 2: 1}, True)]
    assert left(write("0-6"), write("0-2"), write("0-4")) == [
        ("0-6", {4: 2}, False),
        ("0-4", {0: 0, 2: 1}, True),
    ]


def test_where_nothing_was_written_an_earlier_write_stays() -> None:
    assert left(write("0-4"), write("0-8", empty=True)) == [
        ("0-4", {0: 0, 2: 1}, True),
        ("0-8", {4: 2, 6: 3}, False),
    ]
    assert left(write("0-8", empty=True), write("0-4")) == [
        ("0-8", {4: 2, 6: 3}, False),
        ("0-4", {0: 0, 2: 1}, True),
    ]


def test_an_empty_place_is_cut_at_the_bounds() -> None:
    assert left(write("9-20", empty=True)) == [("9-10", {8: 0}, True)]
    assert left(write("10-20", empty=True)) == []


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (write("8-12"), "its record says"),
        (write("x"), "can't be read"),
        (Written("s3://b/v", 0, "0-4_0-4_0-4", blocks="1"), "of other blocks"),
    ],
)
def test_a_record_must_fit_the_volume(written: Written, reason: str) -> None:
    with pytest.raises(RecordMismatch, match=reason):
        left_last(SMALL, [written])


def test_a_record_with_too_many_blocks_is_refused_before_they_are_made() -> None:
    huge = FakeVolume(BoundingBox.parse("0-1000000_0-1000000_0-1000000"))
    with pytest.raises(RecordMismatch, match="more than 1,000,000 blocks"):
        left_last(huge, [Written("s3://b/v", 0, str(huge.bounds))])
