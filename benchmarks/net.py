"""The net that all benchmarks run: a 3D residual symmetric U-Net with 0.8 M parameters.

See Lee et al. 2017, arXiv:1706.00120.
Its weights are random but fixed, so every program computes the same function.
"""

import torch
from torch import nn

WIDTHS = (28, 36, 48, 64)


class Conv(nn.Sequential):
    """Convolution of the same size, batch norm, ELU."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int, int]):
        padding = tuple(k // 2 for k in kernel)
        super().__init__(
            nn.Conv3d(inputs, outputs, kernel, padding=padding, bias=False),
            nn.BatchNorm3d(outputs),
            nn.ELU(),
        )


class Residual(nn.Module):
    """An anisotropic convolution, then two isotropic ones with a residual connection."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first = Conv(inputs, outputs, (1, 3, 3))
        self.second = Conv(outputs, outputs, (3, 3, 3))
        self.third = nn.Sequential(
            nn.Conv3d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm3d(outputs)
        )
        self.activation = nn.ELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.activation(x + self.third(self.second(x)))


class Up(nn.Module):
    """Upsample by 2 along y and x, project to the channels of the skip connection, and add it."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.upsample = nn.Upsample(scale_factor=(1, 2, 2), mode="trilinear")
        self.project = nn.Conv3d(inputs, outputs, 1)
        self.activation = nn.Sequential(nn.BatchNorm3d(outputs), nn.ELU())

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.activation(self.project(self.upsample(x)) + skip)


class RSUNet(nn.Module):
    """Input (n, 1, z, y, x) float32 in [0, 1]; output (n, 3, z, y, x) float32 in [0, 1].

    y and x must be multiples of 8.
    """

    def __init__(self, inputs: int = 1, outputs: int = 3):
        super().__init__()
        self.embed = Conv(inputs, WIDTHS[0], (1, 5, 5))
        self.down = nn.ModuleList(
            Residual(a, b) for a, b in zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, strict=True)
        )
        self.pool = nn.MaxPool3d((1, 2, 2))
        self.up = nn.ModuleList(
            Up(b, a) for a, b in zip(WIDTHS[-2::-1], WIDTHS[:0:-1], strict=True)
        )
        self.merge = nn.ModuleList(Residual(w, w) for w in WIDTHS[-2::-1])
        self.head = nn.Conv3d(WIDTHS[0], outputs, (1, 5, 5), padding=(0, 2, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        skips = []
        for i, block in enumerate(self.down):
            x = block(self.pool(x) if i else x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(up(x, skip))
        return torch.sigmoid(self.head(x))


def make_net() -> RSUNet:
    """Return the net with its fixed weights, and batch norm statistics as after training."""
    generator = torch.Generator().manual_seed(7)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        net = RSUNet()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            count = module.num_features
            module.running_mean.copy_(0.1 * torch.randn(count, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(count, generator=generator))
            module.weight.data.copy_(0.5 + torch.rand(count, generator=generator))
            module.bias.data.copy_(0.1 * torch.randn(count, generator=generator))
    return net.eval()


InstantiatedModel = make_net()
