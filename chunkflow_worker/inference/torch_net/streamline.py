"""`streamlined`: a net without batch norms and with fewer arrays; its output stays the same."""

from __future__ import annotations

import logging
import operator
from collections import Counter
from copy import deepcopy
from typing import Any

from chunkflow_worker.config.extras import needs

log = logging.getLogger(__name__)


def streamlined(net: Any) -> Any:
    """A changed copy of the net; the net itself if its graph can't be read.

    Batch norms are folded into the convolutions before them. Activations and sums reuse the memory
    of their input.

    torch reads the graph by running the net's code once, so a branch in that code is taken for all
    inputs. The caller must check that the output is the same.
    """
    torch = needs("torch", extra="torch")
    try:
        # In a Sequential, optional arguments of the net's `forward` keep their defaults.
        graphed = torch.fx.symbolic_trace(torch.nn.Sequential(deepcopy(net)))
    except Exception as error:
        log.debug("the net's graph can't be read (%s), so it is not changed", error)
        return net
    graph = _Graph(graphed)
    graph.fold_batch_norms()
    graph.reuse_memory_of_sums()
    graph.reuse_memory_of_activations()
    graphed.delete_all_unused_submodules()
    graphed.recompile()
    return graphed


def add_into(first: Any, second: Any) -> Any:
    """The sum, written to the memory of `first` if it has the shape of the sum."""
    return first.add_(second) if first.shape == second.shape else first + second


class _Graph:
    """The operations of a net. graphed: torch.fx.GraphModule; it is changed."""

    def __init__(self, graphed: Any):
        self._graphed, self._torch = graphed, needs("torch", extra="torch")
        nodes = graphed.graph.nodes
        self._calls = Counter(node.target for node in nodes if node.op == "call_module")
        self._modules = dict(graphed.named_modules())
        nn = self._torch.nn
        # Their outputs are new arrays that nothing else uses.
        self._makers = (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d)

    def fold_batch_norms(self) -> None:
        """Put batch norms into the weights of the convolutions before them."""
        nn = self._torch.nn
        for node in list(self._graphed.graph.nodes):
            norm = self._module(node, nn.BatchNorm3d)
            if norm is None or norm.training or not norm.track_running_stats:
                continue
            if len(node.args) != 1 or len(node.args[0].users) != 1:
                continue
            source = node.args[0]
            convolution = self._module(source, nn.Conv3d)
            if convolution is None or convolution.training:
                continue
            folded = nn.utils.fusion.fuse_conv_bn_eval(convolution, norm)
            _replace(self._graphed, source.target, folded)
            self._modules[source.target] = folded
            node.replace_all_uses_with(source)
            self._graphed.graph.erase_node(node)

    def reuse_memory_of_sums(self) -> None:
        """Add into one of the two values, if a layer made it and only the sum uses it."""
        for node in self._graphed.graph.nodes:
            adds = node.op == "call_function" and node.target in (operator.add, self._torch.add)
            if not adds or len(node.args) != 2 or node.kwargs:
                continue
            first, second = node.args
            if not (_is_node(first) and _is_node(second)) or first is second:
                continue
            for into, other in ((first, second), (second, first)):
                if len(into.users) == 1 and self._module(into, *self._makers):
                    node.target, node.args = add_into, (into, other)
                    break

    def reuse_memory_of_activations(self) -> None:
        """Let activations overwrite their input, if it is a new array that only they use."""
        nn = self._torch.nn
        for node in self._graphed.graph.nodes:
            activation = self._module(node, nn.ELU, nn.ReLU, nn.LeakyReLU, nn.SiLU)
            if activation is None or len(node.args) != 1 or len(node.args[0].users) != 1:
                continue
            source = node.args[0]
            if source.target is add_into or self._module(source, *self._makers) is not None:
                activation.inplace = True

    def _module(self, node: Any, *kinds: Any) -> Any:
        """The module that a node calls.

        None unless it is of these kinds exactly, is called by this node only, and has no hooks.
        """
        if node.op != "call_module" or self._calls[node.target] != 1:
            return None
        module: Any = self._modules.get(node.target)
        if type(module) not in kinds:
            return None
        return None if module._forward_hooks or module._forward_pre_hooks else module


def _is_node(value: Any) -> bool:
    return hasattr(value, "users")


def _replace(parent: Any, path: str, module: Any) -> None:
    """Put a module in the place of the one at `path`."""
    *above, name = path.split(".")
    for part in above:
        parent = getattr(parent, part)
    setattr(parent, name, module)
