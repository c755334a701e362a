"""The plot of a soak: memory, handles, threads and requests over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.soak.crew import SPARED, name_of
from tests.soak.outcome import SERVER, Outcome
from tests.soak.samples import Samples
from tests.support.paths import ROOT

PICTURE = ROOT / "docs" / "soak.svg"
_PANELS = {"memory": ("memory, MB", 1e-6), "handles": ("handles", 1), "threads": ("threads", 1)}
_SHOWN = {  # operations, by their line
    "receive": ("ReceiveMessage",),
    "delete": ("DeleteMessage", "DeleteMessageBatch"),
    "change visibility": ("ChangeMessageVisibility",),
    "S3 PUT": ("PUT",),
    "S3 GET, HEAD, LIST": ("GET", "HEAD", "LIST"),
}
_WIDTH, _HEIGHT, _SPAN = 8.0, 8.5, 15
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "soak", "font.size": 9, "axes.grid": True}
_GRID = {"grid.color": "#e4e4e4", "axes.edgecolor": "#888888"}


def draw(outcome: Outcome, path: Path) -> None:
    """Write the plot. Its background is white, so that it can be read on dark pages too."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    with pyplot.rc_context(_STYLE | _GRID):
        figure, axes = pyplot.subplots(
            4, 1, sharex=True, figsize=(_WIDTH, _HEIGHT), layout="constrained", facecolor="white"
        )
        for what, axis in zip(_PANELS, axes, strict=False):
            _draw_lives(axis, outcome.samples, what)
        _draw_requests(axes[-1], outcome.samples)
        for axis in axes:
            for at in outcome.kills:
                axis.axvline(at, ymax=0.04, color="#c62828", linewidth=1)
        axes[0].set_title(f"{outcome.tasks:,} tasks; a red mark below is a kill", fontsize=9)
        axes[-1].set_xlabel("seconds")
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


def _draw_lives(axis: Any, samples: Samples, what: str) -> None:
    """A line for each process; those of workers that were killed are thin."""
    title, scale = _PANELS[what]
    labels = set()
    for name, life in samples.lives.items():
        kind, look = "workers that are killed", {"color": "#90a4ae", "linewidth": 0.8}
        if name == name_of(SPARED):
            kind, look = "worker that is spared", {"color": "#1565c0", "linewidth": 1.8}
        elif name == SERVER:
            kind, look = SERVER, {"color": "#ef6c00", "linewidth": 1.2, "linestyle": "--"}
        values = [scale * value for value in getattr(life, what)]
        axis.plot(life.times, values, label="" if kind in labels else kind, **look)
        labels.add(kind)
    axis.set_ylabel(title)
    axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
    if what == "memory":
        axis.legend(loc="best", fontsize=8)


def _draw_requests(axis: Any, samples: Samples) -> None:
    """Requests a second, over some samples each."""
    times = samples.times[_SPAN // 2 :: _SPAN]
    for label, names in _SHOWN.items():
        totals = [sum(counts[name] for name in names) for counts in samples.requests]
        axis.plot(times[: len(_rates(samples, totals))], _rates(samples, totals), label=label)
    axis.plot(
        times[: len(_rates(samples, samples.left))],
        [-rate for rate in _rates(samples, samples.left)],
        label="tasks done",
        color="black",
        linewidth=1.8,
    )
    axis.set_ylabel("requests, tasks / s")
    axis.legend(loc="best", fontsize=8, ncols=3)


def _rates(samples: Samples, totals: list[int]) -> list[float]:
    times, counts = samples.times[::_SPAN], totals[::_SPAN]
    changes = zip(times, times[1:], counts, counts[1:], strict=False)
    return [(after - before) / (end - begin) for begin, end, before, after in changes]
