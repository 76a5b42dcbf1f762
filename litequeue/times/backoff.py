"""How long to wait before the next attempt of a job that failed."""

from __future__ import annotations

from collections.abc import Callable

from litequeue.durations import FORMS, Duration, clipped, seconds_of
from litequeue.errors import OptionError
from litequeue.messages import show
from litequeue.options import Backoff

FIRST_SECONDS = 10.0
CAP_SECONDS = 3600.0
JITTER = 0.25


def pause(backoff: Backoff | None, attempt: int, random: Callable[[], float]) -> float:
    """Return the seconds to wait after attempt number ``attempt`` (1 is the first).

    A duration holds for every attempt. A list has one for each attempt, and its last item
    repeats. A callable is called with ``attempt``. None means exponential(). ``random``
    returns a number from 0 up to 1. Raises OptionError if a callable does not return a
    duration.
    """
    if backoff is None:
        return exponential(attempt, random)
    if callable(backoff):
        return _from_callable(backoff, attempt)
    if isinstance(backoff, list | tuple):
        return float(seconds_of(backoff[min(attempt, len(backoff)) - 1]))
    return float(seconds_of(backoff))


def exponential(attempt: int, random: Callable[[], float]) -> float:
    """Return 10 s, 20 s, 40 s, ... up to an hour, with a jitter of 25 % either way.

    The jitter keeps jobs that failed together from running again together: Marc Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    # The cap is reached long before 2**20; a larger exponent would overflow the float.
    seconds = min(CAP_SECONDS, FIRST_SECONDS * 2.0 ** min(attempt - 1, 20))
    return seconds * (1 + JITTER * (2 * random() - 1))


def _from_callable(backoff: Callable[[int], Duration], attempt: int) -> float:
    seconds = backoff(attempt)
    wait = clipped(seconds)
    if wait is not None:
        return wait
    problem = f"the callable must return {FORMS}, not {show(seconds)}"
    raise OptionError(owner="backoff", problem=problem)
