"""`Trial`: a batch of noise, to check that a net runs, and that a changed net gives the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ModelError, OutOfMemory
from chunkflow_worker.inference.engine import Answers
from chunkflow_worker.inference.torch_net.arrays import memory_guard
from chunkflow_worker.inference.torch_net.forward import forward, named_outputs
from chunkflow_worker.inference.torch_net.load import Net
from chunkflow_worker.inference.user_code import cure, fault
from chunkflow_worker.report.once import warn_once

log = logging.getLogger(__name__)

# Largest difference between the outputs of a changed net and the given net, in float32, relative to
# the largest value of the output.
_TOLERANCE = 1e-4
# A large patch is tried on a smaller one: this, and the rest of its size divided by this, so that a
# net that halves patches several times takes both or neither.
_SMALL = 64
_WAYS = "see --input-patch-size (-s) and --num-input-channels; try a larger patch"
# Errors that do not depend on what the net is given.
_ERRORS_OF_CODE = (TypeError, AttributeError, LookupError, NameError, ImportError)


@dataclass(frozen=True)
class Trial:
    """A net on its device, and its output for noise.

    net: as it was loaded, or changed so that it takes patches: its weights in float32, or flat;
        with a batch size of 1 if the trial showed that it needs that.
    noise: float32 nczyx, on the device.
    expected: the output of the unchanged net in float32.
    shapes: of its outputs, if it returned several, by what takes them.
    """

    net: Net
    noise: Any
    expected: Any
    shapes: Mapping[str, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, net: Net, shape: tuple[int, ...], device: Any) -> Trial:
        """Run the net on noise. `shape`: of a patch, nczyx with n = 1.

        The patches are small, because CPUs are slow, unless the net does not take small ones. There
        are two of them, because some changes show in batches only. If the net does not take two, or
        its output for one depends on the other, it gets one patch at a time from here on.

        A net whose weights are not float32 is changed in place if it takes no float32 patches.

        Raises ModelError if the net fails, and OutOfMemory.
        """
        problem: Exception | None = None
        types = _other_types(net.module)
        for variant in _variants(net, shape):
            try:
                trial = cls._tried(variant, shape, device)
            except OutOfMemory:
                raise
            except ModelError:
                if problem is None:
                    raise
            except Exception as error:
                problem = problem or error
            else:
                _tell_changes(net, trial.net, types)
                return trial
        assert problem is not None, "there is at least one variant"
        what = f"the net fails on a patch of {list(shape)} (nczyx)"
        in_code = isinstance(problem, _ERRORS_OF_CODE)
        if not in_code and (known := cure(problem) or _cure(net, problem, shape, device, types)):
            raise ModelError(f"{what}\n    {known}") from problem
        text = _short(problem, net.path)
        way = f"mend it in {net.path}" if in_code else _WAYS
        raise ModelError(f"{what}{text}\n    {way}") from problem

    @classmethod
    def _tried(cls, net: Net, shape: tuple[int, ...], device: Any) -> Trial:
        """Raises what the net raises on its whole patch."""
        problem: Exception | None = None
        small = (*shape[1:3], _small(shape[3]), _small(shape[4]))
        for count, *size in ((2, *small), (1, *small), (2, *shape[1:]), shape):
            noise = _noise((count, *size), device)
            shapes: dict[str, list[int]] = {}

            def look(output: Any, shapes: dict[str, list[int]] = shapes) -> None:
                shapes.update(_shapes(output))

            try:
                expected = _output(net, net.module, noise, look)
                if count == 1:
                    return cls(replace(net, batch=net.batch or 1), noise, expected, shapes)
                alone = _output(net, net.module, noise[:1])
                if _difference(alone, expected[:1]) <= _TOLERANCE:
                    return cls(net, noise, expected, shapes)
            except ModelError:
                raise
            except Exception as error:
                problem = error
        assert problem is not None, "one patch depends on no other"
        raise problem

    def answers(self) -> Answers:
        """Two outputs of the unchanged net for the noise, one after the other."""
        torch, net = needs("torch", extra="torch"), self.net
        module = copied(net.module) if net.editable else net.module
        with torch.inference_mode():
            before = {name: value.clone() for name, value in _state(module)}
            first, second = (
                _output(replace(net, editable=False), module, self.noise).float().cpu()
                for _ in range(2)
            )
            changed = [name for name, value in _state(module) if _differs(value, before.get(name))]
        return Answers(first.numpy(), second.numpy(), ", ".join(changed[:2]))

    def output(self, run: Any) -> Any:
        """The output of a changed net for the noise."""
        return _output(self.net, run, self.noise)

    def alone(self) -> Trial:
        """The same with the first patch alone, as nets get it that run one patch at a time."""
        net = replace(self.net, batch=self.net.batch or 1)
        return replace(self, net=net, noise=self.noise[:1], expected=self.expected[:1])

    def resized(self, shape: tuple[int, ...]) -> Trial:
        """The same with patches of another size, nczyx. Raises OutOfMemory."""
        noise = _noise(shape, self.noise.device)
        return replace(self, noise=noise, expected=_output(self.net, self.net.module, noise))

    def changed(self, run: Any, change: Callable[[Any], Any], layout: Any) -> Any:
        """`change(run)` if its output, in float32, is the expected one; else `run` itself.

        layout: memory format of the noise. Raises OutOfMemory.
        """
        noise = self.noise.contiguous(memory_format=layout)
        try:
            candidate = change(run)
            found = _output(self.net, candidate, noise)
        except OutOfMemory:
            raise
        except Exception as error:
            log.debug("the changed net fails: %s", error)
            return run
        if _difference(found, self.expected) <= _TOLERANCE:
            return candidate
        log.info("the net is not changed: a change for speed would alter its output")
        return run


def _variants(net: Net, shape: tuple[int, ...]) -> Iterator[Net]:
    """The net, and if it does not run, ways to give it the patches that may work."""
    flat = [replace(net, flat=True)] if shape[2] == 1 and not _is_3d(net.module) else []
    yield from (net, *flat)
    if _other_types(net.module):
        net.module.float()
        yield from (net, *flat)


def _tell_changes(given: Net, tried: Net, types: str) -> None:
    """Tell how a net is given its patches, if it does not take them as they are.

    types: number types of the weights when it was loaded.
    """
    if tried.flat and not given.flat:
        warn_once(log, "the net is 2D: it gets each patch as one section (n, channels, y, x)")
    if types and not _other_types(tried.module):
        warn_once(
            log,
            f"the net's weights are {types}, and it takes no float32 patches: "
            "it is used as if it were saved after .float()",
        )


def _other_types(module: Any) -> str:
    """Floating point types of a net's weights, other than float32, for people."""
    tensors = [*module.parameters(), *module.buffers()]
    types = {str(t.dtype).removeprefix("torch.") for t in tensors if t.is_floating_point()}
    return ", ".join(sorted(types - {"float32"}))


