"""`prepare`: a loaded net, moved to its device and changed for speed; its output stays the same."""

from __future__ import annotations

import logging
import warnings
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ModelError, OutOfMemory
from chunkflow_worker.inference.engine import Acceleration, Precision
from chunkflow_worker.inference.openvino import is_wanted
from chunkflow_worker.inference.same_output import Unsuited, refuse
from chunkflow_worker.inference.torch_net.arrays import memory_guard
from chunkflow_worker.inference.torch_net.layout import sums_over_space, with_layout
from chunkflow_worker.inference.torch_net.load import Net
from chunkflow_worker.inference.torch_net.openvino_net import by_openvino
from chunkflow_worker.inference.torch_net.precision import (
    REDUCED,
    Reduced,
    allow_tf32,
    cpu_has,
    fast_precision,
)
from chunkflow_worker.inference.torch_net.sections import in_sections
from chunkflow_worker.inference.torch_net.streamline import streamlined
from chunkflow_worker.inference.torch_net.tensorrt_net import by_tensorrt
from chunkflow_worker.inference.torch_net.trial import Trial
from chunkflow_worker.inference.torch_net.width import widened

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A net that is ready to run on its device.

    net: as it was loaded; with a batch size of 1 if it has to get one patch at a time.
    run: computes the output in `precision`.
    float32: computes the output in float32.
    layout: memory format of the input, for which the net was changed.
    trial: of the net as it was loaded.
    library: that runs the net, for people; empty for torch.
    """

    net: Net
    run: Any
    float32: Any
    precision: str
    layout: Any
    trial: Trial
    library: str = ""


def prepare(
    net: Net,
    shape: tuple[int, ...],
    asked: Precision,
    device: Any,
    acceleration: Acceleration = "none",
) -> Prepared:
    """Move a net to its device, change it for speed, and try it on noise.

    shape: of a patch, nczyx with n = 1.
    asked: the precision. "auto" takes what `fast_precision` says, but float32 if the net does not
        run in that or its outputs are not finite. CPUs compute tf32 as float32.
    acceleration: "openvino" lets OpenVINO run the net on CPUs; "auto" does so if it is installed
        and gives the same output. "tensorrt" lets TensorRT run it, if it gives the same output.

    Raises ConfigError if OpenVINO was asked for and is missing. Raises ModelError if the net fails,
    or does not run in the precision or by the library that was asked for; raises OutOfMemory.
    """
    torch = needs("torch", extra="torch")
    precision = fast_precision(device) if asked == "auto" else asked
    if precision == "tf32" and device.type == "cpu":
        precision = "float32"
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    allow_tf32(False)  # the expected output is that of full float32
    with memory_guard(torch), torch.inference_mode():
        trial = Trial.of(replace(net, module=net.module.to(device)), shape, device)
    converted = _converted(trial, shape, precision, asked, acceleration)
    if converted is not None:
        return converted
    with memory_guard(torch), torch.inference_mode():
        made = _rewritten(trial, precision, device)
        if precision not in REDUCED:
            allow_tf32(precision == "tf32")
            return Prepared(trial.net, made.run, made.run, precision, made.layout, trial)
        reduced = _reduced(made.wide, precision, trial, asked, device)
    if reduced is None:
        return prepare(trial.net, shape, "float32", device)
    return Prepared(trial.net, reduced, made.run, precision, made.layout, trial)


def _converted(
    trial: Trial,
    shape: tuple[int, ...],
    precision: str,
    asked: Precision,
    acceleration: Acceleration,
) -> Prepared | None:
    """The net run by another library; None if torch is to run it."""
    convert: Any = None
    if acceleration == "tensorrt":
        convert, library = by_tensorrt, "TensorRT"
    elif trial.noise.device.type == "cpu" and is_wanted(acceleration):
        convert, library = by_openvino, "OpenVINO"
    if convert is None:
        return None
    torch = needs("torch", extra="torch")
    try:
        with memory_guard(torch):
            run, used = convert(trial, shape, precision, fallback=asked == "auto")
    except Unsuited as problem:
        refuse(problem, library, "torch", asked_for=acceleration == "openvino")
        return None
    alone = trial.alone()
    layout = torch.contiguous_format
    return Prepared(alone.net, run, alone.net.module, used, layout, trial, library)


@dataclass(frozen=True)
class _Rewritten:
    """A changed net.

    run: the net that is fastest in float32.
    wide: the net that is converted to a reduced precision.
    layout: memory format of their input.
    """

    run: Any
    wide: Any
    layout: Any


def _rewritten(trial: Trial, precision: str, device: Any) -> _Rewritten:
    """The net after all changes for speed that do not alter its output.

    The layout is channels-last on CPUs, and wherever matrix instructions are used.
    """
    torch = needs("torch", extra="torch")
    first, last = torch.contiguous_format, torch.channels_last_3d
    plain, on_cpu = trial.net.module, device.type == "cpu"
    if not trial.net.editable:
        return _Rewritten(plain, plain, first)
    run = trial.changed(plain, streamlined, first)
    if precision == "float32" and (not on_cpu or sums_over_space(run)):
        return _Rewritten(run, run, first)

    def lay_out(net: Any) -> Any:
        return with_layout(in_sections(deepcopy(net)), last)

    def widen(net: Any) -> Any:
        return with_layout(in_sections(widened(net, trial.noise, 16 if on_cpu else 8)), last)

    laid_out = trial.changed(run, lay_out, last)
    if laid_out is run:
        return _Rewritten(run, run, first)
    in_3d = isinstance(run, torch.fx.GraphModule) and not trial.net.flat
    if precision not in REDUCED or not in_3d:
        return _Rewritten(laid_out, laid_out, last)
    wide = trial.changed(run, widen, last)
    return _Rewritten(laid_out, laid_out if wide is run else wide, last)


def _reduced(run: Any, precision: str, trial: Trial, asked: Precision, device: Any) -> Any | None:
    """The net in a reduced precision; None if it does not work and "auto" was asked for.

    Raises ModelError if it does not work and this precision was asked for; raises OutOfMemory.
    """
    if device.type == "cpu" and not cpu_has(precision):
        log.warning(
            "this CPU has no instructions for %s, which is much slower here than float32", precision
        )
    problem = ""
    try:
        with warnings.catch_warnings():
            # torch warns about its own modules when an exported program is copied.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            reduced = Reduced(deepcopy(run), precision)
        found = trial.output(reduced).float()
        if not found.isfinite().all():
            problem = "gives values that are not finite"
    except OutOfMemory:
        raise
    except Exception as error:
        problem = f"does not run: {str(error).partition(chr(10))[0]}"
    if not problem:
        log.info(
            "net in %s: on noise, at most %.2g from float32",
            precision,
            float((found - trial.expected.float()).abs().max()),
        )
        return reduced
    if asked == "auto":
        log.warning("the net %s in %s, so it runs in float32", problem, precision)
        return None
    raise ModelError(f"the net {problem} in {precision}: use precision float32")
