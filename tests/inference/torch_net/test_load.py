"""Nets and weights in all formats that PyTorch writes or has written."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from chunkflow_worker.errors import ConfigError, ModelError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.engines.torch import TorchEngine
from chunkflow_worker.inference.torch_net.load import load_net

SIZE = Vec3(4, 8, 8)
PLAIN = "import torch\nInstantiatedModel = torch.nn.Conv3d(1, 2, 3, padding=1)\n"


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1),
        nn.BatchNorm3d(4),
        nn.ELU(),
        nn.Dropout(0.5),
        nn.Conv3d(4, 2, 1),
    )
    net[1].running_mean.uniform_(-1, 1)
    return net.eval()


def quietly(make: Callable[[], Any]) -> Any:
    """Make a file in a deprecated format, without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def scripted(path: Path, trace: bool) -> str:
    net = convolutions()
    made = quietly(
        lambda: torch.jit.trace(net, torch.rand(1, 1, *SIZE)) if trace else torch.jit.script(net)
    )
    quietly(lambda: torch.jit.save(made, path))
    return str(path)


def exported(path: Path, batch: int, dynamic: bool) -> str:
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    example = (torch.rand(batch, 1, *SIZE),)
    quietly(
        lambda: torch.export.save(
            torch.export.export(convolutions(), example, dynamic_shapes=shapes), path
        )
    )
    return str(path)


def engine_of(path: str, size: Vec3 = SIZE, **options: Any) -> TorchEngine:
    options = {"trust_weights": True, **options}
    return TorchEngine(EngineSpec(size, size, channels=2, model_path=path, **options))


def outputs(engine: TorchEngine, patches: list[np.ndarray]) -> np.ndarray:
    outputs = engine.predict([engine.arrays.put(patch) for patch in patches])
    return np.stack([output.cpu().numpy() for output in outputs])


FREE = 8 if torch.cuda.is_available() else 1  # the batch size if the net takes any


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("make", "batch"),
    [
        (lambda path: scripted(path, trace=False), FREE),
        (lambda path: scripted(path, trace=True), FREE),
        (lambda path: exported(path, 1, dynamic=False), 1),
        (lambda path: exported(path, 2, dynamic=False), 2),
        (lambda path: exported(path, 2, dynamic=True), FREE),
    ],
    ids=["script", "trace", "export of 1", "export of 2", "export of any"],
)
def test_exported_nets_run_without_a_python_file(
    tmp_path: Path, make: Callable[[Path], str], batch: int, precision: Any
) -> None:
    """A fixed batch size works for any number of patches, and each patch gets its own output."""
    engine = engine_of(make(tmp_path / "net"), precision=precision)
    assert engine.precision == precision
    assert engine.batch_size((1, *SIZE)) == batch
    patches = list(np.random.default_rng(1).random((5, 1, *SIZE), np.float32))
    with torch.no_grad():
        expected = convolutions()(torch.from_numpy(np.stack(patches))).numpy()
    for count in (1, 2, 3, 5):
        tolerance = 1e-5 if precision == "float32" else 0.03
        assert np.abs(outputs(engine, patches[:count]) - expected[:count]).max() < tolerance


def exported_that_runs_code(path: Path, mark: Path) -> str:
    """A file of torch.export, whose pickle of the example input makes `mark`."""
    exported(path, 1, dynamic=False)
    evil = io.BytesIO()
    torch.save({"sample": RunsCode(mark)}, evil)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in contents if name.endswith("sample_inputs/model.pt"))
    with zipfile.ZipFile(path, "w") as archive:
        for other, content in contents.items():
            archive.writestr(other, evil.getvalue() if other == name else content)
    return str(path)


class RunsCode:
    def __init__(self, mark: Path):
        self._mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self._mark,)


@pytest.mark.parametrize("name", ["net.pt2", "net.pt", "net", "net.py"])
def test_an_export_that_runs_code_is_refused_before(tmp_path: Path, name: str) -> None:
    path = exported_that_runs_code(tmp_path / name, tmp_path / "mark")
    with pytest.raises(ConfigError, match=r"(?s)loading it can run code.*--trust-weights"):
        engine_of(path, trust_weights=False)
    assert not (tmp_path / "mark").exists()
    with suppress(ModelError):  # what the pickle leaves is no example input
        engine_of(path)
    assert (tmp_path / "mark").exists()


