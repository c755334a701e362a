"""Which engine runs a net? `open_engine` chooses it by the name given to ``--framework``.

identity.py     returns its input
onnx.py         .onnx files, with onnxruntime
pznet.py        nets compiled by PZNet
torch.py        nets of PyTorch
universal.py    a Python file with a class PatchInferencer

To add an engine, add a file to this folder. At its top level it assigns:

FRAMEWORKS      names for ``--framework``; each maps to a few words for the help text
NEEDS_MODEL     False if the engine runs without ``--convnet-model``; may be left out
ENGINE          the class of the engine, see `EngineClass`

FRAMEWORKS and NEEDS_MODEL must be literals: they are read from the text of the file, so that help
texts and checks of options import no large library.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import ConfigError

if TYPE_CHECKING:
    from chunkflow_worker.inference.engine import Engine, EngineClass, EngineSpec


@dataclass(frozen=True)
class Framework:
    """What an engine's file declares about one of its names.

    summary: what it runs, in a few words.
    needs_model: whether it needs ``--convnet-model``.
    module: import path of the engine's file.
    """

    name: str
    summary: str
    needs_model: bool
    module: str


def open_engine(framework: str, spec: EngineSpec) -> Engine:
    """Load the net of `spec` into the engine of that name.

    Raises ConfigError if a name, a file or a library is missing, and ModelError if the net does not
    load or is not what `spec` declares.
    """
    return _engine_class(framework)(spec)


def device_name(framework: str) -> str:
    """Name of the device that the engine of that name would use. Loads no net."""
    return _engine_class(framework).device_name()


@cache
def frameworks() -> dict[str, Framework]:
    """All legal values of ``--framework``, sorted by name. Imports no engine."""
    paths = (path for folder in __path__ for path in Path(folder).glob("[!_]*.py"))
    found = [framework for path in paths for framework in _declared(path)]
    return {framework.name: framework for framework in sorted(found, key=lambda f: f.name)}


def _engine_class(framework: str) -> EngineClass:
    if framework not in frameworks():
        legal = ", ".join(frameworks())
        raise ConfigError.one(
            "net", "framework", f"there is no framework {framework!r}", f"legal: {legal}"
        )
    engine: EngineClass = import_module(frameworks()[framework].module).ENGINE
    return engine


def _declared(path: Path) -> list[Framework]:
    """The frameworks of an engine's file. Raises LookupError if it declares none."""
    constants = _literals(path, {"FRAMEWORKS", "NEEDS_MODEL"})
    if not constants.get("FRAMEWORKS"):
        raise LookupError(f"{path} declares no FRAMEWORKS, so it is not an engine")
    needs_model = constants.get("NEEDS_MODEL", True)
    return [
        Framework(name, summary, needs_model, f"{__name__}.{path.stem}")
        for name, summary in constants["FRAMEWORKS"].items()
    ]


def _literals(path: Path, names: set[str]) -> dict[str, Any]:
    """The values that a Python file assigns to these names at its top level, without running it."""
    assignments = (s for s in ast.parse(path.read_text("utf-8")).body if isinstance(s, ast.Assign))
    return {
        target.id: ast.literal_eval(assignment.value)
        for assignment in assignments
        for target in assignment.targets
        if isinstance(target, ast.Name) and target.id in names
    }
