"""Libraries that only some operators need; an extra of this package installs them."""

from __future__ import annotations

import importlib
from typing import Any

from chunkflow_worker.errors import ConfigError


def needs(module: str, *, extra: str) -> Any:
    """Import and return a module of an optional library.

    Raises ConfigError, which names the extra to install, when the library is missing.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        missing = (error.name or "").partition(".")[0]
        if missing != library:  # the library itself is there, and lacks one that it needs
            raise
        cure = f'pip install "chunkflow-worker[{extra}]"'
        raise ConfigError.one(
            "this installation", library, "is needed by an operator and not installed", cure
        ) from None
