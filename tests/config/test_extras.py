"""Optional libraries: every operator that needs one names the extra to install."""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

import chunkflow_worker
from chunkflow_worker.cli.chunkflow import Chain, cli
from chunkflow_worker.config.catalog import folder_names
from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.pipeline.operator import Operator, Run, find_operator


def test_needs_returns_the_module() -> None:
    assert needs("json", extra="files") is json


def test_a_missing_library_is_reported_with_the_extra_that_installs_it() -> None:
    text = r'nosuchlibrary: .*not installed\n +pip install "chunkflow-worker\[files\]"'
    with pytest.raises(ConfigError, match=text):
        needs("nosuchlibrary.part", extra="files")


def test_a_library_whose_own_dependency_is_missing_is_not_called_missing(
    tmp_path, monkeypatch
) -> None:
    (tmp_path / "brokenlibrary.py").write_text("import nosuchlibrary\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="nosuchlibrary"):
        needs("brokenlibrary", extra="files")


SOURCE = Path(chunkflow_worker.__file__).parent
PYPROJECT = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text())["project"]

# Operators that need the library only with some options, or through another file.
ONLY_WITH: dict[str, tuple[dict[str, Any], str]] = {
    "save-precomputed": ({"volume_path": "mem://x", "create_thumbnail": True}, "PIL"),
}
NET = {
    "framework": "pytorch", "convnet_model": "net.py", "input_patch_size": (4, 16, 16),
    "output_patch_overlap": (1, 4, 4), "num_output_channels": 1,
}  # fmt: skip


def example(name: str) -> Operator:
    """The operator as its own example has it; the files of the example do not exist."""
    words = shlex.split(find_operator(name).example.replace("\\\n", " "))[1:]
    chain: list[Operator] = Chain("chunkflow", chain=True, params=cli.params).main(
        words, standalone_mode=False
    )
    return next(operator for operator in chain if operator.op == name)


def asked_for(path: Path) -> dict[str, str]:
    """The libraries that a file asks for by `needs`, with the extra of each."""
    return {
        call.args[0].value.partition(".")[0]: call.keywords[0].value.value
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", "") == "needs"
        and isinstance(call.args[0], ast.Constant)
    }


CASES = [
    (name, None, library)
    for name in sorted(folder_names() - ONLY_WITH.keys())
    for library in asked_for(SOURCE / "operators" / f"{name.replace('-', '_')}.py")
]
CASES += [(name, options, library) for name, (options, library) in ONLY_WITH.items()]
CASES += [
    ("inference", NET, "torch"),
    ("inference", NET | {"framework": "onnx", "convnet_model": "n.onnx"}, "onnxruntime"),
]


def block(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """Make `library` look as if it were not installed."""
    for name in [n for n in sys.modules if n.partition(".")[0] == library] + [library]:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(("name", "options", "library"), CASES)
def test_an_operator_whose_library_is_missing_says_which_extra_to_install(
    name, options, library, monkeypatch, tmp_path
) -> None:
    """In one line, when the chain is opened, which is before the first task."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISPLAY", ":0")  # napari checks for a screen first
    (tmp_path / "net.py").write_text("")
    (tmp_path / "n.onnx").write_text("")
    operator = example(name) if options is None else find_operator(name)(**options)
    block(monkeypatch, library)
    run = Run(needed_box=lambda box, bounds: box)
    with pytest.raises(ConfigError) as refused, operator.open(run):
        pass
    (fault,) = refused.value.faults
    assert fault.place == library
    pattern = r'pip install "chunkflow-worker\[(\w+)\]"(; without a GPU, add --extra-index-url .*)?'
    extra, lighter = re.fullmatch(pattern, fault.cure).groups()
    assert bool(lighter) == (extra == "torch")
    assert library in providers(extra)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"net.py", "n.onnx"}, "nothing was written"


def test_the_libraries_of_operators_are_found() -> None:
    found = {(name, library) for name, _, library in CASES}
    assert {("save-tif", "tifffile"), ("save-tif", "imagecodecs"), ("mesh", "zmesh")} <= found
    assert len(found) > 25


def test_each_extra_installs_the_libraries_that_name_it() -> None:
    extras = {}
    for path in SOURCE.rglob("*.py"):
        extras |= asked_for(path)
    assert {"h5py", "torch", "zmesh", "scipy"} <= set(extras)
    wrong = {name: extra for name, extra in extras.items() if name not in providers(extra)}
    assert wrong == {}


# Libraries that are installed with the package, without any extra.
CORE = """
boto3 botocore brotli celery click cloudfiles cloudvolume crc32c deflate DracoPy google isal kombu
microviewer numpy pydantic pydantic_core pydantic_settings requests rich tensorstore vine
yaml zstandard
"""
# Files that import an optional library directly, after `needs` or with an error of their own.
CHECKED_BEFORE = {
    ("h5py", "h5_file.py"),
    ("h5py", "h5_inside.py"),
    ("compresso", "decoder.py"),
    ("crackle", "decoder.py"),
    ("fpzip", "decoder.py"),
    ("h5py", "table_file.py"),
    ("zmesh", "multires.py"),
    ("opentelemetry", "traces.py"),
    ("moto", "serve.py"),
    ("werkzeug", "serve.py"),  # moto brings it
    ("moto", "kept_s3.py"),
    ("moto", "mended_moto.py"),
    ("moto", "protocol.py"),
    ("werkzeug", "protocol.py"),
    ("prometheus_client", "prometheus.py"),
    ("pznet", "pznet.py"),
}


def test_only_libraries_of_the_core_are_imported_without_needs() -> None:
    always_there = {*CORE.split(), *sys.stdlib_module_names, "chunkflow_worker"}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [n.name for n in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            optional = {name.partition(".")[0] for name in names} - always_there
            assert not [name for name in optional if (name, path.name) not in CHECKED_BEFORE], path


distributions = cache(packages_distributions)


@cache
def providers(extra: str) -> set[str]:
    """Names of the modules that an extra installs itself."""
    requirements = PYPROJECT["optional-dependencies"][extra]
    packages = {re.split(r"[\[<>=]", line)[0].lower() for line in requirements}
    modules = {
        module
        for module, names in distributions().items()
        if packages & {name.lower().replace("_", "-") for name in names}
    }
    modules |= packages  # napari may not be installed here
    if "cloud-volume" in packages:  # its own extras install these
        modules |= {"fpzip", "compresso", "crackle", "imagecodecs", "pyspng"}
    return modules
