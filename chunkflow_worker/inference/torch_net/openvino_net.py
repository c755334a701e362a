"""`by_openvino`: a net of PyTorch that OpenVINO runs on the CPU; its output stays the same."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from chunkflow_worker.config.extras import needs
from chunkflow_worker.inference.openvino import Compiled, openvino
from chunkflow_worker.inference.same_output import Unsuited
from chunkflow_worker.inference.torch_net.conversion import (
    check_outputs,
    checked,
    compare_on,
    converting,
    example_of,
    exported,
    is_float32,
)
from chunkflow_worker.inference.torch_net.forward import given
from chunkflow_worker.inference.torch_net.load import Net
from chunkflow_worker.inference.torch_net.trial import Trial

log = logging.getLogger(__name__)

torch: Any = needs("torch", extra="torch")
pytree: Any = needs("torch.utils._pytree", extra="torch")

_SUMS = {"GroupNormalization", "MVN", "ReduceMean", "ReduceSum"}


class OpenvinoNet:
    """A net that OpenVINO runs for inputs of one shape. Other inputs are run by torch, in float32.

    structure: of what the net returns, which may be several tensors.

    The next call overwrites the output.
    """

    def __init__(self, module: Any, compiled: Compiled, structure: Any):
        self._module, self._compiled, self._structure = module, compiled, structure

    def __call__(self, inputs: Any) -> Any:
        if not is_float32(inputs) or tuple(inputs.shape) != self._compiled.shape:
            return self._module(inputs)
        outputs = map(torch.from_numpy, self._compiled(inputs.contiguous().numpy()))
        return pytree.tree_unflatten(list(outputs), self._structure)


@dataclass(frozen=True)
class _Converted:
    """A net as OpenVINO's model of it, for inputs of one shape."""

    module: Any
    model: Any
    structure: Any
    shape: tuple[int, ...]

    @property
    def sums(self) -> bool:
        """Whether the net has sums over its voxels, as in norms."""
        return any(op.get_type_name() in _SUMS for op in self.model.get_ops())

    def compiled(self, shape: tuple[int, ...], precision: str) -> OpenvinoNet:
        """For inputs of that shape. Raises Unsuited."""
        compiled = Compiled(self.model.clone(), shape, precision)
        return OpenvinoNet(self.module, compiled, self.structure)


def by_openvino(
    trial: Trial, shape: tuple[int, ...], precision: str, fallback: bool
) -> tuple[OpenvinoNet, str]:
    """The net of a trial for patches, one at a time, and its precision.

    shape: of a patch, nczyx with n = 1.
    fallback: whether it may run in float32 if its output in `precision` is wrong.

    Raises Unsuited.
    """
    alone = trial.alone()
    with torch.inference_mode(False), torch.no_grad():
        made = _converted(alone.net, torch.zeros(shape))
        return checked(lambda chosen: _checked(made, alone, shape, chosen), precision, fallback)


def _checked(made: _Converted, trial: Trial, shape: tuple[int, ...], precision: str) -> OpenvinoNet:
    """The net for patches of that shape; its output for noise is right.

    The small patches of the trial are enough for most nets. A net whose code depends on the size
    of a patch is compared on a whole one, and so is a net that sums over its voxels, because the
    error of a sum grows with its length.

    Raises Unsuited.
    """
    run = made.compiled(made.shape, precision)
    if tuple(trial.noise.shape) != shape and not made.sums:
        small = tuple(given(trial.net, trial.noise.clone()).shape)
        try:
            compare_on(trial, made.compiled(small, precision), precision, "OpenVINO")
            return run
        except Unsuited as problem:
            log.debug("the net is compared on a whole patch: on a smaller one, %s", problem)
    compare_on(trial.resized(shape), run, precision, "OpenVINO")
    return run


def _converted(net: Net, patches: Any) -> _Converted:
    """Raises Unsuited."""
    example = example_of(net, patches)
    is_script = isinstance(net.module, torch.jit.ScriptModule)
    with converting("OpenVINO"):
        model, structure = (_of_script if is_script else _of_module)(net.module, example)
    check_outputs(len(model.inputs), len(model.outputs), structure)
    return _Converted(net.module, model, structure, tuple(example.shape))


def _of_script(module: Any, example: Any) -> tuple[Any, Any]:
    model = openvino().convert_model(module, input=[tuple(example.shape)])
    return model, pytree.tree_structure(module(example))


def _of_module(module: Any, example: Any) -> tuple[Any, Any]:
    program = exported(module, example)
    _write_as_group_norms(program.graph_module)
    return openvino().convert_model(program), program.call_spec.out_spec


def _write_as_group_norms(graphed: Any) -> None:
    """Change norms over the voxels of each channel to group norms, which are the same.

    Where OpenVINO sums a million voxels, its group norms are off by 3e-5, and others by 3e-4.
    """
    aten = torch.ops.aten
    for node in graphed.graph.nodes:
        if node.target not in (aten.instance_norm.default, aten.batch_norm.default):
            continue
        x, weight, bias, _, _, of_input, _, epsilon, _ = node.args
        count, channels = x.meta["val"].shape[:2]
        if of_input and (node.target is aten.instance_norm.default or count == 1):
            node.target = aten.group_norm.default
            node.args = (x, channels, weight, bias, epsilon)
    graphed.recompile()