def _cure(net: Net, problem: Exception, shape: tuple[int, ...], device: Any, types: str) -> str:
    """What would make a net run that fails on a patch of that shape, found by trying; empty if
    nothing was found.

    types: number types of its weights when it was loaded.
    """
    _, channels, z, y, x = shape
    taken = _channels_taken(net.module) or channels
    more = f" and --num-input-channels {taken}" if taken != channels else ""
    if net.pre_process and "should be the same" in str(problem):
        return f"let pre_process of {net.path} return float32"
    flat = None if _is_3d(net.module) else replace(net, flat=True)
    if flat and z == taken > 1 and channels == 1 and _runs(flat, (1, z, 1, y, x), device):
        return (
            f"the net is 2D and takes {z} sections as channels: give --output-patch-size 1 {y} {x}"
            ", and let pre_process return patch[:, 0] and post_process output[:, :, None]"
        )
    if flat and taken > 1 and channels == 1 and _runs(flat, (1, taken, 1, y, x), device):
        return (
            f"the net is 2D and takes {taken} channels: give --input-patch-size 1 {y} {x}{more}"
            f"\n    or, if these are sections, --input-patch-size {taken} {y} {x} and "
            f"--output-patch-size 1 {y} {x}, and let pre_process return patch[:, 0] and "
            "post_process output[:, :, None]"
        )
    if flat and _runs(flat, (1, taken, 1, y, x), device):
        return f"the net is 2D: give --input-patch-size 1 {y} {x}{more}; it then gets sections"
    if more and _runs(net, (1, taken, z, y, x), device):
        return f"the net takes {taken} channels: give --num-input-channels {taken}"
    if types:
        return f"its weights are {types}: make it with .float() before it is saved"
    for factor in (2, 4, 8, 16, 32):
        for along_z in (1, factor):
            sizes = [
                -(-n // f) * f for n, f in zip((z, y, x), (along_z, factor, factor), strict=True)
            ]
            if sizes != [z, y, x] and _runs(net, (1, channels, *sizes), device):
                return (
                    f"it runs on patches whose sizes are multiples of {factor}: "
                    f"give --input-patch-size {sizes[0]} {sizes[1]} {sizes[2]}"
                )
    return ""


def _is_3d(module: Any) -> bool:
    """Whether a net has layers in 3D."""
    return any("3d" in _kind(part) for part in module.modules())


def _kind(module: Any) -> str:
    """The class of a module of Python, or that it had before it became TorchScript."""
    return str(getattr(module, "original_name", type(module).__name__))


def _runs(net: Net, shape: tuple[int, ...], device: Any) -> bool:
    size = (*shape[:3], _small(shape[3]), _small(shape[4]))
    try:
        _output(net, net.module, _noise(size, device))
    except Exception:
        return False
    return True


def _channels_taken(module: Any) -> int | None:
    """Input channels of the first convolution of a net; None if it has none."""
    for part in module.modules():
        kind, weight = _kind(part), getattr(part, "weight", None)
        if kind.startswith("Conv") and "Transpose" not in kind and weight is not None:
            return int(weight.shape[1]) * int(getattr(part, "groups", 1))
    return None


def _noise(shape: tuple[int, ...], device: Any) -> Any:
    torch = needs("torch", extra="torch")
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)


