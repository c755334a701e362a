"""Operators on images, with real images."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from cloudvolume import CloudVolume

# One box, its voxels, and the same box cut in two.
BOX, SLICES = "create-bbox -s 60 60 60 -z 32 64 64", np.s_[60:92, 60:124, 60:124]
BOXES = "generate-tasks -b 60-92_60-124_60-124 -c 32 32 64"


def stored(name: str = "out.h5") -> np.ndarray:
    with h5py.File(name) as file:
        return file["main"][:]


def stored_in_two_boxes(folder: str) -> np.ndarray:
    return np.concatenate(
        [stored(f"{folder}/60-92_{y}_60-124.h5") for y in ("60-92", "92-124")], axis=1
    )


@pytest.mark.shows("threshold")
def test_threshold(chunkflow, raw) -> None:
    chunkflow(BOX, raw.load, "threshold -t 150", "save-h5 -f out.h5")
    bright = sorted(range(151, 256))
    assert np.array_equal(stored(), np.isin(raw.array[SLICES], bright))


@pytest.mark.shows("normalize-intensity")
def test_normalize_intensity(chunkflow, raw) -> None:
    chunkflow(BOX, raw.load, "normalize-intensity", "save-h5 -f out.h5")
    table = np.linspace(-1, 1, 256)
    np.testing.assert_allclose(stored(), table[raw.array[SLICES]], atol=1e-6)


@pytest.mark.shows("normalize-contrast")
def test_normalize_contrast(chunkflow, pinky) -> None:
    chunkflow(pinky.load, "normalize-contrast", "save-h5 -f out.h5")
    for before, after in zip(pinky.array, stored(), strict=True):
        assert after.max() == 255
        assert after[before > 0].min() == 1
        quantiles = np.quantile(before[before > 0], [0.01, 0.99], method="inverted_cdf")
        low, high = quantiles.astype(float)
        exact = np.clip(1 + (before - low) * 254 / (high - low), 1, 255)
        # A quantile may differ by one grey value.
        tolerance = 0.51 + 254 / (high - low)
        assert np.abs(exact - after)[before > 0].max() < tolerance


@pytest.mark.shows("normalize-section-shang")
def test_normalize_section_shang(chunkflow, pinky) -> None:
    options = "--nominalmin -1 --nominalmax 1 --clipvalues true"
    chunkflow(pinky.load, f"normalize-section-shang {options}", "save-h5 -f out.h5")
    for before, after in zip(pinky.array, stored(), strict=True):
        greys = np.unique(before)[1:-1].astype(float)
        expected = np.interp(before, [greys[0], greys[-1]], [-1, 1])
        np.testing.assert_allclose(after, expected, atol=1e-6)


@pytest.mark.shows("gaussian-filter", "generate-tasks")
def test_gaussian_filter_in_two_boxes(chunkflow, raw) -> None:
    chunkflow(BOXES, raw.load, "gaussian-filter -s 2", "save-h5 -f smooth/")
    kernel = np.exp(-(np.arange(-8, 9) ** 2) / 8)
    smooth = raw.array[60:92, 52:132, 52:132].astype(float)
    for axis in (1, 2):
        smooth = np.apply_along_axis(np.convolve, axis, smooth, kernel / kernel.sum(), mode="valid")
    assert np.abs(stored_in_two_boxes("smooth") - smooth).max() < 0.501


@pytest.mark.shows("plugin")
def test_plugin_in_two_boxes(chunkflow, raw) -> None:
    Path("brightest.py").write_text(
        "from scipy.ndimage import maximum_filter\n\n\ndef execute(chunk, size):\n"
        "    return maximum_filter(chunk.array, size)\n"
    )
    chunkflow(
        BOXES,
        raw.load,
        "plugin -f brightest -i chunk -o chunk -a size=3 --margin-size 1 1 1",
        "save-h5 -f bright/",
    )
    windows = np.lib.stride_tricks.sliding_window_view(raw.array[59:93, 59:125, 59:125], (3, 3, 3))
    assert np.array_equal(stored_in_two_boxes("bright"), windows.max(axis=(3, 4, 5)))


@pytest.mark.shows("crop-margin")
def test_crop_margin(chunkflow, raw) -> None:
    chunkflow(
        f"{raw.load} -t 60 60 60 -s 32 64 64", "crop-margin -m 1 2 3 4 5 6", "save-h5 -f cut.h5"
    )
    assert np.array_equal(stored("cut.h5"), raw.array[61:88, 62:119, 63:118])
    with h5py.File("cut.h5") as file:
        assert file["voxel_offset"][:].tolist() == [61, 62, 63]
    chunkflow(BOX, raw.load, "crop-margin -m 1 2 3 4 5 6", "save-h5 -f whole.h5")
    assert np.array_equal(stored("whole.h5"), raw.array[SLICES])


@pytest.mark.shows("downsample")
def test_downsample(chunkflow, raw, pieces) -> None:
    chunkflow(BOX, raw.load, "downsample -f 1 2 4", "save-h5 -f grey.h5")
    mean = raw.array[SLICES].reshape(32, 1, 32, 2, 16, 4).mean(axis=(1, 3, 5))
    assert np.array_equal(stored("grey.h5"), np.rint(mean))
    chunkflow(BOX, pieces.load, "downsample", "save-h5 -f ids.h5")
    blocks = pieces.array[SLICES].reshape(16, 2, 32, 2, 32, 2).transpose(0, 2, 4, 1, 3, 5)
    eight = blocks.reshape(16, 32, 32, 8)
    most = (eight[..., None] == eight[..., None, :]).sum(axis=-1).max(axis=-1)
    assert np.array_equal((eight == stored("ids.h5")[..., None]).sum(axis=-1), most)
    with h5py.File("ids.h5") as file:
        assert file["voxel_offset"][:].tolist() == [30, 30, 30]
        assert file["voxel_size"][:].tolist() == [20, 20, 20]


@pytest.mark.shows("create-info", "save-precomputed", "downsample-upload")
def test_save_precomputed_and_downsample_upload(chunkflow, raw) -> None:
    chunkflow(
        "create-info -v file://em -z 32 64 64 -o 60 60 60 -s 10 10 10 -b 8 8 8 "
        "-t image -d uint8 -m 2"
    )
    chunkflow(
        BOXES,
        raw.load,
        "save-precomputed -v file://em",
        "downsample-upload -v file://em --stop-mip 3",
    )
    level = raw.array[SLICES].astype(float)
    for mip in range(3):
        volume = CloudVolume(f"file://{Path('em').absolute()}", mip=mip, progress=False)
        assert volume.voxel_offset.tolist() == [60 >> mip] * 3
        assert volume.resolution.tolist() == [10 << mip] * 3
        assert volume.dtype == "uint8"
        assert np.array_equal(volume[:][..., 0].T, level)
        z, y, x = (n // 2 for n in level.shape)
        level = np.rint(level.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5)))


@pytest.mark.shows("mask")
@pytest.mark.parametrize("inverse", [False, True])
def test_mask_with_larger_voxels(chunkflow, raw, bodies, inverse: bool) -> None:
    coarse = (bodies.array[2:248:4, 2:248:4, 2:248:4] > 60_000).astype(np.uint8)
    options: dict[str, Any] = {
        "resolution": (40, 40, 40),
        "chunk_size": (32, 32, 32),
        "layer_type": "image",
        "progress": False,
    }
    CloudVolume.from_numpy(coarse.T, f"file://{Path('tissue').absolute()}", **options)
    chunkflow(
        "create-bbox -s 61 62 63 -z 30 61 59",
        raw.load,
        f"mask -v file://tissue -m 0 {'--inverse' * inverse}",
        "save-h5 -f out.h5",
    )
    at = np.s_[61:91, 62:123, 63:122]
    inside = np.kron(coarse, np.ones((4, 4, 4), np.uint8))[at] == (0 if inverse else 1)
    assert 0.1 < inside.mean() < 0.9
    assert np.array_equal(stored(), np.where(inside, raw.array[at], 0))


@pytest.mark.shows("multiply", "copy-var", "delete-var")
def test_multiply_a_copy_by_the_mask_of_neurons(chunkflow, raw, bodies) -> None:
    chunkflow(
        BOX,
        raw.load,
        f"{bodies.load} -o bodies",
        "threshold -i bodies -o inside -t 60000",
        "copy-var -t masked",
        "multiply -i masked -m inside",
        "delete-var -v bodies,inside",
        "save-h5 -f whole.h5",
        "save-h5 -i masked -f out.h5",
    )
    assert np.array_equal(stored("whole.h5"), raw.array[SLICES])
    assert np.array_equal(stored(), np.where(bodies.array[SLICES] > 60_000, raw.array[SLICES], 0))
    with pytest.raises(Exception, match="no chunk named 'chunk'; made so far: copy"):
        chunkflow(BOX, raw.load, "copy-var -t copy", "delete-var -v chunk", "save-h5 -f lost.h5")


@pytest.mark.shows("create-chunk")
def test_multiply_the_image_by_waves(chunkflow, raw) -> None:
    chunkflow(
        BOX,
        raw.load,
        "create-chunk -d float64 -o wave",
        "multiply -i wave -m chunk",
        "save-h5 -i wave -f out.h5",
    )
    lengths = (32, 48, 64)
    z, y, x = (np.sin(2 * np.pi * p / n) for p, n in zip(np.ogrid[SLICES], lengths, strict=True))
    np.testing.assert_allclose(stored(), raw.array[SLICES] * (3 + z + y + x) / 6, atol=1e-9)


@pytest.mark.shows("channel-voting")
def test_channel_voting(chunkflow, raw) -> None:
    """The score of a class is the distance to its grey value: the nearest class wins, and of two
    equally near ones the darker.
    """
    grey = raw.array[SLICES].astype(np.float32)
    with h5py.File("classes.h5", "w") as file:
        file["main"] = np.stack([-np.abs(grey - grey_of_class) for grey_of_class in (90, 120, 180)])
    chunkflow("load-h5 -f classes.h5", "channel-voting", "save-h5 -f out.h5")
    assert np.array_equal(stored(), np.digitize(grey, [105, 150], right=True) + 1)
    assert set(np.unique(stored())) == {1, 2, 3}


@pytest.mark.shows("quantize")
def test_quantize(chunkflow, raw) -> None:
    """The affinity along an axis is high where the grey value stays the same along it."""
    grey = raw.array[60:93, 60:125, 60:125].astype(int)
    steps = np.abs(np.stack([np.diff(grey, axis=axis)[:32, :64, :64] for axis in (2, 1, 0)]))
    with h5py.File("affinities.h5", "w") as file:
        file["main"] = (1 - steps / 255).astype(np.float32)
    for mode, exact in (("xy", 255 - steps[:2].mean(axis=0)), ("z", 255 - steps[2])):
        chunkflow("load-h5 -f affinities.h5", f"quantize --mode {mode}", f"save-h5 -f {mode}.h5")
        assert np.abs(stored(f"{mode}.h5") - exact).max() < 0.501


@pytest.mark.shows("inference")
def test_inference_finds_the_cleft(chunkflow, pinky) -> None:
    """A voxel of one patch has the value of the net there. Where two patches overlap, it lies
    between their values.
    """
    model, weights = pinky.file.with_name("cleft_net.py"), pinky.file.with_name("cleft_weights.pt")
    net = f"-f pytorch -m {model} -w {weights} --precision float32"
    patches = "-s 6 64 64 -v 0 32 0 --output-crop-margin 0 0 0 -c 1"
    chunkflow(
        "create-bbox -s 6 32 128 -z 6 96 64",
        pinky.load,
        f"inference {net} {patches}",
        "save-h5 -f out.h5",
    )
    spec: Any = importlib.util.spec_from_file_location("cleft_net", model)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    alone = np.full((2, 6, 96, 64), np.nan, np.float32)
    for i, y in enumerate((0, 32)):
        patch = pinky.array[6:12, 32 + y : 96 + y, 128:192].astype(np.float32) / 255
        with torch.inference_mode():
            output = module.load_model(str(weights))(torch.from_numpy(patch)[None, None])
        alone[i, :, y : y + 64] = output[0, 0]
    found = stored()[0]
    assert (found >= np.nanmin(alone, axis=0) - 1e-4).all()
    assert (found <= np.nanmax(alone, axis=0) + 1e-4).all()
    assert (found > 0.25).sum() > 100
