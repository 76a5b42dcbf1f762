"""Decides how many jobs to fetch at once, from the measured time of earlier runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from litequeue.engine.prefetch_log import MOST
from litequeue.errors import OptionError
from litequeue.records import JobRow

# Jobs that are fetched together take about this long in total.
PREFETCH_SECONDS = 0.025
# The weight of a new measurement in the moving average.
WEIGHT = 0.2
# A fetch is not made smaller than this: it costs little to read so many in vain.
LEAST_FETCH = 32
# The least that a job counts for.
LEAST_SECONDS = 1e-6


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
        """Return how many jobs to fetch: one at first, then twice as many as long as all of them
        come. If fewer come, since more would take too long, somewhat more than these are
        fetched next: what is read beyond is read in vain."""
        return self._next

    def fetched(self, count: int, asked: int) -> None:
        """Note how many jobs came of those that were ``asked`` for."""
        if count >= asked:
            self._next = min(self._most, max(self._next, 2 * count))
        else:
            self._next = min(self._next, max(count + count // 4, LEAST_FETCH))

    def deal(self, slots: int, is_async: Callable[[JobRow], bool]) -> Dealing:
        """Share what is claimed next among so many slots."""
        return Dealing(self._seconds, slots, is_async)

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


class Dealing:
    """Shares jobs among slots as they are claimed: as many as are known to be short, or one,
    for each slot. A slot gets async jobs only, or none."""

    def __init__(
        self, seconds: Mapping[str, float], slots: int, is_async: Callable[[JobRow], bool]
    ) -> None:
        self._seconds = seconds
        self._is_async = is_async
        self._loads = [0.0] * slots
        self._shares: list[list[JobRow]] = [[] for _ in range(slots)]

    def fits(self, row: JobRow) -> bool:
        """Give the job to a slot, if there is one for it; else return False."""
        seconds = self._seconds.get(row.name, PREFETCH_SECONDS)
        kind = self._is_async(row)
        best = min(
            (
                (load, slot)
                for slot, load in enumerate(self._loads)
                if not self._shares[slot] or self._is_async(self._shares[slot][0]) == kind
            ),
            default=None,
        )
        if best is None or (best[0] and best[0] + seconds >= PREFETCH_SECONDS):
            return False
        self._loads[best[1]] += max(seconds, LEAST_SECONDS)
        self._shares[best[1]].append(row)
        return True

    def shares(self, rows: Sequence[JobRow]) -> list[list[JobRow]]:
        """The share of each slot that gets something of what was claimed at last."""
        claimed = {row.id for row in rows}
        shares = [[row for row in share if row.id in claimed] for share in self._shares]
        dealt = {row.id for share in shares for row in share}
        # A job that has to be claimed by itself was not dealt.
        shares += [[row] for row in rows if row.id not in dealt]
        return [share for share in shares if share]
