"""Train the demo's net on synthetic volumes, and write membrane_weights.pt beside this file.

    python deploy/demo/train.py

The shipped weights were trained on the volumes of seeds 101 to 106. On the held-out seed 201, at
probability 0.5, they reach F1 0.882, precision 0.853 and recall 0.913. The best plain threshold
reaches F1 0.583 there.

Training takes about ten minutes on two cores. The same seeds on the same machine with the same
versions give the same weights.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from em_volume import make_volume
from membrane_net import MembraneNet, load_model
from numpy.typing import NDArray
from score import best_threshold, score
from torch import Tensor
from torch.nn import functional

TRAIN_SEEDS = (101, 102, 103, 104, 105, 106)
HELD_OUT_SEED = 201
SHAPE = (24, 384, 384)
HELD_OUT_SHAPE = (16, 384, 384)
PATCH = (8, 128, 128)
BATCH = 2
STEPS = 700
HIGHEST_RATE = 8e-3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).with_name("membrane_weights.pt")
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    began = time.monotonic()
    net = train(options.steps)
    torch.save(net.state_dict(), options.output)
    kilobytes, seconds = options.output.stat().st_size / 1e3, time.monotonic() - began
    print(f"wrote {options.output}, {kilobytes:.0f} kB, after {seconds:.0f} s")
    report(options.output)


def train(steps: int, seed: int = 0) -> MembraneNet:
    """Return a net trained on `steps` batches of random patches, randomly altered."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    volumes = [make_volume(SHAPE, s) for s in TRAIN_SEEDS]
    print(f"made {len(volumes)} volumes of {SHAPE} voxels", flush=True)
    net = MembraneNet().train()
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, HIGHEST_RATE, total_steps=steps, pct_start=0.15
    )
    mean = 0.0
    for step in range(1, steps + 1):
        patches = [_patch(*volumes[rng.integers(len(volumes))], rng) for _ in range(BATCH)]
        image, truth = (
            torch.from_numpy(np.stack(arrays))[:, None] for arrays in zip(*patches, strict=True)
        )
        loss = _loss(net.logits(image), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        mean += (loss.item() - mean) / min(step, 25)
        if step % 25 == 0:
            print(f"step {step:4d} of {steps}   loss {mean:.3f}", flush=True)
    return net


def report(weight_path: Path) -> None:
    """Print the scores of the weights, and of the best plain threshold, on the held-out volume."""
    image, truth = make_volume(HELD_OUT_SHAPE, HELD_OUT_SEED)
    net = load_model(weight_path)
    with torch.inference_mode():
        probability = net(torch.from_numpy(image[None, None] / np.float32(255)))[0, 0].numpy()
    grey, plain = best_threshold(image, truth)
    print(f"held-out seed {HELD_OUT_SEED}, {truth.mean():.1%} of the voxels are membrane")
    results = {"the net, above 0.5": score(probability, truth), f"grey below {grey}": plain}
    for name, result in results.items():
        print(f"  {name:18s}  " + "  ".join(f"{key} {value:.3f}" for key, value in result.items()))


def _patch(
    image: NDArray[np.uint8], truth: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a random part of a volume: mirrored, transposed, in another light."""
    start = [rng.integers(n - p + 1) for n, p in zip(image.shape, PATCH, strict=True)]
    box = tuple(slice(s, s + p) for s, p in zip(start, PATCH, strict=True))
    grey, mask = image[box] / np.float32(255), truth[box].astype(np.float32)
    mirrored = tuple(axis for axis in range(3) if rng.random() < 0.5)
    grey, mask = np.flip(grey, mirrored), np.flip(mask, mirrored)
    if rng.random() < 0.5:
        grey, mask = grey.swapaxes(1, 2), mask.swapaxes(1, 2)
    per_section = (len(grey), 1, 1)
    gain = rng.uniform(0.8, 1.2) * rng.normal(1, 0.04, per_section)
    light = rng.uniform(-0.08, 0.08) + rng.normal(0, 0.02, per_section)
    noise = rng.normal(0, rng.uniform(0, 0.05), grey.shape)
    grey = np.clip(0.6 + (grey - 0.6) * gain + light + noise, 0, 1)
    return grey.astype(np.float32), np.ascontiguousarray(mask)


def _loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the cross entropy plus one minus the soft F1."""
    probability = torch.sigmoid(logits)
    f1 = 2 * (probability * truth).sum() / (probability.sum() + truth.sum())
    return functional.binary_cross_entropy_with_logits(logits, truth) + 1 - f1


if __name__ == "__main__":
    main()
