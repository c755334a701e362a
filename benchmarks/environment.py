"""Where programs run: a peer's own environment, and the description of the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from chunkflow_worker.machine.cpu import cpu_count, cpu_flags, cpu_name

ROOT = Path(__file__).parents[1]
_ENVIRONMENTS = Path(__file__).parent / ".envs"
_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "amx_fp16",
)


def python_with(name: str, *requirements: str) -> Path:
    """The Python of a virtual environment that holds just these; made when it is absent or holds others.

    torch is of the release that ours runs with, so that programs differ in nothing but themselves.
    """
    wanted = "\n".join([f"torch=={torch_release()}", *requirements])
    folder = _ENVIRONMENTS / name
    python, installed = folder / "bin" / "python", folder / "requirements.txt"
    if not installed.exists() or installed.read_text() != wanted:
        print(
            f"installing {', '.join(wanted.split())} in {folder.relative_to(ROOT)}", file=sys.stderr
        )
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *wanted.split()], check=True)
        installed.write_text(wanted)
    return python


def torch_release() -> str:
    return version("torch").split("+")[0]


def gpu() -> str:
    """Name of the first GPU that torch can use, else empty."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def device() -> str:
    """What results are kept by: the GPU's name, else the CPU's and how many cores of it there are."""
    return gpu() or f"{cpu_name()}, {cpu_count()} cores"


def describe() -> str:
    """The machine, our code and the day, in a line."""
    flags = cpu_flags()
    known = [name for name in _FLAGS if name in flags]
    lacking = [name for name in ("avx512_bf16", "amx_bf16") if name not in flags]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    described = f"{cpu_name()} ({' '.join(known)}{'; no ' if known and lacking else ''}{', no '.join(lacking)})"
    parts = [
        described,
        f"{cpu_count()} cores",
        f"{memory:.0f} GB",
        gpu() or "no GPU",
        f"{platform.system()}, Python {platform.python_version()}",
        f"ours at {_commit()}",
        f"{datetime.now(UTC):%Y-%m-%d}",
    ]
    return ", ".join(parts)


def _commit() -> str:
    """The last commit that changed the worker, and whether it was changed since."""
    git, code = ["git", "-C", str(ROOT)], ["--", "chunkflow_worker"]
    last = subprocess.run(
        [*git, "log", "-1", "--format=%h", *code], capture_output=True, text=True, check=False
    ).stdout.strip()
    changed = subprocess.run(
        [*git, "status", "--porcelain", *code], capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"{last or 'an unknown commit'}{' with changes' if changed else ''}"
