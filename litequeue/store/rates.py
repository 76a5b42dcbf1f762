"""Rate limits: how many jobs of one key may start in any window of a length.

Each key has a row with the starts of its last window. A job that would be one too many is
scheduled for the moment when its turn comes, and waits for its rate until then. Whenever a job
of the key starts or begins to wait, the first of those that wait is moved to the moment when
the next start is allowed, so that an estimate that was too late costs no turn.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate
from math import ceil

from litequeue.durations import Rate, rate_of
from litequeue.engine.database import Database
from litequeue.records import NOBODY, NOT_WAITING, JobRow

# A limit of up to this many starts is kept exactly. A larger one counts its starts in so many
# groups, each at the time of its last start, so it allows up to 1 % fewer.
GROUPS = 100
# How long a job may take from its claim to its first line of code. The window of a limit is
# longer by as much, and a job that took longer is counted again (see started).
START_MILLISECONDS = 20
PARK_AT_ONCE = 100
FORGET_AT_ONCE = 1000
# The rank of a waiting job is counted up to here, and estimated beyond.
COUNTED = 100
# The end of the year 9999: a later instant cannot be read.
LATEST_MILLISECONDS = 253_402_300_799_000
ALL = 2**62


class Starts:
    """The starts of one key, in groups: each with the instant of its last start, and its number
    of starts. Instants and lengths are in milliseconds."""

    def __init__(self, groups: list[list[int]], longest: int = 0, waiting: int = 0) -> None:
        self.groups = groups
        self.longest = longest
        """The longest window of a job of this key."""
        self.waiting = waiting
        """About how many jobs wait."""

    def allowed_at(self, nth: int, rate: Rate, now: int, extra: int) -> int:
        """When the ``nth`` start from now on is allowed, counting from 1; ``extra`` is added to
        the window."""
        return self.turns(rate, now, extra)(nth)

    def turns(self, rate: Rate, now: int, extra: int) -> Callable[[int], int]:
        """As allowed_at, for many starts."""
        length = ceil(rate.seconds * 1000) + extra
        # A clock that was set back must not make these starts count for longer.
        clamped = [(min(at, now), count) for at, count in self.groups]
        groups = [(at, count) for at, count in clamped if at + length > now]
        totals = list(accumulate(count for _, count in groups))

        def allowed_at(nth: int) -> int:
            rounds, place = divmod(nth - 1, rate.starts)
            to_leave = place + 1 + (totals[-1] if totals else 0) - rate.starts
            leaves = groups[bisect_left(totals, to_leave)][0] + length if to_leave > 0 else now
            return min(leaves + rounds * length, LATEST_MILLISECONDS)

        return allowed_at

    def add(self, rate: Rate, now: int, extra: int) -> None:
        """Count a start at ``now``."""
        self.longest = max(self.longest, ceil(rate.seconds * 1000) + extra)
        found = [(min(at, now), count) for at, count in self.groups]
        self.groups = [[at, count] for at, count in found if at + self.longest > now]
        size = ceil(rate.starts / GROUPS)
        if self.groups and self.groups[-1][1] < size:
            self.groups[-1][0] = now
            self.groups[-1][1] += 1
        else:
            self.groups.append([now, 1])
        if len(self.groups) > 2 * GROUPS:
            # The jobs of this key have different limits.
            pairs = zip(self.groups[0::2], self.groups[1::2], strict=False)
            odd = self.groups[-1:] if len(self.groups) % 2 else []
            self.groups = [[later, one + two] for (_, one), (later, two) in pairs] + odd

    def remove(self, at: int) -> None:
        """Count a start at ``at`` no longer."""
        for group in self.groups:
            if group[0] >= at:
                group[1] -= 1
                break
        self.groups = [group for group in self.groups if group[1] > 0]

    @property
    def over_at(self) -> int:
        """When all these starts have left the longest window."""
        return self.groups[-1][0] + self.longest if self.groups else 0


class Rates:
    """The rate limits of one database. Methods that write are part of a transaction that the
    caller has open, but for ``started`` and ``forget_old``."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], int],
        notify: Callable[[str], None],
        start_milliseconds: int = START_MILLISECONDS,
    ) -> None:
        """``start_milliseconds`` is 0 for a clock that stands still while a job starts."""
        self._database = database
        self._now = now
        self._notify = notify
        self._extra = start_milliseconds

    def take(self, row: JobRow) -> bool:
        """Count the start of a row that was just claimed. If the limit is reached, release the
        row and schedule it, its attempt not used, and others of its key that are ready; and
        return False."""
        rate = _rate_of(row)
        if rate is None or row.rate_key is None:
            return True
        starts, now = self._starts(row.rate_key, rate), self._now()
        taken = starts.allowed_at(1, rate, now, self._extra) <= now
        if taken:
            starts.add(rate, now, self._extra)
            if row.rate_since is not None:
                starts.waiting -= 1
                self._database.change(self.STOP_WAITING, {"id": row.id})
        else:
            self._park_all(row, rate, starts, now)
        self._move_up(row.rate_key, starts)
        self._write(row.rate_key, starts)
        return taken

    STOP_WAITING = f"""
    update litequeue_jobs
    set rate_since = {NOT_WAITING}
    where id = :id"""

    def started(self, row: JobRow) -> float:
        """Count a claimed job as started now, if its claim was some time ago; returns how many
        seconds it has to wait instead, or 0."""
        rate, claimed = _rate_of(row), row.reserved_at
        if rate is None or row.rate_key is None or claimed is None:
            return 0
        at = round(claimed.timestamp() * 1000)
        if self._now() - at <= self._extra / 2:
            return 0
        with self._database.transaction():
            starts, now = self._starts(row.rate_key, rate), self._now()
            starts.remove(at)
            allowed = starts.allowed_at(1, rate, now, self._extra)
            if allowed <= now:
                starts.add(rate, now, self._extra)
            self._write(row.rate_key, starts)
        return max(0, allowed - now) / 1000

    def stop_waiting(self, key: str) -> None:
        """Note that a job of this key waits no longer, and has not started: another has its
        turn."""
        for _, rate in self._first_waiting(key):
            starts = self._starts(key, rate)
            self._move_up(key, starts)
            starts.waiting -= 1
            self._write(key, starts)

    def seconds_left(self, row: JobRow) -> float:
        """How many seconds it takes until a job may start by its rate limit, in the order of
        those that wait; 0 if it may start now."""
        rate = _rate_of(row)
        if rate is None or row.rate_key is None:
            return 0
        ahead = 0 if row.rate_since is None else self._ahead(row, most=ALL)
        starts, now = self._starts(row.rate_key, rate), self._now()
        return (starts.allowed_at(ahead + 1, rate, now, self._extra) - now) / 1000

    OVER = """
    select 1
    from litequeue_rates
    where over_at <= :now
    limit 1"""

    FORGET = f"""
    delete from litequeue_rates
    where key in (select key from litequeue_rates where over_at <= :now limit {FORGET_AT_ONCE})"""

    def forget_old(self) -> None:
        """Delete the rows of some keys whose starts have all left their windows."""
        now = {"now": self._now()}
        if self._database.rows(self.OVER, now):
            self._database.change(self.FORGET, now)

    # -- the row of a key

    GET = """
    select starts, length, waiting
    from litequeue_rates
    where key = :key"""

    def _starts(self, key: str, rate: Rate) -> Starts:
        found = self._database.rows(self.GET, {"key": key})
        if not found:
            return Starts([])
        try:
            return _read(*found[0])
        except (TypeError, ValueError, RecursionError):
            # It was edited: nothing is known, so the limit counts as just reached.
            length = ceil(rate.seconds * 1000)
            return Starts([[self._now(), rate.starts]], length + self._extra)

    PUT = """
    insert into litequeue_rates (key, starts, length, waiting, over_at)
    values (:key, :starts, :length, :waiting, :over_at)
    on conflict (key) do update
    set starts = :starts, length = :length, waiting = :waiting, over_at = :over_at"""

    def _write(self, key: str, starts: Starts) -> None:
        values = {
            "key": key,
            "starts": json.dumps(starts.groups, separators=(",", ":")),
            "length": starts.longest,
            "waiting": max(0, starts.waiting),
            "over_at": starts.over_at,
        }
        self._database.change(self.PUT, values)

    # -- waiting

    # The times of a job that is not due yet, claimed by its id, stay as they were.
    PARK_CLAIMED = f"""
    update litequeue_jobs
    set state = 4, attempts = attempts - 1, worker = {NOBODY}, slot = null,
        rate_since = case
          when available_at > :now or rate_since > {NOT_WAITING} then rate_since
          else :now
        end,
        available_at = case when available_at > :now then available_at else :at end
    where id = :id and state = 5"""

    PARK = f"""
    update litequeue_jobs
    set state = 4, available_at = :at,
        rate_since = case
          when typeof(rate_since) = 'integer' and rate_since > {NOT_WAITING} then rate_since
          else :now
        end
    where id = :id and state = 3"""

    # Only the next ready jobs of the queue are read: those of the key may be far apart. A job
    # with a concurrency key is left out, since others may be blocked by it.
    ALIKE = f"""
    select id, rate_since <= {NOT_WAITING}, options
    from (
      select id, rate_key, overlap_key, rate_since, options
      from litequeue_jobs
      where state = 3 and queue = :queue
      order by priority desc, id
      limit {PARK_AT_ONCE}
    )
    where rate_key = :key and overlap_key is null"""

    def _park_all(self, row: JobRow, rate: Rate, starts: Starts, now: int) -> None:
        """Let a claimed row wait, and the next ready jobs of its key."""
        rank = self._ahead(row, most=COUNTED)
        if rank == COUNTED:
            rank = max(rank, starts.waiting)
        alike = self._database.rows(self.ALIKE, {"queue": row.queue, "key": row.rate_key})
        # As a push has stored it; one with another limit is claimed by itself.
        limit = f'"rate_limit": {json.dumps(row.options["rate_limit"])}'
        others = [(id, is_new) for id, is_new, options in alike if limit in str(options)]
        first = (row.id, row.rate_since is None and row.available_at.timestamp() * 1000 <= now)
        allowed_at = starts.turns(rate, now, self._extra)
        for place, (id, is_new) in enumerate([first, *others], start=rank + 1):
            park = self.PARK_CLAIMED if id == row.id else self.PARK
            self._database.change(park, {"id": id, "now": now, "at": allowed_at(place)})
            starts.waiting += bool(is_new)

    # Two ranges of the index: one condition with "or" would read all jobs of the key.
    AHEAD = f"""
    select
      (select count(*)
       from (select 1
             from litequeue_jobs
             where rate_key = :key and rate_since > {NOT_WAITING} and state = 4
               and priority > :priority
             limit :most))
      +
      (select count(*)
       from (select 1
             from litequeue_jobs
             where rate_key = :key and rate_since > {NOT_WAITING} and state = 4
               and priority = :priority and id < :id
             limit :most))"""

    def _ahead(self, row: JobRow, most: int) -> int:
        """How many jobs of its key wait before a job, counted up to ``most``."""
        values = {"key": row.rate_key, "priority": row.priority, "id": row.id, "most": most}
        return min(most, int(self._database.rows(self.AHEAD, values)[0][0]))

    FIRST_WAITING = f"""
    select id, options
    from litequeue_jobs
    where rate_key = :key and rate_since > {NOT_WAITING} and state = 4
    order by priority desc, id
    limit 1"""

    MOVE_UP = """
    update litequeue_jobs
    set available_at = :at
    where id = :id and state = 4 and available_at > :at
    returning queue"""

    def _first_waiting(self, key: str) -> list[tuple[int, Rate]]:
        """The first job that waits, and its limit; nothing if there is none, or if its limit
        was edited."""
        for id, options in self._database.rows(self.FIRST_WAITING, {"key": key}):
            with suppress(TypeError, ValueError, KeyError, RecursionError):
                return [(id, rate_of(json.loads(options)["rate_limit"]))]
        return []

    def _move_up(self, key: str, starts: Starts) -> None:
        """Let the first job that waits start as soon as its limit allows it."""
        first = self._first_waiting(key)
        if not first:
            starts.waiting = 0
        for id, rate in first:
            at = starts.allowed_at(1, rate, self._now(), self._extra)
            for (queue,) in self._database.rows(self.MOVE_UP, {"id": id, "at": at}):
                self._notify(str(queue))


def _rate_of(row: JobRow) -> Rate | None:
    limit = row.options.get("rate_limit")
    return None if limit is None else rate_of(limit)


def _read(text: object, length: object, waiting: object) -> Starts:
    """The starts that a row holds; raises TypeError, ValueError or RecursionError for one that
    was edited."""
    groups = json.loads(text)  # type: ignore[arg-type]
    numbers = [length, waiting, *(number for at, count in groups for number in (at, count))]
    if not all(type(number) is int and 0 <= number < 2**53 for number in numbers):
        raise ValueError(text)
    return Starts(groups, length, waiting)  # type: ignore[arg-type]
