"""Parses the `delay=` and `at=` of a push.

A naive `datetime` that the clock shows twice in autumn is the first of the two, unless it has
`fold=1`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeAlias

from litequeue.errors import WhenError
from litequeue.messages import show

When: TypeAlias = float | int | timedelta | datetime | str

_EPOCH = datetime(1970, 1, 1)
# A number from here on is an instant in seconds since the epoch (2001-09-09), not a duration
# (31 years).
FIRST_INSTANT_SECONDS = 1e9
# Larger numbers are milliseconds, or dates written as digits: 203001011200.
LAST_INSTANT_SECONDS = 1e11


def due(value: When, now: float) -> float:
    """Return the instant of a `delay=` that is given at `now`, in seconds since the epoch.

    Raises `WhenError` for a value that cannot be read, for a bare number so large that it must
    be an instant, and for an instant outside the years 1 to 9999 in UTC.
    """
    number = _number(value)
    if number is not None and number > FIRST_INSTANT_SECONDS:
        problem = "as seconds it is more than 31 years; an instant goes in at="
        raise WhenError(value=show(value), problem=problem)
    return _due(value, now)


def due_at(value: When, now: float) -> float:
    """Return the instant of an `at=`: as `due`, but a bare number is seconds since the epoch.
    Raises `WhenError`."""
    number = _number(value)
    if number is None:
        return _due(value, now)
    if FIRST_INSTANT_SECONDS <= number < LAST_INSTANT_SECONDS:
        return float(number)
    problem = (
        "a bare number under at= is an instant, in seconds since the epoch, from 1000000000 on"
    )
    hint = "; a duration goes in delay=" if number < FIRST_INSTANT_SECONDS else ""
    raise WhenError(value=show(value), problem=problem + hint)


def _due(value: When, now: float) -> float:
    try:
        instant = float(_instant(value, now))
        _EPOCH + timedelta(seconds=instant)
    except (ValueError, OverflowError, OSError) as error:
        raise WhenError(value=show(value), problem=_problem(error)) from error
    return instant


def _instant(value: When, now: float) -> float:
    if isinstance(value, str):
        from litequeue.times.phrases import read  # most delays are numbers

        return read(" ".join(value.split()), now)
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, timedelta):
        return now + value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return now + value
    raise ValueError(f"a {type(value).__name__} is neither a delay nor an instant")


def _number(value: When) -> float | None:
    """Return the value as a bare number, or None: "30" is one, "+30" is a duration."""
    if isinstance(value, str):
        text = value.strip()
        bare = text.isascii() and text.replace(".", "", 1).isdecimal()
        return float(text) if bare else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _problem(error: Exception) -> str:
    # The messages of an overflow speak of C types.
    return str(error) if isinstance(error, ValueError) else "it lies outside the years 1 to 9999"
