"""`widened`: unused channels added to a net, so that it fills matrix instructions.

Tensor cores take 8 channels at a time, AMX 16. With 28 channels, libraries copy each input into a
wider one, or use slower kernels.
"""

from __future__ import annotations

import operator
from collections import Counter, defaultdict
from contextlib import redirect_stderr
from copy import deepcopy
from io import StringIO
from itertools import accumulate
from typing import Any

from chunkflow_worker.config.extras import needs
from chunkflow_worker.inference.torch_net.streamline import add_into

torch: Any = needs("torch", extra="torch")
shape_prop: Any = needs("torch.fx.passes.shape_prop", extra="torch")
nn, functional = torch.nn, torch.nn.functional

# Modules and functions that treat all channels alike and apart, so that more channels do no harm.
# fmt: off
_MODULES = (
    nn.ELU, nn.ReLU, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Tanh,
    nn.Identity, nn.Dropout, nn.Dropout3d,
    nn.MaxPool3d, nn.AvgPool3d, nn.Upsample,
)
_FUNCTIONS = (
    operator.add, operator.mul, torch.add, torch.mul, add_into,
    torch.relu, torch.sigmoid, torch.tanh,
    functional.elu, functional.relu, functional.leaky_relu, functional.silu, functional.gelu,
    functional.interpolate, functional.max_pool3d, functional.avg_pool3d, functional.dropout,
)
# fmt: on
_CONVOLUTIONS = (nn.Conv3d, nn.ConvTranspose3d)


def widened(graphed: Any, trial: Any, multiple: int) -> Any:
    """A copy of a net whose convolutions return a multiple of channels; the added ones are unused.

    graphed: torch.fx.GraphModule.
    trial: an input for it, nczyx.
    multiple: what numbers of channels become multiples of.

    The outputs of the net keep their channels. So do values that meet an operation not known here.
    """
    copied = deepcopy(graphed)
    with redirect_stderr(StringIO()):  # torch prints tracebacks there before it raises
        shape_prop.ShapeProp(copied).propagate(trial.clone())
    plan = _Plan(copied, multiple)
    for node in copied.graph.nodes:
        if node.op == "call_module":
            plan.widen(node)
    return copied


