"""`make audit`: known vulnerabilities of what is installed here, and of what the images install.

pip-audit skips packages that it cannot look up, and then says that it found nothing. Here that is a
failure, which names the package.

Exit status: 0 when every package was audited and none has a known vulnerability, 1 when one has, 3
when none has and some could not be audited.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

LOCKS = Path(__file__).parent / "requirements"
OWN = "chunkflow-worker"  # installed from this folder, so no release of it can be looked up
CPU_TORCH = "torch-cpu.txt"  # not on PyPI; torch-gpu.txt has the same release of torch, which is
INSTALLED: list[str] = []


def main() -> int:
    locks = sorted(path for path in LOCKS.glob("*.txt") if path.name != CPU_TORCH)
    # One by one: no image installs them all, and their versions may differ.
    sources = {"installed here": INSTALLED} | {lock.name: _of_lock(lock) for lock in locks}
    statuses = [report(where, audit(options)) for where, options in sources.items()]
    return 1 if 1 in statuses else max(statuses)


def _of_lock(lock: Path) -> list[str]:
    return ["--requirement", str(lock), "--require-hashes", "--disable-pip"]


def audit(options: Iterable[str]) -> list[dict[str, Any]]:
    """What pip-audit says of each package.

    Raises SystemExit when pip-audit itself fails.
    """
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        raise SystemExit(f"pip-audit failed:\n{done.stderr.strip()[-2000:]}") from None
    return packages


def report(where: str, packages: list[dict[str, Any]]) -> int:
    """Print what was found; returns the exit status."""
    vulnerable = list(_vulnerable(packages))
    skipped = {p["name"]: p["skip_reason"] for p in packages if "skip_reason" in p}
    skipped.pop(OWN, None)
    audited = sum("skip_reason" not in package for package in packages)
    print(f"{where}: {audited} packages audited, {len(vulnerable)} vulnerabilities known")
    for line in vulnerable:
        print(f"  {line}")
    for name, reason in skipped.items():
        print(f"  {name} could not be audited: {reason}")
    if not audited and not skipped:
        print("  no package was found")
    return 1 if vulnerable else 0 if audited and not skipped else 3


def _vulnerable(packages: Iterable[dict[str, Any]]) -> Iterator[str]:
    for package in packages:
        for found in package.get("vulns", []):
            fixed = ", ".join(found["fix_versions"]) or "no release yet"
            yield f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}"


if __name__ == "__main__":
    sys.exit(main())
