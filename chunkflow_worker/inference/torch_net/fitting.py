"""`load_fitting`: the weights in a checkpoint that fit a net, loaded into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ConfigError, ModelError

# What wrappers of PyTorch put between the names of layers.
_INSERTED = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
# Under these names, training programs keep the net beside losses, metrics and other nets.
_NAMES_OF_NETS = {"model", "net", "network", "module"}
_LARGEST_REST = 0.1  # of the weights that fit; what is left over may be losses and metrics
_COUNTER = "num_batches_tracked"  # of batch norms; it has no effect on outputs, and may be missing
_DEPTH = 3  # of entries in entries
_SHOWN = 3  # names in each part of an error


@dataclass(frozen=True)
class Weights:
    """Weights in a checkpoint, by their names in the net.

    place: where they lie: names of entries and the prefix of the layers, joined by dots.
    whole: whether what lies beside them is small enough to be no part of the net.
    """

    place: str
    tensors: dict[str, Any]
    whole: bool


def load_fitting(net: Any, saved: Any, path: str, key: str | None = None) -> None:
    """Load the weights of a checkpoint into a net.

    saved: a state dict, or a checkpoint that holds one in an entry. The names of layers may have
        prefixes of wrappers.
    path: of the checkpoint, for messages.
    key: the `place` of the weights, or a part of it at its beginning or end; needed if more than
        one fit.

    Raises ConfigError if several weights fit, and ModelError if none do.
    """
    parts = list(_parts(saved))
    fitting = _different([found for part in parts for found in _fitting(net, *part)])
    chosen = [weights for weights in fitting if key is None or _is_named(weights.place, key)]
    names = ", ".join(weights.place or "the file itself" for weights in fitting)
    if len(chosen) == 1 and (chosen[0].whole or key is not None):
        net.load_state_dict(chosen[0].tensors)
    elif len(chosen) == 1:
        problem = f"the weights at {names} in {path} fit the net, but are a part of a larger net"
        cure = f"give the whole net, or take them: --weight-key {names}"
        raise ConfigError.one("net", "convnet_weight_path", problem, cure)
    elif chosen:
        problem = f"{path} holds {len(chosen)} sets of weights that fit the net: {names}"
        cure = f"choose one, for example --weight-key {chosen[-1].place}"
        raise ConfigError.one("net", "convnet_weight_path", problem, cure)
    elif fitting:
        problem = f"{path} has no weights at {key!r} that fit the net"
        raise ConfigError.one("net", "weight_key", problem, f"those that fit: {names}")
    elif not _loaded_by_torch(net, parts, key):
        raise ModelError(_why_none_fits(net, parts, path))


def _parts(saved: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All state dicts in what was saved, with their places."""
    torch = needs("torch", extra="torch")
    if isinstance(saved, torch.nn.Module):
        saved = saved.state_dict()
    if isinstance(saved, list | tuple):
        named = enumerate(saved)
        saved = {str(n): item for n, item in named if not isinstance(item, torch.Tensor)}
    if not isinstance(saved, Mapping):
        return
    tensors = {
        _plain(name): value
        for name, item in saved.items()
        if isinstance(name, str) and isinstance(value := _as_tensor(item), torch.Tensor)
    }
    if tensors:
        yield place, tensors
    if depth < _DEPTH:
        for name, value in saved.items():
            if isinstance(name, str):
                yield from _parts(value, f"{place}.{name}" if place else name, depth + 1)


def _as_tensor(value: Any) -> Any:
    """An array of numpy as a tensor; what torch has no type for, and all else, as it is."""
    if isinstance(value, np.ndarray):
        with suppress(TypeError, ValueError):
            return needs("torch", extra="torch").from_numpy(np.array(value))
    return value


def _fitting(net: Any, place: str, tensors: Mapping[str, Any]) -> Iterator[Weights]:
    """The weights of one state dict that fit the net, for each prefix under which they do."""
    for wanted in _wanted(net):
        needed = {name for name in wanted if not name.endswith(_COUNTER)}
        for prefix, count in _prefixes(tensors, needed).items():
            inside = {name for name in tensors if name.startswith(prefix)}
            known = {prefix + name for name in wanted}
            extra = {name for name in inside - known if not name.endswith(_COUNTER)}
            if count < len(needed) or extra:
                continue
            found = {name: tensors.get(prefix + name) for name in wanted}
            if any(
                value is not None and not _same_shape(value, wanted[name][1])
                for name, value in found.items()
            ):
                continue
            yield Weights(
                ".".join(filter(None, (place, prefix.rstrip(".")))),
                {wanted[name][0]: value for name, value in found.items() if value is not None},
                _is_whole(prefix, inside, tensors),
            )


