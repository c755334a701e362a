"""`load_source`: import a user's Python file, which defines a net; and its absence in words."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from chunkflow_worker.errors import ConfigError, ModelError
from chunkflow_worker.inference.user_code import cure, fault

_OF_ARCHIVES = (
    ".pt",
    ".pt2",
    ".pth",
    ".ckpt",
    ".bin",
    ".jit",
    ".ts",
    ".onnx",
    ".ort",
    ".safetensors",
)
"""Endings of files that their users take for data."""


def missing_cure(path: str) -> str:
    """What to do about a file of a net that does not exist."""
    if Path(path).is_absolute():
        return "give the path of a file on this machine"
    return f"it was looked for in {Path.cwd()}: run there where it is, or give its full path"


def load_source(path: str) -> ModuleType:
    """Import a Python file by its path; its name may have any suffix but those of archives.

    Raises ConfigError if it is not a file or named like an archive, and ModelError if importing it
    fails.
    """
    if not Path(path).is_file():
        raise ConfigError.one(
            "net",
            "convnet_model",
            f"{path} is not a file",
            "give the path of a Python model file",
        )
    if path.lower().endswith(_OF_ARCHIVES):
        problem = f"{path} is named like an archive, and is not one: as Python code it would be run"
        raise ConfigError.one("net", "convnet_model", problem, "if it is code, name it net.py")
    # Without an explicit loader, the file would need the suffix .py.
    loader = SourceFileLoader(f"chunkflow_model_{abs(hash(path))}", path)
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses and pickle look a class's module up here
    try:
        loader.exec_module(module)
    except ModuleNotFoundError as error:
        folder = Path(path).resolve().parent
        beside = (folder / f"{error.name}.py").exists() or (folder / str(error.name)).is_dir()
        way = f"set PYTHONPATH={folder}" if beside else "install it where the net runs"
        raise ModelError(
            f"model file {path} imports {error.name}, which is not found\n    {way}"
        ) from error
    except Exception as error:
        way = cure(error) or "mend the file"
        raise ModelError(f"model file {path} fails{fault(error, path)}\n    {way}") from error
    return module
