"""Decides how many jobs to fetch at once, from the measured time of earlier runs."""

from __future__ import annotations

from collections.abc import Callable

from litequeue.engine.prefetch_log import MOST
from litequeue.errors import OptionError

# Jobs that are fetched together take about this long in total.
PREFETCH_SECONDS = 0.025
# The weight of a new measurement in the moving average.
WEIGHT = 0.2


class PrefetchSize:
    """The average run time of the jobs of each name, and the next number to fetch."""

    def __init__(self, most: int) -> None:
        """Fetch at most ``most`` jobs at once. Raises OptionError."""
        if not 1 <= most <= MOST:
            problem = f"prefetch must be a whole number from 1 to {MOST}, not {most!r}"
            raise OptionError(owner="the worker", problem=problem)
        self._most = most
        self._next = 1
        self._seconds: dict[str, float] = {}

    def ran(self, name: str, seconds: float) -> None:
        """Note how long a job took."""
        known = self._seconds.get(name, seconds)
        self._seconds[name] = known + WEIGHT * (seconds - known)

    def most(self) -> int:
        """Return how many jobs to fetch: one at first, then up to twice as many as the last
        fetch returned, and never fewer than before."""
        return self._next

    def fetched(self, count: int) -> None:
        """Note how many jobs a fetch returned."""
        self._next = min(self._most, max(self._next, 2 * count))

    def fits(self) -> Callable[[str], bool]:
        """Return a function to call with one job name after the other.

        It says whether that job is known to be short enough to be fetched with those before it.
        """
        left = PREFETCH_SECONDS

        def fits(name: str) -> bool:
            nonlocal left
            left -= self._seconds.get(name, PREFETCH_SECONDS)
            return left > 0

        return fits
