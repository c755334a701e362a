"""Libraries that only some operators need, installed with an extra of this package."""

from __future__ import annotations

import importlib
from typing import Any

from chunkflow_worker.errors import ConfigError


def needs(module: str, *, extra: str) -> Any:
    """The module of that name. Raises ConfigError, which names the extra to install, when its library is absent."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != library:
            raise
        cure = f'pip install "chunkflow-worker[{extra}]"'
        raise ConfigError.one(
            "this installation", library, "is needed by an operator and not installed", cure
        ) from None
