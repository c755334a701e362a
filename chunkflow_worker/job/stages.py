"""The stages of a pipeline file: loaded from it, found by their names, and what each needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from chunkflow_worker.config.yaml_file import read_yaml
from chunkflow_worker.errors import ConfigError, Fault
from chunkflow_worker.job.read_stages import read_stages
from chunkflow_worker.job.stage import PLAIN, STAGE_NAME, Stage

_Made = TypeVar("_Made")


def has_stages(path: Path | str) -> bool:
    """Whether a pipeline file has stages; False also where it cannot be read."""
    try:
        content = read_yaml(Path(path))
    except ConfigError:
        return False
    return isinstance(content, Mapping) and "stages" in content


def load_stages(path: Path | str, make: Callable[[Any, str], _Made]) -> list[tuple[Stage, _Made]]:
    """The stages of a pipeline file, each after those that it needs, and what is made of each.

    make: reads a stage's content, as of a file with plain `operators:`, and takes a name for
        errors. It raises ConfigError.
    Raises ConfigError with all the faults of the file.
    """
    content, source = read_yaml(Path(path)), str(path)
    if not isinstance(content, Mapping) or "stages" not in content:
        return [(PLAIN, make(content, source))]
    faults: list[Fault] = []
    made = []
    for stage in read_stages(content, faults):
        try:
            made.append((stage, make(stage.content, source)))
        except ConfigError as error:
            faults.extend(map(stage.fault, error.faults))
    if faults:
        raise ConfigError(source, faults)
    return made


def load_stage(path: Path | str, make: Callable[[Any, str], _Made]) -> tuple[Stage, _Made]:
    """The stage that `path` names, see `split_stage`; of a file without stages, its only one.

    Raises ConfigError, also where a file has stages and `path` names none.
    """
    file, name = split_stage(path)
    loaded = load_stages(file, make)
    found = find_stage((stage for stage, _ in loaded), name, file)
    return next(one for one in loaded if one[0] is found)


def after(stages: Iterable[Stage], name: str) -> set[str]:
    """A stage and all that need it, directly or not. stages: in the order of `read_stages`."""
    found = {name}
    for stage in stages:
        if found.intersection(stage.needs):
            found.add(stage.name)
    return found


def before(stages: Iterable[Stage], name: str) -> set[str]:
    """A stage and all that it needs, directly or not. stages: in the order of `read_stages`."""
    found = {name}
    for stage in reversed(list(stages)):
        if stage.name in found:
            found.update(stage.needs)
    return found


def not_beside(stages: Sequence[Stage], name: str) -> set[str]:
    """The stages that never run at the same time as this one: all that it needs or that need it."""
    return (after(stages, name) | before(stages, name)) - {name}


def find_stage(stages: Iterable[Stage], name: str, file: Path) -> Stage:
    """The stage of this name; without one, the only stage of a file without stages.

    Raises ConfigError.
    """
    known = {stage.name: stage for stage in stages}
    if name in known:
        return known[name]
    names = ", ".join(known)
    if "" in known:
        problem, cure = f"the file has none, so there is none named {name!r}", "leave it out"
    elif not name:
        first = next(iter(known), "NAME")
        problem = "the file has stages, and this needs one of them"
        cure = f"add --stage {first}, or write {file}#{first}; stages: {names}"
    else:
        near = get_close_matches(name, known, n=1)
        problem, cure = f"none is named {name!r}", f"did you mean {near[0]}?" if near else ""
    raise ConfigError.one(str(file), "stages", problem, cure or f"stages: {names or 'none'}")


def split_stage(path: Path | str) -> tuple[Path, str]:
    """The file, and the stage that follows it after #: em.yaml#masks. Without one, it is empty."""
    file, mark, name = str(path).rpartition("#")
    if mark and file and re.fullmatch(STAGE_NAME, name) and not Path(path).exists():
        return Path(file), name
    return Path(path), ""


def stage_path(path: Path, stage: str) -> Path:
    """What `split_stage` reads."""
    return Path(f"{path}#{stage}") if stage else path


def file_ledger(ledger: str, stage: str) -> str:
    """The ledger of the whole file, which has the heartbeats. ledger: of this stage."""
    return ledger.removesuffix(f"/stages/{stage}") if stage else ledger


def job_name(job: str, stage: str, wave: int = 0) -> str:
    """The name of a job of a stage. job: that of the whole file. wave: its number, from 1."""
    return ".".join([job, *([stage] if stage else []), *([str(wave)] if wave else [])])
