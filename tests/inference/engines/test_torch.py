"""The PyTorch engine: model files of all kinds, precision, and nets that do not work."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from chunkflow_worker.errors import ModelError, OutOfMemory
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.engines.torch import TorchEngine
from chunkflow_worker.inference.net_shapes import LARGEST
from chunkflow_worker.operators.inference import Inference

SIZE = Vec3(4, 8, 8)
FAST_PRECISION = "chunkflow_worker.inference.torch_net.prepare.fast_precision"


def engine_of(
    tmp_path: Path, source: str, channels: int = 1, size: Vec3 = SIZE, **options: Any
) -> TorchEngine:
    model = tmp_path / "net.py"
    model.write_text(
        f"import numpy as np\nimport torch\nfrom torch import nn\ntorch.manual_seed(0)\n{source}"
    )
    return of_file(model, channels, size, **options)


def of_file(
    path: Path,
    channels: int = 1,
    size: Vec3 = SIZE,
    output_size: Vec3 | None = None,
    **options: Any,
) -> TorchEngine:
    return TorchEngine(
        EngineSpec(
            size,
            output_size or size,
            channels,
            model_path=str(path),
            **({"precision": "float32"} | options),
        )
    )


def predicted(engine: TorchEngine, patches: np.ndarray) -> np.ndarray:
    outputs = engine.predict([engine.arrays.put(patch) for patch in patches])
    assert all(output.dtype == torch.float32 for output in outputs)
    return np.stack([output.cpu().numpy() for output in outputs])


def noise(count: int = 2, channels: int = 1, size: Vec3 = SIZE) -> np.ndarray:
    return np.random.default_rng(7).random((count, channels, *size), np.float32)


def unchanged_output(tmp_path: Path, patches: np.ndarray) -> np.ndarray:
    """The output of the model file's net without any change."""
    names: dict[str, Any] = {}
    exec((tmp_path / "net.py").read_text(), names)  # the file seeds its weights
    with torch.no_grad():
        return names["InstantiatedModel"].eval()(torch.from_numpy(patches)).numpy()


def module(
    body: str,
    layers: str = "self.conv, self.norm = nn.Conv3d(1, 1, 3, padding=1), nn.BatchNorm3d(1)",
) -> str:
    """A model file whose net has these layers and computes `body` of x."""
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    return (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        f"        {layers}\n    def forward(self, x):\n{lines}InstantiatedModel = Net()\n"
    )


@pytest.mark.parametrize(
    "source",
    [
        module("return self.norm(self.conv(x)) if isinstance(x, torch.Tensor) else x * 0"),
        module("y = self.norm(self.conv(x))\nreturn y if float(y.mean()) > 9 else -y"),
        module("x += 1\nreturn self.norm(self.conv(x)) + x"),
        module("x.mul_(3).sub_(1)\nreturn self.norm(self.conv(x))"),
        module(
            "return self.conv(self.place) + x",
            "self.conv, self.place = nn.Conv3d(1, 1, 1), nn.Parameter(torch.rand(1, 1, 4, 8, 8))",
        ),
        module(
            "b, c, d, h, w = x.shape\n"
            "return self.conv(x.reshape(b * d, c, h, w)).reshape(b, 1, d, h, w)",
            "self.conv = nn.Conv2d(1, 1, 3, padding=1)",
        ),
        module(
            "b = x.shape[0]\nreturn self.act(x.view(b * 4, 64)).view(b, 1, 4, 8, 8)",
            "self.act = nn.Linear(64, 64)",
        ),
        module(
            "y = self.conv(x)\nreturn self.last(y.view(len(y) * 2, -1).view(-1, 2, 4, 8, 8))",
            "self.conv, self.last = nn.Conv3d(1, 2, 3, padding=1), nn.Conv3d(2, 1, 1)",
        ),
        "from torch.nn.utils.parametrizations import weight_norm\n"
        "InstantiatedModel = weight_norm(nn.Conv3d(1, 1, 3, padding=1))\n",
        "layers = nn.Conv3d(1, 1, 1), nn.Dropout(0.9), nn.InstanceNorm3d(1)\n"
        "InstantiatedModel = nn.Sequential(*layers)\n",
    ],
    ids=[
        "isinstance",
        "branch",
        "sum in place",
        "input in place",
        "place",
        "2D",
        "view of input",
        "view of layer",
        "norm",
        "drop",
    ],
)
def test_the_output_is_that_of_the_unchanged_net(tmp_path: Path, source: str) -> None:
    """With nets that changes for speed, memory layouts, batches or training mode would break."""
    engine = engine_of(tmp_path, source)
    for count in (1, 3):
        found = predicted(engine, noise(count))
        expected = unchanged_output(tmp_path, noise(count))
        assert np.abs(found - expected).max() < 1e-4 * max(1, np.abs(expected).max())


