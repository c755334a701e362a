"""Test-time augmentation, with nets whose output is known for each orientation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chunkflow_worker.errors import OutOfMemory
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.augment import Augmented, Orientation, orientations, sources
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.engines.identity import IdentityEngine
from chunkflow_worker.inference.host_arrays import HostArrays
from chunkflow_worker.inference.host_engine import HostEngine
from chunkflow_worker.inference.torch_net.arrays import TorchArrays
from chunkflow_worker.operators.inference import Inference

# What the nets below return for a voxel whose partner is outside the patch.
UNKNOWN = -1000.0
XYZ = (Vec3(0, 0, -1), Vec3(0, -1, 0), Vec3(-1, 0, 0))
OFFSETS = {
    "xyz": XYZ,
    "zyx": XYZ[::-1],
    "positive": (Vec3(0, 0, 1), Vec3(0, 1, 0), Vec3(1, 0, 0)),
    "both signs": (
        Vec3(0, 0, 1),
        Vec3(0, -1, 0),
        Vec3(1, 0, 0),
        Vec3(0, 0, -1),
        Vec3(-1, 0, 0),
        Vec3(0, 1, 0),
    ),
    "long range": (
        *XYZ,
        Vec3(0, 0, -3),
        Vec3(0, -3, 0),
        Vec3(-2, 0, 0),
        Vec3(0, 0, 4),
        Vec3(0, 4, 0),
    ),
    "longer than the patch": (*XYZ, Vec3(-7, 0, 0), Vec3(0, -9, 0), Vec3(0, 0, -9), Vec3(-4, 0, 0)),
    "oblique": (
        Vec3(0, 1, 2),
        Vec3(0, 2, 1),
        Vec3(0, 1, -2),
        Vec3(0, -2, 1),
        Vec3(-1, 2, 2),
        Vec3(-1, -2, 2),
        Vec3(-1, 2, -2),
        Vec3(-1, -2, -2),
    ),
    "within sections": (Vec3(0, -1, 0), Vec3(0, 0, -1)),
    "along z": (Vec3(-2, 0, 0),),
}


def pair(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A number for a pair of voxels: the same for (a, b) and (b, a), and no other pair."""
    return np.minimum(a, b) + 3 * np.abs(a - b)


def affinities(image: np.ndarray, offsets: Sequence[Vec3], outside: float = UNKNOWN) -> np.ndarray:
    """What a perfect net returns, voxel by voxel; `outside` if the partner is not in the image."""
    result = np.full((len(offsets), *image.shape), outside, np.float32)
    for channel, offset in enumerate(offsets):
        for v in np.ndindex(*image.shape):
            w = tuple(a + o for a, o in zip(v, offset, strict=True))
            if all(0 <= a < n for a, n in zip(w, image.shape, strict=True)):
                result[(channel, *v)] = pair(image[v], image[w])
    return result


class Perfect(HostEngine):
    """Returns exact affinities of the patch, then undirected channels: the image, and 5."""

    def __init__(self, offsets: Sequence[Vec3], arrays: Any, undirected: int = 0, crop: int = 0):
        super().__init__(len(offsets) + undirected)
        self.arrays, self.offsets, self.crop, self.shapes = arrays, offsets, crop, []
        self.undirected = undirected

    def predict(self, patches: Sequence[Any]) -> Sequence[Any]:
        return [self._one(np.asarray(patch)) for patch in patches]

    def _one(self, patch: np.ndarray) -> Any:
        assert patch.flags.c_contiguous
        self.shapes.append(patch.shape)
        image = patch[0]
        output = np.concatenate(
            [
                affinities(image, self.offsets),
                np.stack([image, np.full_like(image, 5)])[: self.undirected],
            ]
        )
        c = self.crop
        inner = output[:, c : output.shape[1] - c, c : output.shape[2] - c, c : output.shape[3] - c]
        return inner if isinstance(self.arrays, HostArrays) else torch.from_numpy(inner.copy())


