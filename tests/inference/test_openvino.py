"""Nets compiled by OpenVINO, which runs them on the CPU, and when it is used."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError, OutOfMemory
from chunkflow_worker.inference import openvino as module
from chunkflow_worker.inference.openvino import Compiled, is_wanted, openvino, read_model
from chunkflow_worker.inference.same_output import Unsuited

pytestmark = pytest.mark.openvino
SHAPE = (1, 1, 2, 3, 4)


def doubling() -> Any:
    """A net that returns twice its input, and its input."""
    library = openvino()
    ops = library.opset15
    given = ops.parameter([-1] * 5, np.float32)
    return library.Model([ops.multiply(given, np.float32(2)).output(0), given.output(0)], [given])


def noise() -> np.ndarray:
    return np.random.default_rng(0).random(SHAPE, np.float32)


def test_all_outputs_are_returned_in_their_order() -> None:
    compiled = Compiled(doubling(), SHAPE, "float32")
    twice, once = compiled(noise())
    assert np.array_equal(twice, 2 * noise())
    assert np.array_equal(once, noise())
    assert (compiled.shape, compiled.precision) == (SHAPE, "float32")


def test_threads_are_those_of_the_container_and_not_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinned, several workers on a machine would all use its first processors."""
    monkeypatch.setattr(module, "thread_count", lambda: 1)
    compiled = Compiled(doubling(), SHAPE, "float32")
    settings = compiled._request.get_compiled_model()
    assert settings.get_property("INFERENCE_NUM_THREADS") == 1
    assert settings.get_property("NUM_STREAMS") == 1
    assert not settings.get_property("ENABLE_CPU_PINNING")


def test_a_shape_that_the_net_does_not_take_is_unsuited() -> None:
    library = openvino()
    ops = library.opset15
    given = ops.parameter([-1, 3], np.float32)
    model = library.Model([ops.matmul(given, np.ones((3, 2), np.float32), False, False)], [given])
    with pytest.raises(Unsuited, match="it can't be compiled: "):
        Compiled(model, (1, 4), "float32")


def test_a_precision_without_instructions_is_unsuited(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO would silently compute in float32."""
    capabilities = openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for precision, known in (("bfloat16", "BF16"), ("float16", "FP16")):
        if known in capabilities:
            assert Compiled(doubling(), SHAPE, precision).precision == precision
        else:
            with pytest.raises(Unsuited, match=f"no instructions for {precision}"):
                Compiled(doubling(), SHAPE, precision)


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (MemoryError("std::bad_alloc"), OutOfMemory),
        (RuntimeError("can't allocate 9 bytes"), OutOfMemory),
        (RuntimeError("something else"), RuntimeError),
    ],
)
def test_memory_that_ends_is_told_apart(raised: Exception, error: type[Exception]) -> None:
    class Request:
        def infer(self, inputs: Any, share_inputs: bool) -> None:
            raise raised

    compiled = Compiled(doubling(), SHAPE, "float32")
    compiled._request = Request()
    with pytest.raises(error, match=str(raised)):
        compiled(noise())


# --- whether it is used ---


def test_auto_uses_it_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert is_wanted("auto")
    assert not caplog.records
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert not is_wanted("auto")
    assert 'pip install "chunkflow-worker[openvino]"' in caplog.text


@pytest.mark.parametrize("acceleration", ["none", "compile", "graph"])
def test_other_accelerations_do_without_it(acceleration: Any) -> None:
    assert not is_wanted(acceleration)


def test_a_missing_library_that_was_asked_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    openvino.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r'pip install "chunkflow-worker\[openvino\]"'):
            is_wanted("openvino")
    finally:
        openvino.cache_clear()


def test_it_reports_to_nobody() -> None:
    """Its other package sends what it converts to its makers over the internet."""
    code = (
        "import sys; from chunkflow_worker.inference.openvino import openvino; openvino(); "
        "from openvino.tools.ovc import telemetry_utils as sent; "
        "print(sent.tm.__name__, sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "None"]


def test_a_file_that_it_can_t_read_is_unsuited(tmp_path: Any) -> None:
    path = tmp_path / "net.onnx"
    path.write_text("no net")
    with pytest.raises(Unsuited, match="it can't be read: "):
        read_model(str(path))
