"""Requests of a job by the table, and what workers fetch that keep blocks."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Boxes
from producer.cost.places import Places
from producer.cost.ratio import Ratio
from producer.cost.requests import requests_of
from producer.cost.reuse import fetched
from producer.cost.traffic import VolumeTraffic

BOUNDS = BoundingBox.parse("0-8_0-8_0-62")
BLOCK = Vec3(8, 8, 8)
ROW = Places.of(Boxes(Vec3(0, 0, 0), Vec3(8, 8, 16), Vec3(1, 1, 4), None, 0, 4))
NONE = np.zeros((0, 2), np.int64)


def traffic(margin: int = 0) -> VolumeTraffic:
    """A row of four boxes of two blocks of a volume that ends in the last block."""
    empty = VolumeTraffic(
        "mem://v", 0, BOUNDS, BLOCK, 0, 0, 0, 2, Ratio(0.5, "test"), Vec3(1, 1, 1),
        (NONE, NONE, NONE),
    )  # fmt: skip
    z, y, x = ROW.edges(BOUNDS)
    grown = np.stack([x[:, 0] - margin, x[:, 1] + margin], axis=1).clip(0, 62)
    return empty.by(ROW, (z, y, grown))


def test_a_worker_that_does_all_boxes_fetches_each_block_once() -> None:
    read = traffic(margin=1)
    assert read.blocks == 3 + 4 + 4 + 3
    assert fetched(ROW, read, 10**9, 1) == (8, pytest.approx(8 * 8 * 62 * 2 * 0.5))


def test_workers_that_take_turns_share_no_blocks() -> None:
    """With two, each does every other box; with no memory, nothing is kept."""
    read = traffic(margin=1)
    for found in (fetched(ROW, read, 10**9, 2), fetched(ROW, read, 0, 1)):
        assert found == (14, read.stored_bytes)
    two = fetched(ROW, traffic(margin=9), 10**9, 2)
    assert two.blocks < traffic(margin=9).blocks


def test_the_requests_follow_the_table() -> None:
    write = traffic()
    assert (write.blocks, write.block_voxels) == (8, 8 * 8 * 62)
    found = requests_of(
        ROW, [traffic(1)], [write], workers=4, cache_bytes=0, seconds=2.5, lease_seconds=120,
        in_flight=2,
    )  # fmt: skip
    assert found.counts["S3"] == {"GET": 14, "PUT": 8 + 4 + 10 / 15, "HEAD": 8, "LIST": 4}
    assert found.counts["SQS"] == {
        "ReceiveMessage": 4, "DeleteMessage": 4, "SendMessageBatch": 1
    }  # fmt: skip
    assert found.counts["CloudWatch"] == {"PutMetricData": 2}
    assert found.bytes_in == traffic(1).stored_bytes
    assert write.stored_bytes < found.bytes_out < write.stored_bytes + 4 * 3000


def test_long_tasks_renew_their_leases() -> None:
    found = requests_of(
        ROW, [], [], workers=1, cache_bytes=0, seconds=50, lease_seconds=120, in_flight=2
    )
    assert found.counts["SQS"]["ChangeMessageVisibility"] == 4 * (100 // 40)
