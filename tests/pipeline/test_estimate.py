from __future__ import annotations

from chunkflow_worker.pipeline.estimate import Plannable
from chunkflow_worker.pipeline.operator import find_operator


def test_only_an_operator_that_says_what_a_task_takes_is_plannable() -> None:
    options = {"framework": "identity", "input_patch_size": (4, 16, 16)}
    net = find_operator("inference").model_validate(options | {"output_patch_overlap": (1, 4, 4)})
    assert isinstance(net, Plannable)
    assert not isinstance(find_operator("threshold")(), Plannable)
