"""`methods_sentence`: a sentence for the methods section of a paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from producer.report.words import moment, plural, safe, size

if TYPE_CHECKING:
    from producer.report.document import Report

_NAMED = 3  # versions, nets and devices
_DIGEST = 16  # characters


def methods_sentence(report: Report) -> str:
    """It claims what the records say, and of the output only what was read back."""
    figures = report.figures
    sources = figures.sources
    voxel = f" of {size(report.voxel_size)} nm" if report.voxel_size else ""
    days = " to ".join(dict.fromkeys(moment(at)[:10] for at in (figures.first, figures.last) if at))
    parts = [
        f"The volume was processed with chunkflow-worker {_versions(report)}in "
        f"{plural(figures.total, 'box', 'boxes')} of {size(tuple(report.chunk_size))} voxels"
        f"{voxel} (z, y, x)"
    ]
    parts += [f"on {_names(sources.devices)}"] * bool(sources.devices)
    parts += [days] * bool(days)
    nets = [
        f"{place.rpartition('.')[2].replace('_', ' ')} {digest[:_DIGEST]}"
        for place, digests in sources.nets.items()
        for digest in digests
    ]
    files = f" Files of the network (SHA-256): {_listed(nets)}." if nets else ""
    pipeline = report.job.pipeline[:_DIGEST] or "unknown"
    return f"{', '.join(parts)} (pipeline {pipeline}).{files} {_state(report)}"


def _versions(report: Report) -> str:
    versions = report.figures.sources.versions.get("chunkflow-worker", {})
    return f"{_names(versions)} " if versions else ""


def _state(report: Report) -> str:
    figures, checked = report.figures, report.checked
    if figures.done == figures.total:
        done = "All boxes were completed"
    else:
        done = f"{figures.done:,} of {figures.total:,} boxes were completed"
    if checked is None or not checked.boxes:
        return f"{done}."
    return (
        f"{done}; the output of {checked.right:,} of {plural(checked.boxes, 'box', 'boxes')} that "
        "were read back agrees with the checksums of their tasks."
    )


def _names(counts: Mapping[str, int]) -> str:
    return _listed([safe(name, 80) for name in sorted(counts, key=lambda name: -counts[name])])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(safe(name, 120) for name in names[:_NAMED]) + more
