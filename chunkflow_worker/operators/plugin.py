"""plugin"""

from __future__ import annotations

import os
import sys
import traceback
from ast import literal_eval
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from chunkflow_worker.config.extras import install_line
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkflowError, ChunkMismatch, ConfigError, RetryableError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step, split_names
from chunkflow_worker.pipeline.task import SkipTask, Task

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk

_FOLDER = "CHUNKFLOW_PLUGIN_DIR"


class Plugin(Operator):
    """Call the function `execute` of your Python file with chunks, and keep what it returns.

    `execute(first, second, ..., args)` takes the inputs in their order: chunks with `array` (zyx or
    czyx), `voxel_offset` (zyx), `voxel_size` (nm, zyx) and `bbox`, or other values of the chain;
    the name bbox means the task's box. It returns one result, or a tuple or list with one result
    for each output name, or None without output names. An array of the first chunk's size becomes a
    chunk at the same position; a smaller array is centred in it. A chunk that is returned keeps its
    own position. Other results are kept unchanged.

    --args "size=(1,3,3);mode=nearest" gives keywords if execute takes them; otherwise execute gets
    the text as `args`. The file is loaded once, and execute is called from several threads. It may
    raise SkipTask, with empty=True if nothing may be stored for the box. Records hold a digest of
    the file. With --dry-run, a plugin without output names is not called, since it can only write.

    Files that execute writes are checked by `chunkflow-producer verify` if it writes them by
    atomic_file, or names them by note_files, and they are below --output-path, which it gets as
    `output_path` if it takes that.
    """

    group: ClassVar[str] = "Image"
    example: ClassVar[str] = r"""
        chunkflow load-tif -f em.tif \
            plugin -f examples/plugins/median_filter -i chunk -o chunk \
                -a "size=(3,5,5)" --margin-size 1 2 2 \
            save-tif -f median.tif
    """
    differs: ClassVar[str] = (
        "Wrong names, arguments and numbers of results are reported instead of a crash. "
        "--margin-size reads the voxels that a filter needs around its output."
    )
    moves_box: ClassVar[bool] = True
    reads_files: ClassVar[tuple[str, ...]] = ("file",)
    models: ClassVar[tuple[str, ...]] = ("file",)
    writes_paths: ClassVar[tuple[str, ...]] = ("output_path",)
    renamed: ClassVar[Mapping[str, str]] = {
        "--input-chunk-name": "--input-names",
        "--output-chunk-name": "--output-names",
    }
    replaces: ClassVar[Mapping[str, str]] = {
        "custom-operator": (
            "`plugin -f FILE -i chunk -o chunk` calls the function `execute` of a file, "
            "instead of `op_call`"
        ),
        "agglomerate": (
            "`plugin -f examples/plugins/agglomerate -i affs -o seg` does it, with a file of "
            "the repository"
        ),
        "cutout-dvid-target, cutout-dvid-label": (
            "write a `plugin` whose function `execute` reads the box from DVID"
        ),
        "remap-segmentation, remap": (
            "write a `plugin`: boxes are worked on in any order, so their ids cannot depend "
            "on the boxes before"
        ),
    }
    op: Literal["plugin"] = "plugin"
    input_names: str | None = field(
        None,
        flag="-i",
        many=True,
        help="Values to pass to execute, separated by commas; bbox passes the task's box, and "
        "None passes None.",
    )
    output_names: str | None = field(
        None, flag="-o", many=True, help="Names of the results, separated by commas."
    )
    file: str = field(
        flag="-f",
        help=f"Python file, with or without .py; looked for here and in the folder {_FOLDER}.",
    )
    args: str | None = field(
        None, flag="-a", help="For execute: keywords such as 'a=3;b=(1,2);c=text', or any text."
    )
    output_path: str | None = field(
        None,
        help="Folder of the files that execute writes, with a slash at the end, or how their paths "
        "begin; without it, no one looks for them.",
    )
    margin_size: Vec3 = field(
        Vec3(0, 0, 0),
        help="Voxels that execute needs around its output; they are read too, and cut off "
        "afterwards.",
    )

    @field_validator("margin_size")
    @classmethod
    def _not_negative(cls, value: Vec3) -> Vec3:
        if min(value) < 0:
            raise ValueError("takes three numbers from 0 on")
        return value

    @field_validator("output_names")
    @classmethod
    def _distinct(cls, value: str | None) -> str | None:
        names = split_names(value)
        if "None" in names:
            raise ValueError("no result can be named None")
        if len(set(names)) < len(names):
            raise ValueError("has the same name twice")
        return value

    @property
    def margin(self) -> Vec3:
        return self.margin_size

    def model_files(self) -> Iterator[tuple[str, Path]]:
        yield "file", self._path()

    def reads(self) -> tuple[str, ...]:
        return tuple(name for name in split_names(self.input_names) if name not in ("None", "bbox"))

    def writes(self) -> tuple[str, ...]:
        return split_names(self.output_names)

    @property
    def may_write_unseen(self) -> bool:
        return not self.writes()

    def box_after(self, box: BoundingBox) -> BoundingBox | None:
        return box  # only its chunks may lie elsewhere, or have other voxels

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        path = self._path()
        execute = self._load(path)
        inputs, outputs = split_names(self.input_names), self.writes()
        keywords = self._keywords(path, execute, len(inputs))

        def step(task: Task) -> None:
            if run.dry_run and not outputs:
                return
            values = [_value(task, name) for name in inputs]
            try:
                returned = execute(*values, **keywords)
            except (ChunkflowError, SkipTask, MemoryError):
                raise
            except Exception as error:
                raise RetryableError(
                    f"{_place(error, path)}: {type(error).__name__}: {error}"
                ) from error
            results = _results(returned)
            if len(results) != len(outputs):
                named = f"names {len(outputs)} ({', '.join(outputs)})" if outputs else "names none"
                got = ", ".join(type(r).__name__ for r in results) or "None"
                raise ChunkMismatch(
                    f"execute of {path} returned {len(results)} results ({got}), and output_names "
                    f"{named}"
                )
            for name, result in zip(outputs, results, strict=True):
                task.values[name] = _placed(result, values, f"result {name!r} of {path}")

        yield step

    def _path(self) -> Path:
        """The file. Raises ConfigError if there is none."""
        name = self.file if self.file.endswith(".py") else f"{self.file}.py"
        folders = [Path.cwd(), *([Path(os.environ[_FOLDER])] if os.environ.get(_FOLDER) else [])]
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
        tried = " or ".join(dict.fromkeys(str(folder / name) for folder in folders))
        raise ConfigError.one(
            self.label,
            "file",
            f"there is no file {tried}",
            f"give its path, or set {_FOLDER} to its folder; the folder examples/plugins of the "
            "repository has some",
        )

    def _load(self, path: Path) -> Callable[..., Any]:
        """The function `execute` of the file. Raises ConfigError if the file fails or has none."""
        spec = spec_from_file_location(f"chunkflow_plugin_{path.stem}_{abs(hash(str(path)))}", path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses and pickle look there
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            absent = isinstance(error, ModuleNotFoundError)
            cure = (
                f"install it; for all of examples/plugins: {install_line('plugins')}"
                if absent
                else ""
            )
            raise ConfigError.one(
                self.label, "file", f"{_place(error, path)}: {type(error).__name__}: {error}", cure
            ) from error
        execute = getattr(module, "execute", None)
        if not callable(execute):
            raise ConfigError.one(
                self.label,
                "file",
                f"{path} defines no function execute",
                "write def execute(chunk): ...",
            )
        found: Callable[..., Any] = execute
        return found

    def _keywords(self, path: Path, execute: Callable[..., Any], count: int) -> dict[str, Any]:
        """The keywords for `execute`: those of --args, or its text as `args`; and its output path.

        Raises ConfigError if `execute` takes neither.
        """
        ways: list[dict[str, Any]] = [{}] if self.args is None else [{"args": self.args}]
        if self.args and (pairs := _pairs(self.args)):
            ways.insert(0, pairs)
        try:
            known: Signature = signature(execute)
        except (TypeError, ValueError):  # a function in C
            return ways[0]
        if self.output_path is not None and "output_path" in known.parameters:
            path_given = self.output_path.removeprefix("file://")
            ways = [{"output_path": path_given} | way for way in ways]
        for way in ways:
            try:
                known.bind(*[None] * count, **way)
            except TypeError as error:
                problem = str(error)
            else:
                return way
        given = f"{count} inputs" + (f" and --args {self.args!r}" if self.args is not None else "")
        line = f":{execute.__code__.co_firstlineno}" if hasattr(execute, "__code__") else ""
        raise ConfigError.one(
            self.label, "args", f"execute{known} of {path}{line} does not take {given}: {problem}"
        )


def _pairs(text: str) -> dict[str, Any] | None:
    """`a=3;b=x` as keywords; None if the text has another form."""
    parts = [part.partition("=") for part in text.split(";") if part.strip()]
    if not all(equals and key.strip().isidentifier() for key, equals, _ in parts):
        return None
    return {key.strip(): _literal(value.strip()) for key, _, value in parts}


def _literal(text: str) -> Any:
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _place(error: BaseException, path: Path) -> str:
    """The file, and the line in it that raised the error."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _value(task: Task, name: str) -> Any:
    if name == "None":
        return None
    if name == "bbox":
        return task.bbox
    if name not in task.values:
        raise task.missing(name)
    return task.values[name]


def _results(returned: Any) -> list[Any]:
    if returned is None:
        return []
    return list(returned) if isinstance(returned, (tuple, list)) else [returned]


def _placed(result: Any, inputs: list[Any], what: str) -> Any:
    """An array of voxels as a chunk, centred in the first chunk of the inputs; others unchanged."""
    import numpy as np

    from chunkflow_worker.image.chunk import Chunk

    if not isinstance(result, np.ndarray) or result.ndim not in (3, 4):
        return result
    place: Chunk | None = next((value for value in inputs if isinstance(value, Chunk)), None)
    if place is None:
        raise ChunkMismatch(
            f"{what} is an array, and no input chunk gives its position: return a Chunk"
        )
    less = [a - b for a, b in zip(place.bbox.size, result.shape[-3:], strict=True)]
    if any(n < 0 or n % 2 for n in less):
        raise ChunkMismatch(
            f"{what} has shape {result.shape}, which fits neither all nor the middle of the chunk "
            f"{place.bbox} "
            f"of size {list(place.bbox.size)}: return a Chunk"
        )
    return place.with_array(result, voxel_offset=place.voxel_offset + [n // 2 for n in less])
