"""Nets as wide as matrix instructions are: channels that hold nothing fill their numbers up to a multiple.

Tensor cores take 8 channels at a time, AMX 16; a net of 28 makes libraries copy each input into a wider one, or take
slower ways.
"""

from __future__ import annotations

import operator
from collections import Counter, defaultdict
from copy import deepcopy
from itertools import accumulate
from typing import Any

from chunkflow_worker.config.extras import needs
from chunkflow_worker.inference.torch_net.speed import add_into

torch: Any = needs("torch", extra="torch")
shape_prop: Any = needs("torch.fx.passes.shape_prop", extra="torch")
nn, functional = torch.nn, torch.nn.functional

# What treats each channel by itself, and alike: it may have channels more.
_MODULES = (
    *(
        nn.ELU,
        nn.ReLU,
        nn.LeakyReLU,
        nn.SiLU,
        nn.GELU,
        nn.Sigmoid,
        nn.Tanh,
        nn.Identity,
        nn.Dropout,
        nn.Dropout3d,
    ),
    *(nn.MaxPool3d, nn.AvgPool3d, nn.Upsample),
)
_FUNCTIONS = (
    *(
        operator.add,
        operator.mul,
        torch.add,
        torch.mul,
        add_into,
        torch.relu,
        torch.sigmoid,
        torch.tanh,
    ),
    *(functional.elu, functional.relu, functional.leaky_relu, functional.silu, functional.gelu),
    *(functional.interpolate, functional.max_pool3d, functional.avg_pool3d, functional.dropout),
)
_CONVOLUTIONS = (nn.Conv3d, nn.ConvTranspose3d)


def widened(graphed: Any, trial: Any, multiple: int) -> Any:
    """A copy of a net whose convolutions give a multiple of channels, of which the added ones mean nothing.

    graphed: torch.fx.GraphModule. trial: an input for it, nczyx. Outputs of the net, and what meets an operation that is not
    known here, keep their channels.
    """
    copied = deepcopy(graphed)
    shape_prop.ShapeProp(copied).propagate(trial.clone())
    plan = _Plan(copied, multiple)
    for node in copied.graph.nodes:
        if node.op == "call_module":
            plan.widen(node)
    return copied


class _Plan:
    """Which values of the graph have how many channels, and at which positions their own ones lie.

    Values that an operation ties to each other, as a sum does, form a class: they have their channels at the same places.
    """

    def __init__(self, graphed: Any, multiple: int):
        nodes = list(graphed.graph.nodes)
        self._modules, self._multiple = dict(graphed.named_modules()), multiple
        self._calls = Counter(node.target for node in nodes if node.op == "call_module")
        self._above: dict[Any, Any] = {}
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
        """Give the module that a node calls the channels of the values around it."""
        module = self._modules[node.target]
        if self._is_convolution(node):
            out, into = self._channels(node), self._channels(node.args[0])
            transposed = isinstance(module, nn.ConvTranspose3d)
            first, second = (into, out) if transposed else (out, into)
            weight = module.weight.new_zeros((first[1], second[1], *module.kernel_size))
            weight[first[0][:, None], second[0][None]] = module.weight
            module.weight = nn.Parameter(weight, requires_grad=False)
            if module.bias is not None:
                module.bias = nn.Parameter(_spread(module.bias, out), requires_grad=False)
            module.in_channels, module.out_channels = into[1], out[1]
        elif type(module) is nn.BatchNorm3d:
            channels = self._channels(node)
            for name in ("weight", "bias", "running_mean", "running_var"):
                value = getattr(module, name)
                if value is not None:
                    spread = _spread(value, channels, 1.0 if name == "running_var" else 0.0)
                    setattr(
                        module,
                        name,
                        nn.Parameter(spread, requires_grad=False)
                        if name in ("weight", "bias")
                        else spread,
                    )
            module.num_features = channels[1]

    def _is_convolution(self, node: Any) -> bool:
        module = self._module(node)
        return (
            type(module) in _CONVOLUTIONS and module.groups == 1 and self._calls[node.target] == 1
        )

    def _module(self, node: Any) -> Any:
        """The module that a node calls with one value, when nothing hooks into it."""
        if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
            return None
        module = self._modules[node.target]
        return None if module._forward_hooks or module._forward_pre_hooks else module

    def _tie(self, node: Any) -> list[Any]:
        """Tie the values that a node takes to the one that it makes; returns what must keep its channels because of it."""
        if self._is_convolution(node) or _is_joint(node) or _asks_for_sizes(node):
            return []
        inputs = [value for value in node.all_input_nodes if "tensor_meta" in value.meta]
        alike = all(_width(value) == _width(node) is not None for value in inputs)
        if not alike or not self._is_channelwise(node):
            return [node, *inputs]
        for value in inputs:
            above, below = self._class(value), self._class(node)
            if above is not below:
                self._above[above] = below
        return []

    def _is_channelwise(self, node: Any) -> bool:
        if node.op == "call_function":
            return node.target in _FUNCTIONS
        kind = type(self._module(node))
        return kind in _MODULES or (kind is nn.BatchNorm3d and self._calls[node.target] == 1)

    def _settled(self, fixed: set[Any]) -> set[Any]:
        """Classes that keep their channels: also those made in two ways, and all that are joined to such a one."""
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
        """Positions of a value's own channels, and the number of all."""
        kind = self._class(node)
        if kind not in self._positions:
            width, makers = _width(node) or 0, self._makers.get(kind, ())
            if kind in self._fixed or not makers:
                self._positions[kind] = torch.arange(width), width
            elif _is_joint(makers[0]):
                parts = [self._channels(part) for part in makers[0].args[0]]
                starts = [0, *accumulate(total for _, total in parts)]
                where = torch.cat(
                    [
                        positions + start
                        for (positions, _), start in zip(parts, starts, strict=False)
                    ]
                )
                self._positions[kind] = where, starts[-1]
            else:
                self._positions[kind] = (
                    torch.arange(width),
                    -(-width // self._multiple) * self._multiple,
                )
        return self._positions[kind]

    def _class(self, node: Any) -> Any:
        while node in self._above:
            node = self._above[node]
        return node


def _is_joint(node: Any) -> bool:
    """Whether a node joins values along their channels."""
    dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
    return (
        node.op == "call_function"
        and node.target in (torch.cat, torch.concat)
        and bool(node.args)
        and dim == 1
    )


def _asks_for_sizes(node: Any) -> bool:
    """Whether a node is `value.shape` of which only z, y, x are used."""
    if node.op != "call_function" or node.target is not getattr or node.args[1] != "shape":
        return False
    asked = [user.args[1] if user.target is operator.getitem else None for user in node.users]
    return all(
        (i.start or 0) >= 2 if isinstance(i, slice) else isinstance(i, int) and i >= 2
        for i in asked
    )


def _width(node: Any) -> int | None:
    """Channels of a value nczyx; None for any other."""
    shape: Any = getattr(node.meta.get("tensor_meta"), "shape", ())
    return int(shape[1]) if len(shape) == 5 else None


def _spread(values: Any, channels: tuple[Any, int], fill: float = 0.0) -> Any:
    where, total = channels
    spread = values.new_full((total,), fill)
    spread[where] = values
    return spread
