"""`refuse_lost_outputs`: a relative path is another folder on each machine, and memory is lost."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from chunkflow_worker.config.places import is_relative
from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import ConfigError, Fault
from chunkflow_worker.job.stage import Stage
from chunkflow_worker.pipeline.chain import Pipeline

_ELSEWHERE = "give an absolute path or a bucket"


def refuse_lost_outputs(settings: Settings, chains: Iterable[tuple[Stage, Pipeline]]) -> None:
    """Raise ConfigError if a worker would write to its own memory, or to paths of its own disk.

    Its results would be scattered over the machines, or lost with a process or container. Memory
    that a chain also reads is its own affair.
    chains: those of all stages.
    """
    places = [("CHUNKFLOW_LEDGER", settings.ledger)] if settings.ledger else []
    faults = list(_faults(settings, places, set()))
    for stage, chain in chains:
        scratch = {path for one in chain.configured for _, path in one.paths(written=False)}
        faults.extend(map(stage.fault, _faults(settings, _outputs(chain), scratch)))
    if faults:
        raise ConfigError(str(settings.pipeline or "pipeline"), faults)


def _outputs(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    for i, operator in enumerate(pipeline.configured):
        name = pipeline.operators[i].op
        for option, path in operator.paths(written=True):
            yield f"operators.{i} ({name}).{option}", path


def _faults(
    settings: Settings, outputs: Iterable[tuple[str, str]], scratch: Container[str]
) -> Iterator[Fault]:
    for place, path in outputs:
        if path.startswith("mem://") and path not in scratch:
            yield Fault(place, f"{path!r} is lost when this worker ends", _ELSEWHERE)
        elif is_relative(path) and not settings.shared_disk:
            yield _fault(place, path)


def _fault(place: str, path: str) -> Fault:
    return Fault(
        place,
        f"{path or './'!r} is a relative path, which is another folder on each machine",
        f"{_ELSEWHERE}; or add --shared-disk (CHUNKFLOW_SHARED_DISK=true) if "
        "all workers run in one folder of one disk",
    )
