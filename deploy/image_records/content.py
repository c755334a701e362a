"""`inspect_image`: asks Docker, and Python in the image, what the image contains."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Runs in the image, so it uses nothing but the standard library.
_PROGRAM = """
import importlib.metadata as m, json, pathlib, platform, sysconfig, sys
base = sysconfig.get_path("purelib", vars={"base": sys.base_prefix, "platbase": sys.base_prefix})
python = [[d.metadata["Name"], d.version, d.metadata.get("License-Expression") or ""]
          for d in m.distributions(path=[*sys.path, base])]  # those of the base image, too
status = pathlib.Path("/var/lib/dpkg/status")
debian = []
for entry in status.read_text(errors="replace").split("\\n\\n") if status.exists() else []:
    lines = (line for line in entry.splitlines() if ": " in line and not line.startswith(" "))
    fields = dict(line.split(": ", 1) for line in lines)
    if fields.get("Status", "").endswith(" installed"):
        debian.append([fields["Package"], fields["Version"], fields["Architecture"]])
system = platform.freedesktop_os_release()
print(json.dumps({"python": python, "debian": debian, "interpreter": platform.python_version(),
                  "system": [system["ID"], system["VERSION_ID"]]}))
"""


@dataclass(frozen=True)
class Content:
    """An image and what is installed in it.

    name: with its tag. digest: of its configuration (the image's id), SHA-256 in hexadecimal.
    python: name, version and license (may be empty) of each Python package.
    debian: name, version and architecture of each package of the system.
    system: name and version of the distribution.
    """

    name: str
    digest: str
    created: str
    labels: dict[str, str]
    interpreter: str
    system: tuple[str, str]
    python: tuple[tuple[str, str, str], ...]
    debian: tuple[tuple[str, str, str], ...]


def inspect_image(docker: Sequence[str], image: str) -> Content:
    """Run Python in the image, without network and privileges. Raises SystemExit."""
    described = json.loads(_run([*docker, "image", "inspect", image]))[0]
    locked = ["--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only"]
    inside = [*docker, "run", "--rm", *locked, "--entrypoint=python", image, "-c", _PROGRAM]
    found: dict[str, Any] = json.loads(_run(inside))
    name, version = found["system"]
    return Content(
        name=image,
        digest=described["Id"].removeprefix("sha256:"),
        created=described["Created"],
        labels=described["Config"].get("Labels") or {},
        interpreter=found["interpreter"],
        system=(name, version),
        python=tuple(sorted({(n, v, text) for n, v, text in found["python"]})),
        debian=tuple(sorted((n, v, a) for n, v, a in found["debian"])),
    )


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout
