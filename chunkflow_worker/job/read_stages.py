"""`read_stages`: the stages that a pipeline file describes, with all that is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from chunkflow_worker.config.catalog import operator_with
from chunkflow_worker.errors import Fault
from chunkflow_worker.job import share
from chunkflow_worker.job.stage import SHARES, STAGE_NAME, TREE, ZEROS, Stage

_PARTS = ("name", "tasks", "operators", "needs", "verify", "queue")
_QUEUE = r"[A-Za-z0-9_-]{1,20}"
_RESERVED = ("dead", "high")  # what the names of other queues end in
_NAME_RULE = "use up to 40 letters, digits, hyphens and underscores"


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
    for key in (str(key) for key in item if key not in legal):
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
