"""Tables of results, and the sections of RESULTS.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.environment import describe, device
from benchmarks.race import Result

RESULTS = Path(__file__).parent / "RESULTS.md"
_HEAD = "# Speed and memory\n\nWritten by `make bench`; each run replaces the tables of its own device.\n"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def speed_table(results: Sequence[Result], references: Sequence[str], patches: bool = True) -> str:
    """Medians; and for each reference the median, over the rounds, of a program's seconds divided by the reference's.

    CPU seconds are those of all threads: on a machine with other work they tell more than the clock does.
    """
    by_label = {result.program.label: result for result in results}
    known = [by_label[label] for label in references if label in by_label]
    head = ["Program", *(["s/patch"] if patches else ["s"]), "fastest to slowest", "Mvoxel/s"]
    head += ["CPU s/patch" if patches else "CPU s"]
    head += [
        f"{kind} / {reference.program.label}" for reference in known for kind in ("time", "CPU")
    ]
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
    return (
        f"median of {repeats} rounds"
        if repeats > 1
        else "one round, which can't tell programs apart that are close"
    )


def named(result: Result) -> str:
    """Its label, with what `auto` came to."""
    chosen = result.facts.get("precision", "")
    return (
        f"{result.program.label}: {chosen}"
        if chosen and "auto" in result.program.label
        else result.program.label
    )


def versions(results: Sequence[Result]) -> str:
    """Each version that took part, once."""
    found = {
        f"{name} {number}"
        for result in results
        for name, number in result.versions.items()
        if number
    }
    return ", ".join(sorted(found))


def record(title: str, text: str, results: Sequence[Result]) -> None:
    """Print a section for this device, and put it in place of the one that RESULTS.md holds."""
    body = f"{text}\n\n{'; '.join(filter(None, [describe(), versions(results)]))}."
    print(f"\n{title}\n\n{body}")
    RESULTS.write_text(
        replaced(RESULTS.read_text() if RESULTS.exists() else "", title, device(), body)
    )


def replaced(document: str, title: str, name: str, body: str) -> str:
    """The document with `body` as the part `### name` of the section `## title`; all others stay as they are."""
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
