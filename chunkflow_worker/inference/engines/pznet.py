"""The PZNet engine: nets compiled for CPUs by znnphi (github.com/supersergiy/znnphi_interface)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ConfigError, ModelError
from chunkflow_worker.inference.engine import EngineClass, EngineSpec
from chunkflow_worker.inference.host_arrays import unit_range
from chunkflow_worker.inference.host_engine import HostEngine, in_batches
from chunkflow_worker.inference.net_shapes import check_input, checked_output, middle

FRAMEWORKS = {"pznet": "a net compiled by PZNet, for CPUs"}
READS = {"folder": True}


class PznetEngine(HostEngine):
    """Calls ``PZNet(model_path).forward(patches)``, float32 nczyx.

    A net is compiled for one input shape. PZNet ends the process when it is given another shape, so
    the shape is checked when the net is loaded.
    """

    def __init__(self, spec: EngineSpec):
        super().__init__(spec.most_channels)
        self._spec, path = spec, spec.model_path
        self._net = _net(path, spec.trust_weights)
        taken = [int(n) for n in self._net.in_shape]
        check_input(f"{path} was compiled for", taken, spec)
        self._batch = taken[0]

    def batch_size(self, input_shape: tuple[int, ...]) -> int:
        return self._batch

    def predict(self, patches: Sequence[Any]) -> Sequence[NDArray[np.float32]]:
        batch = np.stack([unit_range(patch) for patch in patches])
        return in_batches(batch, self._batch, self._run)

    def _run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        # Copied, because the memory belongs to the net, and its next call may overwrite it.
        output = np.array(self._net.forward(batch))
        kept = middle(output, batch.shape[2:], self._spec.output_size)
        return checked_output(kept, self._spec, "the net", "the net")


def _net(path: str, trusted: bool) -> Any:
    """The compiled net in a folder, loaded. Raises ConfigError and ModelError."""
    if not trusted:
        problem = f"{path} is a folder, as PZNet compiles nets, and loading it runs its code"
        cure = "give --trust-weights if you trust who made it; for another net, give its file"
        raise ConfigError.one("net", "convnet_model", problem, cure)
    try:
        from pznet.pznet import PZNet
    except ImportError as error:
        raise ConfigError.one(
            "net",
            "framework",
            f"pznet needs the package pznet, which can't be imported: {error}",
            "build it from github.com/supersergiy/znnphi_interface, or use another framework",
        ) from None
    if not Path(path).exists():
        raise ConfigError.one(
            "net",
            "convnet_model",
            f"{path} does not exist",
            "give the path of a compiled net",
        )
    try:
        return PZNet(path)
    except Exception as error:
        raise ModelError(f"loading {path} fails: {type(error).__name__}: {error}") from error


ENGINE: EngineClass = PznetEngine