class ReadsFile(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0 + torch.from_file("secret", False, 1, dtype=torch.uint8).float()


@pytest.mark.parametrize("name", ["net.pt", "net", "net.py"])
def test_a_script_that_reads_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    quietly(lambda: torch.jit.save(torch.jit.script(ReadsFile()), name))
    with pytest.raises(ConfigError, match=r"(?s)its code can read any file.*--trust-weights"):
        engine_of(name, trust_weights=False)


def test_an_exported_net_of_another_patch_size_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the net fails on a patch of \[1, 1, 4, 16, 16\]"):
        engine_of(exported(tmp_path / "net.pt2", 1, dynamic=False), Vec3(4, 16, 16))


def test_weights_for_a_file_that_holds_its_own_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "w.pt"
    torch.save({}, weights)
    with pytest.raises(ModelError, match="holds its weights itself"):
        load_net(scripted(tmp_path / "net.pt", trace=False), str(weights), trust_weights=True)


@pytest.mark.parametrize("name", ["net.py", "net", "net.model"])
def test_a_python_file_may_have_any_suffix(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(PLAIN)
    net = load_net(str(tmp_path / name), None)
    assert isinstance(net.module, nn.Conv3d)
    assert not net.module.training
    assert net.editable


def test_a_python_file_may_define_dataclasses(tmp_path: Path) -> None:
    """They look up their module by name, so it must be among the imported modules."""
    model = tmp_path / "net.py"
    model.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\nfrom typing import NamedTuple\nimport torch\n"
        "@dataclass\nclass Widths:\n    first: int = 2\n"
        "def load_model(path): return torch.nn.Conv3d(1, Widths().first, 1)\n"
    )
    assert load_net(str(model), None).module.out_channels == 2


def test_two_files_with_the_same_name_are_two_nets(tmp_path: Path) -> None:
    for width in (1, 2):
        (tmp_path / str(width)).mkdir()
        (tmp_path / str(width) / "net.py").write_text(PLAIN.replace("(1, 2", f"(1, {width}"))
    widths = [
        load_net(str(tmp_path / str(width) / "net.py"), None).module.out_channels
        for width in (1, 2)
    ]
    assert widths == [1, 2]


def model_and(tmp_path: Path, save: Callable[[Path], None]) -> tuple[str, str]:
    (tmp_path / "net.py").write_text(PLAIN)
    save(tmp_path / "w.pt")
    return str(tmp_path / "net.py"), str(tmp_path / "w.pt")


def trained() -> nn.Module:
    torch.manual_seed(3)
    return nn.Conv3d(1, 2, 3, padding=1)


def assert_loaded(module: nn.Module) -> None:
    for name, value in trained().state_dict().items():
        assert torch.equal(module.state_dict()[name], value)
        assert module.state_dict()[name].device.type == "cpu"


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "checkpoint",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "lr": 0.1, "history": [1.0, None]},
        lambda state: {"epoch": 3, "model_state_dict": state},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
    ],
    ids=["state dict", "state_dict", "model_state_dict", "parallel", "parallel state_dict"],
)
def test_weights_are_found_in_what_was_saved(
    tmp_path: Path, checkpoint: Callable[[Any], Any], zipped: bool
) -> None:
    model, weights = model_and(
        tmp_path,
        lambda path: torch.save(
            checkpoint(trained().state_dict()), path, _use_new_zipfile_serialization=zipped
        ),
    )
    assert_loaded(load_net(model, weights).module)


