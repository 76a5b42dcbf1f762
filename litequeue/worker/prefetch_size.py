"""How long jobs take, measured as they run, and so how many to fetch at once."""

from __future__ import annotations

from collections.abc import Callable

from litequeue.engine.prefetch_log import MOST
from litequeue.errors import OptionError

# What is fetched at once is about this much work.
PREFETCH_SECONDS = 0.025
# What a new measurement counts for, in the moving average.
WEIGHT = 0.2


class PrefetchSize:
    """The time that jobs take, by their names."""

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
        """How many jobs to fetch: at first one, then twice as many as came the last time,
        and never fewer than before."""
        return self._next

    def fetched(self, count: int) -> None:
        """Note how many there were."""
        self._next = min(self._most, max(self._next, 2 * count))

    def fits(self) -> Callable[[str], bool]:
        """A function that says of one name after the other whether the job is known to
        be short enough to be fetched with those before it."""
        left = PREFETCH_SECONDS

        def fits(name: str) -> bool:
            nonlocal left
            left -= self._seconds.get(name, PREFETCH_SECONDS)
            return left > 0

        return fits
