"""The PZNet engine: nets compiled for CPUs by znnphi (github.com/supersergiy/znnphi_interface)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ConfigError, ModelError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.engine import HostEngine, check_input, checked, in_batches, middle
from chunkflow_worker.inference.host_arrays import unit_range


class PznetEngine(HostEngine):
    """Runs ``PZNet(net_path).forward(patch)``, float32 nczyx, for the one input shape that the net was compiled for.

    PZNet ends the process when it is given another shape, so the shape is checked when the net is loaded.
    """

    def __init__(
        self,
        net_path: str,
        channels: int,
        input_size: Vec3,
        output_size: Vec3,
        input_channels: int = 1,
    ):
        super().__init__(channels)
        try:
            from pznet.pznet import PZNet
        except ImportError as error:
            raise ConfigError.one(
                "net",
                "framework",
                f"pznet needs the package pznet, which can't be imported: {error}",
                "build it from github.com/supersergiy/znnphi_interface, or use another framework",
            ) from None
        if not Path(net_path).exists():
            raise ConfigError.one(
                "net",
                "convnet_model",
                f"{net_path} does not exist",
                "give the path of a compiled net",
            )
        try:
            self._net = PZNet(net_path)
        except Exception as error:
            raise ModelError(
                f"loading {net_path} fails: {type(error).__name__}: {error}"
            ) from error
        taken = [int(n) for n in self._net.in_shape]
        check_input(f"{net_path} was compiled for", taken, input_channels, input_size)
        self._batch, self._output_size = taken[0], output_size

    def batch_size(self, input_shape: tuple[int, ...]) -> int:
        return self._batch

    def predict(self, patches: Sequence[Any]) -> Sequence[NDArray[np.float32]]:
        return in_batches(
            np.stack([unit_range(patch) for patch in patches]), self._batch, self._run
        )

    def _run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        output = np.array(
            self._net.forward(batch)
        )  # a copy: the memory is the net's, and its next call may use it again
        return checked(
            middle(output, batch.shape[2:], self._output_size),
            self.channels,
            self._output_size,
            "the net",
        )