def save_as_cuda(state: Any, path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    """Write what a machine with a GPU writes: storages of torch.cuda's types, on cuda:0."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        patch.setattr(torch, "FloatStorage", torch.cuda.FloatStorage)
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    assert b"cuda:0" in content
    assert b"ctorch.cuda\nFloatStorage" in content


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_saved_on_a_gpu_load_without_one_and_without_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    """Named defect of the peer: weights that were saved on a GPU decided where the net ran.

    This includes the format before torch 1.6, which is not a zip file.
    """
    state = trained().state_dict()
    model, weights = model_and(
        tmp_path, lambda path: save_as_cuda(state, path, monkeypatch, zipped)
    )
    assert_loaded(load_net(model, weights).module)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_of_a_whole_net_loads_only_with_trust(tmp_path: Path, zipped: bool) -> None:
    model, weights = model_and(
        tmp_path, lambda path: torch.save(trained(), path, _use_new_zipfile_serialization=zipped)
    )
    with pytest.raises(
        ModelError, match=r"w.pt holds more than tensors(?s:.*) --trust-weights"
    ) as refused:
        load_net(model, weights)
    assert len(str(refused.value)) < 300
    assert_loaded(load_net(model, weights, trust_weights=True).module)


def test_an_empty_weight_file_is_reported(tmp_path: Path) -> None:
    model, weights = model_and(tmp_path, lambda path: path.write_bytes(b""))
    with pytest.raises(ConfigError, match=r"w.pt is an empty file, and a file with weights"):
        load_net(model, weights)


class Malicious:
    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_weights_does_not_run(tmp_path: Path, zipped: bool) -> None:
    target = tmp_path / "made by the weights"
    saved = {"weight": torch.zeros(1), "extra": Malicious(target)}
    model, weights = model_and(
        tmp_path, lambda path: torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    )
    with pytest.raises(ModelError, match="--trust-weights"):
        load_net(model, weights)
    assert not target.exists()
    with pytest.raises(ModelError, match="no weights"):  # the keys do not fit, but the code ran
        load_net(model, weights, trust_weights=True)
    assert target.exists()


def test_code_in_a_plain_pickle_does_not_run(tmp_path: Path) -> None:
    target = tmp_path / "made by the weights"
    model, weights = model_and(
        tmp_path,
        lambda path: path.write_bytes(pickle.dumps(Malicious(target), protocol=2)) and None,
    )
    with pytest.raises(ModelError):
        load_net(model, weights)
    assert not target.exists()


def test_weights_of_another_net_are_refused_with_the_keys(tmp_path: Path) -> None:
    model, weights = model_and(
        tmp_path, lambda path: torch.save({"weight": torch.zeros(2, 1, 3, 3, 3), "gain": 1}, path)
    )
    with pytest.raises(ModelError) as error:
        load_net(model, weights)
    assert str(error.value).splitlines() == [
        f"no weights in {weights} fit the net",
        "    not in the file: bias",
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "an empty file"),
        (b"no weights at all", "a text file"),
        (b"{}", "a text file"),
        (b"PK\x03\x04 half a zip file", "a zip file that ends too early"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
        (b"\x00\x01\x02", "a file of another kind"),
    ],
)
def test_files_without_weights_are_refused(tmp_path: Path, content: bytes, told: str) -> None:
    model, weights = model_and(tmp_path, lambda path: path.write_bytes(content) and None)
    with pytest.raises(ConfigError, match=rf"w\.pt is {told}.*\n    \S+ "):
        load_net(model, weights)


@pytest.mark.parametrize("content", [b"\x80\x02 not a pickle", b"\x80\x02}q\x00X\x05"])
def test_damaged_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    model, weights = model_and(tmp_path, lambda path: path.write_bytes(content) and None)
    for trusted in (True, False):
        with pytest.raises(ModelError, match=r"w\.pt (can't be read|holds more than tensors)"):
            load_net(model, weights, trusted)


@pytest.mark.parametrize("make", ["script", "export", "folder"])
def test_a_net_given_as_the_weights_is_told_from_weights(tmp_path: Path, make: str) -> None:
    (tmp_path / "net.py").write_text(PLAIN)
    given = tmp_path / "given"
    if make == "script":
        scripted(given, trace=True)
    elif make == "export":
        exported(given, 1, dynamic=False)
    else:
        given.mkdir()
    with pytest.raises(ConfigError) as error:
        load_net(str(tmp_path / "net.py"), str(given))
    expected = {
        "script": "a TorchScript file, which holds a net with its weights",
        "export": "a file of torch.export, which holds a net with its weights",
        "folder": "a folder",
    }
    assert f"given is {expected[make]}, and a file with weights is needed" in str(error.value)


@pytest.mark.parametrize(
    "save",
    [
        lambda path: torch.save(trained().state_dict(), path),
        lambda path: torch.save(trained(), path),
        lambda path: torch.save(trained().state_dict(), path, _use_new_zipfile_serialization=False),
    ],
    ids=["weights", "module", "old weights"],
)
def test_weights_given_as_the_model_are_refused(
    tmp_path: Path, save: Callable[[Path], None]
) -> None:
    _, weights = model_and(tmp_path, save)
    with pytest.raises(
        ConfigError, match=r"w\.pt is a file of torch\.save(?s:.*)as --convnet-weight-path"
    ):
        load_net(weights, None)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("net.onnx", b"\x08\x07\x12\x07pytorch", "an ONNX file"),
        ("net.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        ("net.pt", b"PK\x03\x04 half a zip file", "a zip file that ends too early"),
        ("net.py", b"", "an empty file"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{name} is {told}.*and a net is needed\n    \S"):
        load_net(str(tmp_path / name), None)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("InstantiatedModel = torch.nn.Conv3d", "InstantiatedModel of .* is a class, not a net"),
        (
            "def load_model(path): return torch.nn.Conv3d",
            r"load_model of .* is a class, not a net: make one of it, Conv3d\(\)",
        ),
        ("def load_model(path): return {}", "load_model of .* gives weights, not a net"),
        (
            "def load_model(path): return None",
            "load_model of .* gives nothing, not a net.*\n.*return",
        ),
        ("def load_model(): return 1", r"load_model\(\), and it is called with the path"),
        ("def load_model(path, width): return 1", r"load_model\(path, width\).*\n.*default"),
        (
            "def load_model(path): return torch.nn.Conv3d(1, 1, 1, widths=2)",
            r"fails in line 2, `def load_model.*`: TypeError: .*widths",
        ),
        (
            "def load_model(path): return open(path)",
            r"load_model\(None\).*\n.*--convnet-weight-path",
        ),
        ("def load_model(path): return torch.load(path)", r"\(None\).*\n.*--convnet-weight-path"),
    ],
)
def test_a_file_that_makes_no_net_is_told_why(tmp_path: Path, source: str, told: str) -> None:
    (tmp_path / "net.py").write_text(f"import torch\n{source}\n")
    with pytest.raises(ModelError, match=told):
        load_net(str(tmp_path / "net.py"), None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own
@pytest.mark.parametrize(
    "wrapped", ["torch.compile(net)", "torch.nn.DataParallel(net)", "net"], ids=str
)
def test_wrappers_around_a_net_are_taken_off(tmp_path: Path, wrapped: str) -> None:
    (tmp_path / "net.py").write_text(
        f"import torch\nnet = torch.nn.Conv3d(1, 2, 3, padding=1)\nInstantiatedModel = {wrapped}\n"
    )
    torch.save(trained().state_dict(), tmp_path / "w.pt")
    net = load_net(str(tmp_path / "net.py"), str(tmp_path / "w.pt"))
    assert type(net.module) is nn.Conv3d
    assert_loaded(net.module)


LOADS = "net.load_state_dict(torch.load({0!r}))\n"


@pytest.mark.parametrize(
    ("source", "random"),
    [
        ("InstantiatedModel = torch.nn.Conv3d(1, 1, 1)", True),
        ("def load_model(path): return torch.nn.Conv3d(1, 1, 1)", True),
        ("def load_model(path): return torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1))", True),
        ("torch.manual_seed(1)\nInstantiatedModel = torch.nn.Conv3d(1, 1, 1)", False),
        ("net = torch.nn.Conv3d(1, 2, 3)\n" + LOADS + "InstantiatedModel = net", False),
        (
            "def load_model(path):\n    net = torch.nn.Conv3d(1, 2, 3)\n    "
            + LOADS
            + "    return net",
            False,
        ),
        ("InstantiatedModel = torch.nn.MaxPool3d(1)", False),
        (
            "def load_model(path):\n    net = torch.nn.Conv3d(1, 1, 1)\n"
            "    for value in net.parameters(): value.data.fill_(1)\n    return net",
            False,
        ),
    ],
)
def test_random_weights_are_told_if_no_file_with_weights_was_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, source: str, random: bool
) -> None:
    """Weights that the file itself makes or loads are the same each time."""
    torch.save(trained().state_dict(), tmp_path / "own.pt")
    content = source.format(str(tmp_path / "own.pt")) if "load_state" in source else source
    (tmp_path / "net.py").write_text(f"import torch\n{content}\n")
    before = torch.random.get_rng_state()
    load_net(str(tmp_path / "net.py"), None)
    told = [r.getMessage() for r in caplog.records]
    assert len(told) == random
    assert all("net.py has random weights" in text and "(-w)" in text for text in told)
    torch.random.set_rng_state(before)


def test_missing_paths_and_folders_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_net(str(tmp_path / "none.py"), None)
    with pytest.raises(ConfigError, match="is not a file"):
        load_net(str(tmp_path), None)
    (tmp_path / "net.py").touch()
    with pytest.raises(ConfigError, match=f"w.pt does not exist\n.*looked for in {Path.cwd()}"):
        load_net(str(tmp_path / "net.py"), "w.pt")


@pytest.mark.parametrize(
    ("source", "has_weights", "cure"),
    [
        ("InstantiatedModel = torch.nn.ReLU()", False, "give convnet_weight_path too"),
        ("def load_model(path): return torch.nn.ReLU()", True, "leave it out: load_model"),
        ("def load_model(path): return torch.nn.ReLU()", False, "give convnet_weight_path too"),
    ],
)
def test_a_choice_of_weights_without_effect_is_refused(
    tmp_path: Path, source: str, has_weights: bool, cure: str
) -> None:
    (tmp_path / "net.py").write_text(f"import torch\n{source}\n")
    (tmp_path / "w.pt").touch()
    weights = str(tmp_path / "w.pt") if has_weights else None
    with pytest.raises(ConfigError, match=rf"weight_key(?s:.*)\n    {cure}"):
        load_net(str(tmp_path / "net.py"), weights, weight_key="ema")
