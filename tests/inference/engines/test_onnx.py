"""Nets with known output in .onnx files, run by the real onnxruntime and OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from chunkflow_worker.errors import ConfigError, ModelError, OutOfMemory
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.engines import open_engine
from chunkflow_worker.inference.engines.onnx import OnnxEngine
from chunkflow_worker.inference.openvino import Compiled
from chunkflow_worker.operators.inference import Inference

pytestmark = pytest.mark.openvino
SIZE = Vec3(4, 8, 8)
Make = Callable[..., str]


def engine_of(path: str, channels: int, output_size: Vec3 = SIZE, **options: Any) -> OnnxEngine:
    return OnnxEngine(EngineSpec(SIZE, output_size, channels, model_path=path, **options))


@pytest.fixture
def net(tmp_path: Path) -> Make:
    """Write a net. Its output channels are the input's first channel, and 3 times that plus 1.

    crop: voxels that it cuts off each side of y and x, like valid convolutions.
    """

    def make(
        shape: Any = ("n", 1, *SIZE),
        kind: int = TensorProto.FLOAT,
        crop: int = 0,
        inputs: int = 1,
        first: str = "out",
    ) -> str:
        width, channels = 2 * crop + 1, shape[1] if isinstance(shape[1], int) else 1
        kernel = np.zeros((2, channels, 1, width, width), helper.tensor_dtype_to_np_dtype(kind))
        kernel[0, 0, 0, crop, crop], kernel[1, 0, 0, crop, crop] = 1, 3
        weights = [
            numpy_helper.from_array(kernel, "kernel"),
            numpy_helper.from_array(np.array([0, 1], kernel.dtype), "bias"),
        ]
        nodes = [
            helper.make_node("Conv", ["in", "kernel", "bias"], ["out"]),
            helper.make_node("Neg", ["out"], ["negative"]),
        ]
        names = [first, *({"out", "negative"} - {first})]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info(name, kind, shape) for name in ["in", "mask"][:inputs]],
            [helper.make_tensor_value_info(name, kind, [None] * 5) for name in names],
            weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        path = tmp_path / "net.onnx"
        onnx.save(model, path)
        return str(path)

    return make


def noise(count: int, dtype: str = "float32", channels: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    if np.dtype(dtype).kind == "f":
        return list(rng.random((count, channels, *SIZE)).astype(dtype))
    return list(
        rng.integers(0, np.iinfo(dtype).max, (count, channels, *SIZE), endpoint=True, dtype=dtype)
    )


def expected_output(patch: np.ndarray) -> np.ndarray:
    scaled = patch / np.iinfo(patch.dtype).max if patch.dtype.kind in "ui" else patch.astype(float)
    return np.concatenate([scaled[:1], 3 * scaled[:1] + 1])


@pytest.mark.parametrize(
    ("shape", "batch"),
    [
        (("n", 1, *SIZE), 1),
        ((None, 1, *SIZE), 1),
        (("n", "c", "z", "y", "x"), 1),
        ((1, 1, *SIZE), 1),
        ((3, 1, *SIZE), 3),
        ((2, 1, "z", "y", "x"), 2),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("acceleration", ["none", "openvino"])
def test_any_number_of_patches_runs_with_any_batch_size_of_the_file(
    net: Make, shape: Any, batch: int, channels: int, acceleration: str
) -> None:
    engine = engine_of(net(shape), channels, acceleration=acceleration)
    assert engine.device.endswith(" by OpenVINO") == (acceleration == "openvino")
    assert engine.batch_size((1, *SIZE)) == batch
    assert engine.precision == "float32"
    for count in (1, 2, 3, 4, 7):
        patches = noise(count)
        outputs = engine.predict(patches)
        assert len(outputs) == count
        for patch, output in zip(patches, outputs, strict=True):
            assert np.allclose(output, expected_output(patch)[:channels], atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "name", "tolerance"),
    [(TensorProto.FLOAT16, "float16", 2e-3), (TensorProto.FLOAT, "float32", 1e-6)],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float16", "float64", ">f4"])
@pytest.mark.parametrize("acceleration", ["none", "openvino"])
def test_nets_of_any_precision_take_images_of_any_type(
    net: Make, kind: int, name: str, tolerance: float, dtype: str, acceleration: str
) -> None:
    engine = engine_of(net(kind=kind), 2, acceleration=acceleration)
    assert engine.precision == (name if acceleration == "none" else "float32")
    patches = noise(2, dtype)
    for patch, output in zip(patches, engine.predict(patches), strict=True):
        assert output.dtype == np.float32
        assert np.allclose(output, expected_output(patch), atol=tolerance)


@pytest.mark.parametrize("acceleration", ["none", "openvino"])
def test_the_first_output_is_taken(net: Make, acceleration: str) -> None:
    patch = noise(1)
    output = engine_of(net(first="negative"), 2, acceleration=acceleration).predict(patch)[0]
    assert np.allclose(output, -expected_output(patch[0]), atol=1e-6)


def test_openvino_leaves_to_onnxruntime_what_it_would_compute_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It converts float64 to float32."""
    negative = [helper.make_node("Neg", ["in"], ["out"])]
    path = written(tmp_path, negative, FREE, {"out": FREE}, kind=TensorProto.DOUBLE)
    engine = engine_of(path, 1, acceleration="auto")
    assert (engine.precision, "OpenVINO" in engine.device) == ("float64", False)
    said = "onnxruntime runs the net, more slowly than OpenVINO would: it computes in float64"
    assert said in caplog.text


