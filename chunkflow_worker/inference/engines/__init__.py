"""Which engine runs a net? `open_engine` chooses it by the name given to ``--framework``, or by the
model file.

identity.py     returns its input
onnx.py         .onnx files, with OpenVINO or onnxruntime
pznet.py        nets compiled by PZNet
torch.py        nets of PyTorch
universal.py    a Python file with a class PatchInferencer

To add an engine, add a file to this folder. At its top level it assigns:

FRAMEWORKS      names for ``--framework``; each maps to a few words for the help text
NEEDS_MODEL     False if the engine runs without ``--convnet-model``; may be left out
READS           the model files that it reads, as keywords of `Reads`; may be left out, and the
                engine is then used only if it is named
ENGINE          the class of the engine, see `EngineClass`

All but ENGINE must be literals: they are read from the text of the file, so that help
texts and checks of options import no large library.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.inference.model_file import load_source, missing_cure
from chunkflow_worker.inference.model_kind import STAR, Reads, names_in, net_class, syntax_fault

if TYPE_CHECKING:
    from chunkflow_worker.inference.engine import Engine, EngineClass, EngineSpec


@dataclass(frozen=True)
class Framework:
    """What an engine's file declares about one of its names.

    summary: what it runs, in a few words.
    needs_model: whether it needs ``--convnet-model``.
    module: import path of the engine's file.
    reads: the model files that it reads.
    """

    name: str
    summary: str
    needs_model: bool
    module: str
    reads: Reads = field(default_factory=Reads)


def open_engine(framework: str | None, spec: EngineSpec) -> Engine:
    """Load the net of `spec` into the engine of that name; if None, that which reads its file.

    The net runs twice on noise, and must give the same answer, unless `spec` allows another.

    Raises ConfigError if a name, a file or a library is missing, and ModelError if the net does not
    load, is not what `spec` declares, or gives two answers.
    """
    from chunkflow_worker.inference.steady import check_steady

    if framework is None:
        framework = framework_of(spec.model_path)
    else:
        _check_file(framework, spec.model_path)
    engine = _engine_class(framework)(spec)
    answers = engine.answers(spec)
    model = spec.model_path or f"the framework {framework}"
    check_steady(answers, model, engine.precision, spec.allow_random)
    engine.channels = min(spec.most_channels, answers.first.shape[-4])
    return engine


def device_name(framework: str | None, model_path: str = "") -> str:
    """Name of the device that the engine of that name would use; if None, the one for the file.

    Loads no net.
    """
    return _engine_class(framework or framework_of(model_path)).device_name()


def framework_of(model_path: str) -> str:
    """Name of the framework that reads a model file. Raises ConfigError if that is not clear."""
    if not Path(model_path).exists():
        problem, cure = f"{model_path} does not exist", missing_cure(model_path)
        raise ConfigError.one("net", "convnet_model", problem, cure)
    found = _suited(Path(model_path))
    chosen = [framework for framework in found if framework.reads.first] or found
    if len(chosen) == 1:
        return chosen[0].name
    known = sorted(name for f in frameworks().values() for name in f.reads.defines)
    fault = syntax_fault(Path(model_path)) if model_path.endswith(".py") else ""
    cure = f"give --framework (-f): {', '.join(f.name for f in chosen or frameworks().values())}"
    if chosen:
        problem = f"{model_path} suits {' and '.join(f.name for f in chosen)}"
    elif fault:
        problem, cure = f"{model_path} is not valid Python: {fault}", "mend the file"
    else:
        problem = f"{model_path} is not a known model file, and defines none of {', '.join(known)}"
        net = net_class(Path(model_path))
        line = f"add a line at its end: InstantiatedModel = {net}()" if net else ""
        cure = line or f"define one of them in a Python file, or {cure}"
    raise ConfigError.one("net", "convnet_model", problem, cure)


@cache
def frameworks() -> dict[str, Framework]:
    """All legal values of ``--framework``, sorted by name. Imports no engine."""
    paths = (path for folder in __path__ for path in Path(folder).glob("[!_]*.py"))
    found = [framework for path in paths for framework in _declared(path)]
    return {framework.name: framework for framework in sorted(found, key=lambda f: f.name)}


def _suited(path: Path) -> list[Framework]:
    """The frameworks that read an existing file."""
    names = names_in(path)
    if STAR in names:  # the names can only be known by running the file
        names = set(dir(load_source(str(path))))
    return [framework for framework in frameworks().values() if framework.reads.suits(path, names)]


def _check_file(framework: str, model_path: str) -> None:
    """Raises ConfigError if the file is clearly one of another framework."""
    path, known = Path(model_path), frameworks().get(framework)
    if known is None or known.reads == Reads() or not path.is_file():
        return
    suited = [found.name for found in _suited(path)]
    if suited and framework not in suited:
        problem = f"{model_path} is a file of framework {' or '.join(suited)}, not of {framework}"
        cure = "leave out --framework (-f), or give another file"
        raise ConfigError.one("net", "framework", problem, cure)


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
    constants = _literals(path, {"FRAMEWORKS", "NEEDS_MODEL", "READS"})
    if not constants.get("FRAMEWORKS"):
        raise LookupError(f"{path} declares no FRAMEWORKS, so it is not an engine")
    needs_model = constants.get("NEEDS_MODEL", True)
    reads = Reads(**constants.get("READS", {}))
    return [
        Framework(name, summary, needs_model, f"{__name__}.{path.stem}", reads)
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