def noise(size: tuple[int, ...] = (4, 6, 6), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((1, *size), np.float32)


def augmented(
    engine: Any, patches: list[np.ndarray], flip_z: bool, offsets: tuple[Vec3, ...] = ()
) -> list[np.ndarray]:
    outputs = Augmented(engine, flip_z, offsets).predict(
        [engine.arrays.put(patch) for patch in patches]
    )
    return [np.asarray(output) for output in outputs]


@pytest.mark.parametrize("arrays", [HostArrays(), TorchArrays("cpu")], ids=["numpy", "torch"])
@pytest.mark.parametrize("flip_z", [False, True])
@pytest.mark.parametrize("undirected", [0, 1, 2])
@pytest.mark.parametrize("name", OFFSETS)
def test_exact_affinities_are_unchanged_where_the_partner_is_in_the_patch(
    name: str, undirected: int, flip_z: bool, arrays: Any
) -> None:
    offsets = OFFSETS[name]
    patches = [noise(seed=seed) for seed in range(2)]
    outputs = augmented(Perfect(offsets, arrays, undirected), patches, flip_z, offsets)
    for patch, output in zip(patches, outputs, strict=True):
        expected = affinities(patch[0], offsets)
        known = expected != UNKNOWN
        assert np.abs(output[: len(offsets)] - expected)[known].max() < 1e-5
        # Elsewhere the net's own output is kept; no orientation turns it into NaN.
        assert np.isfinite(output).all()
        assert np.array_equal(output[: len(offsets)][~known], expected[~known])
        for channel, truth in zip(
            output[len(offsets) :], (patch[0], np.full_like(patch[0], 5)), strict=False
        ):
            assert np.abs(channel - truth).max() < 1e-6


def test_without_offsets_directed_channels_would_be_mixed() -> None:
    """This shows that the test above can fail."""
    patch = noise()
    expected = affinities(patch[0], XYZ)
    output = augmented(Perfect(XYZ, HostArrays()), [patch], False)[0]
    assert np.abs(output - expected)[expected != UNKNOWN].max() > 0.1


@pytest.mark.parametrize("flip_z", [False, True])
def test_valid_convolutions_know_partners_outside_of_the_output(flip_z: bool) -> None:
    """The net sees them in the input patch, so every voxel of the output is known."""
    patch = noise((5, 8, 8))
    output = augmented(Perfect(XYZ, HostArrays(), crop=1), [patch], flip_z, XYZ)[0]
    expected = affinities(patch[0], XYZ)[:, 1:-1, 1:-1, 1:-1]
    assert output.shape == (3, 3, 6, 6)
    assert np.abs(output - expected).max() < 1e-5


@settings(max_examples=40)
@given(
    st.lists(st.tuples(*[st.integers(-3, 3)] * 3).map(lambda t: Vec3(*t)), min_size=1, max_size=3),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_offsets_with_partners_under_all_orientations_work(
    given_offsets: list[Vec3], flip_z: bool, seed: int
) -> None:
    offsets: list[Vec3] = []
    for offset in given_offsets:
        for orientation in orientations(flip_z):
            turned = orientation.undo_offset(offset)
            if turned not in offsets and Vec3(*(-n for n in turned)) not in offsets:
                offsets.append(turned)
    patch = noise(seed=seed)
    output = augmented(Perfect(offsets, HostArrays()), [patch], flip_z, tuple(offsets))[0]
    expected = affinities(patch[0], offsets)
    known = expected != UNKNOWN
    assert np.abs(output - expected)[known].max(initial=0) < 1e-5
    assert np.isfinite(output).all()


@pytest.mark.parametrize("flip_z", [False, True])
def test_turning_and_undoing_is_the_identity(flip_z: bool) -> None:
    found = orientations(flip_z)
    assert len(found) == len(set(found)) == (16 if flip_z else 8)
    patch = np.arange(4 * 6 * 6, dtype=np.float32).reshape(1, 4, 6, 6)
    turned = set()
    for orientation in found:
        for array in (patch, torch.from_numpy(patch)):
            assert np.array_equal(np.asarray(orientation.undo(orientation.turn(array))), patch)
        turned.add(orientation.turn(patch).tobytes())
    assert len(turned) == len(found), "all are different"


def test_an_offset_is_turned_as_the_patch_is() -> None:
    """The offset between two marked voxels of a turned patch is undone to the one before."""
    offset = Vec3(1, -2, 3)
    patch = np.zeros((1, 4, 9, 9))
    patch[0, 1, 4, 4], patch[0, 2, 2, 7] = 1, 2
    for orientation in orientations(True):
        turned = orientation.turn(patch)[0]
        found = Vec3(
            *(
                int(b - a)
                for a, b in zip(
                    np.argwhere(turned == 1)[0], np.argwhere(turned == 2)[0], strict=True
                )
            )
        )
        assert orientation.undo_offset(found) == offset


class Biased(HostEngine):
    """Returns the image plus a bias that grows along an axis of the patch that the net gets."""

    def __init__(self, axis: int, arrays: Any):
        super().__init__(1)
        self.axis, self.arrays = axis, arrays

    def predict(self, patches: Sequence[Any]) -> Sequence[Any]:
        outputs = []
        for patch in patches:
            shape = [1] * 4
            shape[self.axis] = patch.shape[self.axis]
            ramp = np.linspace(0, 1, patch.shape[self.axis], dtype=np.float32).reshape(shape)
            outputs.append(
                patch + (ramp if isinstance(patch, np.ndarray) else torch.from_numpy(ramp))
            )
        return outputs


@pytest.mark.parametrize("arrays", [HostArrays(), TorchArrays("cpu")], ids=["numpy", "torch"])
@pytest.mark.parametrize(("axis", "flip_z"), [(1, True), (2, False), (3, False), (2, True)])
def test_a_bias_by_orientation_averages_out(axis: int, flip_z: bool, arrays: Any) -> None:
    patch = noise()
    output = augmented(Biased(axis, arrays), [patch], flip_z)[0]
    assert np.abs(output - patch - 0.5).max() < 1e-6


def test_a_bias_along_z_stays_without_flips_of_z() -> None:
    patch = noise()
    output = augmented(Biased(1, HostArrays()), [patch], False)[0]
    ramp = np.linspace(0, 1, 4, dtype=np.float32)[None, :, None, None]
    assert np.abs(output - patch - ramp).max() < 1e-6


@pytest.mark.parametrize("arrays", [HostArrays(), TorchArrays("cpu")], ids=["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int64", "bool", "float16"])
def test_images_of_any_type_are_turned(dtype: str, arrays: Any) -> None:
    patch = (noise() * 200 > 90).astype(dtype)
    engine = IdentityEngine(EngineSpec(Vec3(4, 6, 6), Vec3(4, 6, 6), channels=1))
    engine.arrays = arrays
    scale = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 1
    output = augmented(engine, [patch], True)[0]
    assert np.allclose(output * scale, patch.astype(float), rtol=1e-5)


def test_it_has_the_attributes_of_its_engine() -> None:
    engine = Perfect(XYZ, HostArrays(), undirected=1)
    wrapped = Augmented(engine, True, XYZ)
    assert (
        wrapped.device,
        wrapped.precision,
        wrapped.channels,
        wrapped.arrays,
        wrapped.batch_size((1, 4, 6, 6)),
    ) == (
        engine.device,
        "float32",
        4,
        engine.arrays,
        1,
    )
    wrapped.predict([noise()] * 3)
    assert len(engine.shapes) == 16 * 3


def test_out_of_memory_is_passed_on() -> None:
    class Full(HostEngine):
        def predict(self, patches: Sequence[Any]) -> Sequence[Any]:
            raise OutOfMemory("full")

    with pytest.raises(OutOfMemory):
        Augmented(Full(1)).predict([noise()])


# --- the operator ---


def operator(**options: Any) -> Inference:
    defaults = {
        "framework": "identity",
        "input_patch_size": (4, 8, 8),
        "output_patch_overlap": (1, 2, 2),
        "num_output_channels": 3,
        "augment": True,
    }
    return Inference(**(defaults | options))


@pytest.mark.parametrize(
    "text", ["0,0,-1", "0,0,-1 -1,0,0", "0,-2,0 0,0,-1", "0,0,-1 0,-1,0 0,1,2"]
)
def test_offsets_without_a_partner_under_transposition_are_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="has no partner under the transposition"):
        operator(affinity_offsets=text, num_output_channels=4)


def test_offsets_without_a_partner_under_flips_are_refused() -> None:
    with pytest.raises(KeyError):
        sources(Orientation(False, (2,)), (Vec3(0, 1, 2), Vec3(0, 2, 1)))
    with pytest.raises(ValidationError, match="has no partner"):
        operator(affinity_offsets="0,1,2 0,2,1")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("0,0,-1 0,-1,0 -1,0,0 0,0,-2 0,-2,0", "has 5 channels, and num_output_channels is 3"),
        ("0,0,-1 0,-1,0 0,-1,0", "names an offset twice"),
        ("0,0 0,-1", "is not a list of z,y,x"),
        ("yxz", "is not a list of z,y,x"),
        ("0,0,a", "is not a list of z,y,x"),
    ],
)
def test_illegal_offsets_are_refused(text: str, match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        operator(affinity_offsets=text)


@pytest.mark.parametrize("text", ["xyz", "zyx", "0,0,-1 0,-1,0 -1,0,0", "0,0,1 0,-1,0", None])
def test_legal_offsets_are_accepted(text: str | None) -> None:
    assert operator(affinity_offsets=text, augment_z=True).affinity_offsets == text


@pytest.mark.parametrize("framework", ["universal", "pytorch"])
@pytest.mark.parametrize("order", ["xyz", "zyx"])
def test_the_operators_affinities_are_those_of_the_image(
    tmp_path: Path, run_step: Any, framework: str, order: str
) -> None:
    """The net sees one voxel around its output, so its affinities do not depend on the patches."""
    from chunkflow_worker.image.chunk import Chunk

    axes = {"xyz": (4, 3, 2), "zyx": (2, 3, 4)}[order]
    body = (
        "def both(x, axis):\n"
        "    other = torch.roll(x, 1, axis)\n"
        "    return torch.minimum(x, other) + 3 * (x - other).abs()\n"
        "def run(x):\n"
        f"    channels = [both(x, axis) for axis in {axes}] + [x]\n"
        "    return torch.cat(channels, 1)[:, :, 1:-1, 1:-1, 1:-1]\n"
    )
    tail = {
        "universal": "class PatchInferencer:\n    def __init__(self, w, m): pass\n"
        "    def __call__(self, p): return run(torch.from_numpy(p)).numpy()\n",
        "pytorch": "class Net(torch.nn.Module):\n    def forward(self, x): return run(x)\n"
        "InstantiatedModel = Net()\n",
    }
    model = tmp_path / "net.py"
    model.write_text("import torch\n" + body + tail[framework])
    image = Chunk(np.random.default_rng(4).integers(1, 255, (12, 20, 20), np.uint8))
    chosen = operator(
        framework=framework,
        convnet_model=str(model),
        input_patch_size=(6, 10, 10),
        output_patch_size=(4, 8, 8),
        num_output_channels=4,
        augment_z=True,
        affinity_offsets=order,
        precision="float32",
        batch_size=2,
    )
    result = run_step(chosen, chunk=image).chunk("chunk")
    grey = image.array.astype(np.float32) / 255
    expected = np.concatenate([affinities(grey, OFFSETS[order]), grey[None]])[
        (slice(None), *result.bbox.slices())
    ]
    assert np.abs(result.array - expected).max() < 1e-5
