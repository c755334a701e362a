"""`Operator`: one step of a chain, declared by its options; `find_operator` finds its class."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from pydantic import ModelWrapValidatorHandler, PrivateAttr, model_validator

from chunkflow_worker.config.catalog import (
    folder_names,
    former_names,
    operator_names,
    package_operators,
    replaced_names,
)
from chunkflow_worker.config.facts import Facts
from chunkflow_worker.config.old_words import plain
from chunkflow_worker.config.options import Options, field
from chunkflow_worker.config.places import checked
from chunkflow_worker.config.variables import with_variables
from chunkflow_worker.errors import BoxOutsideVolume, ConfigError, Mistake
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.record import Written
from chunkflow_worker.job.volumes import Configured
from chunkflow_worker.pipeline.early import EarlyWrites
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.local_file import local_name
from chunkflow_worker.storage.path import normal_path

Step = Callable[[Task], None]


@runtime_checkable
class EarlyStep(Protocol):
    """A step that can begin while the operator before it still makes the chunk that it saves."""

    def __call__(self, task: Task) -> None: ...

    def early(self, task: Task) -> EarlyWrites | None:
        """What writes sections of the chunk that are finished; None if it must be whole."""


@dataclass(frozen=True)
class Run:
    """What an operator knows about the chain that it is opened in.

    needed_box: the box that this operator must produce for a task's box: the task's box and what
        all later operators need around it, inside the volume's bounds if these are given. All
        boxes are in voxels of what the operator produces.
    made: names of the values, and paths of the volumes, that earlier operators make.
    dry_run: read and compute, but write nothing.
    recorded: a worker writes a record of each task, so operators need not.
    """

    needed_box: Callable[[BoundingBox, BoundingBox | None], BoundingBox]
    made: frozenset[str] = frozenset()
    dry_run: bool = False
    recorded: bool = False

    def box_in(self, bounds: BoundingBox, box: BoundingBox | None, place: object) -> BoundingBox:
        """The box to read from `place`, which holds `bounds`; all of it for a task without a box.

        Raises BoxOutsideVolume if they have no voxel in common.
        """
        if box is None:
            return bounds
        inside = box.clip(bounds)
        if inside is None:
            raise BoxOutsideVolume(f"box {box} is outside {place}, which is {bounds}")
        return self.needed_box(box, bounds).clip(bounds) or inside


class Operator(Options, Facts):
    """Base of all operators.

    A subclass declares its options as fields and `op: Literal["its-name"]`, states its `Facts`, and
    implements `open`. The class docstring is its help text.
    """

    op: str
    name: str = field(
        "", help="Name in records, timings and errors; the operator's own name if empty."
    )
    _as_written: dict[str, Any] = PrivateAttr(default_factory=dict)
    """The options that hold variables of the environment, with ${env:NAME} as it was written."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        mips = filter(None, (*cls.loads.values(), *cls.saves.values()))
        places = (place.option for place in cls.places({}))
        for option in (*places, *cls.formats, *cls.models, *mips):
            if option not in cls.model_fields:
                raise TypeError(f"{cls.__name__} has no option {option!r}, which its facts name")

    @model_validator(mode="wrap")
    @classmethod
    def _remember_variables(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made = handler(data)
        if isinstance(data, Mapping):
            held = {name: value for name, value in data.items() if _holds_variables(value)}
            made._as_written = held
        return made

    @classmethod
    def meant(cls, name: str, value: Any, data: Mapping[str, Any]) -> Any:
        """The same; paths are checked, and brought into the form of `checked`."""
        value = super().meant(name, value, data)
        place = next((place for place in cls.places(data) if place.option == name), None)
        if place is None or not isinstance(value, str):
            return value
        return local_name(value) if place.is_local else checked(place, value)

    @property
    def label(self) -> str:
        return self.name or self.op

    @abstractmethod
    def open(self, run: Run) -> AbstractContextManager[Step]:
        """Acquire what is expensive once, and yield the step, which does one task.

        Steps run in several threads.
        """

    @property
    def margin(self) -> Vec3:
        """Voxels that it needs around its output, on each side."""
        return Vec3(0, 0, 0)

    def input_box(self, box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
        """The box that it must read to produce `box`, inside `bounds` if these are given.

        All in voxels of its input.
        """
        grown = box.grow(self.margin)
        return grown if bounds is None else grown.clip(bounds) or grown

    @property
    def downsampling_factor(self) -> Vec3:
        """How many times larger the voxels of its output are than those of its input."""
        return Vec3(1, 1, 1)

    def box_after(self, box: BoundingBox) -> BoundingBox | None:
        """The task's box for the operators after it; None if only running it tells.

        box: the task's box before it.
        """
        return None if self.moves_box else box

    def output_bounds(self, bounds: BoundingBox) -> BoundingBox:
        """The largest box that it can produce from `bounds`; in voxels of its input."""
        return bounds

    @property
    def output_type(self) -> str | None:
        """NumPy name of the type of the voxels that it makes; None if the options give none."""
        return getattr(self, "dtype", None)

    def size_without_box(self) -> Vec3 | None:
        """Size of the chunk that it makes for a task without a box, if the options give one."""
        return None

    def reads(self) -> tuple[str, ...]:
        """Names of the values that it takes from the task."""
        names = [
            getattr(self, key)
            for key in type(self).model_fields
            if key.startswith("input_") and key.endswith("_name")
        ]
        many = getattr(self, "input_names", "")
        return tuple(n for n in [*names, *split_names(many)] if n)

    def writes(self) -> tuple[str, ...]:
        """Names of the values that it leaves in the task."""
        many = getattr(self, "output_names", None)
        if many is not None or hasattr(self, "input_names"):
            return split_names(many or getattr(self, "input_names", ""))
        name = getattr(self, "output_chunk_name", None) or getattr(self, "output_name", None)
        return (name,) if name else ()

    def model_files(self) -> Iterator[tuple[str, Path]]:
        """The options of its fact `models` that are set, with the files or folders they mean."""
        for option in self.models:
            if path := getattr(self, option):
                yield option, Path(path)

    def files_of(self, task: Task, box: BoundingBox) -> Iterable[str]:
        """Paths that only the files of a task have; none if the options do not tell.

        box: the task's box when the operator runs.
        * stands for the id of an object. A file of such a name that the task did not write is a
        mistake: another run has left it there.
        """
        return ()

    def left_empty(self, box: BoundingBox) -> Sequence[Written]:
        """The places of a box that has no result, in volumes other than its fact `saves` names.

        box: in voxels of what it reads. Raises ConfigError and StorageUnavailable.
        """
        return ()

    @property
    def may_write_unseen(self) -> bool:
        """Whether it may write what nobody notes, and has no other use."""
        return False

    def results(self) -> set[str]:
        """The options that say where it writes results of a task; empty if it writes none."""
        written = {option for option, _ in Configured(type(self), dict(self)).paths(written=True)}
        return written - {*self.flags, *self.creates}

    def creates_volumes(self) -> tuple[str, ...]:
        """Paths of the volumes that it creates before the later operators do their step."""
        return tuple(normal_path(getattr(self, option)) for option in self.creates)

    def describe(self) -> str:
        """One line: the options that differ from the defaults."""
        given = self.model_dump(mode="json", exclude={"op", "name"}, exclude_defaults=True)
        return ", ".join(f"{key}={value}" for key, value in given.items())

    def dump(self) -> dict[str, Any]:
        """An item of a pipeline file: the name, and the options that differ from the defaults.

        Variables of the environment stay variables, which workers replace by their own.
        """
        given = self.model_dump(mode="json", exclude_defaults=True)
        return {"op": self.op} | given | self._as_written


class TaskSource(Operator):
    """An operator that makes the tasks of a local run. Workers take theirs from the queue."""

    group: ClassVar[str] = "Tasks"

    @property
    def consumes(self) -> bool:
        """Whether it takes its tasks from where others take theirs too.

        Their number is then not known before, and each is fetched only when it can be worked on at
        once.
        """
        return False

    @abstractmethod
    def tasks(self) -> Iterator[Task]:
        """The tasks, in order."""

    def tasks_to_the_end(self) -> Iterator[Task]:
        """The same, also after a task has failed: for sources that would then take no more."""
        return self.tasks()

    def job_boxes(self) -> Sequence[BoundingBox] | None:
        """The boxes of the job that its tasks belong to, in all processes; None if not known."""
        return self.known_boxes()

    def known_boxes(self) -> Sequence[BoundingBox] | None:
        """The boxes of its tasks; None if they cannot be listed without side effects."""
        return None

    def open(self, run: Run) -> AbstractContextManager[Step]:
        """A step that does nothing: the task is already made."""
        return nullcontext(lambda task: None)


def _holds_variables(value: Any) -> bool:
    try:
        return with_variables(value) is not value
    except Mistake:
        return False


def split_names(text: str | None) -> tuple[str, ...]:
    """The names in a text that separates them by commas."""
    return tuple(n.strip() for n in (text or "").split(",") if n.strip())


def find_operator(name: str) -> type[Operator]:
    """The operator class of that name. Raises ConfigError, which says what to write instead."""
    if name in folder_names():
        module = importlib.import_module(f"chunkflow_worker.operators.{name.replace('-', '_')}")
        return next(
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, Operator)
            and value.__module__ == module.__name__
            and value.model_fields["op"].default == name
        )
    if name in package_operators():
        loaded = package_operators()[name].load()
        if not (isinstance(loaded, type) and issubclass(loaded, Operator)):
            raise ConfigError.one(
                "operators", name, "its entry point does not name an Operator class"
            )
        return loaded
    raise unknown_operator(name)


def similar_operator(name: str) -> str | None:
    """The operator whose name, or name in an older version, is most like `name`, if one is."""
    former = former_names()
    close = get_close_matches(name, [*operator_names(), *former], n=1)
    return former.get(close[0], close[0]) if close else None


def unknown_operator(name: str) -> ConfigError:
    """The error for a name that no operator has today."""
    today, similar = former_names().get(name), similar_operator(name)
    if today:
        cure = f"it is called {today!r} today"
    elif name in replaced_names():
        cure = plain(replaced_names()[name])
    else:
        question = f"did you mean {similar!r}? " if similar else ""
        cure = f"{question}chunkflow --help lists all"
    return ConfigError.one("chunkflow", "operators", f"no operator is named {name!r}", cure)