# A net that keeps a grid of the size of its first patch.
_GRID = """if self.grid is None:
    self.grid = torch.linspace(0, 1, x.shape[-1]).expand(1, *x.shape[1:])
return self.norm(self.conv(x)) + self.grid.expand_as(x)"""


def test_a_net_that_keeps_the_size_of_its_first_patch_gets_the_real_size(
    tmp_path: Path,
) -> None:
    size = Vec3(4, 16, 96)  # nets are tried on smaller patches
    layers = (
        "self.grid, self.conv, self.norm = None, nn.Conv3d(1, 1, 3, padding=1), nn.BatchNorm3d(1)"
    )
    engine = engine_of(tmp_path, module(_GRID, layers), size=size)
    patches = noise(1, size=size)
    assert np.abs(predicted(engine, patches) - unchanged_output(tmp_path, patches)).max() < 1e-5


@pytest.mark.parametrize(
    "source",
    [
        module("return self.conv(x.view(1, 1, 4, 8, 8))"),
        module("y = self.conv(x)\nreturn (y - y.mean()) / y.std()"),
        "norm = nn.BatchNorm3d(1, track_running_stats=False)\n"
        "InstantiatedModel = nn.Sequential(nn.Conv3d(1, 1, 3), norm, nn.ZeroPad3d(1))\n",
        "InstantiatedModel = nn.Conv3d(1, 1, 3, padding=1)\n"
        "def pre_process(patch):\n    return torch.from_numpy(patch - patch.mean())\n",
    ],
    ids=["one only", "mean", "norm", "pre_process"],
)
def test_a_net_written_for_one_patch_gets_one_at_a_time(tmp_path: Path, source: str) -> None:
    """chunkflow 1.2.0 runs one patch at a time, so a file may take a mean over its whole input."""
    engine = engine_of(tmp_path, source)
    patches = noise(3) * np.float32([1, 2, 3]).reshape(3, 1, 1, 1, 1)
    alone = np.concatenate([predicted(engine, patches[i : i + 1]) for i in range(3)])
    assert np.array_equal(predicted(engine, patches), alone)


@pytest.mark.parametrize(("acceleration", "tolerance"), [("none", 3e-6), ("openvino", 3e-5)])
@pytest.mark.parametrize(
    "norm",
    [
        "nn.GroupNorm(2, 8)",
        "nn.BatchNorm3d(8, track_running_stats=False)",
        "nn.InstanceNorm3d(8)",
        "nn.InstanceNorm3d(8, affine=True)",
    ],
)
def test_norms_over_a_large_patch_are_as_exact_as_the_nets_own(
    tmp_path: Path, norm: str, acceleration: str, tolerance: float
) -> None:
    """In the channels-last layout, torch computes these with an error of 1e-4 to 1e-2, and OpenVINO
    with one of 2e-4 unless they are group norms."""
    size = Vec3(16, 192, 192)
    layers = f"nn.Conv3d(1, 8, 1), nn.Conv3d(8, 8, 3, padding=1), {norm}"
    source = f"InstantiatedModel = nn.Sequential({layers})\n"
    engine = engine_of(tmp_path, source, 8, size, acceleration=acceleration)
    patches = noise(1, size=size)
    expected = unchanged_output(tmp_path, patches)
    error = np.abs(predicted(engine, patches) - expected).max()
    assert error < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("view", ["y.view(b * 4, 4, 8, 8)", "y.view(b, 1024)"])
def test_a_net_that_needs_contiguous_memory_gets_it(tmp_path: Path, view: str) -> None:
    """Merging batch and channels needs contiguous memory, which shows for several patches only."""
    layers = "self.conv, self.last = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 1, 1)"
    body = f"y = self.conv(x)\nb = y.shape[0]\nreturn self.last({view}.view(b, 4, 4, 8, 8))"
    engine = engine_of(tmp_path, module(body, layers))
    assert engine._layout is torch.contiguous_format
    found = predicted(engine, noise(4))
    assert np.abs(found - unchanged_output(tmp_path, noise(4))).max() < 1e-5


