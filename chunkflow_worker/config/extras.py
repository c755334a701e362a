"""Libraries that only some operators need; an extra of this package installs them."""

from __future__ import annotations

import importlib
from typing import Any

from chunkflow_worker.errors import ConfigError

CPU_WHEELS = "--extra-index-url https://download.pytorch.org/whl/cpu"
"""The option with which pip installs PyTorch without gigabytes of CUDA."""


def needs(module: str, *, extra: str, by: str = "an operator") -> Any:
    """Import and return a module of an optional library. by: what needs it, for the error.

    Raises ConfigError, which names the extra to install, when the library is missing.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        missing = (error.name or "").partition(".")[0]
        if missing != library:  # the library itself is there, and lacks one that it needs
            raise
        raise ConfigError.one(
            "this installation",
            library,
            f"is needed by {by} and not installed",
            install_line(extra),
        ) from None


def install_line(extra: str) -> str:
    """The command that adds an extra to this installation.

    The package itself is in no index. pip does not look for it there, because it is installed.
    """
    line = f'pip install "chunkflow-worker[{extra}]"'
    return f"{line}; without a GPU, add {CPU_WHEELS}" if extra == "torch" else line
