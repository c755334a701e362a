"""plugin"""

from __future__ import annotations

import runpy
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from chunkflow_worker.errors import ChunkflowError, ChunkMismatch, ConfigError
from chunkflow_worker.operator import Operator, Run, Step, split_names
from chunkflow_worker.options import field
from chunkflow_worker.task import SkipTask, Task


class Plugin(Operator):
    """Run a Python file of your own: its function `execute(chunk, ..., args=...)`.

    `execute` gets the inputs in their order, and `args` when that is given. It returns one value for each of output_names: a
    tuple or list when there are several, None when there is none. Arrays become chunks at the place of the first input. It may
    run in several threads at once. The file is read once; it runs with the rights of whoever runs the chain.
    """

    op: Literal["plugin"] = "plugin"
    input_names: str | None = field(None, flag="-i", help="Values to give to it, separated by commas.")
    output_names: str | None = field(None, flag="-o", help="Names of what it returns, separated by commas.")
    file: str = field(flag="-f", help="Python file; .py may be left out.")
    args: str | None = field(None, flag="-a", help="Text for its argument `args`.")

    def writes(self) -> tuple[str, ...]:
        return split_names(self.output_names)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        path = Path(self.file if self.file.endswith(".py") else f"{self.file}.py")
        execute = self._load(path)
        inputs, outputs = split_names(self.input_names), split_names(self.output_names)
        extra = {} if self.args is None else {"args": self.args}

        def step(task: Task) -> None:
            missing = [name for name in inputs if name not in task.values]
            if missing:
                known = ", ".join(sorted(task.values)) or "none so far"
                raise ChunkMismatch(f"there is no value named {', '.join(map(repr, missing))}; made so far: {known}")
            given = [task.values[name] for name in inputs]
            try:
                result = execute(*given, **extra)
            except (ChunkflowError, SkipTask, MemoryError):
                raise
            except Exception as error:
                line = _line(error, path)
                raise ChunkMismatch(f"execute() of {path}{line} raised {type(error).__name__}: {error}") from error
            for name, value in zip(outputs, _results(result, len(outputs), path), strict=True):
                task.values[name] = _chunk(value, given)

        yield step

    def _load(self, path: Path) -> Callable[..., Any]:
        """The file's `execute`. Raises ConfigError."""
        if not path.is_file():
            raise ConfigError.one(self.label, "file", f"there is no file {path}")
        try:
            names = runpy.run_path(str(path))
        except Exception as error:
            raise ConfigError.one(
                self.label, "file", f"{path}{_line(error, path)} fails with {type(error).__name__}: {error}"
            ) from error
        execute = names.get("execute")
        if not callable(execute):
            raise ConfigError.one(self.label, "file", f"{path} has no function named execute")
        function: Callable[..., Any] = execute
        return function


def _results(result: Any, count: int, path: Path) -> list[Any]:
    results = [] if result is None else list(result) if isinstance(result, (tuple, list)) else [result]
    if len(results) != count:
        raise ChunkMismatch(f"execute() of {path} returned {len(results)} values, and output_names has {count}")
    return results


def _chunk(value: Any, given: list[Any]) -> Any:
    """An array of the shape of the first chunk given, at its place; any other value as it is."""
    import numpy as np

    from chunkflow_worker.chunk import Chunk

    first = next((v for v in given if isinstance(v, Chunk)), None)
    if not isinstance(value, np.ndarray) or first is None:
        return value
    if value.ndim not in (3, 4) or value.shape[-3:] != first.array.shape[-3:]:
        raise ChunkMismatch(
            f"an array of shape {value.shape} was returned, and the first input has {first.array.shape}: return a Chunk, which "
            "tells where it lies"
        )
    return first.with_array(value)


def _line(error: BaseException, path: Path) -> str:
    numbers = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" (line {numbers[-1]})" if numbers else ""