@pytest.mark.parametrize("acceleration", ["none", "graph"])
def test_nets_run_in_evaluation_and_inference_mode(tmp_path: Path, acceleration: Any) -> None:
    """Named defect of the peer: nets ran with dropout and batch norm as in training.

    The output is 1 for evaluation, plus 2 without gradients, plus 4 in inference mode. On CPUs,
    graphs have no effect.
    """
    source = module(
        "state = (not self.training) + 2 * (not torch.is_grad_enabled())\n"
        "state += 4 * torch.is_inference_mode_enabled()\n"
        "return x * 0 + state",
        "pass",
    )
    assert set(
        predicted(engine_of(tmp_path, source, acceleration=acceleration), noise()).ravel()
    ) == {7}


@pytest.mark.parametrize(
    "made", ["(x, x + 9)", "[x, x + 9]", "{'affinity': x, 'other': x + 9}", "Both(x, x + 9)"]
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_of_several_outputs_the_first_is_taken(tmp_path: Path, made: str, precision: Any) -> None:
    source = "from collections import namedtuple\nBoth = namedtuple('Both', 'a b')\n" + module(
        f"return {made}", "pass"
    )
    engine = engine_of(tmp_path, source, precision=precision)
    assert np.abs(predicted(engine, noise()) - noise()).max() < 0.01


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("made", "taken"),
    [
        ("(x, x + 9)", "output[1]"),
        ("[x, (x + 9, x)]", "output[1][0]"),
        ("{'a': x, 'b': x + 9}", "output['b']"),
        ("Both(x, x + 9)", "output.b"),
        ("Named(a=x, b=x + 9)", "output.b"),
        ("x + 9", "output"),
    ],
)
def test_post_process_gets_the_whole_output_in_float32(
    tmp_path: Path, made: str, taken: str, precision: Any
) -> None:
    source = (
        "from collections import namedtuple\nBoth = namedtuple('Both', 'a b')\n"
        "class Named(dict):\n    b = property(lambda self: self['b'])\n"
        + module(f"return {made}", "pass")
        + f"def post_process(output):\n    taken = {taken}\n"
        + "    assert taken.dtype == torch.float32\n    return taken - 9\n"
    )
    engine = engine_of(tmp_path, source, precision=precision)
    assert engine.precision == precision
    assert np.abs(predicted(engine, noise()) - noise()).max() < 0.05


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_post_process_may_return_booleans(tmp_path: Path, precision: Any) -> None:
    source = module("return x", "pass") + "def post_process(output): return output > 0.5\n"
    found = predicted(engine_of(tmp_path, source, precision=precision), noise())
    assert np.mean(found == (noise() > 0.5)) > 0.98


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "change",
    [
        "patch *= 2; return patch",
        "return patch * np.float32(2)",
        "return torch.from_numpy(patch) * 2",
        "return patch + patch",
    ],
)
def test_pre_process_makes_the_nets_input(tmp_path: Path, change: str, precision: Any) -> None:
    """It gets an array nczyx, which it may change, and returns an array or a tensor."""
    source = module("return self.conv(x)", "self.conv = nn.Conv3d(1, 1, 3, padding=1)")
    source += "def pre_process(patch):\n    assert patch.shape[1:] == (1, 4, 8, 8)\n"
    source += "    assert patch.dtype == np.float32\n"
    source += f"    {change}\n"
    engine = engine_of(tmp_path, source, precision=precision)
    found = predicted(engine, noise())
    assert np.abs(found - unchanged_output(tmp_path, 2 * noise())).max() < (
        1e-5 if precision == "float32" else 0.05
    )
    assert np.array_equal(noise(), noise())


def test_a_net_that_returns_no_tensor_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="returned text, and a tensor"):
        engine_of(tmp_path, module("return 'x'", "pass"))
    with pytest.raises(ModelError, match="returned nothing"):
        engine_of(tmp_path, module("return []", "pass"))


