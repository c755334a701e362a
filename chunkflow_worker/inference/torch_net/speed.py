"""What makes a PyTorch net fast without changing its answer: precision, folded batch norms, layout, compilation."""

from __future__ import annotations

import logging
import operator
from collections import Counter
from copy import deepcopy
from typing import Any, Literal

from chunkflow_worker.config.extras import needs
from chunkflow_worker.machine.cpu import cpu_flags

Precision = Literal["auto", "float32", "tf32", "bfloat16", "float16"]
Acceleration = Literal["none", "compile", "graph"]

log = logging.getLogger(__name__)


def fast_precision(device: Any) -> str:
    """The type that a device computes fast in: float16 on GPUs with tensor cores, bfloat16 on CPUs that have it.

    float16 is eight times finer than bfloat16, but its values end at 65504.
    """
    torch = needs("torch", extra="torch")
    if device.type == "cuda":
        return "float16" if torch.cuda.get_device_capability(device) >= (7, 0) else "float32"
    return "bfloat16" if cpu_has("bfloat16") else "float32"


def cpu_has(precision: str) -> bool:
    """Whether the CPU multiplies matrices of that precision by instructions of their own."""
    wanted = {"bfloat16": {"amx_bf16", "avx512_bf16"}, "float16": {"amx_fp16", "avx512_fp16"}}
    return bool(cpu_flags() & wanted[precision])


def in_precision(net: Any, precision: str) -> Any:
    """The net in that precision; changes it. tf32 is a mode of the GPU's arithmetic on float32."""
    torch = needs("torch", extra="torch")
    return net.to(getattr(torch, precision)) if precision in ("bfloat16", "float16") else net


def streamlined(net: Any) -> Any:
    """A copy of the net without its batch norms, which are folded into the convolutions before them, and with activations
    and sums that reuse the memory of their input. The net itself, where its graph can't be read.

    Reading the graph takes Python's own branches as they are for one input; the caller checks the outcome.
    """
    torch = needs("torch", extra="torch")
    try:
        # Called from a Sequential, so that what else its `forward` takes has the default.
        graphed = torch.fx.symbolic_trace(torch.nn.Sequential(deepcopy(net)))
    except Exception as error:
        log.debug("the net's graph can't be read (%s): it runs as it is", error)
        return net
    calls = Counter(node.target for node in graphed.graph.nodes if node.op == "call_module")
    modules = dict(graphed.named_modules())

    def plain(node: Any, *kinds: Any) -> Any:
        """The module that a node calls, when it is of these kinds, called there alone, and nothing hooks into it."""
        module = modules.get(node.target) if node.op == "call_module" else None
        hooked = module is not None and (module._forward_hooks or module._forward_pre_hooks)
        return module if type(module) in kinds and calls[node.target] == 1 and not hooked else None

    nn = torch.nn
    for node in list(graphed.graph.nodes):
        norm = plain(node, nn.BatchNorm3d)
        if (
            norm is None
            or norm.training
            or not norm.track_running_stats
            or len(node.args) != 1
            or len(node.args[0].users) != 1
        ):
            continue
        convolution = plain(node.args[0], nn.Conv3d)
        if convolution is not None and not convolution.training:
            folded = torch.nn.utils.fusion.fuse_conv_bn_eval(convolution, norm)
            _replace(graphed, node.args[0].target, folded)
            modules[node.args[0].target] = folded
            node.replace_all_uses_with(node.args[0])
            graphed.graph.erase_node(node)
    makers = (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d)
    for node in graphed.graph.nodes:
        if (
            node.op == "call_function"
            and node.target in (operator.add, torch.add)
            and len(node.args) == 2
            and not node.kwargs
        ):
            first, second = node.args
            for here, other in ((first, second), (second, first)):
                if (
                    _is_node(here)
                    and _is_node(other)
                    and here is not other
                    and len(here.users) == 1
                    and plain(here, *makers)
                ):
                    node.target, node.args = add_into, (here, other)
                    break
    for node in graphed.graph.nodes:
        activation = plain(node, nn.ELU, nn.ReLU, nn.LeakyReLU, nn.SiLU)
        if activation is not None and len(node.args) == 1 and len(node.args[0].users) == 1:
            source = node.args[0]
            activation.inplace = (
                activation.inplace
                or source.target is add_into
                or plain(source, *makers) is not None
            )
    graphed.delete_all_unused_submodules()
    graphed.recompile()
    return graphed


def with_layout(net: Any, layout: Any) -> Any:
    """Lay the weights of 3D convolutions out for inputs of that memory format; changes the net."""
    nn = needs("torch", extra="torch").nn
    for module in net.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.to(memory_format=layout)
    return net


def sums_over_space(net: Any) -> bool:
    """Whether a net has norms that torch sums up carelessly in float32 on CPUs where channels lie last: a group norm over
    20 x 256 x 256 voxels of mean 0 is 8e-4 off, of mean 30 it is 9e-2, and 3e-6 where they lie first.
    """
    nn = needs("torch", extra="torch").nn
    return any(
        isinstance(module, nn.GroupNorm)
        or (isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None)
        for module in net.modules()
    )


class GraphReplay:
    """A net on a GPU, recorded once per input shape and then started as one piece.

    Its output is overwritten by the next call.
    """

    def __init__(self, net: Any):
        self._net = net
        self._recorded: dict[tuple[int, ...], tuple[Any, Any, Any]] = {}

    def __call__(self, patches: Any) -> Any:
        torch = needs("torch", extra="torch")
        shape = tuple(patches.shape)
        if shape not in self._recorded:
            given = patches.clone()
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self._net(given)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                output = self._net(given)
            self._recorded[shape] = (graph, given, output)
        graph, given, output = self._recorded[shape]
        given.copy_(patches)
        graph.replay()
        return output


def add_into(first: Any, second: Any) -> Any:
    """The sum, in the memory of the first where that has its shape."""
    return first.add_(second) if first.shape == second.shape else first + second


def _is_node(value: Any) -> bool:
    return hasattr(value, "users")


def _replace(parent: Any, path: str, module: Any) -> None:
    *above, name = path.split(".")
    for part in above:
        parent = getattr(parent, part)
    setattr(parent, name, module)
