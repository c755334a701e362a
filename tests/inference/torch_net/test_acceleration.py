"""How a net is started. tests/inference/engines/test_torch.py runs a compiled net."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from chunkflow_worker.inference.torch_net.acceleration import GraphReplay, accelerated

CPU, GPU = torch.device("cpu"), torch.device("cuda")
NET = nn.Identity()


@pytest.mark.parametrize("device", [CPU, GPU])
def test_without_acceleration_the_net_itself_runs(device: Any) -> None:
    assert accelerated(NET, "none", device) is NET


def test_graphs_are_for_gpus_only() -> None:
    assert accelerated(NET, "graph", CPU) is NET
    assert isinstance(accelerated(NET, "graph", GPU), GraphReplay)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_compiling_is_for_all_devices_and_for_fixed_shapes(
    monkeypatch: pytest.MonkeyPatch, device: Any
) -> None:
    calls = []
    monkeypatch.setattr(torch, "compile", lambda net, **options: calls.append((net, options)) or 7)
    assert accelerated(NET, "compile", device) == 7
    assert calls == [(NET, {"dynamic": False})]


def test_a_graph_is_recorded_once_per_shape_and_then_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a double of CUDA graphs: replaying computes the output again, in the same memory."""
    recorded = []

    def record(self: GraphReplay, given: torch.Tensor) -> Any:
        output = torch.empty_like(given)
        recorded.append(tuple(given.shape))

        class Graph:
            def replay(self) -> None:
                output.copy_(given * 2)

        return Graph(), given, output

    monkeypatch.setattr(GraphReplay, "_record", record)
    replay = GraphReplay(lambda x: 2 * x)
    first = replay(torch.ones(1, 3))
    assert first.tolist() == [[2, 2, 2]]
    second = replay(torch.full((1, 3), 5.0))
    assert second.tolist() == [[10, 10, 10]]
    assert first is second, "the output is overwritten"
    assert replay(torch.ones(2, 3)).shape == (2, 3)
    assert recorded == [(1, 3), (2, 3)]