@pytest.mark.parametrize(
    ("body", "channels"),
    [("return x[:, :, 1:]", 1), ("return x[:, 0]", 1), ("return x", 2), ("return x[:1]", 1)],
)
def test_a_net_with_other_sizes_than_declared_is_refused_when_it_is_loaded(
    tmp_path: Path, body: str, channels: int
) -> None:
    with pytest.raises(ModelError, match="the options declare at least"):
        engine_of(tmp_path, module(body, "pass"), channels)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_middle_is_kept_of_a_net_with_padding(tmp_path: Path, precision: Any) -> None:
    """As in chunkflow 1.2.0, if the output patch is declared smaller than the input patch."""
    model = tmp_path / "net.py"
    model.write_text("from torch import nn\nInstantiatedModel = nn.Identity()\n")
    engine = of_file(model, output_size=Vec3(4, 6, 2), precision=precision)
    patches = noise(2)
    assert np.abs(predicted(engine, patches) - patches[:, :, :, 1:-1, 3:-3]).max() < 0.01


def test_the_error_of_a_net_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"fails on a patch of \[1, 1, 4, 8, 8\].*KeyError: 'layer'"
    ):
        engine_of(tmp_path, module("raise KeyError('layer')", "pass"))


@pytest.mark.parametrize(
    "error",
    ["torch.OutOfMemoryError('no')", 'RuntimeError("DefaultCPUAllocator: can\'t allocate memory")'],
)
@pytest.mark.parametrize("precision", ["float32", "auto", "bfloat16"])
def test_out_of_memory_is_not_an_error_of_the_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, precision: Any
) -> None:
    monkeypatch.setattr(FAST_PRECISION, lambda device: "bfloat16")
    with pytest.raises(OutOfMemory):
        engine_of(tmp_path, module(f"raise {error}", "pass"), precision=precision)
    if precision != "float32":
        with pytest.raises(OutOfMemory):
            engine_of(
                tmp_path,
                module(f"if x.dtype == torch.bfloat16: raise {error}\nreturn x", "pass"),
                precision=precision,
            )


CONVOLUTION = "InstantiatedModel = nn.Conv3d(1, 1, 3, padding=1)\n"
# Fails in all but float32; has values too large for float16; is not finite in bfloat16.
FAILS = module("assert x.dtype == torch.float32\nreturn x", "pass")
OVERFLOWS = module("return x * 60000 * 60000 / 60000 / 60000", "pass")
DIVIDES = module("return x / (x + 0.001 - x).clamp(max=0.001) * 0.001", "pass")


@pytest.mark.parametrize(
    ("asked", "fast", "source", "used"),
    [
        ("float32", "bfloat16", CONVOLUTION, "float32"),
        (
            "tf32",
            "bfloat16",
            CONVOLUTION,
            "tf32" if torch.cuda.is_available() else "float32",
        ),  # a mode of GPUs
        ("bfloat16", "float32", CONVOLUTION, "bfloat16"),
        ("float16", "float32", CONVOLUTION, "float16"),
        ("auto", "bfloat16", CONVOLUTION, "bfloat16"),
        ("auto", "float16", CONVOLUTION, "float16"),
        ("auto", "float32", CONVOLUTION, "float32"),
        ("auto", "bfloat16", FAILS, "float32"),
        ("auto", "float16", OVERFLOWS, "float32"),
        ("auto", "bfloat16", OVERFLOWS, "bfloat16"),
        ("auto", "bfloat16", DIVIDES, "float32"),
    ],
)
def test_precision_is_the_one_asked_for_or_one_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Any, fast: str, source: str, used: str
) -> None:
    """Named defect of the peer: nothing was computed in reduced precision."""
    monkeypatch.setattr(FAST_PRECISION, lambda device: fast)
    engine = engine_of(tmp_path, source, precision=asked)
    assert engine.precision == used
    found = predicted(engine, noise())
    expected = unchanged_output(tmp_path, noise())
    assert np.isfinite(found).all()
    assert np.abs(found - expected).max() <= (1e-5 if used == "float32" else 0.02)
    if used in ("bfloat16", "float16"):
        assert np.abs(found - expected).max() > 0, "it ran in that precision"


@pytest.mark.parametrize(
    ("precision", "source", "text"),
    [
        ("bfloat16", FAILS, "does not run"),
        (
            "float16",
            OVERFLOWS,
            "gives values that are not finite in float16: use precision float32",
        ),
    ],
)
def test_a_precision_that_was_asked_for_is_never_replaced(
    tmp_path: Path, precision: Any, source: str, text: str
) -> None:
    with pytest.raises(ModelError, match=text):
        engine_of(tmp_path, source, precision=precision)


def test_falling_back_to_float32_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(FAST_PRECISION, lambda device: "float16")
    with caplog.at_level(logging.WARNING):
        engine_of(tmp_path, OVERFLOWS, precision="auto")
    assert "so it runs in float32" in caplog.text


