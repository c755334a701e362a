"""The PyTorch engine; the only file that imports torch."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from chunkflow_worker.bbox import Vec3
from chunkflow_worker.errors import ConfigError, ModelError, OutOfMemory
from chunkflow_worker.inference.engine import cpu_name, unit_range


class TorchEngine:
    """A ConvNet from a Python model file, on the first visible GPU or on the CPU.

    The model file defines ``load_model(weight_path) -> torch.nn.Module``, or holds a module ``InstantiatedModel`` into
    which the weights are loaded. It may define ``pre_process(ndarray nczyx) -> net input`` and
    ``post_process(net output) -> tensor nczyx``; without it, the first item of a tuple, list or dict is taken. The first
    `channels` output channels are kept. Weights are read as data only, never as code.
    """

    def __init__(self, model_path: str, weight_path: str | None, channels: int, output_size: Vec3):
        torch = _torch()
        self.channels = channels
        self._output_size = output_size
        self.precision: DTypeLike = np.float32 if torch.cuda.is_available() else np.float64
        self._target = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.device = device_name()
        source = load_source(model_path)
        self._pre, self._post = getattr(source, "pre_process", None), getattr(source, "post_process", None)
        self._net = _load_net(source, model_path, weight_path).to(self._target).eval()
        # One net at a time has the device; other threads load and save meanwhile.
        self._lock = threading.Lock()

    def put(self, array: NDArray[Any]) -> Any:
        torch = _torch()
        native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        if native.dtype == bool:
            native = unit_range(native)
        return torch.from_numpy(native).to(self._target)

    def zeros(self, shape: tuple[int, ...]) -> Any:
        torch = _torch()
        return torch.zeros(shape, dtype=torch.float64 if self.precision == np.float64 else torch.float32, device=self._target)

    def predict(self, patches: list[Any]) -> Any:
        torch = _torch()
        batch = torch.stack(patches)
        scale = 1.0 if batch.is_floating_point() else 1.0 / torch.iinfo(batch.dtype).max
        batch = batch.float().mul_(scale) if scale != 1.0 else batch.float()
        try:
            with self._lock, torch.inference_mode():
                inputs = self._pre(batch.cpu().numpy()) if self._pre else batch
                if isinstance(inputs, torch.Tensor):
                    inputs = inputs.to(self._target)
                result = self._net(inputs)
                result = self._post(result) if self._post else _first(result)
        except torch.cuda.OutOfMemoryError as error:
            raise OutOfMemory(f"{self.device}: {error}") from error
        wanted = (len(patches), *self._output_size)
        if result.ndim != 5 or (result.shape[0], *result.shape[2:]) != wanted or result.shape[1] < self.channels:
            raise ModelError(
                f"the net returned shape {list(result.shape)} (n, channels, z, y, x) for input {list(batch.shape)}; the options "
                f"declare at least {self.channels} channels of {list(self._output_size)}"
            )
        return result[:, : self.channels].to(self._target, torch.float32)

    def fetch(self, array: Any, dtype: DTypeLike) -> NDArray[Any]:
        if np.dtype(dtype) == np.float16:
            array = array.half()
        host: NDArray[Any] = array.to("cpu", non_blocking=False).contiguous().numpy()
        return host.astype(dtype, copy=False)


def device_name() -> str:
    """Name of the GPU that is used, else of the CPU."""
    torch = _torch()
    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else cpu_name()


def load_source(path: str) -> ModuleType:
    """Import a model file by its path. Raises ConfigError when it is absent, ModelError when it fails."""
    if not Path(path).is_file():
        raise ConfigError.one("inference", "convnet_model", f"{path} is not a file", "give the path of a Python model file")
    spec = importlib.util.spec_from_file_location(f"chunkflow_model_{abs(hash(path))}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"model file {path} fails: {type(error).__name__}: {error}") from error
    return module


def _load_net(source: ModuleType, model_path: str, weight_path: str | None) -> Any:
    torch = _torch()
    if weight_path is not None and not Path(weight_path).exists():
        raise ConfigError.one("inference", "convnet_weight_path", f"{weight_path} does not exist", "give the path of the weights")
    try:
        if hasattr(source, "load_model"):
            net = source.load_model(weight_path)
        elif hasattr(source, "InstantiatedModel"):
            net = source.InstantiatedModel
            if weight_path is not None:
                state = torch.load(weight_path, map_location="cpu", weights_only=True)
                net.load_state_dict(state.get("state_dict", state))
        else:
            raise ModelError(f"{model_path} defines neither load_model(weight_path) nor InstantiatedModel")
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"loading {model_path} with {weight_path} fails: {type(error).__name__}: {error}") from error
    if not isinstance(net, torch.nn.Module):
        raise ModelError(f"{model_path} gives a {type(net).__name__}, not a torch.nn.Module")
    return net


def _first(result: Any) -> Any:
    if isinstance(result, dict):
        return next(iter(result.values()))
    return result[0] if isinstance(result, list | tuple) else result


def _torch() -> Any:
    from chunkflow_worker.extras import needs

    return needs("torch", extra="torch")
