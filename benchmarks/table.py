"""Tables of results, and the sections of RESULTS.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.environment import describe, device
from benchmarks.race import Result

RESULTS = Path(__file__).parent / "RESULTS.md"
_HEAD = """# Speed and memory

`make bench BENCH=--write` writes this page. Each run replaces the tables of its own device. "Ours"
is chunkflow-worker. A ratio is the median, over the rounds, of a program's time divided by ours.
"""


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table. The first column is text, the others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def speed_table(results: Sequence[Result], references: Sequence[str], patches: bool = True) -> str:
    """Return the medians of each program, and its ratios to the programs of `references`.

    A ratio is the median, over the rounds, of the program's seconds divided by the reference's. CPU
    seconds are those of all threads. They mean more than the clock if the machine has other work.
    """
    by_label = {result.program.label: result for result in results}
    known = [by_label[label] for label in references if label in by_label]
    unit = "s/patch" if patches else "s"
    head = ["Program", unit, "fastest to slowest", "Mvoxel/s", f"CPU {unit}"]
    for reference in known:
        head += [f"time / {reference.program.label}", f"CPU / {reference.program.label}"]
    rows = []
    for result in results:
        job = result.program.job
        parts = job.patches if patches else 1
        row = [
            named(result),
            f"{median(result.seconds) / parts:.3f}",
            f"{min(result.seconds) / parts:.3f} to {max(result.seconds) / parts:.3f}",
            f"{job.voxels / 1e6 / median(result.seconds):.3f}",
            f"{median(result.cpu_seconds) / parts:.3f}",
        ]
        for reference in known:
            row.append(_ratio(result.seconds, reference.seconds))
            row.append(_ratio(result.cpu_seconds, reference.cpu_seconds))
        rows.append(row)
    return markdown(head, rows)


def _ratio(found: Sequence[float], reference: Sequence[float]) -> str:
    return f"{median(a / b for a, b in zip(found, reference, strict=True)):.2f}"


def rounds(repeats: int) -> str:
    if repeats > 1:
        return f"median of {repeats} rounds"
    return "one round, which cannot separate programs of similar speed"


def named(result: Result) -> str:
    """Return the label of a result; for `auto`, with the precision that was chosen. With OpenVINO,
    if that ran the net."""
    label, chosen = result.program.label, result.facts.get("precision", "")
    _, found, library = result.facts.get("device", "").partition(" by ")
    label = f"{label}: {chosen}" if chosen and "auto" in label else label
    return f"{label} ({library})" if found else label


def versions(results: Sequence[Result]) -> str:
    """Return each package version that took part, once."""
    found = {
        f"{name} {number}"
        for result in results
        for name, number in result.versions.items()
        if number
    }
    return ", ".join(sorted(found))


def record(title: str, text: str, results: Sequence[Result], write: bool) -> None:
    """Print a section for this device; with `write`, replace that section in RESULTS.md too."""
    origin = "; ".join(filter(None, [describe(), versions(results)]))
    body = f"{text}\n\n{origin}."
    print(f"\n{title}\n\n{body}")
    if not write:
        return
    old = RESULTS.read_text() if RESULTS.exists() else ""
    RESULTS.write_text(replaced(old, title, device(), body))


def replaced(document: str, title: str, name: str, body: str) -> str:
    """Return the document with `body` as the part `### name` of the section `## title`.

    All other parts stay unchanged.
    """
    sections: dict[str, dict[str, str]] = {}
    for section in re.split(r"^## ", document, flags=re.MULTILINE)[1:]:
        heading, _, rest = section.partition("\n")
        for part in re.split(r"^### ", rest, flags=re.MULTILINE)[1:]:
            part_name, _, text = part.partition("\n")
            sections.setdefault(heading, {})[part_name] = text.strip()
    sections.setdefault(title, {})[name] = body.strip()
    blocks = [_HEAD.strip()]
    for heading, parts in sorted(sections.items()):
        blocks += [
            f"## {heading}",
            *(f"### {part}\n\n{text}" for part, text in sorted(parts.items())),
        ]
    return "\n\n".join(blocks) + "\n"
