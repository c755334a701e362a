"""The operator `inference`: outputs of known nets, its options, and its errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.errors import ChunkMismatch, ConfigError, ModelError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.operators.inference import Inference
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Run
from chunkflow_worker.pipeline.task import Task
from tests.support.paths import TESTS

NETS = TESTS / "support" / "nets.py"
RunStep = Callable[..., Task]


def noise(
    size: tuple[int, ...], offset: tuple[int, int, int] = (0, 0, 0), dtype: str = "uint8"
) -> Chunk:
    rng = np.random.default_rng(5)
    if dtype == "uint8":
        return Chunk(rng.integers(1, 255, size, np.uint8), Vec3(*offset))
    return Chunk(rng.random(size, np.float32) * 8 - 4, Vec3(*offset))


def identity(**options: Any) -> Inference:
    defaults = {
        "framework": "identity",
        "input_patch_size": (4, 8, 8),
        "output_patch_overlap": (1, 2, 2),
    }
    return Inference(**(defaults | {"num_output_channels": 1} | options))


def infer(operator: Inference, image: Chunk, box: BoundingBox | None) -> Chunk:
    """Run on the part of the image that the operator needs for this box."""
    chunk = image if box is None else image.with_array(image.array, bounds=image.bbox)
    if box is not None:
        chunk = chunk.cutout(operator.input_box(box, image.bbox))
    task = Task(bbox=box, values={"chunk": chunk})
    with operator.open(Run(needed_box=lambda b, _: b)) as step:
        step(task)
    return task.chunk("chunk")


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_identity_returns_its_input_for_every_patch_overlap_box_and_offset(
    data: st.DataObject,
) -> None:
    numbers = lambda low, high: Vec3(*(data.draw(st.integers(low, high)) for _ in range(3)))  # noqa: E731
    output, crop = numbers(1, 6), numbers(0, 2)
    overlap = Vec3(*(data.draw(st.integers(0, n - 1)) for n in output))
    lattice = data.draw(st.sampled_from(["chunk", "global"]))
    border = data.draw(st.sampled_from(["inward", "reflect", "zeros"]))
    bump = data.draw(st.sampled_from(["wu", "zung", "linear"]))
    image = noise(tuple(output + crop * 2 + numbers(0, 9)), tuple(numbers(-15, 15)))
    inner = image.bbox.grow(-crop) if border == "inward" else image.bbox
    low = [data.draw(st.integers(a, b - 1)) for a, b in zip(inner.start, inner.stop, strict=True)]
    high = [data.draw(st.integers(a + 1, b)) for a, b in zip(low, inner.stop, strict=True)]
    box = BoundingBox(Vec3(*low), Vec3(*high))
    operator = identity(
        input_patch_size=output + crop * 2,
        output_patch_size=output,
        output_patch_overlap=overlap,
        lattice=lattice,
        border=border,
        bump=bump,
        batch_size=data.draw(st.integers(1, 3)),
    )
    result = infer(operator, image, box)
    assert result.bbox == box
    assert result.array.dtype == np.float32
    # Where patches agree, the output is exactly their value for every cut of the image.
    assert np.array_equal(result.array[0], image.cutout(box).array / np.float32(255))


@settings(deadline=None, max_examples=8)
@given(st.integers(3, 15), st.integers(3, 15), st.integers(-9, 9))
def test_global_output_does_not_depend_on_the_cut(cut_y: int, cut_x: int, offset: int) -> None:
    """The outputs are exactly equal: the same patches are added with the same weights, in the same
    order.
    """
    image = noise((6, 16, 16), (offset, -offset, 3 * offset))
    operator = identity(lattice="global")
    whole = infer(operator, image, image.bbox).array
    for box in image.bbox.split(Vec3(3, cut_y, cut_x)):
        part = infer(operator, image, box)
        assert np.array_equal(part.array, whole[(slice(None), *box.slices(image.voxel_offset))])


def test_without_a_box_the_overlap_is_cut_off(run_step: RunStep) -> None:
    result = run_step(identity(), chunk=noise((10, 20, 20))).chunk("chunk")
    assert result.bbox == BoundingBox.parse("1-9_2-18_2-18")


@pytest.mark.parametrize(
    ("options", "cut"), [({"mask_output_chunk": True}, 0), ({"output_crop_margin": (3, 3, 3)}, 3)]
)
def test_options_set_the_margin_that_is_cut_off(
    run_step: RunStep, options: dict[str, Any], cut: int
) -> None:
    image = noise((10, 21, 23))
    result = run_step(identity(**options), chunk=image).chunk("chunk")
    assert result.bbox == image.bbox.grow(-cut)
    assert np.allclose(result.array[0], image.cutout(result.bbox).array / 255, atol=1e-6)


def test_output_patch_smaller_than_input_patch_with_a_whole_chunk_is_finite(
    run_step: RunStep,
) -> None:
    """Named defect of the peer: an output patch smaller than the input patch, with a chunk mask,
    ended in NaN.
    """
    operator = identity(
        input_patch_size=(6, 12, 12), output_patch_size=(4, 8, 8), mask_output_chunk=True
    )
    result = run_step(operator, chunk=noise((11, 25, 26))).chunk("chunk")
    assert result.bbox == BoundingBox.parse("1-10_2-23_2-24")
    assert np.isfinite(result.array).all()


def test_blending_matches_chunkflow_in_the_interior(tmp_path: Path) -> None:
    """The expected values are computed independently, with chunkflow's normalised bump over a full
    lattice of patches.
    """
    size, overlap = Vec3(4, 8, 8), Vec3(2, 4, 4)
    model = tmp_path / "net.py"
    model.write_text(
        "import torch\n"
        "class Rim(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        ramp = torch.arange(x[0].numel(), dtype=torch.float32, device=x.device)\n"
        "        return x + (ramp / ramp.max()).reshape(x[0].shape)\n"
        "def load_model(path):\n    return Rim()\n"
    )
    image = noise((10, 20, 20), dtype="float32")
    operator = Inference(
        framework="pytorch",
        convnet_model=str(model),
        input_patch_size=size,
        output_patch_overlap=overlap,
        num_output_channels=1,
        precision="float32",
    )
    result = infer(operator, image, None)

    t = [2 * (np.arange(n) + 1) / (n + 1) - 1 for n in size]
    logits = [-1 / (1 - u * u) for u in t]
    bump = np.exp(logits[0][:, None, None] + logits[1][:, None] + logits[2])
    bump = 1 + (bump - bump.min()) / (bump.max() - bump.min()) * (1e6 - 1)
    stride = size - overlap
    padded = np.zeros([n + 2 * s for n, s in zip(size, stride, strict=True)])
    for shift in np.ndindex(3, 3, 3):
        start = Vec3(*shift) * stride
        padded[BoundingBox.sized(start, size).slices()] += bump
    weights = bump / padded[tuple(slice(s, s + n) for s, n in zip(stride, size, strict=True))]
    ramp = np.arange(size.product, dtype=np.float32).reshape(size) / (size.product - 1)
    expected = np.zeros(image.bbox.size)
    for z in range(0, 7, 2):
        for y in range(0, 13, 4):
            for x in range(0, 13, 4):
                window = BoundingBox.sized((z, y, x), size).slices()
                expected[window] += weights * (image.array[window] + ramp)
    inside = result.bbox.slices()
    assert np.abs(result.array[0] - expected[inside]).max() < 1e-5


def test_a_chunk_of_zeros_is_not_run(run_step: RunStep, tmp_path: Path) -> None:
    """Named defect of the peer: the shortcut for zeros skipped inference, and nobody was told."""
    model = tmp_path / "net.py"
    model.write_text(
        "class PatchInferencer:\n    def __init__(self, w, m): pass\n"
        "    def __call__(self, p):\n"
        "        if not p.any(): raise SystemError\n"
        "        return p.repeat(2, axis=1)\n"
    )
    operator = identity(framework="universal", convnet_model=str(model), num_output_channels=2)
    task = run_step(operator, chunk=Chunk(np.zeros((6, 12, 12), np.uint8)))
    result = task.chunk("chunk")
    assert task.patches == 0
    assert task.patches_skipped > 0, "the record of the task counts skipped patches"
    assert result.array.shape == (2, 4, 8, 8)
    assert not result.array.any()


def test_patches_of_zeros_give_zeros_for_every_cut_of_the_image(tmp_path: Path) -> None:
    """The net adds 1, except to patches of zeros. These are the same for every cut."""
    model = tmp_path / "net.py"
    model.write_text(
        "class PatchInferencer:\n    def __init__(self, w, m): pass\n"
        "    def __call__(self, p): return p + 1\n"
    )
    image = noise((6, 24, 24))
    image.array[:, :14, 3:] = 0
    operator = identity(framework="universal", convnet_model=str(model), lattice="global")
    whole = infer(operator, image, image.bbox).array
    assert (whole == 0).any()
    for box in image.bbox.split(Vec3(3, 5, 7)):
        part = infer(operator, image, box)
        assert np.array_equal(part.array, whole[(slice(None), *box.slices())])


@pytest.mark.parametrize("dtype", ["bool", ">u2", ">f4", "uint16", "int32", "float16"])
def test_images_of_every_dtype_reach_the_net(run_step: RunStep, dtype: str) -> None:
    array = (noise((6, 12, 12)).array > 100).astype(dtype)
    operator = identity(framework="pytorch", convnet_model=str(NETS), precision="float32")
    result = run_step(operator, chunk=Chunk(array, is_image=True)).chunk("chunk")
    scale = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 1
    expected = array[result.bbox.slices()].astype(float)
    assert np.allclose(result.array[0] * scale, expected, rtol=1e-5)


@pytest.mark.parametrize("myelin", [None, 1e9])
@pytest.mark.parametrize("framework", ["pytorch", "identity"])
def test_a_net_whose_values_do_not_fit_uint8_is_told(
    run_step: RunStep, caplog: pytest.LogCaptureFixture, framework: str, myelin: float | None
) -> None:
    image = np.full((6, 12, 12), 0.5, np.float32)
    image[:, :, 6:] = 2  # as logits are
    channels = 1 if myelin is None else 2
    options = {"dtype": "uint8", "mask_myelin_threshold": myelin, "num_output_channels": channels}
    if framework == "pytorch":
        options |= {"convnet_model": str(NETS), "precision": "float32"}
    task = run_step(identity(framework=framework, **options), chunk=Chunk(image))
    made = task.chunk("chunk")
    assert set(np.unique(made.array)) == {128, 255}
    assert [(c.values, c.of) for c in task.clipped] == [(made.array.size // 2, made.array.size)]
    assert "inference: 50.0 % of the voxels are clipped" in caplog.text
    assert "sigmoid" in caplog.text


def test_the_context_of_a_second_net_is_limited_to_the_output_of_the_first(
    tmp_path: Path, run_step: RunStep
) -> None:
    shapes = {
        "input_patch_size": [6, 10, 10],
        "output_patch_size": [4, 6, 6],
        "output_patch_overlap": [2, 3, 3],
    }
    net = {"op": "inference", "framework": "identity", "num_output_channels": 1} | shapes
    image = noise((20, 40, 40))
    save = {"op": "save-h5", "file_name": str(tmp_path / "in.h5"), "input_name": "chunk"}
    load = {"op": "load-h5", "file_name": str(tmp_path / "in.h5")}
    with Pipeline.parse({"operators": [{"op": "create-chunk"}, save]}).open() as chain:
        chain.steps[1][3](Task(values={"chunk": image}))
    box = BoundingBox.parse("2-18_4-36_4-36")  # the largest box that two such nets can produce
    task = Task(bbox=box)
    with Pipeline.parse({"operators": [load, net, net]}).open() as chain:
        chain.run(task)
    result = task.chunk("chunk")
    assert result.bbox == box
    assert np.allclose(result.array[0], image.cutout(box).array / 255, atol=1e-6)
    chain = Pipeline.parse({"operators": [load, net, net]})
    why = "can produce 2-18_4-36_4-36 only: stay away from the border"
    with chain.open() as opened, pytest.raises(ChunkMismatch, match=why):
        opened.run(Task(bbox=BoundingBox.parse("1-18_4-36_4-36")))


@pytest.mark.openvino
def test_pytorch_file_with_weights(run_step: RunStep, tmp_path: Path) -> None:
    """Named defect of the peer: a host without CUDA crashed after inference, before saving."""
    weights = tmp_path / "w.pt"
    torch.save({"scale": torch.full((1,), 3.0)}, weights)
    operator = identity(
        framework="pytorch",
        convnet_model=str(NETS),
        convnet_weight_path=str(weights),
        num_output_channels=3,
        batch_size=3,
        precision="float32",
    )
    image = noise((9, 18, 20))
    task = run_step(operator, chunk=image)
    result = task.chunk("chunk")
    grey = image.cutout(result.bbox).array / 255
    expected = np.stack([3 * grey, 6 * grey, np.full_like(grey, 7)])
    assert np.allclose(result.array, expected, atol=1e-5)
    assert operator.device()
    assert task.device in (operator.device(), f"{operator.device()} by OpenVINO")


def test_outputs_of_any_range_are_kept(run_step: RunStep) -> None:
    """Named defect of the peer: any output above 1.0001 aborted the chunk."""
    image = noise((6, 12, 12), dtype="float32")
    result = run_step(identity(), chunk=image).chunk("chunk")
    assert result.array.min() < -3
    assert np.allclose(result.array[0], image.cutout(result.bbox).array, atol=1e-5)


@pytest.mark.parametrize("framework", ["pytorch", "universal"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_infinite_outputs_become_the_largest_value_even_where_patches_overlap(
    tmp_path: Path, run_step: RunStep, framework: str, dtype: str
) -> None:
    model = tmp_path / "net.py"
    model.write_text("""
