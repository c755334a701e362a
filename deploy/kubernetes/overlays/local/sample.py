"""Make a bucket with a synthetic image, and an empty volume for the output, unless it exists."""

import boto3
import numpy as np

from chunkflow_worker.api import BoundingBox
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

BOX = BoundingBox.sized((0, 0, 0), (32, 256, 256))
s3 = boto3.client("s3")

if "sample" not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
    s3.create_bucket(Bucket="sample")
    for name in ("em", "copy"):
        create_volume(
            f"s3://sample/{name}",
            bounds=BOX,
            voxel_size=(40, 8, 8),
            block_size=(16, 64, 64),
            dtype="uint8",
        )
    image = np.random.default_rng(1).integers(1, 255, BOX.size, np.uint8)
    PrecomputedVolume("s3://sample/em").write(BOX, image)
