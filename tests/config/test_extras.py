"""Optional libraries."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import chunkflow_worker
from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.pipeline.operator import Run, find_operator


def test_needs_returns_the_module() -> None:
    assert needs("json", extra="files") is json


def test_an_absent_library_is_told_with_the_extra_that_brings_it() -> None:
    with pytest.raises(
        ConfigError,
        match=r'nosuchlibrary: .*not installed\n +pip install "chunkflow-worker\[files\]"',
    ):
        needs("nosuchlibrary.part", extra="files")


def test_a_library_that_lacks_one_of_its_own_is_not_called_absent(tmp_path, monkeypatch) -> None:
    (tmp_path / "brokenlibrary.py").write_text("import nosuchlibrary\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="nosuchlibrary"):
        needs("brokenlibrary", extra="files")


SOURCE = Path(chunkflow_worker.__file__).parent
PYPROJECT = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text())["project"]

# An operator with its least options, and the libraries that it can't open without. Files are named that do not exist.
NEEDING = {
    "aggregate-skeleton-fragments": ({"fragments_path": "mem://x"}, "kimimaro osteoid"),
    "connected-components": ({}, "cc3d"),
    "gaussian-filter": ({}, "scipy"),
    "load-h5": ({"file_name": "x.h5"}, "h5py"),
    "load-nrrd": ({"file_name": "x.nrrd"}, "nrrd"),
    "load-png": ({"path": "x"}, "imagecodecs"),
    "load-skeleton": ({"path": "x.swc"}, "osteoid"),
    "load-synapses": ({"file_path": "x.h5"}, "h5py"),
    "load-tif": ({"file_name": "x.tif"}, "tifffile imagecodecs"),
    "load-zarr": ({"store": "mem://x"}, "tensorstore"),
    "mask-out-objects": ({"dust_size_threshold": 9}, "fastremap"),
    "mesh": ({"output_path": "mem://x"}, "zmesh"),
    "mesh-multires": ({"volume_path": "mem://x"}, "zmesh"),
    "napari": ({}, "napari"),
    "neuroglancer": ({}, "neuroglancer"),
    "save-h5": ({"file_name": "x.h5"}, "h5py"),
    "save-nrrd": ({}, "nrrd"),
    "save-pngs": ({}, "PIL"),
    "save-points": ({"file_path": "x.h5"}, "h5py"),
    "save-precomputed": ({"volume_path": "mem://x", "create_thumbnail": True}, "PIL"),
    "save-swc": ({}, "osteoid"),
    "save-synapses": ({"file_path": "x.h5"}, "h5py"),
    "save-tif": ({}, "tifffile imagecodecs"),
    "save-zarr": ({"store": "mem://x"}, "tensorstore"),
    "skeletonize": ({}, "kimimaro"),
}
INFERENCE = {
    "framework": "pytorch", "convnet_model": "net.py", "input_patch_size": (4, 16, 16),
    "output_patch_overlap": (1, 4, 4), "num_output_channels": 1,
}  # fmt: skip
CASES = [
    (name, options, library)
    for name, (options, libraries) in NEEDING.items()
    for library in libraries.split()
]
CASES += [
    ("inference", INFERENCE, "torch"),
    ("inference", INFERENCE | {"framework": "onnx", "convnet_model": "n.onnx"}, "onnxruntime"),
]


def block(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """As if it were not installed."""
    for name in [n for n in sys.modules if n.partition(".")[0] == library] + [library]:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(("name", "options", "library"), CASES)
def test_an_operator_whose_library_is_absent_says_which_extra_to_install(
    name, options, library, monkeypatch, tmp_path
) -> None:
    """In one line, when the chain is opened: before the first task."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISPLAY", ":0")  # napari asks for a screen first
    (tmp_path / "net.py").write_text("")
    (tmp_path / "n.onnx").write_text("")
    operator = find_operator(name)(**options)
    block(monkeypatch, library)
    with pytest.raises(ConfigError) as told, operator.open(Run(needed_box=lambda box, bounds: box)):
        pass
    (fault,) = told.value.faults
    assert fault.place == library
    (extra,) = re.fullmatch(r'pip install "chunkflow-worker\[(\w+)\]"', fault.cure).groups()
    assert library in providers(extra)
    assert not [path for path in tmp_path.iterdir() if path.name not in ("net.py", "n.onnx")]


def test_every_operator_that_uses_an_optional_library_is_in_that_test() -> None:
    using = {
        path.stem.replace("_", "-")
        for path in (SOURCE / "operators").glob("*.py")
        if "needs(" in path.read_text()
    }
    assert using <= set(NEEDING)


def test_extras_bring_the_libraries_that_they_are_named_for() -> None:
    asked = {}
    for path in SOURCE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(call, ast.Call)
                and getattr(call.func, "id", "") == "needs"
                and isinstance(call.args[0], ast.Constant)
            ):
                asked[call.args[0].value.partition(".")[0]] = call.keywords[0].value.value
    assert {"h5py", "torch", "zmesh", "tensorstore", "scipy"} <= set(asked)
    assert {
        library: extra for library, extra in asked.items() if library not in providers(extra)
    } == {}


def test_only_libraries_of_the_core_are_imported_without_asking() -> None:
    """What is imported directly comes with the core, or beside a library that was asked for."""
    core = {
        "boto3",
        "botocore",
        "celery",
        "click",
        "cloudfiles",
        "cloudvolume",
        "deflate",
        "DracoPy",
        "google",
        "kombu",
        "microviewer",
    }
    core |= {
        "numpy",
        "pydantic",
        "pydantic_core",
        "pydantic_settings",
        "requests",
        "rich",
        "vine",
        "yaml",
    }
    asked_for = {
        "h5py": "load_synapses.py",
        "zmesh": "multires.py",
        "moto": "local_aws.py",
        "pznet": "pznet.py",
    }
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found = [n.name for n in node.names] if isinstance(node, ast.Import) else []
            found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots = (
                {name.partition(".")[0] for name in found}
                - core
                - sys.stdlib_module_names
                - {"chunkflow_worker"}
            )
            assert not [root for root in roots if asked_for.get(root) != path.name], path


@cache
def providers(extra: str) -> set[str]:
    """Names of the modules that an extra brings by itself."""
    brought = {
        re.split(r"[\[<>=]", line)[0].lower() for line in PYPROJECT["optional-dependencies"][extra]
    }
    named = {
        module
        for module, names in packages_distributions().items()
        if brought & {n.lower() for n in names}
    }
    named |= brought  # napari need not be installed
    # CloudVolume's extras bring these.
    return named | (
        {"fpzip", "compresso", "crackle", "imagecodecs", "pyspng"}
        if "cloud-volume" in brought
        else set()
    )