import numpy as np
import torch

class Net(torch.nn.Module):
    def forward(self, x):
        return torch.cat([x * float("inf"), -x * float("inf"), x * float("nan")], 1)

InstantiatedModel = Net()

class PatchInferencer:
    def __init__(self, weights, mask):
        pass
    def __call__(self, x):
        return np.concatenate([x * np.inf, -x * np.inf, x * np.nan], 1)
""")
    operator = identity(
        framework=framework,
        convnet_model=str(model),
        num_output_channels=3,
        dtype=dtype,
        mask_output_chunk=True,
    )
    high, low, unknown = run_step(operator, chunk=noise((9, 18, 20))).chunk("chunk").array
    least, most = (0, 255) if dtype == "uint8" else (np.finfo(dtype).min, np.finfo(dtype).max)
    assert (high == most).all()
    assert (low == least).all()
    assert (unknown == 0).all() if dtype == "uint8" else np.isnan(unknown).all()


def test_batches_give_the_same_output_as_single_patches(run_step: RunStep) -> None:
    """Named defect of the peer: batch sizes above 1 were refused."""
    image = noise((9, 18, 20))
    results = [
        run_step(identity(batch_size=n), chunk=image).chunk("chunk").array for n in (1, 2, 7)
    ]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_float16_output(run_step: RunStep) -> None:
    for framework, model in (("identity", None), ("pytorch", str(NETS))):
        result = run_step(
            identity(dtype="float16", framework=framework, convnet_model=model),
            chunk=noise((6, 12, 12)),
        )
        assert result.chunk("chunk").dtype == np.float16


def test_the_myelin_channel_masks_the_other_channels_and_is_dropped(
    run_step: RunStep, tmp_path: Path
) -> None:
    model = tmp_path / "net.py"
    model.write_text(
        "import numpy as np\n"
        "class PatchInferencer:\n"
        "    def __init__(self, weights, mask): self.mask = mask\n"
        "    def __call__(self, p): return np.concatenate([p, 1 - p, p], axis=1) * self.mask\n"
        "    compute_device = 'my device'\n"
    )
    image = noise((6, 12, 12))
    operator = identity(
        framework="universal",
        convnet_model=str(model),
        num_output_channels=3,
        mask_myelin_threshold=0.3,
    )
    task = run_step(operator, chunk=image)
    result = task.chunk("chunk")
    grey = image.cutout(result.bbox).array / 255
    keep = grey <= 0.3
    assert np.allclose(result.array, np.stack([grey * keep, (1 - grey) * keep]), atol=1e-6)
    assert task.device == "my device"


def test_augmentation_flips_and_transposes_y_and_x_and_undoes_it(
    run_step: RunStep, tmp_path: Path
) -> None:
    """Named defect of the peer: test-time augmentation flipped the batch and channel axes, and
    undid them in the wrong order.

    The net adds a ramp along y of its patch. The mean of the ramp over the eight orientations, each
    undone correctly, is the constant 0.5.
    """
    model = tmp_path / "net.py"
    model.write_text(
        "import torch\n"
        "class Ramp(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x + torch.linspace(0, 1, x.shape[3], device=x.device)[:, None]\n"
        "def load_model(path):\n    return Ramp()\n"
    )
    image = noise((6, 12, 12))
    operator = identity(
        framework="pytorch", convnet_model=str(model), augment=True, precision="float32"
    )
    result = run_step(operator, chunk=image).chunk("chunk")
    assert np.allclose(result.array[0], image.cutout(result.bbox).array / 255 + 0.5, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "error", "text"),
    [
        ("x = 1", ModelError, "neither load_model"),
        ("x = 1", ModelError, r"InstantiatedModel = YourNet\(\)"),
        (
            "from torch import nn\nfrom torch.nn import Conv3d\n"
            "class Block(nn.Module): pass\nclass UNet(nn.Module): pass\nclass Data: pass",
            ModelError,
            r"InstantiatedModel = UNet\(\)",
        ),
        ("def load_model(path): return 3", ModelError, "gives something else, not a net"),
        ("def load_model(path): raise KeyError('layer')", ModelError, "`: KeyError: .layer"),
        ("import no_such_module", ModelError, "imports no_such_module, which is not found"),
        (
            "import torch\ndef load_model(path): return torch.nn.MaxPool3d(2)",
            ModelError,
            "the options declare at least 1 channel of",
        ),
    ],
)
def test_the_error_of_a_broken_model_is_quoted(
    run_step: RunStep, tmp_path: Path, content: str, error: type[Exception], text: str
) -> None:
    model = tmp_path / "net.py"
    model.write_text(content)
    with pytest.raises(error, match=text):
        run_step(identity(framework="pytorch", convnet_model=str(model)), chunk=noise((6, 12, 12)))


def test_missing_files_are_reported(run_step: RunStep, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.py does not exist"):
        run_step(
            identity(framework="pytorch", convnet_model="nowhere.py"), chunk=noise((6, 12, 12))
        )
    operator = identity(
        framework="pytorch", convnet_model=str(NETS), convnet_weight_path=str(tmp_path / "w.pt")
    )
    with pytest.raises(ConfigError, match=r"w.pt does not exist"):
        run_step(operator, chunk=noise((6, 12, 12)))


def test_a_wrong_number_of_channels_is_reported(run_step: RunStep) -> None:
    with pytest.raises(ChunkMismatch, match="has 2 channels, and the net takes 1"):
        run_step(identity(), chunk=noise((2, 6, 12, 12)))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"output_patch_size": (4, 8, 7)}, "smaller by an even number"),
        ({"output_patch_size": (4, 10, 8)}, "smaller by an even number"),
        ({"output_patch_overlap": (4, 2, 2)}, "smaller than the output patch"),
        ({"input_patch_size": (0, 8, 8)}, "at least 1"),
        ({"framework": "pytorch"}, "needs convnet_model"),
        ({"augment": True, "input_patch_size": (4, 8, 10)}, "as wide as it is high"),
    ],
)
def test_inconsistent_options_are_refused_when_they_are_parsed(
    options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValidationError, match=text):
        identity(**options)


# --- what follows from the net, the file and the patch ---


@pytest.mark.parametrize(
    ("patch", "overlap"),
    [
        ((20, 256, 256), (4, 64, 64)),  # chunkflow's default
        ((18, 160, 160), (4, 64, 64)),
        ((5, 65, 65), (4, 64, 64)),
        ((4, 64, 64), (2, 32, 32)),
        ((16, 32, 48), (4, 16, 24)),
        ((1, 128, 128), (0, 64, 64)),
        ((1, 1, 1), (0, 0, 0)),
    ],
)
def test_an_overlap_that_is_not_given_fits_the_patch(
    patch: tuple[int, int, int], overlap: tuple[int, int, int]
) -> None:
    for sizes in ({"input_patch_size": patch}, {"output_patch_size": patch}):
        whole = {"input_patch_size": tuple(n + 2 for n in patch)} | sizes
        operator = Inference(framework="identity", **whole)
        assert operator._shape.overlap == overlap
        assert operator._patching.margin == overlap
    given = Inference(framework="identity", input_patch_size=patch, output_patch_overlap=(0, 0, 0))
    assert given._shape.overlap == (0, 0, 0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"output_patch_overlap": (4, 2, 2)}, "output_patch_overlap"),
        ({"output_patch_size": (4, 8, 7)}, "output patch"),
        ({"framework": None}, "convnet_model"),
        ({"num_output_channels": 0}, "num_output_channels"),
    ],
)
def test_an_option_that_does_not_fit_is_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        identity(**options)


def test_help_begins_with_what_each_net_needs() -> None:
    shown = CliRunner().invoke(cli, ["inference", "--help"]).output
    flags = re.findall(r"^  (-\w), --", shown, re.MULTILINE)
    assert flags[:4] == ["-f", "-m", "-w", "-s"]


@pytest.mark.parametrize(
    ("net", "kind"),
    [
        (NETS.read_text(), "load_model"),
        ("import torch\nInstantiatedModel = torch.nn.ReLU()\n", "InstantiatedModel"),
        (
            "class PatchInferencer:\n    def __init__(self, w, m): pass\n"
            "    def __call__(self, x): return x\n",
            "PatchInferencer",
        ),
    ],
    ids=["load_model", "InstantiatedModel", "PatchInferencer"],
)
def test_the_framework_follows_from_the_file(
    run_step: RunStep, tmp_path: Path, net: str, kind: str
) -> None:
    (tmp_path / "net.py").write_text(net)
    operator = Inference(
        convnet_model=str(tmp_path / "net.py"), input_patch_size=(4, 8, 8), precision="float32"
    )
    image = noise((6, 12, 12))
    task = run_step(operator, chunk=image)
    result = task.chunk("chunk")
    assert len(result.array) == (3 if kind == "load_model" else 1)
    assert np.allclose(result.array[0], image.cutout(result.bbox).array / 255, atol=1e-6)
    assert task.device in (operator.device(), f"{operator.device()} by OpenVINO")


def test_a_frozen_chain_keeps_what_was_given() -> None:
    """And no more, so that a worker derives the rest as this machine does."""
    for options in ({}, {"num_output_channels": 3}, {"output_patch_overlap": [4, 64, 64]}):
        operator = Inference(framework="identity", input_patch_size=(20, 256, 256), **options)
        assert operator.dump().items() >= options.items()
        assert len(operator.dump()) == 3 + len(options)


FLAT_NET = """
import torch
from torch import nn
torch.manual_seed(0)
InstantiatedModel = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ELU(),
    nn.MaxPool2d(2), nn.Upsample(scale_factor=2), nn.Conv2d(4, 2, 1), nn.Sigmoid())
