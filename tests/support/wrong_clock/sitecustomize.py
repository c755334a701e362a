"""Makes the clock of a Python process wrong: with this folder on PYTHONPATH, and CLOCK_IS_WRONG_BY.

CLOCK_IS_WRONG_BY: seconds that are added to the time of day. Clocks that only count stay right.
"""

import datetime
import os
import time

WRONG_BY = float(os.environ.get("CLOCK_IS_WRONG_BY", "0"))
_right_time, _right_time_ns = time.time, time.time_ns
_gmtime, _localtime, _datetime = time.gmtime, time.localtime, datetime.datetime


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


if WRONG_BY:
    time.time = lambda: _right_time() + WRONG_BY
    time.time_ns = lambda: _right_time_ns() + int(WRONG_BY * 1e9)
    time.gmtime = lambda seconds=None: _gmtime(time.time() if seconds is None else seconds)
    time.localtime = lambda seconds=None: _localtime(time.time() if seconds is None else seconds)
    datetime.datetime = WrongDatetime  # type: ignore[misc]
