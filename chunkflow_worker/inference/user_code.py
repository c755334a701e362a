"""What went wrong in the code of a user's model file, in words that a short message holds."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from traceback import extract_tb
from typing import Any

_NOT_THEIRS = {"site-packages", "chunkflow_worker"}
_LONGEST = 400  # characters of an error's text
_NO_GPU = ("Torch not compiled with CUDA", "Found no NVIDIA driver", "No CUDA GPUs are available")


def fault(error: BaseException, path: str) -> str:
    """The end of "... fails": the last line of the user's code that ran, and the error.

    path: of the model file. The user's code is what lies in its folder.
    """
    folder, file = Path(path).resolve().parent, Path(path).resolve()
    place = ""
    for frame in extract_tb(error.__traceback__):
        source = Path(frame.filename).resolve()
        theirs = source.is_relative_to(folder) and not _NOT_THEIRS & set(source.parts)
        if file.is_file() and theirs and frame.line:
            within = "" if source == file else f" of {source.name}"
            place = f" in line {frame.lineno}{within}, `{frame.line}`"
    text = " ".join(str(error).split())[:_LONGEST]
    kind = type(error).__name__
    if not text:
        return f"{place}: {kind}"
    return f"{place}: {text}" if kind == "RuntimeError" else f"{place}: {kind}: {text}"


def cure(error: BaseException) -> str:
    """What mends the error; empty if that is not known."""
    text = str(error)
    if "torch.load with map_location" in text:
        return "give torch.load map_location='cpu': the net is moved to the GPU if there is one"
    if any(words in text for words in _NO_GPU):
        return "leave out .cuda() and .to('cuda'): all is moved to the GPU if there is one"
    if "attempted relative import" in text:
        return "import files beside it by their names, without the dot, and set PYTHONPATH"
    return ""


def takes_one(function: Any) -> bool:
    """Whether a function can be called with one argument, by its position."""
    try:
        signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # some functions in C have no signature
        return True
    return True
