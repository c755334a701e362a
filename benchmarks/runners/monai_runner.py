"""MONAI's sliding_window_inference: Gaussian weights, one patch at a time, all on the device.

Its weights differ from ours. So where patches overlap its values differ too, and are not compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray

from benchmarks.job import Job
from benchmarks.net import make_net
from benchmarks.runners.serve import Load, Run, serve


def start(job: Job) -> tuple[Load, dict[str, str]]:
    torch.backends.cudnn.benchmark = True  # as chunkflow does
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = make_net().to(device)
    overlap = tuple(o / p for o, p in zip(job.overlap, job.patch, strict=True))

    def load(image: NDArray[np.uint8]) -> Run:
        def run() -> Any:
            with torch.inference_mode():
                data = torch.from_numpy(image).to(device).float().div_(255)[None, None]
                output = sliding_window_inference(
                    data, job.patch, 1, net, overlap=overlap, mode="gaussian"
                )
                return output[0].cpu().numpy()

        return run

    return load, {}


if __name__ == "__main__":
    serve(start, ["monai"])
