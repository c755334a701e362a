"""`refuse_lost_outputs`: a relative path is another folder on each machine, and memory is lost."""

from __future__ import annotations

from collections.abc import Iterator

from chunkflow_worker.config.places import is_relative
from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import ConfigError, Fault
from chunkflow_worker.pipeline.chain import Pipeline

_ELSEWHERE = "give an absolute path or a bucket"


def refuse_lost_outputs(settings: Settings, pipeline: Pipeline, stage: str = "") -> None:
    """Raise ConfigError if a worker would write to its own memory, or to paths of its own disk.

    Its results would be scattered over the machines, or lost with a process or container. Memory
    that the chain also reads is its own affair.
    stage: that the chain is of.
    """
    scratch = {path for one in pipeline.configured for _, path in one.paths(written=False)}
    faults = []
    for place, path in _outputs(settings, pipeline, f"{stage}." if stage else ""):
        if path.startswith("mem://") and path not in scratch:
            faults.append(Fault(place, f"{path!r} is lost when this worker ends", _ELSEWHERE))
        elif is_relative(path) and not settings.shared_disk:
            faults.append(_fault(place, path))
    if faults:
        raise ConfigError(str(settings.pipeline or "pipeline"), faults)


def _outputs(settings: Settings, pipeline: Pipeline, stage: str) -> Iterator[tuple[str, str]]:
    if settings.ledger:
        yield "CHUNKFLOW_LEDGER", settings.ledger
    for i, operator in enumerate(pipeline.configured):
        name = pipeline.operators[i].op
        for option, path in operator.paths(written=True):
            yield f"{stage}operators.{i} ({name}).{option}", path


def _fault(place: str, path: str) -> Fault:
    return Fault(
        place,
        f"{path or './'!r} is a relative path, which is another folder on each machine",
        f"{_ELSEWHERE}; or add --shared-disk (CHUNKFLOW_SHARED_DISK=true) if "
        "all workers run in one folder of one disk",
    )