GROWS = module("return self.conv(x) * 1000 / 1000", "self.conv = nn.Conv3d(1, 1, 3, padding=1)")


@pytest.mark.parametrize("asked", ["auto", "float16"])
def test_a_later_value_that_is_too_large_switches_auto_to_float32_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Any
) -> None:
    monkeypatch.setattr(FAST_PRECISION, lambda device: "float16")
    engine = engine_of(tmp_path, GROWS, precision=asked)
    predicted(engine, noise())
    assert (engine.overflowed(), engine.precision) == (False, "float16")
    assert np.abs(predicted(engine, 1000 * noise())).max() == LARGEST
    predicted(engine, noise())  # a finite batch after it does not reset the flag
    if asked == "float16":
        assert (engine.overflowed(), engine.precision) == (False, "float16")
        return
    assert [engine.overflowed(), engine.overflowed()] == [True, False]
    assert engine.precision == "float32"
    found, expected = predicted(engine, 1000 * noise()), unchanged_output(tmp_path, 1000 * noise())
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert not engine.overflowed()


@pytest.mark.parametrize("augment", [False, True])
def test_a_task_with_values_too_large_runs_again_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_step: Any, augment: bool
) -> None:
    """Its record has the precision of the result, and counts its patches once."""
    monkeypatch.setattr(FAST_PRECISION, lambda device: "float16")
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n" + module("return x * 1000 / 1000", "pass")
    )
    options: dict[str, Any] = {
        "framework": "pytorch",
        "convnet_model": str(tmp_path / "net.py"),
        "augment": augment,
    }
    sizes: dict[str, Any] = {
        "input_patch_size": SIZE,
        "output_patch_overlap": (0, 0, 0),
        "num_output_channels": 1,
    }
    image = Chunk(noise(1, size=Vec3(4, 16, 24))[0, 0] + np.float32(0.1))
    image.array[:, 8:, 16:] *= 1000
    image.array[:, :8, :8] = 0
    task = run_step(Inference(**options, **sizes), chunk=image)
    assert np.allclose(task.chunk("chunk").array[0], image.array, rtol=1e-5)
    assert (task.precision, task.patches, task.patches_skipped) == ("float32", 5, 1)


def test_a_net_without_layers_may_be_reduced(tmp_path: Path) -> None:
    """Its length is 0, so its truth value is False."""
    engine = engine_of(tmp_path, "InstantiatedModel = nn.Sequential()\n", precision="bfloat16")
    assert engine.precision == "bfloat16"
    assert np.abs(predicted(engine, noise()) - noise()).max() < 0.01


@pytest.mark.long
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning"
)  # torch's, of its own modules
@pytest.mark.skipif(
    not (shutil.which("c++") or shutil.which("g++")), reason="torch.compile needs a C++ compiler"
)
def test_a_compiled_net_gives_the_same_output(tmp_path: Path) -> None:
    layers = (
        "self.a, self.b = nn.Conv3d(1, 1, 3, padding=1), nn.Conv3d(1, 1, 1); "
        "self.norm, self.act = nn.BatchNorm3d(1), nn.ELU()"
    )
    source = module("y = self.a(x)\nreturn self.act(self.norm(self.b(y)) + y)", layers)
    engine = engine_of(tmp_path, source, acceleration="compile")
    for count in (1, 2, 1):
        assert (
            np.abs(predicted(engine, noise(count)) - unchanged_output(tmp_path, noise(count))).max()
            < 1e-5
        )


def test_parts_of_a_batch_are_kept_if_a_net_reuses_its_output(tmp_path: Path) -> None:
    """CUDA graphs reuse it. Here it is an exported net of batch size 1."""
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(nn.ReLU(), (torch.rand(1, 1, *SIZE),)), path)
    engine = of_file(path, trust_weights=True)
    run, output = engine._run, torch.empty(1, 1, *SIZE)
    engine._run = lambda patches: output.copy_(run(patches))
    assert np.array_equal(predicted(engine, noise(3)), noise(3))


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "uint32", "int16", "int64", "float64", "float16", "bool"]
)
def test_images_are_scaled_to_one(tmp_path: Path, dtype: str) -> None:
    engine = engine_of(tmp_path, module("return x", "pass"))
    largest = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 1
    patches = np.zeros((2, 1, *SIZE), dtype)
    patches[0] = largest
    assert np.array_equal(predicted(engine, patches), (patches > 0).astype(np.float32))
