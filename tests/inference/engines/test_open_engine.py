"""`open_engine`: an engine is a file in the folder of engines, and nothing else."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args

import click
import pytest

from chunkflow_worker.config.options import click_options
from chunkflow_worker.errors import ConfigError, ModelError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference import engines
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.engines import device_name, frameworks, open_engine
from chunkflow_worker.inference.engines.identity import IdentityEngine
from chunkflow_worker.machine.cpu import cpu_name
from chunkflow_worker.operators.inference import Inference

SIZE = Vec3(4, 8, 8)
FILES = sorted(path.stem for path in Path(engines.__file__).parent.glob("[!_]*.py"))


def test_each_file_declares_a_framework_and_no_two_the_same() -> None:
    assert {f.module.rpartition(".")[2] for f in frameworks().values()} == set(FILES)
    modules = [importlib.import_module(f"{engines.__name__}.{file}") for file in FILES]
    declared = [name for module in modules for name in module.FRAMEWORKS]
    assert sorted(declared) == list(frameworks())
    assert {"identity", "onnx", "pytorch", "pznet", "universal"} <= set(declared)


def test_what_is_read_from_the_text_is_what_the_module_has() -> None:
    for name, framework in frameworks().items():
        module = importlib.import_module(framework.module)
        assert module.FRAMEWORKS[name] == framework.summary
        assert getattr(module, "NEEDS_MODEL", True) == framework.needs_model


@pytest.mark.parametrize("file", FILES)
def test_each_file_has_a_test(file: str) -> None:
    assert (Path(__file__).parent / f"test_{file}.py").exists()


def test_the_option_follows_from_the_files() -> None:
    options = {o.name: o for o in click_options(Inference) if isinstance(o, click.Option)}
    option = options["framework"]
    assert isinstance(option.type, click.Choice)
    assert list(option.type.choices) == list(frameworks())
    assert list(get_args(Inference.model_fields["framework"].annotation)) == list(frameworks())
    assert Inference.model_json_schema()["properties"]["framework"]["enum"] == list(frameworks())
    for framework in frameworks().values():
        assert f"{framework.name}: {framework.summary}" in (option.help or "")


@pytest.mark.parametrize("name", sorted(frameworks()))
def test_a_framework_that_needs_a_model_is_refused_without_one(name: str) -> None:
    options: dict[str, Any] = {"input_patch_size": SIZE, "output_patch_overlap": (0, 0, 0)}
    if not frameworks()[name].needs_model:
        assert Inference(framework=name, **options).framework == name
        return
    with pytest.raises(ValueError, match=f"framework {name} needs convnet_model"):
        Inference(framework=name, **options)


def test_the_engine_of_the_name_is_opened() -> None:
    engine = open_engine("identity", EngineSpec(SIZE, SIZE, channels=2))
    assert isinstance(engine, IdentityEngine)
    assert engine.channels == 2


def test_errors_of_the_engine_are_passed_on(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("x = 1\n")
    spec = EngineSpec(SIZE, SIZE, channels=1, model_path=str(tmp_path / "net.py"))
    with pytest.raises(ModelError, match="does not define the class PatchInferencer"):
        open_engine("universal", spec)


def test_an_unknown_name_is_refused_with_the_legal_ones() -> None:
    spec = EngineSpec(SIZE, SIZE, channels=1)
    for use in (lambda: open_engine("caffe", spec), lambda: device_name("caffe")):
        with pytest.raises(ConfigError) as error:
            use()
        (fault,) = error.value.faults
        assert fault.problem == "there is no framework 'caffe'"
        assert fault.cure == f"legal: {', '.join(frameworks())}"


@pytest.mark.parametrize("name", ["identity", "onnx", "pznet", "universal"])
def test_the_device_is_known_before_a_net_is_loaded(name: str) -> None:
    assert device_name(name) == cpu_name()


@pytest.mark.parametrize("text", ["x = 1\n", "FRAMEWORKS = {}\n", '"""FRAMEWORKS"""\n'])
def test_a_file_that_declares_nothing_is_an_error_of_its_author(tmp_path: Path, text: str) -> None:
    (tmp_path / "half.py").write_text(text)
    with pytest.raises(LookupError, match=r"half\.py declares no FRAMEWORKS"):
        engines._declared(tmp_path / "half.py")


def test_declarations_are_literals(tmp_path: Path) -> None:
    (tmp_path / "computed.py").write_text("FRAMEWORKS = dict(computed='x')\n")
    with pytest.raises(ValueError, match="malformed node"):
        engines._declared(tmp_path / "computed.py")


NEW_ENGINE = '''
"""The engine of this test. Importing it loads a library that must not be loaded for help texts."""

import sqlite3 as a_large_library

from chunkflow_worker.inference.host_arrays import unit_range
from chunkflow_worker.inference.host_engine import HostEngine

FRAMEWORKS = {"plus": "adds one", "plus-one": "the same"}
NEEDS_MODEL = False


class PlusOne(HostEngine):
    def __init__(self, spec):
        super().__init__(spec.channels)

    @classmethod
    def device_name(cls):
        return "an abacus"

    def predict(self, patches):
        return [unit_range(patch) + 1 for patch in patches]


ENGINE = PlusOne
'''
# As if the file lay in the folder of engines.
INSTALLED = """
import sys
from chunkflow_worker.inference import engines
engines.__path__.append(sys.argv.pop(1))
"""


def run_python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", INSTALLED + dedent(code), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "plus.py").write_text(NEW_ENGINE)
    return str(tmp_path)


def test_a_new_file_is_a_new_value_of_the_option(folder: str) -> None:
    """In its help text, without importing the file."""
    code = """
        from chunkflow_worker.cli.chunkflow import cli
        cli(["inference", "--help"], standalone_mode=False)
        print("loaded:", "sqlite3" in sys.modules, "torch" in sys.modules)
    """
    shown = " ".join(run_python(code, folder).split())
    assert "identity|onnx|plus|plus-one|pytorch|pznet|universal" in shown
    assert "plus: adds one; plus-one: the same;" in shown
    assert "loaded: False False" in shown


@pytest.mark.parametrize("name", ["plus", "plus-one"])
def test_a_new_file_runs_in_the_operator(folder: str, name: str) -> None:
    code = """
        import json
        import numpy as np
        from chunkflow_worker.image.chunk import Chunk
        from chunkflow_worker.operators.inference import Inference
        from chunkflow_worker.pipeline.operator import Run
        from chunkflow_worker.pipeline.task import Task

        operator = Inference(
            framework=sys.argv[1], input_patch_size=(4, 8, 8), output_patch_overlap=(1, 2, 2),
            num_output_channels=1, mask_output_chunk=True,
        )
        task = Task(values={"chunk": Chunk(np.full((6, 12, 12), 51, np.uint8))})
        with operator.open(Run(needed_box=lambda box, bounds: box)) as step:
            step(task)
        values = np.unique(task.chunk("chunk").array).tolist()
        print(json.dumps([operator.device(), task.device, values]))
    """
    device, recorded, values = json.loads(run_python(code, folder, name))
    assert (device, recorded) == ("an abacus", "an abacus")
    assert values == [pytest.approx(1.2)]


def test_no_other_file_names_an_engine() -> None:
    """Only the folder itself, and prose."""
    root = Path(engines.__file__).parents[2]
    named = {
        f"{path.relative_to(root)}: {node.module}"
        for path in root.rglob("*.py")
        if path.parent != Path(engines.__file__).parent
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith(f"{engines.__name__}.")
    }
    assert named == set()
