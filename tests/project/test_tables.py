"""`make bench` and `make chaos` change the tables of the documentation only when they are asked."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

import tests.chaos.__main__ as chaos
from benchmarks import table
from benchmarks.options import options
from tests.chaos.report import Report
from tests.support.paths import ROOT


@pytest.mark.parametrize("asked", [False, True])
def test_a_fault_test_writes_its_table_only_when_asked(
    asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Report] = []
    report = Report("kills", ("seed",), [(1,)], [])
    monkeypatch.setattr(chaos, "local_aws", lambda: nullcontext({}))
    monkeypatch.setattr(chaos, "SCENARIOS", {"kills": (lambda *_: report, 1)})
    monkeypatch.setattr(chaos, "put", written.append)
    assert chaos.main(["kills", *["--write"] * asked]) == 0
    assert written == [report] * asked


@pytest.mark.parametrize("asked", [False, True])
def test_a_benchmark_writes_its_table_only_when_asked(
    asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "RESULTS.md"
    monkeypatch.setattr(table, "RESULTS", page)
    monkeypatch.setattr("sys.argv", ["benchmark", *["--write"] * asked])
    table.record("Blending", "0.4 s", [], options(None, repeats=3).write)
    assert page.exists() == asked


def test_make_passes_the_option_on() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    scripts = ("-m benchmarks.", "-m tests.chaos", "-m tests.soak")
    runs = [line for line in lines if any(script in line for script in scripts)]
    assert len(runs) == 12
    assert all(line.endswith(("$(BENCH)", "$(CHAOS)", "$(SOAK)")) for line in runs)
