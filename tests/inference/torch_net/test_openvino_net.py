"""Nets of PyTorch run by OpenVINO: the output is that of the net, or torch runs it."""

from __future__ import annotations

import logging
import warnings
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from chunkflow_worker.errors import ModelError
from chunkflow_worker.inference.openvino import Compiled
from chunkflow_worker.inference.same_output import Unsuited
from chunkflow_worker.inference.torch_net import conversion
from chunkflow_worker.inference.torch_net import openvino_net as module
from chunkflow_worker.inference.torch_net.load import Net
from chunkflow_worker.inference.torch_net.openvino_net import OpenvinoNet
from chunkflow_worker.inference.torch_net.prepare import Prepared, prepare

pytestmark = pytest.mark.openvino
CPU = torch.device("cpu")
PATCH = (1, 1, 8, 32, 32)
Heads = namedtuple("Heads", "probability distance")


class Block(nn.Module):
    """Two convolutions with norms and a residual, as in the nets of nnU-Net and MONAI."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: Any = 1,
        norm: Any = nn.InstanceNorm3d,
        kernel: Any = 3,
    ):
        super().__init__()
        of_axis = kernel if isinstance(kernel, tuple) else (kernel,) * 3
        padding = tuple(k // 2 for k in of_axis)
        self.first = nn.Conv3d(inputs, outputs, of_axis, stride, padding)
        self.second = nn.Conv3d(outputs, outputs, of_axis, 1, padding)
        self.norms = nn.ModuleList([norm(outputs), norm(outputs)])
        self.skip = (
            nn.Conv3d(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else None
        )
        self.activation = nn.LeakyReLU(0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = x if self.skip is None else self.skip(x)
        x = self.activation(self.norms[0](self.first(x)))
        return self.activation(self.norms[1](self.second(x)) + skip)


class ResidualEncoder(nn.Module):
    """A plan of nnU-Net with a residual encoder: anisotropic at first, deep supervision heads."""

    def __init__(self, supervised: bool = False):
        super().__init__()
        norm = nn.InstanceNorm3d
        self.stem = Block(1, 8, norm=norm, kernel=(1, 3, 3))
        self.down = nn.ModuleList([Block(8, 16, (1, 2, 2)), Block(16, 32, 2)])
        self.up = nn.ModuleList(
            [nn.ConvTranspose3d(32, 16, 2, 2), nn.ConvTranspose3d(16, 8, (1, 2, 2), (1, 2, 2))]
        )
        self.merge = nn.ModuleList([Block(32, 16), Block(16, 8)])
        self.heads = nn.ModuleList([nn.Conv3d(16, 2, 1), nn.Conv3d(8, 2, 1)])
        self.supervised = supervised

    def forward(self, x: torch.Tensor) -> Any:
        skips = [self.stem(x)]
        for down in self.down:
            skips.append(down(skips[-1]))
        x, outputs = skips.pop(), []
        for up, merge, head in zip(self.up, self.merge, self.heads, strict=True):
            x = merge(torch.cat([up(x), skips.pop()], 1))
            outputs.append(head(x))
        return tuple(outputs[::-1]) if self.supervised else outputs[-1]


class UNet(nn.Module):
    """A U-Net as MONAI's BasicUNet: skips are padded where pooling lost a voxel."""

    def __init__(self, dims: int):
        super().__init__()
        conv, pool = (nn.Conv3d, nn.MaxPool3d) if dims == 3 else (nn.Conv2d, nn.MaxPool2d)
        norm = nn.InstanceNorm3d if dims == 3 else nn.InstanceNorm2d
        mode = "trilinear" if dims == 3 else "bilinear"

        def two(inputs: int, outputs: int) -> nn.Module:
            layers: list[nn.Module] = []
            for n in (inputs, outputs):
                layers += [
                    conv(n, outputs, 3, padding=1),
                    norm(outputs, affine=True),
                    nn.LeakyReLU(0.1),
                ]
            return nn.Sequential(*layers)

        self.enter, self.pool, self.down = two(1, 8), pool(2), two(8, 16)
        self.up = nn.Upsample(scale_factor=2, mode=mode, align_corners=True)
        self.merge, self.head = two(24, 8), conv(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.enter(x)
        x = self.up(self.down(self.pool(skip)))
        missing = [n - m for n, m in zip(skip.shape[2:], x.shape[2:], strict=True)]
        if any(missing):
            x = nn.functional.pad(x, [side for n in missing[::-1] for side in (0, n)])
        return self.head(self.merge(torch.cat([skip, x], 1)))


class Gated(nn.Module):
    """A U-Net with attention gates, as MONAI's AttentionUnet, that returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.down = nn.Conv3d(1, 8, 3, padding=1), nn.Conv3d(8, 16, 3, 2, 1)
        self.up, self.gate = nn.ConvTranspose3d(16, 8, 2, 2), nn.Conv3d(8, 1, 1)
        self.head = nn.Conv3d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        skip = torch.relu(self.enter(x))
        x = self.up(torch.relu(self.down(skip)))
        logits = self.head(skip * torch.sigmoid(self.gate(skip + x)) + x)
        return {"probability": torch.softmax(logits, 1), "logits": logits}


class Branches(nn.Module):
    """Python code that depends on sizes: right if it is traced for each size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> Heads:
        place = torch.linspace(0, 1, x.shape[-1])
        y = self.conv(x) / x.shape[-1]
        for _ in range(int(x.shape[-1] // 64) + 1):
            y = y + place
        return Heads(torch.sigmoid(y) if x.shape[-1] > 100 else torch.tanh(y), y)


def residual(norm: Callable[[int], nn.Module]) -> nn.Module:
    return nn.Sequential(Block(1, 8, norm=norm), Block(8, 8, norm=norm), nn.Conv3d(8, 2, 1))


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "unet 3D": (lambda: UNet(3), PATCH),
    "unet 3D of odd size": (lambda: UNet(3), (1, 1, 8, 33, 32)),
    "unet 2D": (lambda: UNet(2), (1, 1, 1, 64, 64)),
    "nnU-Net": (ResidualEncoder, PATCH),
    "nnU-Net, supervised": (lambda: ResidualEncoder(supervised=True), PATCH),
    "group norm": (lambda: residual(lambda n: nn.GroupNorm(4, n)), PATCH),
    "instance norm": (lambda: residual(nn.InstanceNorm3d), PATCH),
    "batch norm": (lambda: residual(nn.BatchNorm3d), PATCH),
    "transposed": (
        lambda: nn.Sequential(
            nn.Conv3d(1, 8, 3, 2, 1), nn.PReLU(), nn.ConvTranspose3d(8, 2, 3, 2, 1, 1)
        ),
        PATCH,
    ),
    "dict": (Gated, PATCH),
    "branches on sizes": (Branches, (1, 1, 4, 16, 192)),
}


def prepared(net: nn.Module, shape: tuple[int, ...] = PATCH, **options: Any) -> Prepared:
    acceleration = options.pop("acceleration", "auto")
    precision = options.pop("precision", "float32")
    given = {"editable": not isinstance(net, torch.jit.ScriptModule)} | options
    return prepare(Net(net.eval(), **given), shape, precision, CPU, acceleration)


def tensors(output: Any) -> list[np.ndarray]:
    leaves = torch.utils._pytree.tree_leaves(output)
    return [leaf.numpy().copy() for leaf in leaves if isinstance(leaf, torch.Tensor)]


def assert_same(made: Prepared, net: nn.Module, shape: tuple[int, ...]) -> None:
    """All outputs are those of the net, and in the same structure."""
    patch = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    patch = patch.squeeze(2) if made.net.flat else patch
    with torch.inference_mode():
        found, expected = made.run(patch), net(patch)
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
    for a, b in zip(tensors(found), tensors(expected), strict=True):
        assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()


@pytest.mark.parametrize("name", NETS)
def test_the_output_is_that_of_the_net(name: str, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    make, shape = NETS[name]
    net = make().eval()
    made = prepared(net, shape)
    assert made.library == "OpenVINO", caplog.text
    assert isinstance(made.run, OpenvinoNet)
    assert (made.precision, made.net.batch) == ("float32", 1)
    assert_same(made, net, shape)


@pytest.mark.parametrize("how", ["trace", "script"])
def test_torchscript_is_converted(how: str) -> None:
    torch.manual_seed(0)
    net = ResidualEncoder().eval() if how == "trace" else residual(nn.BatchNorm3d).eval()
    arguments = (net, torch.rand(PATCH)) if how == "trace" else (net,)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated
        script = getattr(torch.jit, how)(*arguments)
    made = prepared(script)
    assert made.library == "OpenVINO"
    assert_same(made, net, PATCH)


@pytest.mark.parametrize("batch", [1, 2])
def test_exported_programs_are_converted(batch: int) -> None:
    torch.manual_seed(0)
    net = ResidualEncoder().eval()
    program = torch.export.export(net, (torch.rand(batch, *PATCH[1:]),), strict=False)
    made = prepare(Net(program.module(), batch=batch), PATCH, "float32", CPU, "auto")
    assert made.library == "OpenVINO"
    assert made.net.batch == batch
    assert_same(made, net, (batch, *PATCH[1:]))


def test_a_net_in_half_precision_is_converted() -> None:
    torch.manual_seed(0)
    net = residual(nn.BatchNorm3d).half().eval()
    made = prepared(net)
    assert made.library == "OpenVINO"
    assert_same(made, net.float(), PATCH)


def test_pre_process_and_post_process_are_the_user_s() -> None:
    torch.manual_seed(0)
    net = nn.Conv3d(2, 3, 3, padding=1).eval()
    made = prepared(
        net,
        pre_process=lambda patch: np.concatenate([patch, 1 - patch], 1),
        post_process=lambda output: output[:, 1:],
    )
    assert made.library == "OpenVINO"
    assert_same(made, net, (1, 2, *PATCH[2:]))


@pytest.mark.parametrize(
    ("gate", "width"),
    [(nn.InstanceNorm3d(2), 192), (nn.AdaptiveAvgPool3d(1), 192), (nn.BatchNorm3d(2), 64)],
)
def test_a_net_with_sums_is_compared_on_a_whole_patch(
    monkeypatch: pytest.MonkeyPatch, gate: nn.Module, width: int
) -> None:
    """Patches of 192 voxels are tried on 64. The error of a sum grows with the patch."""
    compared, compare = [], conversion.compare

    def noting(found: Any, expected: Any, *about: str) -> None:
        compared.append(expected.shape[-1])
        compare(found, expected, *about)

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.gate = nn.Conv3d(1, 2, 3, padding=1), gate

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) * self.gate(self.conv(x))

    monkeypatch.setattr(conversion, "compare", noting)
    net = Scaled().eval()
    made = prepared(net, (1, 1, 4, 16, 192))
    assert compared == [width]
    assert made.library == "OpenVINO"
    assert_same(made, net, (1, 1, 4, 16, 192))


# --- torch runs what OpenVINO does not ---


class Values(nn.Module):
    """Branches on the values of a patch, which a trace would take for all patches alike."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if float(x.mean()) > 0.9 else -x


class Spectrum(nn.Module):
    """An operation that OpenVINO does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.linalg.svd(x)[1][:, :, :, None] + x)


class Numpy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(2 * x.numpy())


class WithNothing(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return x + 1, None


UNSUITED = {
    "values": (Values, "its Python code depends on the values of a patch"),
    "operation": (Spectrum, "OpenVINO does not know aten._linalg_svd.default"),
    "numpy": (Numpy, "it can't be converted: .numpy()"),
    "nothing": (WithNothing, "it returns something else than tensors"),
}


@pytest.mark.parametrize("name", UNSUITED)
def test_torch_runs_other_nets_and_one_line_says_why(
    name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    make, problem = UNSUITED[name]
    net, shape = make(), (1, 1, 4, 8, 8)
    made = prepared(net, shape)
    (line,) = (r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)
    assert line.startswith(f"torch runs the net, more slowly than OpenVINO would: {problem}")
    assert "".join(capfd.readouterr()) == "", "torch prints the graph of a net with branches"
    assert made.library == ""
    assert not isinstance(made.run, OpenvinoNet)
    assert_same(made, net, shape)


def test_a_net_that_it_runs_wrongly_is_run_by_torch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    call = Compiled.__call__
    monkeypatch.setattr(Compiled, "__call__", lambda self, a: [b + 0.001 for b in call(self, a)])
    net = nn.Conv3d(1, 2, 1)
    made = prepared(net)
    assert "its output for noise differs by " in caplog.text
    assert made.library == ""
    assert_same(made, net, PATCH)


def test_integers_of_pre_process_go_to_torch(caplog: pytest.LogCaptureFixture) -> None:
    made = prepared(nn.Identity(), pre_process=lambda patch: (patch * 9).astype(np.int64))
    assert "pre_process returns something else than" in caplog.text
    assert made.library == ""


def test_a_net_that_it_must_run_and_can_t_is_refused() -> None:
    with pytest.raises(ModelError, match="OpenVINO can't run the net: its Python code"):
        prepared(Values(), acceleration="openvino")


@pytest.mark.parametrize("acceleration", ["none", "graph"])
def test_it_can_be_turned_off(acceleration: Any) -> None:
    assert prepared(nn.Conv3d(1, 1, 1), acceleration=acceleration).library == ""


def test_patches_of_another_size_are_run_by_torch() -> None:
    net = nn.Conv3d(1, 2, 3, padding=1)
    made = prepared(net)
    larger = torch.rand(2, 1, 8, 40, 40)
    with torch.inference_mode():
        assert torch.equal(made.run(larger), net(larger))


def test_the_net_itself_is_not_changed() -> None:
    """torch tries a net with tensors that hold no values, and a net may keep one of them."""

    class Keeps(nn.Module):
        place: Any = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.place is None or self.place.shape[-1] != x.shape[-1]:
                self.place = torch.linspace(0, 1, x.shape[-1])
            return x + self.place

    net = Keeps()
    made = prepared(net)
    assert made.library == "OpenVINO"
    assert type(net.place) in (type(None), torch.Tensor)
    assert_same(made, Keeps(), PATCH)


# --- reduced precision ---


def test_a_precision_that_the_cpu_lacks_is_torch_s(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def compiled(self: Any, model: Any, shape: Any, precision: str) -> None:
        raise Unsuited(f"this CPU has no instructions for {precision}")

    monkeypatch.setattr(Compiled, "__init__", compiled)
    made = prepared(nn.Conv3d(1, 2, 3, padding=1), precision="bfloat16")
    assert (made.library, made.precision) == ("", "bfloat16")
    assert "no instructions for bfloat16" in caplog.text


class Coarse(Compiled):
    """Stands for a CPU that computes fast in bfloat16, with an error that the test sets."""

    error = 0.0

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str):
        super().__init__(model, shape, "float32")
        self.precision = precision

    def __call__(self, array: Any) -> Any:
        error = self.error if self.precision == "bfloat16" else 0
        return [output + np.float32(error) for output in super().__call__(array)]


@pytest.mark.parametrize(("error", "used"), [(0.001, "bfloat16"), (1.0, "float32")])
def test_auto_takes_float32_where_bfloat16_differs_too_much(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: float, used: str
) -> None:
    monkeypatch.setattr(module, "Compiled", Coarse)
    monkeypatch.setattr(Coarse, "error", error)
    monkeypatch.setattr(
        "chunkflow_worker.inference.torch_net.prepare.fast_precision", lambda device: "bfloat16"
    )
    torch.manual_seed(0)
    made = prepared(nn.Conv3d(1, 2, 3, padding=1), precision="auto")
    assert (made.library, made.precision) == ("OpenVINO", used)
    assert ("the net runs in float32: in bfloat16, its output" in caplog.text) == (
        used == "float32"
    )