def test_operations_that_openvino_does_not_know_are_run_by_onnxruntime(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inverse = [helper.make_node("Inverse", ["in"], ["out"], domain="com.microsoft")]
    path = written(tmp_path, inverse, FREE, {"out": FREE})
    engine = engine_of(path, 1, acceleration="auto")
    assert "OpenVINO" not in engine.device
    assert "onnxruntime runs the net" in caplog.text
    patch = noise(1)
    assert np.allclose(engine.predict(patch)[0] @ patch[0], np.eye(8), atol=1e-2)


def test_a_net_that_openvino_runs_wrongly_is_run_by_onnxruntime(
    net: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    call = Compiled.__call__
    monkeypatch.setattr(Compiled, "__call__", lambda self, a: [2 * b for b in call(self, a)])
    engine = engine_of(net(), 2, acceleration="auto")
    assert "its output for noise differs by 1 of its largest value" in caplog.text
    patch = noise(1)
    assert np.allclose(engine.predict(patch)[0], expected_output(patch[0]), atol=1e-6)
    with pytest.raises(ModelError, match="OpenVINO can't run the net: its output"):
        engine_of(net(), 2, acceleration="openvino")


@pytest.mark.parametrize("acceleration", ["none", "compile"])
def test_openvino_can_be_turned_off(net: Make, acceleration: str) -> None:
    assert "OpenVINO" not in engine_of(net(), 2, acceleration=acceleration).device


def test_onnxruntime_uses_the_processors_of_the_container(
    net: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkflow_worker.inference.engines.onnx.thread_count", lambda: 3)
    session = engine_of(net(), 2)._session
    assert session.get_session_options().intra_op_num_threads == 3


def test_several_input_channels(net: Make) -> None:
    patch = noise(1, channels=3)
    output = engine_of(net(("n", 3, *SIZE)), 2, input_channels=3).predict(patch)[0]
    assert np.allclose(output, expected_output(patch[0]), atol=1e-6)
    with pytest.raises(ModelError, match="the options declare"):
        engine_of(net(("n", 3, *SIZE)), 2)


def test_valid_convolutions_return_the_middle(net: Make, run_step: Any) -> None:
    path = net(("n", 1, "z", "y", "x"), crop=2)
    patch = noise(1)
    output = engine_of(path, 2, Vec3(4, 4, 4)).predict(patch)[0]
    assert np.allclose(output, expected_output(patch[0])[..., 2:6, 2:6], atol=1e-6)
    operator = Inference(
        framework="onnx",
        convnet_model=path,
        input_patch_size=SIZE,
        output_patch_size=(4, 4, 4),
        output_patch_overlap=(1, 2, 2),
        num_output_channels=2,
        batch_size=3,
    )
    image = Chunk(np.random.default_rng(3).integers(1, 255, (9, 18, 20), np.uint8))
    task = run_step(operator, chunk=image)
    result = task.chunk("chunk")
    assert np.allclose(
        result.array, expected_output(image.cutout(result.bbox).array[np.newaxis]), atol=1e-5
    )
    assert (task.precision, task.patches > 0) == ("float32", True)


@pytest.mark.parametrize(
    "shape", [("n", 1, 4, 8, 9), ("n", 2, *SIZE), ("n", 8, 8), ("n", 1, 1, *SIZE)]
)
def test_a_net_of_another_shape_is_refused_when_it_is_loaded(
    net: Make, tmp_path: Path, shape: Any
) -> None:
    if len(shape) == 5:
        path = net(shape)
    else:
        info = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("in", "out")
        ]
        graph = helper.make_graph(
            [helper.make_node("Neg", ["in"], ["out"])], "net", info[:1], info[1:]
        )
        path = str(tmp_path / "net.onnx")
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
            path,
        )
    with pytest.raises(ModelError, match=r"takes input .* the options declare \[n, 1, 4, 8, 8\]"):
        engine_of(path, 1)


def test_more_channels_than_the_net_has_are_refused(net: Make) -> None:
    with pytest.raises(ModelError, match=r"returned shape \[1, 2, 4, 8, 8\].* at least 3 channels"):
        engine_of(net(), 3).predict(noise(1))
    with pytest.raises(ModelError, match=r"returned shape \[1, 2, 4, 6, 6\]"):
        engine_of(net(crop=1), 2).predict(noise(1))


def test_nets_with_two_inputs_are_refused(net: Make) -> None:
    with pytest.raises(
        ModelError, match=r"in: tensor.float., mask: tensor.float.*one floating point input"
    ):
        engine_of(net(inputs=2), 2)


def test_integer_inputs_are_refused(tmp_path: Path) -> None:
    info = [
        helper.make_tensor_value_info(name, TensorProto.INT32, ("n", 1, *SIZE))
        for name in ("in", "out")
    ]
    graph = helper.make_graph([helper.make_node("Neg", ["in"], ["out"])], "net", info[:1], info[1:])
    path = str(tmp_path / "net.onnx")
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    with pytest.raises(ModelError, match="one floating point input"):
        engine_of(path, 1)


@pytest.mark.parametrize("content", [b"", b"no net at all", b"\x08\x09" + b"\xff" * 40])
def test_broken_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"loading .*net\.onnx fails: [A-Z][a-z].*\n.*again"):
        engine_of(str(path), 1)


