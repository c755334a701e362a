"""`Stage`: a part of a pipeline file that is a job of its own, with a ledger of its own.

    stages:
      - {name: label, tasks: ..., operators: [...]}
      - {name: merge, tasks: {tree_of: label}, operators: [...]}
      - {name: relabel, tasks: ..., operators: [...], needs: [merge], queue: cpu, verify: true}

A file with plain `operators:` is a file of one stage without a name, whose ledger is the file's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.config.yaml_file import read_yaml
from chunkflow_worker.errors import ConfigError, Fault
from chunkflow_worker.job import share

_Made = TypeVar("_Made")

STAGE_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}"
TREE = "tree_of"
"""The option of `tasks` that makes the tasks of a stage a tree over the boxes of another one."""

SHARES = "shares"
"""The option of `tasks` that makes so many tasks, each a `Share` of the objects."""

ZEROS = "allow-zeros"
"""The value of `verify` for an output that may be zero where its input is not."""

_PARTS = ("name", "tasks", "operators", "needs", "verify", "queue")
_QUEUE = r"[A-Za-z0-9_-]{1,20}"
_RESERVED = ("dead", "high")  # what the names of other queues end in
_NAME_RULE = "use up to 40 letters, digits, hyphens and underscores"


@dataclass(frozen=True)
class Stage:
    """A stage as it is written; its operators, and the options of its grid, are not checked yet.

    name: empty for that of a file without stages. place: in the file, for faults.
    tasks: options of the grid, also that of shares; None for a tree, and where none are given.
    tree_of: the stage whose boxes its tasks join, see `Tree`; empty for tasks of a grid.
    needs: the stages that must be complete before it is sent. verify: and verified.
    allow_zeros: blocks that are zero where the input is not are right, as in a mask.
    queue: what the name of its queue ends in; empty for the queue of the file.
    """

    name: str
    operators: Any
    tasks: Any = None
    tree_of: str = ""
    needs: tuple[str, ...] = ()
    verify: bool = False
    allow_zeros: bool = False
    queue: str = ""
    place: str = ""

    @property
    def content(self) -> dict[str, Any]:
        """The stage as a pipeline file of its own. A tree has no tasks there."""
        return {"operators": self.operators} | ({"tasks": self.tasks} if self.tasks else {})

    def fault(self, fault: Fault) -> Fault:
        """A fault in its content, with its place in the file."""
        return replace(fault, place=f"{self.place}.{fault.place}" if self.place else fault.place)

    def queue_of(self, queue: str) -> str:
        """The queue of its tasks, by its name, URL or ARN. queue: that of the file, or this one."""
        own = f"-{self.queue}"
        return queue if not self.queue or queue.endswith(own) else f"{queue}{own}"

    def ledger_in(self, ledger: str) -> str:
        """The path of its ledger. ledger: that of the file, or of this stage already."""
        own = f"/stages/{self.name}"
        return ledger if not self.name or ledger.endswith(own) else f"{ledger.rstrip('/')}{own}"


PLAIN = Stage("", None)
"""That of a file without stages."""


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


def read_stages(content: Mapping[str, Any], faults: list[Fault]) -> list[Stage]:
    """The stages of a file that has some, each after those that it needs.

    faults: what is wrong is added. Stages that can be read are returned all the same, so that all
        faults of a file can be told at once.
    """
    faults.extend(_unknown(content, ("stages",), "", "a part of a file with stages"))
    items = content["stages"]
    if not isinstance(items, list) or not items:
        cure = "write below it a list of stages, each with - name: and operators:"
        faults.append(Fault("stages", "is empty or not a list", cure))
        return []
    stages: list[Stage] = []
    for number, item in enumerate(items):
        before = stages[-1].name if stages else ""
        stage = _stage(item, f"stages.{number}", before, faults)
        if stage is not None:
            stages.append(stage)
    faults.extend(_name_faults(stages))
    return _in_order(stages, faults)


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
        problem, cure = f"there are none in this file, so none named {name!r}", ""
    elif not name:
        first = next(iter(known), "NAME")
        problem = "there are several, and this needs one of them"
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


def _stage(item: Any, place: str, before: str, faults: list[Fault]) -> Stage | None:
    if not isinstance(item, Mapping):
        faults.append(Fault(place, f"{item!r} is not a stage", "write - name: and operators:"))
        return None
    name = item.get("name")
    is_named = isinstance(name, str) and re.fullmatch(STAGE_NAME, name) is not None
    own_place = f"{place} ({name})" if is_named else place
    faults.extend(_unknown(item, _PARTS, f"{own_place}.", "a part of a stage"))
    if not is_named:
        problem = "is missing" if name is None else f"{name!r} is not the name of a stage"
        faults.append(Fault(f"{place}.name", problem, _NAME_RULE))
        return None
    place, name = own_place, str(name)
    tasks, tree_of = _tasks(item.get("tasks"), place, faults)
    needs = item.get("needs", [before] if before else [])
    if isinstance(needs, str):
        needs = [needs]
    if not isinstance(needs, list) or not all(isinstance(one, str) for one in needs):
        faults.append(Fault(f"{place}.needs", "is not a list of stages", "for example [label]"))
        needs = []
    verify, queue = item.get("verify", False), item.get("queue", "")
    if not isinstance(verify, bool) and verify != ZEROS:
        cure = f"legal: true, false, {ZEROS}"
        faults.append(Fault(f"{place}.verify", f"{verify!r} is neither true nor false", cure))
    if queue != "" and not (isinstance(queue, str) and re.fullmatch(_QUEUE, queue)):
        cure = "give what the name of the queue ends in, for example gpu: queue em, then em-gpu"
        faults.append(Fault(f"{place}.queue", f"{queue!r} is not the end of a queue's name", cure))
    elif queue in _RESERVED:
        problem = f"{queue!r} is the end of the name of another queue"
        faults.append(Fault(f"{place}.queue", problem, "choose another one"))
    return Stage(
        name,
        item.get("operators"),
        tasks,
        tree_of,
        tuple(dict.fromkeys([*needs, *([tree_of] if tree_of else [])])),
        verify in (True, ZEROS),
        verify == ZEROS,
        queue if isinstance(queue, str) else "",
        place,
    )


def _tasks(tasks: Any, place: str, faults: list[Fault]) -> tuple[Any, str]:
    """The options of the grid, and the stage whose boxes the tasks join if they are a tree."""
    if not isinstance(tasks, Mapping) or not tasks:
        cure = (
            f"write op: {operator_with('is_grid')} and the options of the grid; or "
            f"{TREE}: <stage>; or {SHARES}: 100"
        )
        faults.append(Fault(f"{place}.tasks", "is missing or no mapping", cure))
        return tasks, ""
    if "op" in tasks:
        return tasks, ""
    for kind in (TREE, SHARES):
        near = next(iter(get_close_matches(kind, map(str, tasks), n=1)), "")
        if near and near != kind:
            faults.append(Fault(f"{place}.tasks.{near}", "is unknown", f"did you mean {kind}?"))
            return None, ""
        if near:
            faults.extend(_unknown(tasks, (kind,), f"{place}.tasks.", f"an option beside {kind}"))
            return _of_kind(kind, tasks[kind], place, faults)
    return tasks, ""


def _of_kind(kind: str, value: Any, place: str, faults: list[Fault]) -> tuple[Any, str]:
    if kind == TREE:
        return None, str(value)
    if type(value) is not int or value not in share.LEGAL:
        legal = ", ".join(map(str, share.LEGAL))
        faults.append(Fault(f"{place}.tasks.{kind}", f"{value!r} is refused", f"legal: {legal}"))
        return None, ""
    return {"op": operator_with("is_grid"), **share.grid_of_shares(value)}, ""


def _unknown(
    item: Mapping[Any, Any], legal: tuple[str, ...], place: str, what: str
) -> Iterator[Fault]:
    for key in map(str, item.keys() - set(legal)):
        near = get_close_matches(key, legal, n=1)
        cure = f"did you mean {near[0]}?" if near else f"legal: {', '.join(legal)}"
        yield Fault(f"{place}{key}", f"is not {what}", cure)


def _name_faults(stages: list[Stage]) -> Iterator[Fault]:
    """Names that are given twice, and names of stages that there are not."""
    known: dict[str, Stage] = {}
    for stage in stages:
        first = known.setdefault(stage.name, stage)
        if first is not stage:
            problem = f"{stage.name!r} is the name of an earlier stage, too"
            yield Fault(f"{stage.place}.name", problem, "rename one of them")
    for stage in stages:
        for name in stage.needs:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                cure = f"did you mean {near[0]}?" if near else f"stages: {', '.join(known)}"
                part = "tasks.tree_of" if name == stage.tree_of else "needs"
                yield Fault(f"{stage.place}.{part}", f"there is no stage {name!r}", cure)
        of = known.get(stage.tree_of)
        if of is not None and of.tree_of:
            problem = f"the tasks of {of.name!r} are a tree, too"
            yield Fault(f"{stage.place}.tasks.tree_of", problem, f"write tree_of: {of.tree_of}")


def _in_order(stages: list[Stage], faults: list[Fault]) -> list[Stage]:
    """Each stage after those that it needs."""
    known = {stage.name for stage in stages}
    ordered: list[Stage] = []
    left = list(stages)
    while left:
        done = {stage.name for stage in ordered}
        ready = next((s for s in left if done.issuperset(known.intersection(s.needs))), None)
        if ready is None:
            circle = ", ".join(stage.name for stage in left)
            faults.append(Fault("stages", f"need each other in a circle: {circle}"))
            return [*ordered, *left]
        left.remove(ready)
        ordered.append(ready)
    return ordered
