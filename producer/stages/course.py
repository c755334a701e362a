"""`Course`: goes through the stages of a job again and again, until nothing more happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chunkflow_worker.errors import RetryableError
from producer.look.watch import MAX_FAILED_POLLS
from producer.stages.stage_run import NOT_SENT, Show, StageRun, StageView

_STATUSES = (("failed", 1), ("stopped", 3), ("waits", 1))
_ENDED = ("done", "failed", "stopped", "waits")


@dataclass(frozen=True)
class Course:
    """The stages, each after those that it needs. pause: waits between two looks.

    Of those that may not be sent, it only looks whether they are done.
    """

    runs: Sequence[StageRun]
    pause: Callable[[], None]

    def follow(self, show: Show) -> list[StageView]:
        """Bring all these stages to their ends; returns how each of them has ended.

        show: is called with the view of a stage that may be sent, whenever it was looked at.
        Raises ConfigError at once, and QueueUnavailable and StorageUnavailable when five looks in
        a row raise them.
        """
        failures = 0
        while True:
            try:
                views = self._look(show)
            except RetryableError:
                failures += 1
                if failures == MAX_FAILED_POLLS:
                    raise
            else:
                failures = 0
                if all(view.state in _ENDED for view in views):
                    every = zip(self.runs, views, strict=True)
                    return [view for run, view in every if run.may_send]
            self.pause()

    def _look(self, show: Show) -> list[StageView]:
        views: dict[str, StageView] = {}
        for run in self.runs:
            needed = [views[name] for name in run.file.stage.needs if name in views]
            left = [_left_text(view) for view in needed if view.state != "done"]
            tell = show if run.may_send else _tell_nobody
            view = run.waits(" and ".join(left)) if left else run.step(tell)
            views[run.name] = view
            tell(view)
        return list(views.values())


def _tell_nobody(view: StageView) -> None:
    pass


def _left_text(view: StageView) -> str:
    """A stage that is not complete, and why where nothing is to be expected of it."""
    if view.state in ("failed", "stopped"):
        return f"{view.name} ({view.state})"
    return f"{view.name} ({NOT_SENT})" if view.note == NOT_SENT else view.name


def exit_status(views: Sequence[StageView]) -> int:
    """As that of `wait`: 0 done; 1 failed, or waits for what failed; 3 paused or cancelled."""
    states = {view.state for view in views}
    return next((status for state, status in _STATUSES if state in states), 0)
