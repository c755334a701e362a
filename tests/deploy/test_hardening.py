"""Containers start without privileges, whatever starts them: docker run, Compose or Kubernetes.

Compose is in test_compose.py, Kubernetes in test_kubernetes_manifests.py.
"""

from __future__ import annotations

import re

from tests.support.commands import PAGES
from tests.support.paths import ROOT

OPTIONS = (
    "--cap-drop ALL",
    "--security-opt no-new-privileges",
    "--read-only",
    "--tmpfs /tmp",
    "--pids-limit 1000",
)


def docker_run_lines() -> list[tuple[str, str]]:
    """Page and command line of each `docker run` in the documentation."""
    return [
        (page.relative_to(ROOT).as_posix(), line)
        for page in PAGES
        for line in re.sub(r"\\\n\s*", "", page.read_text()).splitlines()
        if re.search(r"\bdocker run -", line) and not line.startswith("#")
    ]


def test_docker_run_drops_capabilities_and_writes_to_tmp_only() -> None:
    assert docker_run_lines()
    for page, line in docker_run_lines():
        missing = [option for option in OPTIONS if f" {option} " not in line]
        assert not missing, f"{page}: {line}"
        assert not re.search(r"--(privileged|cap-add|user|pid|ipc|net(work)? host)\b", line), page
