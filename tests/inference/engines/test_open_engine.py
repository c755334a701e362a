"""`open_engine`: an engine is a file in the folder of engines, and nothing else."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args

import click
import numpy as np
import pytest

from chunkflow_worker.config.options import click_options
from chunkflow_worker.errors import ConfigError, ModelError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference import engines
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.engines import device_name, framework_of, frameworks, open_engine
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
    (names, nothing) = get_args(Inference.model_fields["framework"].annotation)
    assert (list(get_args(names)), nothing) == (list(frameworks()), type(None))
    schema = Inference.model_json_schema()["properties"]["framework"]
    assert schema["anyOf"][0]["enum"] == list(frameworks())
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


# --- which framework reads a file ---

TORCH = "import torch\nInstantiatedModel = torch.nn.ReLU()\n"
BOTH = "class PatchInferencer: pass\ndef load_model(path): pass\n"


@pytest.mark.parametrize(
    ("name", "content", "framework"),
    [
        ("net.py", TORCH, "pytorch"),
        ("net.model", "def load_model(path):\n    pass\n", "pytorch"),
        ("net.py", "class PatchInferencer:\n    pass\n", "universal"),
        ("net.py", BOTH, "universal"),
        ("net.py", "from os import *\nclass PatchInferencer: pass\n", "universal"),
        ("net.onnx", b"\x08\x07", "onnx"),
        ("net.pt", b"PK\x03\x04", "pytorch"),
        ("w.pt", b"\x80\x02", "pytorch"),
    ],
)
def test_the_framework_is_that_of_the_file(
    tmp_path: Path, name: str, content: Any, framework: str
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert framework_of(str(tmp_path / name)) == framework


def test_a_folder_is_a_compiled_net(tmp_path: Path) -> None:
    assert framework_of(str(tmp_path)) == "pznet"
    assert device_name(None, str(tmp_path)) == cpu_name()


@pytest.mark.parametrize("content", [b"x = 1\n", b"# nothing", b"model = 3\n"])
def test_a_file_of_no_framework_is_told_with_what_files_define(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "net.py").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        framework_of(str(tmp_path / "net.py"))
    (fault,) = error.value.faults
    assert fault.place == "convnet_model"
    assert "defines none of InstantiatedModel, PatchInferencer, load_model" in fault.problem
    assert "or give --framework (-f): identity, onnx, " in fault.cure


@pytest.mark.parametrize(
    ("content", "told"),
    [("x = (1\n", "line 1: '(' was never closed"), ("a = 1\nnot Python at all\n", "line 2: ")],
)
def test_a_file_that_is_not_valid_python_is_told_with_the_line(
    tmp_path: Path, content: str, told: str
) -> None:
    (tmp_path / "net.py").write_text(content)
    with pytest.raises(ConfigError, match="is not valid Python: ") as error:
        framework_of(str(tmp_path / "net.py"))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("content", "net"),
    [
        ("class Block(nn.Module): pass\nclass UNet(nn.Module): pass\nclass Data: pass", "UNet"),
        ("class Net(Module): pass", "Net"),
        ("class Net(lightning.LightningModule): pass", "Net"),
        ("class Base(torch.nn.Module): pass\nclass Net(Base): pass", "Net"),
    ],
)
def test_a_file_that_only_has_the_class_of_a_net_is_told_the_missing_line(
    tmp_path: Path, content: str, net: str
) -> None:
    (tmp_path / "net.py").write_text(content)
    with pytest.raises(ConfigError, match=rf"at its end: InstantiatedModel = {net}\(\)"):
        framework_of(str(tmp_path / "net.py"))


def test_a_missing_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("missing.py", "folder/missing.pt"):
        with pytest.raises(ConfigError, match=f"{path} does not exist") as error:
            framework_of(path)
        assert f"looked for in {tmp_path}" in str(error.value)
    with pytest.raises(ConfigError, match="a file on this machine"):
        framework_of(str(tmp_path / "missing.py"))


@pytest.mark.parametrize(
    ("given", "name", "content", "right"),
    [
        ("universal", "net.py", TORCH, "pytorch"),
        ("onnx", "net.py", TORCH, "pytorch"),
        ("pytorch", "net.py", "class PatchInferencer: pass\n", "universal"),
        ("pytorch", "net.onnx", "", "onnx"),
        ("universal", "net.pt", "PK\x03\x04", "pytorch"),
    ],
)
def test_another_framework_than_that_of_the_file_is_refused(
    tmp_path: Path, given: str, name: str, content: str, right: str
) -> None:
    (tmp_path / name).write_text(content)
    spec = EngineSpec(SIZE, SIZE, channels=1, model_path=str(tmp_path / name))
    with pytest.raises(ConfigError) as error:
        open_engine(given, spec)
    (fault,) = error.value.faults
    assert fault.problem.endswith(f"is a file of framework {right}, not of {given}")
    assert fault.cure.startswith("leave out --framework")


# --- what all engines have in common when a net is loaded ---

RANDOM = {
    "pytorch": "import torch\nclass Net(torch.nn.Module):\n"
    "    def forward(self, x): return x + torch.rand_like(x)\nInstantiatedModel = Net()\n",
    "universal": "import numpy as np\nclass PatchInferencer:\n"
    "    def __init__(self, weights, mask): pass\n"
    "    def __call__(self, x): return x + np.random.rand(*x.shape)\n",
}


@pytest.mark.parametrize("framework", RANDOM)
def test_a_net_that_gives_two_answers_is_refused_or_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, framework: str
) -> None:
    """Those of ONNX and PZNet: in their own tests."""
    path = tmp_path / "net.py"
    path.write_text(RANDOM[framework])
    spec = EngineSpec(SIZE, SIZE, channels=1, model_path=str(path), precision="float32")
    with pytest.raises(ModelError, match=r"net\.py gives two answers(?s:.*)--allow-random"):
        open_engine(None, spec)
    open_engine(None, replace(spec, allow_random=True))
    told = [r.getMessage() for r in caplog.records if "two answers" in r.getMessage()]
    assert len(told) == 1


def test_a_framework_without_a_file_is_named(folder: str) -> None:
    code = """
        from chunkflow_worker.image.bbox import Vec3
        from chunkflow_worker.inference.engine import EngineSpec
        from chunkflow_worker.inference.engines import open_engine
        import numpy, plus
        plus.PlusOne.predict = lambda self, patches: [p + numpy.random.rand() for p in patches]
        sys.modules["chunkflow_worker.inference.engines.plus"] = plus
        try:
            open_engine("plus", EngineSpec(Vec3(2, 2, 2), Vec3(2, 2, 2), 1))
        except Exception as error:
            print(error)
    """
    told = run_python("sys.path.append(engines.__path__[-1])\n" + dedent(code), folder)
    assert told.startswith("the framework plus gives two answers for one input: 100%")


@pytest.mark.parametrize(
    ("source", "channels"),
    [("x", 1), ("torch.cat([x, x], 1)", 2), ("x.expand(-1, 5, -1, -1, -1)", 3)],
)
@pytest.mark.parametrize("kind", ["pytorch", "universal"])
def test_without_a_number_the_channels_are_those_of_the_net(
    tmp_path: Path, source: str, channels: int, kind: str
) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n"
        f"    def forward(self, x): return {source}\n"
        + (
            "InstantiatedModel = Net()\n"
            if kind == "pytorch"
            else "class PatchInferencer:\n    def __init__(self, weights, mask): self.net = Net()\n"
            "    def __call__(self, x): return self.net(torch.from_numpy(x)).numpy()\n"
        )
    )
    spec = EngineSpec(SIZE, SIZE, channels=None, model_path=str(tmp_path / "net.py"))
    engine = open_engine(None, spec)
    assert engine.channels == channels
    (output,) = engine.predict([engine.arrays.put(np.ones((1, *SIZE), np.float32))])
    assert len(output) == channels


def test_the_identity_has_the_three_channels_of_chunkflow() -> None:
    assert open_engine("identity", EngineSpec(SIZE, SIZE, channels=None)).channels == 3


def test_a_file_whose_net_fails_on_noise_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "class PatchInferencer:\n    def __init__(self, weights, mask): pass\n"
        "    def __call__(self, x): raise KeyError('layer')\n"
    )
    spec = EngineSpec(SIZE, SIZE, channels=1, model_path=str(tmp_path / "net.py"))
    with pytest.raises(ModelError, match=r"fails on a patch of noise, \[1, 4, 8, 8\] .*'layer'"):
        open_engine(None, spec)
