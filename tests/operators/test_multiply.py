from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.multiply import Multiply

BIG = 2**60 + 7  # float64 holds no odd number of this size
IDS = np.array([[[BIG, BIG + 1, 1, 0]]], np.uint64)


def product(run_step, chunk: Chunk, by: Chunk, **options) -> Chunk:
    return run_step(Multiply(multiplier_name="by", **options), chunk=chunk, by=by).chunk("chunk")


@pytest.mark.parametrize("on", [1, 255, -1, 0.25, np.inf, np.nan])
@pytest.mark.parametrize(
    "mask_type", ["bool", "u1", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
)
@pytest.mark.parametrize("kind", ["u1", "i2", "u4", "i4", "u8", "i8"])
def test_a_mask_of_any_type_keeps_ids_or_makes_them_0(run_step, kind, mask_type, on) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        mask = np.array([[[on, 0, on, on]]]).astype(mask_type)
    ids = np.array([[[np.iinfo(kind).max, np.iinfo(kind).max - 1, 1, 0]]], kind)
    made = product(run_step, Chunk(ids, layer_type="segmentation"), Chunk(mask))
    expected = [i if m else 0 for i, m in zip(ids.ravel().tolist(), mask.ravel(), strict=True)]
    assert made.array.ravel().tolist() == expected
    assert (made.dtype, made.layer_type) == (ids.dtype, "segmentation")


@pytest.mark.parametrize("mask_type", ["bool", "u1", "i2", "f4"])
def test_the_mask_may_be_the_input_and_wide_ids_the_multiplier(run_step, mask_type) -> None:
    mask = Chunk(np.array([[[7, 0, 7, 7]]]).astype(mask_type))
    ids = Chunk(IDS, voxel_size=(40, 4, 4))
    made = product(run_step, mask, ids)
    assert made.array.tolist() == [[[BIG, 0, 1, 0]]]
    assert (made.dtype, made.voxel_size, made.is_segmentation) == (np.uint64, (40, 4, 4), True)


@pytest.mark.parametrize("on", [1, 255, 3])
@pytest.mark.parametrize("mask_type", ["u1", "i2", "f4"])
@pytest.mark.parametrize("kind", ["u1", "i2", "f4"])
def test_a_mask_that_is_stored_as_a_segmentation_masks_an_image(
    run_step, kind, mask_type, on
) -> None:
    """Many masks are layers of Neuroglancer, and so segmentations."""
    image = Chunk(np.array([[[100, 7, 0, 50]]], kind))
    mask = Chunk(np.array([[[on, 0, on, on]]]).astype(mask_type), layer_type="segmentation")
    made = product(run_step, image, mask)
    assert made.array.tolist() == [[[100, 0, 0, 50]]]
    assert (made.dtype, made.layer_type) == (kind, "image")


def segmentation(array: np.ndarray) -> Chunk:
    return Chunk(array, layer_type="segmentation")


@pytest.mark.parametrize("chunk", [IDS, IDS[..., ::-1] * (IDS[..., ::-1] > 1)])
@pytest.mark.parametrize("mask_type", ["u1", "i2", "u4", "i8"])
@pytest.mark.parametrize("said", [Chunk, segmentation])
def test_of_two_segmentations_the_input_is_kept(run_step, chunk, mask_type, said) -> None:
    mask = segmentation(np.array([[[9, 0, 9, 9]]], mask_type))
    made = product(run_step, said(chunk), mask)
    assert made.array.tolist() == np.where(mask.array, chunk, np.uint64(0)).tolist()
    assert (made.dtype, made.is_segmentation) == (np.uint64, True)


@pytest.mark.parametrize(
    ("chunk", "by"),
    [
        (Chunk(np.array([[[1, 0, 1, 1]]])), Chunk(IDS)),
        (Chunk(np.array([[[1, 0, 1, 1]]])), segmentation(IDS)),
        (segmentation(np.array([[[1, 0, 1, 1]]], np.uint8)), Chunk(IDS)),
        (Chunk(np.array([[[1, 0, 1, 1]]], np.uint8)), segmentation(IDS.astype(np.uint16))),
        (Chunk(np.array([[[90, 7, 8, 1]]], np.uint8)), Chunk(IDS)),
        (Chunk(np.array([[[0.2, 0, 0.7, 1]]])), segmentation(IDS)),
    ],
)
def test_what_looks_like_the_wrong_order_is_refused(run_step, chunk: Chunk, by: Chunk) -> None:
    with pytest.raises(ChunkflowError, match="which of the two is a mask can't be told"):
        product(run_step, chunk, by)


@pytest.mark.parametrize("mask_type", ["bool", "u1", "u2", "i2", "i1"])
@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_a_mask_times_a_map_is_the_map_inside_the_mask(run_step, mask_type, kind) -> None:
    values = np.array([[[0.25, 0.75, 0.3, 1]]], kind)
    made = product(run_step, Chunk(np.array([[[1, 1, 0, 1]]]).astype(mask_type)), Chunk(values))
    assert np.array_equal(made.array, np.array([[[1, 1, 0, 1]]]) * values)
    assert made.dtype == np.result_type(mask_type, kind)  # as numpy, and so chunkflow, has it
    image = np.array([[[7, 100, 3, 0]]]).astype("i1")
    assert np.array_equal(product(run_step, Chunk(image), Chunk(values)).array, image * values)


@pytest.mark.parametrize(
    ("image", "by", "made"),
    [
        ("u1", "u1", "u1"),
        ("u1", "bool", "u1"),
        ("bool", "u1", "u1"),
        ("u1", "u2", "u2"),
        ("i2", "u1", "i2"),
        ("u2", "i2", "u2"),
        ("f4", "f8", "f4"),
        ("f2", "u2", "f2"),
    ],
)
def test_the_type_of_a_product(run_step, image, by, made) -> None:
    ones = (Chunk(np.ones((1, 2, 3), kind)) for kind in (image, by))
    assert product(run_step, *ones).dtype == made


@pytest.mark.parametrize(
    ("image", "by"),
    [
        ("u1", "u1"),
        ("i1", "u1"),
        ("i2", "i2"),
        ("u2", "u1"),
        ("u4", "u1"),
        ("i8", "i1"),
        ("u8", "u8"),
    ],
)
def test_products_of_integers_saturate(run_step, image: str, by: str) -> None:
    limits = [(np.iinfo(kind).min, np.iinfo(kind).max) for kind in (image, by)]
    pairs = [(a, b) for a in (*limits[0], 3) for b in (*limits[1], 1, 2)]
    one, two = (
        Chunk(np.array([[numbers]], kind), is_image=True)
        for numbers, kind in zip(zip(*pairs, strict=True), (image, by), strict=True)
    )
    made = product(run_step, one, two).array
    (low, high), kind = limits[0], made.dtype
    assert kind == image
    assert made.ravel().tolist() == [min(max(a * b, low), high) for a, b in pairs]


def test_a_mask_of_255_on_an_image_is_told(run_step, caplog) -> None:
    image, mask = (np.full((1, 10, 10), value, np.uint8) for value in (100, 255))
    task = run_step(Multiply(multiplier_name="by"), chunk=Chunk(image), by=Chunk(mask))
    assert task.chunk("chunk").array.max() == 255
    assert [(c.values, c.of) for c in task.clipped] == [(100, 100)]
    [record] = caplog.records
    assert "100.0 % of the voxels are clipped" in record.getMessage()
    assert "threshold" in record.getMessage()


def test_a_multiplier_of_one_channel_is_used_for_all(run_step) -> None:
    ids = np.arange(2**60, 2**60 + 12, dtype=np.uint64).reshape(3, 1, 1, 4)
    mask = np.array([[[1, 0, 0, 1]]], np.uint8)
    assert (product(run_step, Chunk(ids), Chunk(mask)).array == ids * mask).all()
    grey = ids.astype(np.uint8)
    assert (product(run_step, Chunk(grey), Chunk(mask)).array == grey * mask).all()


def test_several_float_chunks(run_step) -> None:
    a, b = (Chunk(np.full((2, 2, 2), v, np.float32)) for v in (0.5, 3))
    task = run_step(Multiply(input_names="a,b", multiplier_name="b", output_names="c,d"), a=a, b=b)
    assert (task.chunk("c").array == 1.5).all()
    assert (task.chunk("d").array == 9).all()
    assert task.chunk("d").dtype == np.float32


def test_chunks_that_do_not_match_are_refused(run_step) -> None:
    chunk = Chunk(np.ones((2, 2, 2)))
    with pytest.raises(ChunkflowError, match="same box"):
        run_step(
            Multiply(multiplier_name="by"), chunk=chunk, by=Chunk(np.ones((2, 2, 2)), Vec3(0, 0, 1))
        )
    with pytest.raises(ChunkflowError, match="give equally many"):
        run_step(Multiply(multiplier_name="by", output_names="a,b"), chunk=chunk, by=chunk)
