"""`TreePlan`: the tasks of a stage whose tasks are a tree over the boxes of another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.job.stages import split_stage, stage_path
from chunkflow_worker.job.tree import Tree
from producer.plan.job import make_plan
from producer.plan.pipeline_file import PipelineFile


@dataclass(frozen=True)
class TreePlan:
    """What is known of such a stage before it is sent. leaves: the boxes of the other stage."""

    stage: str
    tree_of: str
    leaves: int
    waves: Sequence[Boxes]

    @classmethod
    def of(cls, file: PipelineFile) -> TreePlan:
        """file: the stage. Raises what `make_plan` raises."""
        of = file.stage.tree_of
        other = PipelineFile.load(stage_path(split_stage(file.path)[0], of))
        boxes = make_plan("plan", None, Grid(), other).boxes
        return cls(file.stage.name, of, len(boxes), Tree(boxes).waves())

    @property
    def tasks(self) -> int:
        return sum(map(len, self.waves))

    def as_json(self) -> dict[str, Any]:
        """region: size of the largest regions of a wave, zyx voxels."""
        waves = [{"tasks": len(wave), "region": [*wave[0].size]} for wave in self.waves]
        return {
            "stage": self.stage,
            "tree_of": self.tree_of,
            "boxes": self.leaves,
            "tasks": self.tasks,
            "waves": waves,
        }