def test_missing_files_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a file"):
        engine_of(str(tmp_path / "net.onnx"), 1)


def test_a_net_that_fails_at_run_time_is_reported(tmp_path: Path) -> None:
    """The file accepts any size, but a reshape inside it does not."""
    info = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 1, "z", "y", "x"))
        for name in ("in", "out")
    ]
    nodes = [helper.make_node("Reshape", ["in", "to"], ["out"])]
    shape = numpy_helper.from_array(np.array([-1, 1, 4, 8, 7]), "to")
    graph = helper.make_graph(nodes, "net", info[:1], info[1:], [shape])
    path = str(tmp_path / "net.onnx")
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    with pytest.raises(ModelError, match=r"the net fails on input \[1, 1, 4, 8, 8\] \(nczyx\)"):
        engine_of(path, 1).predict(noise(1))


def test_out_of_memory_is_not_an_error_of_the_net(
    net: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(net(), 2)

    def run(*args: Any) -> Any:
        raise onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException(
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : BFCArena: "
            "Failed to allocate memory for requested buffer of size 9"
        )

    monkeypatch.setattr(engine, "_session", type("Session", (), {"run": run})())
    with pytest.raises(OutOfMemory, match="Failed to allocate memory"):
        engine.predict(noise(2))


def written(
    tmp_path: Path,
    nodes: list[Any],
    shape: Any,
    outputs: dict[str, Any],
    weights: Any = (),
    kind: int = TensorProto.FLOAT,
) -> str:
    """Write a net with the input `in`, and these outputs of these shapes."""
    taken = [helper.make_tensor_value_info("in", kind, shape)]
    given = [helper.make_tensor_value_info(name, kind, of) for name, of in outputs.items()]
    graph = helper.make_graph(nodes, "net", taken, given, list(weights))
    path = tmp_path / "net.onnx"
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return str(path)


FREE = ("n", 1, "z", "y", "x")


def random_normal() -> list[Any]:
    return [
        helper.make_node("RandomNormalLike", ["in"], ["noise"]),
        helper.make_node("Add", ["in", "noise"], ["out"]),
    ]


def random_uniform() -> list[Any]:
    return [
        helper.make_node("RandomUniform", [], ["noise"], shape=[1]),
        helper.make_node("Mul", ["in", "noise"], ["out"]),
    ]


def dropout() -> list[Any]:
    return [helper.make_node("Dropout", ["in", "ratio", "training"], ["out"])]


@pytest.mark.parametrize("make", [random_normal, random_uniform, dropout])
def test_a_random_net_is_refused_or_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[], list[Any]]
) -> None:
    weights = [
        numpy_helper.from_array(np.array(0.5, np.float32), "ratio"),
        numpy_helper.from_array(np.array(True), "training"),
    ]
    path = written(tmp_path, make(), FREE, {"out": FREE}, weights if make is dropout else ())
    spec = EngineSpec(SIZE, SIZE, 1, model_path=path)
    with pytest.raises(ModelError, match=r"net\.onnx gives two answers for one input"):
        open_engine(None, spec)
    open_engine("onnx", replace(spec, allow_random=True))
    assert ["two answers" in r.getMessage() for r in caplog.records] == [True]


