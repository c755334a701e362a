"""Makes the clock of a Python process wrong: with this folder on PYTHONPATH, and CLOCK_IS_WRONG_BY.

CLOCK_IS_WRONG_BY: seconds that are added to the time of day. Clocks that only count stay right.
"""

import datetime
import os
import time
from collections.abc import Callable

WRONG_BY = float(os.environ.get("CLOCK_IS_WRONG_BY", "0"))
_right_time, _right_time_ns = time.time, time.time_ns
_datetime = datetime.datetime


class _Kind(type):
    """Datetimes that C code makes count as those of the class below."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _datetime)


class WrongDatetime(_datetime, metaclass=_Kind):
    """A datetime whose `now` is wrong."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "WrongDatetime":
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> "WrongDatetime":
        return cls.now(datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> "WrongDatetime":
        return cls.now()


class _WrongNow:
    """`time.localtime` and the like. Not a function, which would become a method in a class."""

    def __init__(self, right: Callable[[float], time.struct_time]):
        self._right = right

    def __call__(self, seconds: float | None = None) -> time.struct_time:
        return self._right(time.time() if seconds is None else seconds)


if WRONG_BY:
    time.time = lambda: _right_time() + WRONG_BY
    time.time_ns = lambda: _right_time_ns() + int(WRONG_BY * 1e9)
    time.gmtime, time.localtime = _WrongNow(time.gmtime), _WrongNow(time.localtime)
    datetime.datetime = WrongDatetime  # type: ignore[misc]
