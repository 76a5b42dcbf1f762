"""Reads the delays and instants that `delay=` and `at=` of `push` take.

A naive `datetime` that autumn shows twice is the first of the two, unless it has `fold=1`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeAlias

from .errors import WhenError

When: TypeAlias = float | int | timedelta | datetime | str

_EPOCH = datetime(1970, 1, 1)
_LONGEST_INT = 10**100


def due(value: When, now: float) -> float:
    """Return the instant, in seconds since the epoch, that `value` names, seen from `now`.

    Raises `WhenError` for what cannot be read, and for what lies outside the years
    1 to 9999 in UTC.
    """
    try:
        instant = float(_instant(value, now))
        _EPOCH + timedelta(seconds=instant)
    except (ValueError, LookupError, OverflowError, OSError) as error:
        raise WhenError(value=_shown(value)) from error
    return instant


def _instant(value: When, now: float) -> float:
    if isinstance(value, str):
        from .wording import read  # most delays are numbers

        return read(" ".join(value.split()), now)
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, timedelta):
        return now + value.total_seconds()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return now + value
    raise ValueError(f"a {type(value).__name__} is neither a delay nor an instant")


def _shown(value: When) -> When:
    # Python refuses to write out an int of more than 4300 digits.
    return float("inf") if isinstance(value, int) and abs(value) > _LONGEST_INT else value