FLAT = Vec3(1, 8, 8)


@pytest.mark.parametrize("acceleration", ["none", "openvino"])
@pytest.mark.parametrize("shape", [("n", 1, "y", "x"), (1, 1, 8, 8), (2, 1, 8, 8)])
def test_a_net_in_2d_gets_patches_of_one_section(
    tmp_path: Path, shape: Any, acceleration: Any
) -> None:
    nodes = [helper.make_node("Neg", ["in"], ["out"])]
    path = written(tmp_path, nodes, shape, {"out": shape})
    spec = EngineSpec(FLAT, FLAT, 1, model_path=path, acceleration=acceleration)
    engine = open_engine(None, spec)
    patches = [np.random.default_rng(i).random((1, *FLAT), np.float32) for i in range(3)]
    for patch, output in zip(patches, engine.predict(patches), strict=True):
        assert np.array_equal(output, -patch)
    with pytest.raises(ModelError, match=r"net\.onnx is 2D(?s:.*)give --input-patch-size 1 8 8"):
        open_engine(None, EngineSpec(SIZE, SIZE, 1, model_path=path))
    with pytest.raises(ModelError, match="give --num-input-channels 1"):
        open_engine(None, EngineSpec(FLAT, FLAT, 1, 3, model_path=path))


@pytest.mark.parametrize("acceleration", ["none", "openvino"])
def test_of_several_outputs_the_one_that_fits_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, acceleration: Any
) -> None:
    pool = {"kernel_shape": [1, 2, 2], "strides": [1, 2, 2]}
    nodes = [
        helper.make_node("MaxPool", ["in"], ["half"], **pool),
        helper.make_node("Neg", ["in"], ["full"]),
        helper.make_node("Abs", ["in"], ["again"]),
    ]
    shapes = {"half": [None] * 5, "full": FREE, "again": FREE}

    def opened(*names: str) -> Any:
        path = written(tmp_path, nodes, FREE, {name: shapes[name] for name in names})
        spec = EngineSpec(SIZE, SIZE, 1, model_path=path, acceleration=acceleration)
        return open_engine(None, spec)

    with pytest.raises(ModelError) as error:
        opened("half", "full")
    first, second = str(error.value).splitlines()
    assert "returned shape [1, 1, 4, 4, 4]" in first
    assert "the first of its outputs (half [1, 1, 4, 4, 4], full [1, 1, 4, 8, 8])" in second
    assert second.endswith("'one.onnx', ['in'], ['full'])")
    opened("full", "half")
    assert not caplog.records
    opened("full", "again")
    (record,) = caplog.records
    assert "has 2 outputs" in record.getMessage()
    assert "the first is taken" in record.getMessage()


def test_a_2d_net_that_takes_channels_is_told_with_both_options(tmp_path: Path) -> None:
    shape = (1, 5, 8, 8)
    path = written(tmp_path, [helper.make_node("Neg", ["in"], ["out"])], shape, {"out": shape})
    with pytest.raises(ModelError, match="size 1 8 8 and --num-input-channels 5, and it"):
        open_engine(None, EngineSpec(SIZE, SIZE, 1, model_path=path))


@pytest.mark.parametrize("place", ["../secret", "{above}/secret", "link"])
def test_data_of_other_folders_is_refused(net: Make, tmp_path: Path, place: str) -> None:
    """ONNX keeps large weights in files that the net names."""
    path = net()
    model = onnx.load(path)
    (tmp_path.parent / "secret").write_bytes(bytes(100))
    (tmp_path / "link").symlink_to("../secret")
    weights = model.graph.initializer[0]
    weights.data_location, size = TensorProto.EXTERNAL, len(weights.raw_data)
    weights.ClearField("raw_data")
    said = {"location": place.format(above=tmp_path.parent), "offset": "0", "length": str(size)}
    for key, value in said.items():
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    Path(path).write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"(?s)External data path.*may not name others"):
        engine_of(path, 1)
