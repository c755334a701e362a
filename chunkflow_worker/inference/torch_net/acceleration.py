"""`accelerated`: start a net by torch.compile or as a CUDA graph."""

from __future__ import annotations

from typing import Any

from chunkflow_worker.config.extras import needs
from chunkflow_worker.inference.engine import Acceleration


def accelerated(net: Any, acceleration: Acceleration, device: Any) -> Any:
    """A callable that gives the output of the net.

    acceleration: "compile" fuses the net's operations by torch.compile, which takes tens of seconds
        at the first patch. "graph" records the net as one CUDA graph, so that many small operations
        start as one; it has no effect on CPUs. "none" returns the net.
    """
    if acceleration == "compile":
        return needs("torch", extra="torch").compile(net, dynamic=False)
    return GraphReplay(net) if acceleration == "graph" and device.type == "cuda" else net


class GraphReplay:
    """A net on a GPU, recorded as a CUDA graph once per input shape, and then replayed.

    The next call overwrites the output.
    """

    def __init__(self, net: Any):
        self._net = net
        self._recorded: dict[tuple[int, ...], tuple[Any, Any, Any]] = {}

    def __call__(self, patches: Any) -> Any:
        shape = tuple(patches.shape)
        if shape not in self._recorded:
            self._recorded[shape] = self._record(patches.clone())
        graph, given, output = self._recorded[shape]
        given.copy_(patches)
        graph.replay()
        return output

    def _record(self, given: Any) -> tuple[Any, Any, Any]:
        """The graph, and the tensors that it reads and writes."""
        torch = needs("torch", extra="torch")
        # CUDA graphs require some runs on another stream before they are recorded.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._net(given)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self._net(given)
        return graph, given, output
