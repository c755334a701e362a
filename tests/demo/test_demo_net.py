"""The shipped net is small, loads safely, and finds membranes that no threshold finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import membrane_net  # noqa: E402
from em_volume import make_volume  # noqa: E402
from score import best_threshold, score  # noqa: E402

WEIGHTS = Path(membrane_net.__file__).with_name("membrane_weights.pt")
UNSEEN_SEED = 900


@pytest.fixture(scope="module")
def net():
    torch.set_num_threads(min(2, torch.get_num_threads()))
    return membrane_net.load_model(WEIGHTS)


@pytest.fixture(scope="module")
def volume():
    return make_volume((12, 192, 192), UNSEEN_SEED)


@pytest.fixture(scope="module")
def probability(net, volume):
    with torch.inference_mode():
        return net(torch.from_numpy(volume[0][None, None] / np.float32(255)))


def test_weights_are_small_and_plain():
    assert WEIGHTS.stat().st_size < 1_000_000
    state = torch.load(WEIGHTS, map_location="cpu", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())


def test_output_is_a_probability_of_the_same_shape(probability, volume):
    assert probability.shape == (1, 1, *volume[0].shape)
    assert probability.dtype == torch.float32
    assert 0 <= probability.min() < 0.1
    assert 0.9 < probability.max() <= 1


def test_net_finds_membranes_far_better_than_any_threshold(probability, volume):
    image, truth = volume
    found = score(probability[0, 0].numpy(), truth)
    _, plain = best_threshold(image, truth)
    assert found["f1"] >= 0.8
    assert found["f1"] > plain["f1"] + 0.15


def test_patches_of_a_batch_do_not_affect_each_other(net):
    patches = torch.rand(2, 1, 4, 40, 36, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together, alone = net(patches), torch.cat([net(patches[:1]), net(patches[1:])])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_sizes_need_not_be_multiples_of_eight(net):
    with torch.inference_mode():
        assert net(torch.zeros(1, 1, 3, 37, 50)).shape == (1, 1, 3, 37, 50)
