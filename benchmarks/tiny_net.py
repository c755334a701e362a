"""One convolution. It costs next to nothing, so a benchmark measures everything around the net."""

import torch
from torch import nn

with torch.random.fork_rng():
    torch.manual_seed(7)
    InstantiatedModel = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.Sigmoid()).eval()
