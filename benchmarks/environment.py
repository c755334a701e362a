"""Where programs run: an environment for each other program, and a description of the machine."""

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
_BFLOAT16 = ("avx512_bf16", "amx_bf16")


def python_with(name: str, *requirements: str, torch: bool = True) -> Path:
    """Return the Python of a virtual environment with exactly these requirements.

    The environment is made if it does not exist or has other requirements.

    torch: it gets the same torch release as this environment, so that only the programs differ.
    """
    wanted = "\n".join([*([f"torch=={torch_release()}"] if torch else []), *requirements])
    folder = _ENVIRONMENTS / name
    python, installed = folder / "bin" / "python", folder / "requirements.txt"
    if not installed.exists() or installed.read_text() != wanted:
        names = ", ".join(wanted.split())
        print(f"installing {names} in {folder.relative_to(ROOT)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *wanted.split()], check=True)
        installed.write_text(wanted)
    return python


def torch_release() -> str:
    return version("torch").split("+")[0]


def gpu() -> str:
    """Return the name of the first GPU that torch can use; empty if there is none."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def device() -> str:
    """Return the key of results: the name of the GPU, or of the CPU with its number of cores."""
    return gpu() or f"{cpu_name()}, {cpu_count()} cores"


def describe() -> str:
    """Return one line: the machine, the commit of our code, and the date."""
    flags = cpu_flags()
    known = " ".join(name for name in _FLAGS if name in flags)
    missing = ", ".join(f"no {name}" for name in _BFLOAT16 if name not in flags)
    features = "; ".join(filter(None, [known, missing]))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    parts = [
        f"{cpu_name()} ({features})",
        f"{cpu_count()} cores",
        f"{memory:.0f} GB",
        gpu() or "no GPU",
        f"{platform.system()}, Python {platform.python_version()}",
        f"ours at {_commit()}",
        f"{datetime.now(UTC):%Y-%m-%d}",
    ]
    return ", ".join(parts)


def _commit() -> str:
    """Return the last commit that changed the worker, and whether there are uncommitted changes."""
    last = _git("log", "-1", "--format=%h")
    changed = _git("status", "--porcelain")
    return f"{last or 'an unknown commit'}{' with changes' if changed else ''}"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments, "--", "chunkflow_worker"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()