def _wanted(net: Any) -> Iterator[dict[str, tuple[str, Any]]]:
    """The names in a state dict -> the names in the net and their values.

    First as they are, then without the names of modules that hold the whole net.
    """
    state = net.state_dict()
    wanted = {_plain(name): (name, value) for name, value in state.items()}
    yield wanted
    while wanted and len({name.partition(".")[0] for name in wanted}) == 1:
        if not all("." in name for name in wanted):
            return
        wanted = {name.partition(".")[2]: value for name, value in wanted.items()}
        yield wanted


def _prefixes(tensors: Mapping[str, Any], needed: set[str]) -> Counter[str]:
    """How many of the needed names there are under each prefix, which ends with a dot or is empty.

    For a net without weights, the empty prefix, and none of them.
    """
    counts: Counter[str] = Counter() if needed else Counter({"": 0})
    for name in tensors:
        ends = [i + 1 for i, letter in enumerate(name) if letter == "."]
        counts.update(name[:end] for end in (0, *ends) if name[end:] in needed)
    return counts


def _is_whole(prefix: str, inside: set[str], tensors: Mapping[str, Any]) -> bool:
    """Whether the names under a prefix are a net, and not a part of a larger one."""
    if set(prefix.rstrip(".").split(".")) & _NAMES_OF_NETS:
        return True
    rest = sum(value.numel() for name, value in tensors.items() if name not in inside)
    return bool(rest <= _LARGEST_REST * sum(tensors[name].numel() for name in inside))


def _is_named(place: str, key: str) -> bool:
    return f".{place}.".startswith(f".{key}.") or f".{place}.".endswith(f".{key}.")


def _different(found: list[Weights]) -> list[Weights]:
    """Weights without those that are the same as earlier ones: some files hold them twice."""
    torch = needs("torch", extra="torch")
    kept: list[Weights] = []
    for weights in found:
        if not any(
            one.tensors.keys() == weights.tensors.keys()
            and all(
                torch.equal(value, weights.tensors[name]) for name, value in one.tensors.items()
            )
            for one in kept
        ):
            kept.append(weights)
    return kept


def _loaded_by_torch(net: Any, parts: list[tuple[str, Mapping[str, Any]]], key: str | None) -> bool:
    """Load the first state dict that torch itself accepts; some layers rename old weights."""
    for place, tensors in parts:
        if key is None or _is_named(place, key):
            with suppress(RuntimeError):
                net.load_state_dict(_without_wrappers(tensors))
                return True
    return False


def _without_wrappers(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The weights without the prefixes of nets that all names share."""
    names = dict(tensors)
    for _ in range(_DEPTH):
        first = {name.partition(".")[0] for name in names}
        if len(first) > 1 or not first <= _NAMES_OF_NETS:
            break
        names = {name.partition(".")[2]: value for name, value in names.items()}
    return names


def _why_none_fits(net: Any, parts: list[tuple[str, Mapping[str, Any]]], path: str) -> str:
    """What is missing, left over and of another shape in the weights that come closest."""
    wanted = next(_wanted(net))
    needed = {name for name in wanted if not name.endswith(_COUNTER)}
    if not parts:
        return f"{path} holds no weights by name: give a file of torch.save(net.state_dict(), ...)"
    closest = [
        (count, place, prefix, tensors)
        for place, tensors in parts
        for prefix, count in (_prefixes(tensors, needed) or Counter({"": 0})).items()
    ]
    _, place, prefix, tensors = max(closest, key=lambda found: found[0])
    found = {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    reshaped = [
        f"{name} is {list(found[name].shape)} in the file and {list(wanted[name][1].shape)} in "
        "the net"
        for name in found
        if name in wanted and not _same_shape(found[name], wanted[name][1])
    ]
    at = ".".join(filter(None, (place, prefix.rstrip("."))))
    lines = [
        f"no weights in {path} fit the net" + (f"; the closest are at {at}" if at else ""),
        _listed("not in the file: ", sorted(needed - found.keys())),
        _listed("not in the net: ", sorted(found.keys() - wanted.keys())),
        _listed("of another shape: ", reshaped),
    ]
    return "\n    ".join(filter(None, lines))


def _listed(title: str, names: list[str]) -> str:
    """The first names, and how many more there are; empty if there are none."""
    more = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN])
    return f"{title}{shown}" + (f" and {more} more" if more > 0 else "") if names else ""


def _same_shape(found: Any, wanted: Any) -> bool:
    """Layers that take their shape from their first input have none yet."""
    torch = needs("torch", extra="torch")
    lazy = isinstance(wanted, torch.nn.parameter.UninitializedTensorMixin)
    return lazy or found.shape == wanted.shape


def _plain(name: str) -> str:
    """The name of a layer's weights without what wrappers inserted."""
    for inserted in _INSERTED:
        name = name.replace(inserted, "")
    return name