class _Plan:
    """How many channels each value of the graph gets, and at which positions its own ones are.

    Some operations tie values to each other: the two inputs of a sum must have their channels at
    the same positions. Such values form a class.
    """

    def __init__(self, graphed: Any, multiple: int):
        nodes = list(graphed.graph.nodes)
        self._modules, self._multiple = dict(graphed.named_modules()), multiple
        self._calls = Counter(node.target for node in nodes if node.op == "call_module")
        self._above: dict[Any, Any] = {}  # leads from a value to the one that stands for its class
        fixed: list[Any] = []
        for node in nodes:
            fixed += self._tie(node)
        self._makers: dict[Any, list[Any]] = defaultdict(list)
        for node in nodes:
            if self._is_convolution(node) or _is_joint(node):
                self._makers[self._class(node)].append(node)
        self._fixed = self._settled({self._class(node) for node in fixed})
        self._positions: dict[Any, tuple[Any, int]] = {}

    def widen(self, node: Any) -> None:
        """Give the module that a node calls the channels of its input and output."""
        if self._is_convolution(node):
            self._widen_convolution(node)
        elif type(self._modules[node.target]) is nn.BatchNorm3d:
            self._widen_batch_norm(node)

    def _widen_convolution(self, node: Any) -> None:
        module = self._modules[node.target]
        out, into = self._channels(node), self._channels(node.args[0])
        transposed = isinstance(module, nn.ConvTranspose3d)
        first, second = (into, out) if transposed else (out, into)
        weight = module.weight.new_zeros((first[1], second[1], *module.kernel_size))
        weight[first[0][:, None], second[0][None]] = module.weight
        module.weight = nn.Parameter(weight, requires_grad=False)
        if module.bias is not None:
            module.bias = nn.Parameter(_spread(module.bias, out), requires_grad=False)
        module.in_channels, module.out_channels = into[1], out[1]

    def _widen_batch_norm(self, node: Any) -> None:
        module, channels = self._modules[node.target], self._channels(node)
        for name in ("weight", "bias", "running_mean", "running_var"):
            value = getattr(module, name)
            if value is None:
                continue
            wide = _spread(value, channels, 1.0 if name == "running_var" else 0.0)
            is_parameter = name in ("weight", "bias")
            setattr(module, name, nn.Parameter(wide, requires_grad=False) if is_parameter else wide)
        module.num_features = channels[1]

    def _is_convolution(self, node: Any) -> bool:
        module = self._module(node)
        return (
            type(module) in _CONVOLUTIONS and module.groups == 1 and self._calls[node.target] == 1
        )

    def _module(self, node: Any) -> Any:
        """The module that a node calls with one value; None if there is none, or it has hooks."""
        if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
            return None
        module = self._modules[node.target]
        return None if module._forward_hooks or module._forward_pre_hooks else module

    def _tie(self, node: Any) -> list[Any]:
        """Put the inputs and the output of a node into one class.

        Returns values that must keep their channels because of this node.
        """
        if self._is_convolution(node) or _is_joint(node) or _asks_for_sizes(node):
            return []
        inputs = [value for value in node.all_input_nodes if "tensor_meta" in value.meta]
        alike = all(_width(value) == _width(node) is not None for value in inputs)
        if not alike or not self._is_channelwise(node):
            return [node, *inputs]
        for value in inputs:
            of_input, of_output = self._class(value), self._class(node)
            if of_input is not of_output:
                self._above[of_input] = of_output
        return []

    def _is_channelwise(self, node: Any) -> bool:
        if node.op == "call_function":
            return node.target in _FUNCTIONS
        kind = type(self._module(node))
        return kind in _MODULES or (kind is nn.BatchNorm3d and self._calls[node.target] == 1)

    def _settled(self, fixed: set[Any]) -> set[Any]:
        """All classes that must keep their channels.

        Besides those given, these are classes whose values are made in different ways, and all that
        are joined to a class that keeps its channels.
        """
        for kind, makers in self._makers.items():
            if len(makers) > 1 and any(_is_joint(maker) for maker in makers):
                fixed.add(kind)
        waiting = list(fixed)
        while waiting:
            joints = [maker for maker in self._makers.get(waiting.pop(), ()) if _is_joint(maker)]
            more = {self._class(part) for joint in joints for part in joint.args[0]} - fixed
            fixed |= more
            waiting += more
        return fixed

    def _channels(self, node: Any) -> tuple[Any, int]:
        """Positions of a value's own channels, and the number of all its channels."""
        kind = self._class(node)
        if kind not in self._positions:
            self._positions[kind] = self._new_channels(node, kind)
        return self._positions[kind]

    def _new_channels(self, node: Any, kind: Any) -> tuple[Any, int]:
        width, makers = _width(node) or 0, self._makers.get(kind, ())
        if kind in self._fixed or not makers:
            return torch.arange(width), width
        if _is_joint(makers[0]):
            parts = [self._channels(part) for part in makers[0].args[0]]
            *starts, total = accumulate((count for _, count in parts), initial=0)
            shifted = [own + start for (own, _), start in zip(parts, starts, strict=True)]
            return torch.cat(shifted), total
        return torch.arange(width), -(-width // self._multiple) * self._multiple

    def _class(self, node: Any) -> Any:
        """The value that stands for the class of a value."""
        while node in self._above:
            node = self._above[node]
        return node


def _is_joint(node: Any) -> bool:
    """Whether a node concatenates values along their channels."""
    dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
    return (
        node.op == "call_function"
        and node.target in (torch.cat, torch.concat)
        and bool(node.args)
        and dim == 1
    )


def _asks_for_sizes(node: Any) -> bool:
    """Whether a node is `value.shape`, and only the sizes along z, y, x are used."""
    if node.op != "call_function" or node.target is not getattr or node.args[1] != "shape":
        return False
    asked = [user.args[1] if user.target is operator.getitem else None for user in node.users]
    return all(
        (i.start or 0) >= 2 if isinstance(i, slice) else isinstance(i, int) and i >= 2
        for i in asked
    )


def _width(node: Any) -> int | None:
    """Number of channels of a value nczyx; None for other values."""
    shape: Any = getattr(node.meta.get("tensor_meta"), "shape", ())
    return int(shape[1]) if len(shape) == 5 else None


def _spread(values: Any, channels: tuple[Any, int], fill: float = 0.0) -> Any:
    """One value per channel, at their positions; `fill` for the added channels."""
    positions, total = channels
    spread = values.new_full((total,), fill)
    spread[positions] = values
    return spread