"""


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("lattice", ["chunk", "global"])
def test_a_net_in_2d_runs_section_by_section(
    run_step: RunStep, tmp_path: Path, precision: Any, lattice: Any, capfd: Any
) -> None:
    """The patch is the section, so that the output is that of the net on each section."""
    (tmp_path / "net.py").write_text(FLAT_NET)
    operator = Inference(
        convnet_model=str(tmp_path / "net.py"),
        input_patch_size=(1, 16, 24),
        output_patch_overlap=(0, 0, 0),
        mask_output_chunk=True,
        precision=precision,
        lattice=lattice,
        batch_size=2,
    )
    image = noise((5, 16, 24))
    result = run_step(operator, chunk=image).chunk("chunk")
    names: dict[str, Any] = {}
    exec(FLAT_NET, names)
    sections = torch.from_numpy(image.array[:, None] / np.float32(255))
    with torch.no_grad():
        expected = names["InstantiatedModel"].eval()(sections).numpy().swapaxes(0, 1)
    assert result.array.shape == (2, 5, 16, 24)
    assert np.abs(result.array - expected).max() < (1e-5 if precision == "float32" else 0.02)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["half", "bfloat16", "double"])
def test_a_net_of_another_number_type_gives_what_it_gives_in_float32(
    run_step: RunStep, tmp_path: Path, kind: str
) -> None:
    source = (
        "import torch\ntorch.manual_seed(0)\n"
        "InstantiatedModel = torch.nn.Conv3d(1, 1, 3, padding=1)"
    )
    image, found = noise((6, 12, 12)), []
    for suffix in (f".{kind}()", f".{kind}().float()"):
        (tmp_path / "net.py").write_text(f"{source}{suffix}\n")
        operator = Inference(
            convnet_model=str(tmp_path / "net.py"), input_patch_size=(4, 8, 8), precision="float32"
        )
        found.append(run_step(operator, chunk=image).chunk("chunk").array)
    assert np.array_equal(found[0], found[1])


def test_weights_of_a_checkpoint_are_chosen_by_name(run_step: RunStep, tmp_path: Path) -> None:
    torch.save(
        {"model": {"scale": torch.full((1,), 2.0)}, "ema": {"scale": torch.full((1,), 3.0)}},
        tmp_path / "w.ckpt",
    )
    net = f"{NETS.read_text()}\nInstantiatedModel = Sevens()\ndel load_model\n"
    (tmp_path / "net.py").write_text(net)
    options: dict[str, Any] = {
        "convnet_model": str(tmp_path / "net.py"),
        "convnet_weight_path": str(tmp_path / "w.ckpt"),
        "input_patch_size": (4, 8, 8),
        "precision": "float32",
        "framework": "pytorch",
    }
    image = noise((6, 12, 12))
    with pytest.raises(ConfigError, match="2 sets of weights that fit the net: model, ema"):
        run_step(Inference(**options), chunk=image)
    result = run_step(Inference(**options, weight_key="ema"), chunk=image).chunk("chunk")
    assert np.allclose(result.array[0], 3 * (image.cutout(result.bbox).array / 255), atol=1e-5)


def test_affinities_need_the_channels_of_their_offsets(run_step: RunStep, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import torch\nInstantiatedModel = torch.nn.ReLU()\n")
    operator = Inference(
        convnet_model=str(tmp_path / "net.py"),
        input_patch_size=(4, 8, 8),
        augment=True,
        affinity_offsets="xyz",
    )
    with pytest.raises(ModelError, match="give --num-output-channels 1"):
        run_step(operator, chunk=noise((6, 12, 12)))


@pytest.mark.parametrize(
    ("reduce", "kind", "expected"),
    [
        ("threshold:0.4", "image", lambda full: full > 0.4),
        ("argmax", "segmentation", lambda full: np.zeros(full.shape[1:])),
        ("max", "image", lambda full: (full.max(axis=0) * 255).round()),
    ],
)
@pytest.mark.parametrize("framework", ["pytorch", "identity"])
def test_a_reduction_takes_the_place_of_an_operator(
    run_step: RunStep, framework: str, reduce: str, kind: str, expected: Any, tmp_path: Path
) -> None:
    model = tmp_path / "net.py"
    model.write_text("import torch\ndef load_model(path): return torch.nn.Identity()\n")
    options: dict[str, Any] = {
        "framework": framework, "input_patch_size": (4, 8, 8), "output_patch_overlap": (1, 2, 2),
        "mask_output_chunk": True, "num_output_channels": 1 if framework == "pytorch" else 3,
        "convnet_model": str(model) if framework == "pytorch" else None,
    }  # fmt: skip
    image = Chunk(np.random.default_rng(0).random((9, 20, 20), np.float32))
    full = run_step(Inference(**options), chunk=image).chunk("chunk")
    found = run_step(Inference(**options, reduce=reduce), chunk=image).chunk("chunk")
    assert found.dtype == np.uint8
    assert found.layer_type == kind
    assert np.array_equal(found.array.squeeze(), expected(full.czyx).squeeze())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"reduce": "mean"}, "'mean' is no reduction"),
        ({"reduce": "max", "dtype": "float32"}, "reduce gives uint8, and dtype is float32"),
        ({"reduce": "max", "mask_myelin_threshold": 0.3}, "needs the channels that reduce drops"),
    ],
)
def test_reductions_that_can_not_be_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises((ValueError, ConfigError), match=text):
        identity(**options)


def test_more_classes_than_a_uint8_counts_are_refused(run_step: RunStep) -> None:
    with pytest.raises(ConfigError, match="uint8 counts 256 channels, and the net has 257"):
        run_step(identity(reduce="argmax", num_output_channels=257), chunk=noise((9, 20, 20)))


def test_the_plan_counts_the_channels_that_are_left() -> None:
    size, plain = Vec3(32, 64, 64), {"num_output_channels": 3, "dtype": "uint8"}
    full = identity(**plain).task_bytes(size, "uint8")
    reduced = identity(**plain, reduce="argmax").task_bytes(size, "uint8")
    assert full - reduced == 2 * size.product
