"""The weights that are found in checkpoints, as the programs of the field write them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from chunkflow_worker.errors import ConfigError, ModelError
from chunkflow_worker.inference.torch_net.fitting import load_fitting

State = dict[str, Any]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4)
        self.last = nn.Conv3d(4, 2, 1)


def weights(seed: int = 1) -> State:
    torch.manual_seed(seed)
    net = Small()
    net.norm.running_mean.uniform_()
    return dict(net.state_dict())


def prefixed(prefix: str, state: State | None = None) -> State:
    return {f"{prefix}{name}": value for name, value in (state or weights()).items()}


def loaded(saved: Any, key: str | None = None) -> State:
    torch.manual_seed(9)
    net = Small()
    load_fitting(net, saved, "w.pt", key)
    return dict(net.state_dict())


def assert_same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value) or name.endswith("num_batches_tracked")


@pytest.mark.parametrize(
    "prefix",
    [
        *("", "model.", "net.", "network.", "_orig_mod.", "module.", "unet.", "segmenter.net."),
        *("module._orig_mod.model.", "_orig_mod.module.", "model._orig_mod.", "module.module."),
        "_fsdp_wrapped_module.",
    ],
)
def test_prefixes_of_wrappers_are_left_out(prefix: str) -> None:
    assert_same(loaded(prefixed(prefix)), weights())


def test_wrappers_of_single_layers_are_left_out() -> None:
    inside = {
        name.replace("first.", "first._orig_mod."): value for name, value in weights().items()
    }
    assert_same(loaded({"state_dict": inside}), weights())


LOSS = {"loss.weight": torch.ones(2), "metric.total": torch.zeros(())}


@pytest.mark.parametrize(
    "checkpoint",
    [
        lambda state: {"state_dict": prefixed("model.", state) | LOSS, "epoch": 3},  # Lightning
        lambda state: {"state_dict": prefixed("unet.", state) | LOSS, "callbacks": {}},
        lambda state: {"network_weights": state, "optimizer_state": {"state": {0: {}}}},  # nnU-Net
        lambda state: {"network_weights": prefixed("_orig_mod.", state), "init_args": {"a": 1}},
        lambda state: {"model": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
        lambda state: {"net": state},
        lambda state: {"epoch": 1, "model_state_dict": prefixed("module.", state)},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"ema": state, "step": torch.tensor(3)},
        lambda state: {"model_ema": prefixed("module.", state)},
        lambda state: {"ema_state_dict": state, "model": {"first.weight": torch.zeros(1)}},
        lambda state: {
            "n_averaged": torch.tensor(4),
            **prefixed("module.", state),
        },  # AveragedModel
        lambda state: {"model": state, "ema": {"decay": 0.9, "shadow": [torch.zeros(1)]}},
        lambda state: {"state_dict": state, "model": state},  # the same twice
        lambda state: [state, {"lr": 0.1}],
        lambda state: (3, prefixed("module.", state)),
        lambda state: {"models": [state], "folds": 1},
        lambda state: {name: value.numpy() for name, value in state.items()},
        lambda state: {"G": prefixed("model.", state), "D": {"first.weight": torch.zeros(3)}},
        OrderedDict,
    ],
)
def test_the_only_weights_that_fit_are_found(checkpoint: Callable[[State], Any]) -> None:
    assert_same(loaded(checkpoint(weights())), weights())


def test_a_pickled_net_holds_its_weights() -> None:
    net = Small()
    net.load_state_dict(weights())
    for saved in (net, {"model": net}, {"epoch": 1, "model": nn.ModuleDict({"module": net})}):
        assert_same(loaded(saved), weights())


@pytest.mark.parametrize(
    ("checkpoint", "names"),
    [
        (lambda a, b: {"model": a, "ema": b}, ["model", "ema"]),
        (
            lambda a, b: {"state_dict": a, "model_ema": prefixed("module.", b)},
            ["state_dict", "model_ema.module"],
        ),
        (
            lambda a, b: {"state_dict": prefixed("model.", a) | prefixed("ema_model.", b)},
            ["state_dict.model", "state_dict.ema_model"],
        ),
        (
            lambda a, b: prefixed("student.", a) | prefixed("teacher.", b),
            ["student", "teacher"],
        ),
    ],
)
def test_of_several_weights_that_fit_one_must_be_chosen(
    checkpoint: Callable[[State, State], Any], names: list[str]
) -> None:
    saved = checkpoint(weights(1), weights(2))
    with pytest.raises(ConfigError) as error:
        loaded(saved)
    (fault,) = error.value.faults
    assert fault.problem == f"w.pt holds 2 sets of weights that fit the net: {', '.join(names)}"
    assert fault.cure == f"choose one, for example --weight-key {names[1]}"
    for seed, name in enumerate(names, 1):
        assert_same(loaded(saved, name), weights(seed))
    with pytest.raises(ConfigError, match=f"'other' that fit(?s:.*)those that fit: {names[0]}"):
        loaded(saved, "other")


@pytest.mark.parametrize("key", ["state_dict", "state_dict.ema_model", "ema_model"])
def test_weights_are_named_by_the_beginning_or_the_end_of_their_place(key: str) -> None:
    saved = {"state_dict": prefixed("ema_model."), "old": weights(2)}
    assert_same(loaded(saved, key), weights())


def test_a_part_of_a_larger_net_is_taken_only_if_it_is_named() -> None:
    saved = prefixed("encoder.") | {"decoder.weight": torch.zeros(99, 9)}
    with pytest.raises(ConfigError, match=r"part of a larger net(?s:.*)--weight-key encoder"):
        loaded(saved)
    assert_same(loaded(saved, "encoder"), weights())


def test_the_names_of_a_module_that_holds_the_whole_net_may_be_missing() -> None:
    net = nn.Sequential(OrderedDict(model=Small()))
    load_fitting(net, {"state_dict": weights()}, "w.pt")
    assert_same(dict(net[0].state_dict()), weights())


def test_counters_of_batch_norms_may_be_missing() -> None:
    """torch 0.4 wrote none."""
    state = {name: value for name, value in weights().items() if "num_batches" not in name}
    assert_same(loaded({"model": state}), weights())


def test_half_weights_are_loaded_into_a_net_of_float32() -> None:
    half = {name: value.half() for name, value in weights().items()}
    assert loaded(half)["first.weight"].dtype == torch.float32


def test_weights_that_torch_renames_are_loaded() -> None:
    """Those of the weight norm of old versions, into the one of new versions."""
    old = {"weight_g": torch.ones(2, 1, 1, 1, 1), "weight_v": torch.ones(2, 1, 1, 1, 1)}
    net = nn.utils.parametrizations.weight_norm(nn.Conv3d(1, 2, 1))
    load_fitting(net, {"state_dict": prefixed("module.", old | {"bias": torch.ones(2)})}, "w.pt")
    assert torch.equal(net.bias, torch.ones(2))


def without(state: State, *names: str) -> State:
    return {name: value for name, value in state.items() if name not in names}


@pytest.mark.parametrize(
    ("saved", "lines"),
    [
        (
            without(weights(), "last.bias") | {"gain": torch.ones(1)},
            ["not in the file: last.bias", "not in the net: gain"],
        ),
        (
            {"state_dict": prefixed("model.", weights() | {"first.weight": torch.zeros(8, 1, 3)})},
            [
                "of another shape: first.weight is [8, 1, 3] in the file and [4, 1, 3, 3, 3] in "
                "the net"
            ],
        ),
        (
            {f"a{i}.weight": torch.ones(1) for i in range(5)},
            [
                "not in the file: first.bias, first.weight, last.bias and 5 more",
                "not in the net: a0.weight, a1.weight, a2.weight and 2 more",
            ],
        ),
    ],
)
def test_what_does_not_fit_is_told_beside_what_is_wanted(saved: Any, lines: list[str]) -> None:
    with pytest.raises(ModelError) as error:
        loaded(saved)
    first, *rest = str(error.value).splitlines()
    assert first.startswith("no weights in w.pt fit the net")
    assert [line.strip() for line in rest] == lines
    assert ("; the closest are at state_dict.model" in first) == ("state_dict" in saved)


@pytest.mark.parametrize("saved", [[1, 2], 3, {}, {"epoch": 1}, [torch.ones(1)], torch.ones(1)])
def test_what_holds_no_weights_by_name_is_told(saved: Any) -> None:
    with pytest.raises(ModelError, match=r"w\.pt holds no weights by name"):
        loaded(saved)


def test_weights_for_a_net_without_weights_are_refused() -> None:
    with pytest.raises(
        ModelError, match=r"no weights in w\.pt fit the net\n.*not in the net: weight"
    ):
        load_fitting(nn.ReLU(), {"weight": torch.ones(1)}, "w.pt")
