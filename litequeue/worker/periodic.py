"""The periodic jobs: any worker pushes them when they are due, once for each due time,
however many workers there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from litequeue.errors import DatabaseError, NoSuchSchedule, ScheduleError
from litequeue.jobs.job import Job
from litequeue.log import logger
from litequeue.messages import show
from litequeue.options import Options
from litequeue.queue import Queue
from litequeue.records import instant, key
from litequeue.store.store import Store
from litequeue.worker.outcome import describe

if TYPE_CHECKING:
    from litequeue.times.schedule import Schedule


NEVER = float("inf")
EDITED = instant(0)
# How often a worker reads the schedules that others, such as an operator, may have changed.
SCHEDULE_CHECK_SECONDS = 1.0
# A clock that was set back by less repeats no fixed time; by more, it counts from the new time.
SET_BACK_SECONDS = 3 * 3600
# Other schedules continue at once, except after the small steps by which a clock is adjusted.
STEP_SECONDS = 1.0


class ScheduleEntry(NamedTuple):
    """The stored schedule of one periodic job."""

    name: str
    text: str
    zone: str | None
    next_at: datetime
    """1970 if the stored value was edited and cannot be read."""
    last_at: datetime | None
    last_job: int | None
    paused_at: datetime | None

    @property
    def schedule(self) -> Schedule:
        """The expression, read; raises ScheduleError for one that was edited."""
        # A worker without periodic jobs does not need the module.
        from litequeue.times.schedule import read_schedule

        return read_schedule(self.text, self.zone)

    @property
    def words(self) -> str:
        """When it is due, in English."""
        try:
            return self.schedule.words()
        except ScheduleError:
            return f"unreadable: {self.text}"

    @property
    def paused(self) -> bool:
        """Whether it is paused, until it is resumed."""
        return self.paused_at is not None

    def due(self, now: float) -> bool:
        """Whether the job is due at ``now``, in seconds since the epoch."""
        return self.next_at.timestamp() <= now


class Schedules:
    """The schedules of the periodic jobs of one queue, as they are stored."""

    def __init__(self, queue: Queue | Store) -> None:
        self._store = queue if isinstance(queue, Store) else queue.store
        self._database = self._store.database

    # A new expression counts from now; one that has not changed goes on where it was.
    ENTER = """
    insert into litequeue_schedules (name, expression, zone, next_at)
    values (:name, :expression, :zone, :next_at)
    on conflict (name) do update
    set expression = :expression, zone = :zone, next_at = :next_at
    where expression <> :expression or zone is not :zone
      or typeof(next_at) <> 'integer' or next_at not between 1 and :latest"""

    TAKE_OVER = """
    update or replace litequeue_schedules
    set name = :name
    where name = :old"""

    def enter(self, job: type[Job]) -> None:
        """Store the schedule of a periodic job, or update its entry; an entry under an older
        name of the job is renamed."""
        made = job.__litequeue__
        assert made.schedule is not None
        with self._database.transaction():
            # Computed under the lock: a time for which another worker has pushed is past here too.
            entry = {
                "name": made.name,
                "expression": made.schedule.text,
                "zone": made.schedule.zone,
                **_bounds(made.schedule, self._store.clock()),
            }
            for old in self.entries():
                if old.name != made.name and key(old.name) in made.keys:
                    self._database.change(self.TAKE_OVER, {"name": made.name, "old": old.name})
            self._database.change(self.ENTER, entry)

    def absent(self, jobs: Iterable[type[Job]]) -> list[ScheduleEntry]:
        """Return the entries that a worker with these jobs would add if it started now.

        A job that has an entry under an older name is not among them.
        """
        there = {key(entry.name) for entry in self.entries()}
        made = [job.__litequeue__ for job in jobs]
        now = self._store.clock()
        return [
            ScheduleEntry(
                name=each.name,
                text=each.schedule.text,
                zone=each.schedule.zone,
                next_at=instant(_milliseconds(each.schedule.next(now))),
                last_at=None,
                last_job=None,
                paused_at=None,
            )
            for each in made
            if each.schedule is not None and there.isdisjoint(each.keys)
        ]

    ENTRIES = """
    select name, expression, zone, next_at, last_at, last_job, paused_at
    from litequeue_schedules
    order by name"""

    def entries(self) -> list[ScheduleEntry]:
        """Return the entries of all periodic jobs, ordered by name."""
        return [
            ScheduleEntry(
                name=str(name),
                text=str(expression),
                zone=None if zone is None else str(zone),
                next_at=_instant(next_at),
                last_at=None if last_at is None else _instant(last_at),
                last_job=last_job if isinstance(last_job, int) else None,
                paused_at=None if paused_at is None else _instant(paused_at),
            )
            for name, expression, zone, next_at, last_at, last_job, paused_at in (
                self._database.rows(self.ENTRIES)
            )
        ]

    # Of all workers that saw it due, one changes the row; the others find it changed.
    TICK = """
    update litequeue_schedules
    set next_at = :next_at, last_at = :last_at
    where name = :name and next_at = :seen and paused_at is null"""

    PUSHED = """
    update litequeue_schedules
    set last_job = :job
    where name = :name"""

    def tick(self, entry: ScheduleEntry, job: type[Job]) -> int | None:
        """Push a job that is due, and return its id; None if another worker was first.

        All due times that were missed are one job. If the last job is still unfinished, this due
        time is skipped. Raises ScheduleError for an entry that cannot be read, and any error
        of the job's own code; then this due time is skipped.
        """
        due = self._due(entry)
        try:
            made = job()
            keys = _keys(made)
            with self._database.transaction():
                if not self._database.change(self.TICK, due):
                    return None
                id = self._store.inserts.push(made, None, (), None, keys)
                self._database.change(self.PUSHED, {"name": entry.name, "job": id})
            return id
        except DatabaseError:
            raise
        except Exception:
            # Otherwise it would be tried again at once, forever.
            self._database.change(self.TICK, due)
            raise

    def _due(self, entry: ScheduleEntry) -> dict[str, object]:
        now, schedule = self._store.clock(), entry.schedule
        if entry.next_at == EDITED:
            raise ScheduleError(value=show(entry.text), problem="its next time was edited")
        return {
            "name": entry.name,
            "seen": round(entry.next_at.timestamp() * 1000),
            "last_at": _milliseconds(schedule.previous(now)),
            "next_at": _milliseconds(schedule.next(now)),
        }

    def push_now(self, name: str, job: type[Job] | None = None) -> int:
        """Push a periodic job now, in addition to its schedule, and return its id, or that of
        the one that is unfinished.

        Without its class, it is pushed by name, to the default queue. Raises
        NoSuchSchedule.
        """
        entry = self.entry(name)
        if job is None:
            unique = _own_key(entry.name)
            options = Options(unique=unique, without_overlapping=True)
            return self._store.inserts.push(entry.name, {}, (), None, options)
        made = job()
        return self._store.inserts.push(made, None, (), None, _keys(made))

    PAUSE = """
    update litequeue_schedules
    set paused_at = :now
    where name = :name and paused_at is null"""

    def pause(self, name: str) -> bool:
        """Pause a periodic job; False if it was paused already. Raises NoSuchSchedule."""
        values = {"name": self.entry(name).name, "now": _milliseconds(self._store.clock())}
        return self._database.change(self.PAUSE, values) > 0

    # Due times during the pause are skipped.
    RESUME = """
    update litequeue_schedules
    set paused_at = null,
        next_at = case when next_at between :next_at and :latest then next_at else :next_at end
    where name = :name and paused_at is not null"""

    def resume(self, name: str) -> bool:
        """Resume a periodic job at its next due time; False if it was not paused.
        Raises NoSuchSchedule, and ScheduleError for an entry that cannot be read."""
        entry = self.entry(name)
        values = {"name": entry.name, **_bounds(entry.schedule, self._store.clock())}
        return self._database.change(self.RESUME, values) > 0

    FORGET = """
    delete from litequeue_schedules
    where name = :name"""

    def forget(self, name: str) -> None:
        """Delete the entry of a job whose code is gone; raises NoSuchSchedule."""
        self._database.change(self.FORGET, {"name": self.entry(name).name})

    def entry(self, name: str) -> ScheduleEntry:
        """Return the entry of a job, by its name in any spelling; raises NoSuchSchedule."""
        for entry in self.entries():
            if key(entry.name) == key(name):
                return entry
        raise NoSuchSchedule(name=name)


class PeriodicPusher:
    """Pushes a worker's own periodic jobs when they are due."""

    def __init__(self, store: Store, jobs: Sequence[type[Job]]) -> None:
        self._store = store
        self._schedules = Schedules(store)
        self._jobs = {job.__litequeue__.name: job for job in jobs if job.__litequeue__.schedule}
        self._looked_at = 0.0
        self._due_at = NEVER

    def begin(self) -> None:
        """Store the schedules of this worker's periodic jobs."""
        for job in self._jobs.values():
            self._schedules.enter(job)
        if self._jobs:
            self._due_at = 0.0

    def seconds_left(self) -> float:
        """Return the seconds until the next job is due."""
        return self._due_at - self._store.clock()

    def tick(self) -> None:
        """Push the jobs that are due. Raises DatabaseError.

        A job that cannot be pushed is logged, and tried again at its next due time.
        """
        now = self._store.clock()
        if not self._jobs:
            return
        if now < self._looked_at:
            # The clock was set back, and the stored due times may be far in the future.
            self.begin()
        elif now < min(self._due_at, self._looked_at + SCHEDULE_CHECK_SECONDS):
            return
        for entry in self._own_entries():
            if entry.due(now):
                self._push(entry)
        times = [entry.next_at.timestamp() for entry in self._own_entries()]
        self._looked_at, self._due_at = now, min(times, default=NEVER)

    def _push(self, entry: ScheduleEntry) -> None:
        job = self._jobs[entry.name]
        try:
            self._schedules.tick(entry, job)
        except DatabaseError:
            raise
        except ScheduleError as error:
            logger.error(
                "the stored schedule of %s is replaced by that of its code: %s", entry.name, error
            )
            self._schedules.enter(job)
        except Exception as error:
            logger.error("the periodic job %s was not pushed: %s", entry.name, describe(error))

    def _own_entries(self) -> list[ScheduleEntry]:
        entries = self._schedules.entries()
        return [entry for entry in entries if entry.name in self._jobs and not entry.paused]


