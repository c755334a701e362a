"""Make two volumes for a first job: a synthetic image, and an empty one for its membranes.

python deploy/demo/sample.py                 for deploy/demo/pipeline.yaml: on S3, as the
                                             environment configures it
python deploy/demo/sample.py file://$PWD     in this folder: em and membranes
"""

from __future__ import annotations

import sys

import boto3
import numpy as np
from em_volume import VOXEL_SIZE_NM, make_volume
from numpy.typing import NDArray

from chunkflow_worker.api import BoundingBox, Vec3
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

SHAPE, SEED, BLOCK = Vec3(48, 512, 512), 7, Vec3(16, 64, 64)
BUCKET = "chunkflow-sample"


def write_volumes(
    image: NDArray[np.uint8],
    image_path: str,
    output_path: str,
    offset: Vec3 = Vec3(0, 0, 0),
    voxel_size: tuple[float, float, float] = VOXEL_SIZE_NM,
) -> BoundingBox:
    """Write an image (uint8, zyx), make an empty volume of the same size; return their bounds."""
    box = BoundingBox.sized(offset, image.shape)
    create_volume(image_path, bounds=box, voxel_size=voxel_size, block_size=BLOCK, dtype="uint8")
    PrecomputedVolume(image_path).write(box, image)
    create_volume(output_path, bounds=box, voxel_size=voxel_size, block_size=BLOCK, dtype="uint8")
    return box


def main(folder: str = "") -> int:
    """folder: where the volumes go, as a path with its scheme; the bucket of the sample if empty.

    Does nothing when they exist.
    """
    if not folder:
        folder = f"s3://{BUCKET}"
        boto3.client("s3").create_bucket(Bucket=BUCKET)
    image_path, output_path = f"{folder.rstrip('/')}/em", f"{folder.rstrip('/')}/membranes"
    if Files(output_path).get_json("info"):
        print(f"{image_path} and {output_path} already exist")
        return 0
    image, _ = make_volume(SHAPE, SEED)
    box = write_volumes(image, image_path, output_path)
    size = " x ".join(map(str, box.size))
    print(f"image of {size} voxels in {image_path}, empty volume in {output_path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
