"""Importing a Python model file of the user's."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from chunkflow_worker.errors import ConfigError, ModelError


def load_source(path: str) -> ModuleType:
    """Import a model file by its path. Raises ConfigError when it is absent, ModelError when it fails."""
    if not Path(path).is_file():
        raise ConfigError.one(
            "net",
            "convnet_model",
            f"{path} is not a file",
            "give the path of a Python model file",
        )
    # Any suffix will do: a spec made from the location alone wants .py.
    loader = SourceFileLoader(f"chunkflow_model_{abs(hash(path))}", path)
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses and pickles look themselves up there
    try:
        loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"model file {path} fails: {type(error).__name__}: {error}") from error
    return module