def _small(size: int) -> int:
    return size if size < 2 * _SMALL else _SMALL + size % _SMALL


def _output(
    net: Net,
    run: Any,
    noise: Any,
    look: Callable[[Any], None] = lambda output: None,
) -> Any:
    """The output for a copy of the noise, on the device of the noise.

    A net and its `pre_process` may change their input. A net may also keep what it made for its
    first input, so a copy of the net runs if it can be copied.
    """
    with memory_guard(needs("torch", extra="torch")):
        mine = copied(run) if net.editable else run
        return forward(net, mine, noise.clone(), look).to(noise.device)


def copied(net: Any) -> Any:
    """A copy of the net; the net itself if torch can't copy it (some layers before a call)."""
    try:
        return deepcopy(net)
    except (RuntimeError, ValueError, TypeError):
        return net


def _shapes(output: Any) -> dict[str, list[int]]:
    """Shapes of several outputs; empty for a single one."""
    named = named_outputs(output)
    return {name: list(getattr(value, "shape", [])) for name, value in named.items()}


def _state(module: Any) -> Iterator[tuple[str, Any]]:
    """What a net may keep from one patch to the next: its buffers of floating point numbers."""
    return ((name, value) for name, value in module.named_buffers() if value.is_floating_point())


def _differs(value: Any, before: Any) -> bool:
    """Whether a value changed. One that got another shape was made for another patch."""
    if before is None or before.shape != value.shape:
        return False
    return not bool(((value == before) | (value.isnan() & before.isnan())).all())


def _difference(found: Any, expected: Any) -> float:
    """Largest difference, relative to the largest expected value; NaN if a value is not finite.

    Infinite if the shapes differ.
    """
    if found.shape != expected.shape:
        return float("inf")
    largest = expected.float().abs().max().clamp(min=1e-6)
    return float((found.float() - expected.float()).abs().max() / largest)


def _short(problem: Exception, path: str) -> str:
    """The end of "fails": the line of an error that says what is wrong."""
    lines = str(problem).strip().splitlines()
    if any("TorchScript interpreter" in line for line in lines[:1]):
        return f": {lines[-1].removeprefix('RuntimeError: ')}"
    return fault(problem, path)
