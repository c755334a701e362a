"""Layers that do not look along z, run in 2D: section by section, which are a view where channels lie last.

Kernels for two dimensions are the better kept ones, above all those that resize and pool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chunkflow_worker.config.extras import needs

torch: Any = needs("torch", extra="torch")
functional = torch.nn.functional

Flat = Callable[[Any, Any], Any]
"""What a layer, the first argument, does to sections, ncyx with channels last."""

_FLAT_MODES = {"trilinear": "bilinear"}


def in_sections(net: Any) -> Any:
    """Replace layers that do not look along z, in place; what the net computes stays the same, to rounding.

    They take the 2D way when their input, nczyx, has its channels last, and their own otherwise.
    """
    for path, layer in list(net.named_modules()):
        flat = None if layer._forward_hooks or layer._forward_pre_hooks else _flat_form(layer)
        if path and flat is not None:
            parent, _, name = path.rpartition(".")
            setattr(net.get_submodule(parent), name, Sectionwise(layer, flat))
    if isinstance(net, torch.fx.GraphModule):
        for node in net.graph.nodes:
            if node.op == "call_function" and node.target is functional.interpolate:
                node.target = _interpolate
        net.recompile()
    return net


class Sectionwise(torch.nn.Module):  # type: ignore[misc]
    """`flat` is given the layer, so that a copy of this module uses the copy of its layer."""

    def __init__(self, layer: Any, flat: Flat):
        super().__init__()
        self.layer, self._flat = layer, flat

    def forward(self, x: Any) -> Any:
        return (
            _by_section(x, lambda part: self._flat(self.layer, part))
            if _has_sections(x)
            else self.layer(x)
        )


def _has_sections(x: Any) -> bool:
    return bool(x.ndim == 5 and x.is_contiguous(memory_format=torch.channels_last_3d))


def _by_section(x: Any, work: Callable[[Any], Any]) -> Any:
    return (
        work(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)
    )


def _flat_form(layer: Any) -> Flat | None:
    """The layer in 2D; None when it looks along z."""
    nn, kind = torch.nn, type(layer)
    if kind is nn.Upsample:
        return (
            _upsample
            if layer.scale_factor is not None and _along_z(layer.scale_factor) == 1
            else None
        )
    if kind not in (nn.Conv3d, nn.MaxPool3d, nn.AvgPool3d):
        return None
    padding = 0 if isinstance(layer.padding, str) else _along_z(layer.padding)
    if (_along_z(layer.kernel_size), _along_z(layer.stride), padding) != (1, 1, 0):
        return None
    if kind is nn.Conv3d:
        return _convolve if layer.padding_mode == "zeros" else None
    if kind is nn.MaxPool3d:
        return None if layer.return_indices else _max_pool
    return _average_pool


def _convolve(layer: Any, sections: Any) -> Any:
    padding = layer.padding if isinstance(layer.padding, str) else layer.padding[1:]
    rest = (layer.stride[1:], padding, layer.dilation[1:], layer.groups)
    return functional.conv2d(sections, layer.weight.squeeze(2), layer.bias, *rest)


def _max_pool(layer: Any, sections: Any) -> Any:
    sizes = [
        _within(size) for size in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    ]
    return functional.max_pool2d(sections, *sizes, ceil_mode=layer.ceil_mode)


def _average_pool(layer: Any, sections: Any) -> Any:
    sizes = [_within(size) for size in (layer.kernel_size, layer.stride, layer.padding)]
    return functional.avg_pool2d(
        sections, *sizes, layer.ceil_mode, layer.count_include_pad, layer.divisor_override
    )


def _upsample(layer: Any, sections: Any) -> Any:
    rest = (
        _FLAT_MODES.get(layer.mode, layer.mode),
        layer.align_corners,
        layer.recompute_scale_factor,
    )
    return functional.interpolate(sections, None, _within(layer.scale_factor), *rest)


def _interpolate(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Any = None,
    *rest: Any,
    **named: Any,
) -> Any:
    """torch.nn.functional.interpolate, in sections when their number stays."""
    asked, same = (scale_factor, 1) if size is None else (size, x.shape[2])
    if not _has_sections(x) or _along_z(asked) != same:
        return functional.interpolate(x, size, scale_factor, mode, align_corners, *rest, **named)
    sizes = [None if value is None else _within(value) for value in (size, scale_factor)]
    flat_mode = _FLAT_MODES.get(mode, mode)
    return _by_section(
        x,
        lambda part: functional.interpolate(part, *sizes, flat_mode, align_corners, *rest, **named),
    )


def _along_z(size: Any) -> Any:
    return size if isinstance(size, int | float) else size[0]


def _within(size: Any) -> Any:
    return size if isinstance(size, int | float) else tuple(size[1:])
