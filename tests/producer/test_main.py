from __future__ import annotations

import subprocess
import sys


def test_python_m_producer_gives_the_exit_status(aws: dict[str, str], unique_name: str) -> None:
    line = [sys.executable, "-m", "producer", "status", "--queue", unique_name]
    result = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: queue: ")
    assert "Traceback" not in result.stderr
