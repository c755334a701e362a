"""`in_sections`: layers that do not look along z, computed in 2D, section by section.

Libraries have better kernels for two dimensions than for three, most of all for resizing and
pooling. In the channels-last layout, the sections of a patch are a view.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chunkflow_worker.config.extras import needs

torch: Any = needs("torch", extra="torch")
functional = torch.nn.functional

Flat = Callable[[Any, Any], Any]
"""Applies a layer, the first argument, to sections: ncyx with channels last."""

_FLAT_MODES = {"trilinear": "bilinear"}


def in_sections(net: Any) -> Any:
    """Replace layers that do not look along z, in place. The output stays the same, to rounding.

    They compute in 2D if their input, nczyx, has its channels last, and in 3D otherwise.
    """
    for path, layer in list(net.named_modules()):
        hooked = layer._forward_hooks or layer._forward_pre_hooks
        flat = None if hooked else _flat_form(layer)
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
    """A layer that computes section by section.

    `flat` gets the layer as an argument, so that a copy of this module uses the copied layer.
    """

    def __init__(self, layer: Any, flat: Flat):
        super().__init__()
        self.layer, self._flat = layer, flat

    def forward(self, x: Any) -> Any:
        if not _has_sections(x):
            return self.layer(x)
        return _by_section(x, lambda sections: self._flat(self.layer, sections))


def _has_sections(x: Any) -> bool:
    return bool(x.ndim == 5 and x.is_contiguous(memory_format=torch.channels_last_3d))


def _by_section(x: Any, work: Callable[[Any], Any]) -> Any:
    """Apply `work` to the sections of x, nczyx, as a batch ncyx."""
    sections = work(x.transpose(1, 2).flatten(0, 1))
    return sections.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)


def _flat_form(layer: Any) -> Flat | None:
    """The layer in 2D; None if it looks along z."""
    nn, kind = torch.nn, type(layer)
    if kind is nn.Upsample:
        factor = layer.scale_factor
        return _upsample if factor is not None and _along_z(factor) == 1 else None
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
    sizes = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return functional.max_pool2d(sections, *map(_within, sizes), ceil_mode=layer.ceil_mode)


def _average_pool(layer: Any, sections: Any) -> Any:
    sizes = (layer.kernel_size, layer.stride, layer.padding)
    rest = (layer.ceil_mode, layer.count_include_pad, layer.divisor_override)
    return functional.avg_pool2d(sections, *map(_within, sizes), *rest)


def _upsample(layer: Any, sections: Any) -> Any:
    mode = _FLAT_MODES.get(layer.mode, layer.mode)
    rest = (mode, layer.align_corners, layer.recompute_scale_factor)
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
    """torch.nn.functional.interpolate, in 2D if the number of sections stays the same."""
    asked, same = (scale_factor, 1) if size is None else (size, x.shape[2])
    if not _has_sections(x) or _along_z(asked) != same:
        return functional.interpolate(x, size, scale_factor, mode, align_corners, *rest, **named)
    sizes = [None if value is None else _within(value) for value in (size, scale_factor)]
    flat_mode = _FLAT_MODES.get(mode, mode)

    def resize(sections: Any) -> Any:
        return functional.interpolate(sections, *sizes, flat_mode, align_corners, *rest, **named)

    return _by_section(x, resize)


def _along_z(size: Any) -> Any:
    """The part of a layer's size, which is one number or one per axis, along z."""
    return size if isinstance(size, int | float) else size[0]


def _within(size: Any) -> Any:
    """The part along y and x."""
    return size if isinstance(size, int | float) else tuple(size[1:])
