"""What nets are converted from for other libraries, and why one can't be."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import Any

from chunkflow_worker.config.extras import needs
from chunkflow_worker.inference.same_output import Unsuited, reason
from chunkflow_worker.inference.torch_net.forward import given
from chunkflow_worker.inference.torch_net.load import Net
from chunkflow_worker.inference.torch_net.trial import copied

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
