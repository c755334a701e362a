"""What nets are converted from for other libraries, how they are compared, and why one can't be."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import Any, TypeVar

from chunkflow_worker.config.extras import needs
from chunkflow_worker.inference.same_output import Unsuited, compare, reason
from chunkflow_worker.inference.torch_net.forward import forward, given
from chunkflow_worker.inference.torch_net.load import Net
from chunkflow_worker.inference.torch_net.trial import Trial, copied

log = logging.getLogger(__name__)

_Run = TypeVar("_Run")

torch: Any = needs("torch", extra="torch")


def example_of(net: Net, patches: Any) -> Any:
    """What the net gets for these patches, float32. Raises Unsuited."""
    example = given(net, patches)
    if not is_float32(example):
        raise Unsuited("pre_process returns something else than floating point numbers")
    return example


def is_float32(inputs: Any) -> bool:
    return isinstance(inputs, torch.Tensor) and inputs.dtype == torch.float32


def exported(module: Any, example: Any) -> Any:
    """The program of a net for inputs like `example`. Raises what torch.export raises."""
    # Of a copy, because a net may keep something of the sizes that torch tries it with.
    return torch.export.export(copied(module), (example,), strict=False)


def checked(check: Callable[[str], _Run], precision: str, fallback: bool) -> tuple[_Run, str]:
    """A net in a precision, and that precision.

    check: makes the net and compares its output; raises Unsuited.
    fallback: whether it may run in float32 if its output in `precision` is wrong.
    """
    try:
        return check(precision), precision
    except Unsuited as problem:
        if not fallback or precision == "float32":
            raise
        log.warning("the net runs in float32: in %s, %s", precision, problem)
        return check("float32"), "float32"


def compare_on(trial: Trial, run: Any, precision: str, library: str) -> None:
    """Compare what the library's net gives for the noise of a trial. Raises Unsuited."""
    found = forward(trial.net, run, trial.noise.clone())
    expected = trial.expected.float().cpu().numpy()
    compare(found.float().cpu().numpy(), expected, precision, library)


def check_outputs(inputs: int, outputs: int, structure: Any) -> None:
    """Raise Unsuited unless a converted net takes and returns tensors alone."""
    if inputs != 1 or outputs != structure.num_leaves:
        raise Unsuited("it returns something else than tensors")


@contextmanager
def converting(library: str) -> Iterator[None]:
    """Quiet about a net that can't be converted for a library. Raises Unsuited for any error."""
    try:
        with _silently():
            yield
    except Unsuited:
        raise
    except Exception as error:
        raise Unsuited(_problem(error, library)) from error


def _problem(error: Exception, library: str) -> str:
    """Why a net can't be converted, as a clause about it."""
    if "DataDependent" in type(error).__name__:
        return "its Python code depends on the values of a patch"
    _, found, operations = str(error).partition("No conversion rule found for operations: ")
    if found:
        return f"{library} does not know {operations.partition(chr(10))[0]}"
    return f"it can't be converted: {reason(error)}"


@contextmanager
def _silently() -> Iterator[None]:
    """Keep quiet about plans of the libraries, and about a net that they can't convert.

    OpenVINO leaves the root logger at the level ERROR when it fails.
    """
    root, graphs = logging.getLogger(), logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before = root.level, root.filters[:], root.handlers[:], graphs.disabled
    graphs.disabled = True
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stderr(StringIO()):
            yield
    finally:
        root.level, root.filters, root.handlers, graphs.disabled = before
        root.setLevel(root.level)  # which forgets what other loggers remember of the level
