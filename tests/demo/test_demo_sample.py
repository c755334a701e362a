"""The volumes of the sample job in docker-compose.yml."""

from __future__ import annotations

from pathlib import Path

import boto3
import numpy as np
import pytest
import sample
from em_volume import make_volume

from chunkflow_worker.api import BoundingBox, Vec3
from chunkflow_worker.volumes.open_volume import volume_bounds
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume


def test_the_sample_can_be_made_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = Vec3(16, 128, 64)
    monkeypatch.setattr(sample, "SHAPE", shape)
    assert sample.main(f"file://{tmp_path}") == 0
    box = BoundingBox.sized(Vec3(0, 0, 0), shape)
    assert volume_bounds(f"file://{tmp_path}/em") == volume_bounds(f"file://{tmp_path}/membranes")
    image = PrecomputedVolume(f"file://{tmp_path}/em").read(box)
    np.testing.assert_array_equal(image, make_volume(shape, sample.SEED)[0])


def test_the_sample_is_made_once(
    aws: dict[str, str],
    unique_name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shape = Vec3(16, 128, 64)
    monkeypatch.setattr(sample, "SHAPE", shape)
    monkeypatch.setattr(sample, "BUCKET", unique_name)
    assert sample.main() == 0
    box = BoundingBox.sized(Vec3(0, 0, 0), shape)
    image = PrecomputedVolume(f"s3://{unique_name}/em").read(box)
    np.testing.assert_array_equal(image, make_volume(shape, sample.SEED)[0])
    assert volume_bounds(f"s3://{unique_name}/membranes") == box
    boto3.client("s3").delete_object(Bucket=unique_name, Key="em/info")
    assert sample.main() == 0
    assert "already exist" in capsys.readouterr().out
    with pytest.raises(boto3.client("s3").exceptions.NoSuchKey):  # the image was not made again
        boto3.client("s3").get_object(Bucket=unique_name, Key="em/info")
