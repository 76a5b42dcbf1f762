"""How long to wait before the next attempt of a job that failed."""

from __future__ import annotations

from collections.abc import Callable

from litequeue.errors import OptionError
from litequeue.options import Backoff, clipped

FIRST_SECONDS = 10.0
CAP_SECONDS = 3600.0
JITTER = 0.25


def pause(backoff: Backoff | None, attempt: int, random: Callable[[], float]) -> float:
    """Return the seconds to wait after attempt number ``attempt`` (1 is the first).

    A number is that many seconds; a list gives one item an attempt, the last repeated; a
    callable is asked; None is exponential(). ``random`` gives a number from 0 up to 1.
    Raises OptionError where a callable returns something else than seconds.
    """
    if backoff is None:
        return exponential(attempt, random)
    if callable(backoff):
        return _asked(backoff, attempt)
    if isinstance(backoff, list | tuple):
        return float(backoff[min(attempt, len(backoff)) - 1])
    return float(backoff)


def exponential(attempt: int, random: Callable[[], float]) -> float:
    """Return 10 s, 20 s, 40 s, ... up to an hour, spread by a quarter either way.

    The spread keeps jobs that failed together from coming back together: Marc Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    # Beyond 2**20 the cap has long been reached, and a float would overflow at last.
    seconds = min(CAP_SECONDS, FIRST_SECONDS * 2.0 ** min(attempt - 1, 20))
    return seconds * (1 + JITTER * (2 * random() - 1))


def _asked(backoff: Callable[[int], float], attempt: int) -> float:
    seconds = backoff(attempt)
    wait = clipped(seconds)
    if wait is not None:
        return wait
    raise OptionError(owner="backoff", problem=f"the callable must return seconds, not {seconds!r}")