def _bounds(schedule: Schedule, now: float) -> dict[str, object]:
    """Return when a job is due next, and the latest due time that may be kept: a later one was
    stored before the clock was set back."""
    ahead = SET_BACK_SECONDS if schedule.at_fixed_times else STEP_SECONDS
    next_at, latest = schedule.next(now), schedule.next(now + ahead)
    return {"next_at": _milliseconds(next_at), "latest": _milliseconds(latest)}


def _keys(job: Job) -> Options:
    """Return the keys of a periodic job. By default it has at most one unfinished job.

    A callable is called here, because user code must not run inside a transaction.
    """
    made = type(job).__litequeue__
    unique = made.options.get("unique", _own_key(made.name))
    alone = made.options.get("without_overlapping", True)
    keys: Options = {"unique": unique(job) if callable(unique) else unique}
    if "concurrency" not in made.options or "without_overlapping" in made.options:
        keys["without_overlapping"] = alone(job) if callable(alone) else alone
    shared = made.options.get("rate_key")
    if callable(shared):
        keys["rate_key"] = shared(job)
    return keys


def _own_key(name: str) -> str:
    return f"schedule {name}"


def _instant(stored: object) -> datetime:
    try:
        return instant(stored) if isinstance(stored, int) and stored >= 0 else EDITED
    except (ValueError, OverflowError, OSError):
        return EDITED


def _milliseconds(seconds: float) -> int:
    from math import ceil  # as above, for periodic jobs alone

    # Rounded up: a tick before its time would find the same time to come once more.
    return ceil(seconds * 1000)
