"""A job that the worker's own handler does, without a queue."""

from __future__ import annotations

from pathlib import Path

from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.message import TaskMessage
from chunkflow_worker.job.record import Record
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.service.handler import Handler
from producer.plan.job import make_plan
from producer.plan.pipeline_file import PipelineFile


def do_job(file: Path, ledger: Ledger, grid: Grid) -> list[Record]:
    """Do all boxes of a grid by the chain of a pipeline file. Returns their records."""
    plan = make_plan("q", "j", grid, PipelineFile.load(file))
    ledger.write_job(plan.record)
    pipeline = Pipeline.load(file)
    with pipeline.open(recorded=True) as chain:
        handler = Handler(chain, pipeline.digest, ledger, "worker", 3)
        for box in plan.boxes:
            handler.handle(Delivery(TaskMessage(job="j", bbox=str(box)), f"task {box}"))
    return list(ledger.records(map(str, plan.boxes)))
