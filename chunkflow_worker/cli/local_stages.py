"""`run_stages`: runs all stages of a pipeline file on this machine, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from chunkflow_worker.cli.local import LocalOptions, run_here
from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.local_job import check_job_name, grid_options
from chunkflow_worker.job.stage import Stage
from chunkflow_worker.job.stages import job_name, load_stages
from chunkflow_worker.job.tree import Tree
from chunkflow_worker.job.volumes import default_ledger
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import TaskSource, find_operator
from chunkflow_worker.report.say import say

_MOST_WAVES = 99


def run_stages(path: Path, options: LocalOptions) -> None:
    """Run all stages of a file, each after those that it needs; the first that fails ends it.

    A stage has its ledger below that of the file, and its job is named by it.
    Raises ConfigError, and what `run_here` raises.
    """
    loaded = load_stages(path, Pipeline.parse)
    chains = {stage.name: chain for stage, chain in loaded}
    for stage, _ in loaded:
        check_job_name(job_name(options.job, stage.name, _MOST_WAVES if stage.tree_of else 0))
    ledger = options.ledger
    if options.keep_going and ledger is None:
        ledger = default_ledger(one for chain in chains.values() for one in chain.configured)
    for stage, chain in loaded:
        own = replace(options, ledger=ledger and stage.ledger_in(ledger))
        if not stage.tree_of:
            say(f"stage {stage.name}", err=True)
            run_here(chain, None, replace(own, job=job_name(options.job, stage.name)))
            continue
        waves = list(_waves(stage, chains))
        for number, source in enumerate(waves, 1):
            say(f"stage {stage.name}, wave {number} of {len(waves)}", err=True)
            job = job_name(options.job, stage.name, number)
            run_here(replace(chain, tasks=source), None, replace(own, job=job))


def _waves(stage: Stage, chains: Mapping[str, Pipeline]) -> Iterator[TaskSource]:
    """What makes the tasks of each wave of a tree."""
    source = chains[stage.tree_of].tasks
    leaves = source.known_boxes() if source else None
    if not isinstance(leaves, Boxes):
        problem = f"the tasks of stage {stage.tree_of} are not the boxes of a grid"
        cure = f"use {operator_with('is_grid')} there"
        raise ConfigError.one(stage.place, "tasks.tree_of", problem, cure)
    kind = find_operator(operator_with("is_grid"))
    for boxes in Tree(leaves).waves():
        made = kind.model_validate(grid_options(boxes))
        assert isinstance(made, TaskSource)
        yield made
