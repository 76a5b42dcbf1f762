"""Waits, workers, dependencies, batches, and why a job is not running. Only reads, each by
one of the partial indexes."""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from math import ceil, isfinite

from litequeue.errors import DamagedRow, NoSuchJob
from litequeue.options import DEFAULTS
from litequeue.records import (
    BLOCKED,
    COLUMNS,
    JobRow,
    State,
    UnreadableRow,
    WorkerRow,
    is_id,
    read_or_explain,
    read_state,
    reason_of,
)
from litequeue.store.batches import BatchRow
from litequeue.store.deadlines import EXPIRED
from litequeue.store.lookup import matching
from litequeue.store.store import Store
from litequeue.worker.outcome import UNKNOWN_SECONDS
from litequeue.worker.periodic import ScheduleEntry, Schedules

EARLIEST = datetime.min.replace(tzinfo=timezone.utc)

# How many of the jobs that a job waits for are named in a sentence.
NAMED_PARENTS = 3
# How many rows each table of the status shows at most.
LINES = 20

# A job that was pushed for a time in the past has waited since it was pushed.
SINCE = "max(available_at, created_at)"

# The index has the ids, so only the first row of each queue is read.
FIRST_WAITS = f"""
select queue, :now - {SINCE}, available_at <= created_at
from litequeue_jobs
where id in (select min(id) from litequeue_jobs where state = 3 group by queue)"""

LONGEST_WAIT = f"""
select :now - min({SINCE})
from litequeue_jobs
where state = 3 and queue = :queue"""


def oldest_waits(store: Store) -> dict[str, float]:
    """Return, for each queue with a ready job, the seconds that the oldest has waited."""
    waits, now = {}, store.now()
    for name, waited, when_pushed in store.database.rows(FIRST_WAITS, {"now": now}):
        if not when_pushed:
            # It became due or was retried later, so a newer job may have waited longer.
            found = store.database.rows(LONGEST_WAIT, {"now": now, "queue": name})
            waited = found[0][0] or waited
        # A wait may be negative or infinite if the instants were edited.
        waits[str(name)] = max(0.0, waited / 1000) if isfinite(waited) else 0.0
    return waits


def listed(
    store: Store,
    *,
    state: State | str | None = None,
    queue: str | None = None,
    name: str | None = None,
    limit: int,
) -> list[JobRow | UnreadableRow]:
    """Return the newest rows that match all given filters, including unreadable ones.

    Raises OptionError for an unknown state.
    """
    return store.lookups.find(matching(state, queue, name), limit)


def looked_up(store: Store, id: int) -> JobRow | UnreadableRow:
    """Return the row of a job, also if it is unreadable; raises NoSuchJob."""
    rows = store.database.rows(store.lookups.GET, {"id": id}) if is_id(id) else []
    if not rows:
        raise NoSuchJob(id=id)
    return read_or_explain(rows[0])


RUNS = """
select 1
from litequeue_jobs
where id = :id and state = 5"""


def runs(store: Store, id: int) -> bool:
    """Return whether a job is running, also if the rest of its row is unreadable."""
    return bool(store.database.rows(RUNS, {"id": id}))


NEXT_SCHEDULED = f"""
select {COLUMNS}
from litequeue_jobs
where state = 4
order by available_at
limit {LINES}"""


def next_scheduled(store: Store) -> JobRow | None:
    """Return the readable scheduled job that is due first."""
    rows = map(read_or_explain, store.database.rows(NEXT_SCHEDULED))
    return next((row for row in rows if isinstance(row, JobRow)), None)


UNKNOWN = f"""
select name, count(*)
from litequeue_jobs
where unknown_since is not null and state in (3, 4, 9)
group by name
limit {LINES}"""


def unknown_jobs(store: Store) -> list[tuple[str, int]]:
    """Return the job names that some worker has no class for, each with its number of jobs."""
    return [(str(name), count) for name, count in store.database.rows(UNKNOWN)]


# Two ranges of the index; one condition with "or" would scan the whole queue.
AHEAD = """
select
  (select count(*)
   from litequeue_jobs
   where state = 3 and queue = :queue and priority > :priority)
  +
  (select count(*)
   from litequeue_jobs
   where state = 3 and queue = :queue and priority = :priority and id < :id)"""


def ahead(store: Store, row: JobRow) -> int:
    """Return how many ready jobs of its queue a worker would claim before this one."""
    key = {"queue": row.queue, "priority": row.priority, "id": row.id}
    return int(store.database.rows(AHEAD, key)[0][0])


RUNNING_OF_WORKERS = """
select worker, count(*)
from litequeue_jobs
where state = 5
group by worker"""


def active_workers(store: Store) -> tuple[list[tuple[WorkerRow, list[JobRow]]], int]:
    """Return the living workers, each with its running jobs, and how many running jobs belong
    to dead workers."""
    # Counted first, so that a worker that starts in between does not look dead.
    counts = store.database.rows(RUNNING_OF_WORKERS)
    alive = store.presence.alive()
    ids = {worker.id for worker in alive}
    left_behind = sum(count for worker, count in counts if worker not in ids)
    return [(worker, store.claims.running(worker.id)) for worker in alive], left_behind


def worker_of(store: Store, row: JobRow) -> WorkerRow | None:
    """Return the living worker that runs a job."""
    if row.state is not State.RUNNING:
        return None
    return next((worker for worker in store.presence.alive() if worker.id == row.worker), None)


@dataclass(frozen=True, slots=True)
class Parent:
    """A job that another depends on, as far as it is still in the database."""

    id: int
    name: str | None
    state: State
    reason: str

    @property
    def failed(self) -> bool:
        return self.state is State.FAILED


PARENTS = """
select edge.parent, edge.met_at, job.name, job.state, job.exception
from litequeue_edges edge
left join litequeue_jobs job on job.id = edge.parent
where edge.child = :id
order by edge.position"""


def parents(store: Store, row: JobRow) -> list[Parent]:
    """Return the jobs that this one depends on, in the order of ``after=``."""
    found = store.database.rows(PARENTS, {"id": row.id})
    return [_parent(*values) for values in found if isinstance(values[0], int)]


def _parent(
    id: int, met_at: object, stored_name: object, code: object, exception: object
) -> Parent:
    name = None if stored_name is None else str(stored_name)
    if met_at is not None:
        # It had succeeded, whatever has happened to it since.
        return Parent(id, name, State.DONE, "")
    try:
        state = State.CANCELLED if code is None else read_state(code, id)
    except DamagedRow as error:
        return Parent(id, name, State.FAILED, str(error))
    return Parent(id, name, state, reason_of(str(exception or "")))


CHILDREN = """
select job.id, job.name
from litequeue_edges edge
join litequeue_jobs job on job.id = edge.child
where edge.parent = :id and edge.met_at is null
order by job.id"""


def children(store: Store, row: JobRow) -> list[tuple[int, str]]:
    """Return the ids and names of the jobs that wait for this one."""
    found = store.database.rows(CHILDREN, {"id": row.id})
    return [(int(id), str(name)) for id, name in found]


# Indirect dependents too: jobs that wait for a job that waits for a failed one.
STUCK = f"""
with recursive waits (parent, child) as (
  select edge.parent, edge.child
  from litequeue_edges edge
  join litequeue_jobs job on job.id = edge.parent
  where edge.met_at is null and job.state = 7
  union
  select waits.parent, edge.child
  from waits
  join litequeue_edges edge on edge.parent = waits.child
  where edge.met_at is null
)
select job.id, job.name, job.exception, count(*)
from waits
join litequeue_jobs job on job.id = waits.parent
group by job.id
order by job.id
limit {LINES}"""


def stuck(store: Store) -> list[tuple[Parent, int]]:
    """Return the failed jobs that others wait for, each with the number of these."""
    return [
        (Parent(id, str(name), State.FAILED, reason_of(str(exception or ""))), count)
        for id, name, exception, count in store.database.rows(STUCK)
    ]


RUNNING_OF_KEY = """
select count(*)
from litequeue_jobs
where overlap_key = :key and state = 5"""

IS_BLOCKED = f"""
select 1
from litequeue_jobs
where id = :id and state = {BLOCKED}"""


def running_of_key(store: Store, row: JobRow) -> int:
    """Return how many jobs with the concurrency key of this one are running."""
    return int(store.database.rows(RUNNING_OF_KEY, {"key": row.overlap_key})[0][0])


def batch_of(store: Store, row: JobRow) -> BatchRow | None:
    """Return the batch that a job is part of, plans or follows; raises DamagedRow."""
    with suppress(NoSuchJob):
        return store.batches.get(row.batch or row.id, store.now())
    return None


OPEN_BATCHES = f"""
select id
from litequeue_batches
where closed_at is null and cancelled_at is null
order by id desc
limit {LINES}"""


def open_batches(store: Store) -> list[BatchRow]:
    """Return the open batches that can be read, newest first."""
    found = []
    for (id,) in store.database.rows(OPEN_BATCHES):
        with suppress(NoSuchJob, DamagedRow):
            found.append(store.batches.get(id, store.now()))
    return found


def batch_in_words(batch: BatchRow) -> str:
    """Return the progress of a batch in words."""
    so_far = "" if batch.planned_at else " so far"
    words = [f"planned {batch.planned}{so_far}", f"done {batch.done}", f"failed {batch.failed}"]
    if batch.cancelled:
        words.append(f"cancelled {batch.cancelled}")
    words += [f"{batch.percent:.0f} %", f"{batch.rate:.1f} a second"]
    if batch.seconds_left:
        words.append(f"{span(batch.seconds_left)} left")
    return ", ".join(words)


ASKED_TO_STOP = """
select count(*)
from litequeue_jobs
where (batch = :id or id = :id) and state = 5 and cancelled_at is not null"""


def asked_to_stop(store: Store, batch: int) -> int:
    """Return how many running jobs of a batch were asked to stop."""
    return int(store.database.rows(ASKED_TO_STOP, {"id": batch})[0][0])


def next_periodic(store: Store) -> ScheduleEntry | None:
    """Return the schedule entry that is due first."""
    lines = [line for line in Schedules(store).entries() if not line.paused]
    return min(lines, key=lambda line: line.next_at or EARLIEST, default=None)


def why_not_running(store: Store, row: JobRow, database: str) -> str | None:
    """Return why a job is not running, and the command that helps; ``database`` is the file,
    quoted for a shell. None for a running job."""
    retry = f"`litequeue retry {database} {row.id}`"
    if row.state is State.RUNNING:
        alive = worker_of(store, row) is not None
        return None if alive else "its worker is dead; any live worker rescues it"
    if row.state is State.WAITING:
        return _why_waiting(store, row, database)
    if row.state is State.SCHEDULED and row.available_at.timestamp() > store.clock():
        return _when_due(store, row)
    if row.state is State.DONE:
        return "it has succeeded"
    if row.state is State.CANCELLED:
        if row.deadline_at is not None and row.reason.startswith(EXPIRED):
            return f"{row.reason}; push it again"
        return f"it was cancelled; run it again with {retry}"
    if row.state is State.FAILED:
        exhausted = row.attempts >= allowed_attempts(row)
        why = (
            "retries exhausted" if exhausted else f"it failed permanently at attempt {row.attempts}"
        )
        return f"{why}; run it again with {retry}"
    return _why_not_yet(store, row, database)


def _why_waiting(store: Store, row: JobRow, database: str) -> str:
    if store.batches.is_open(row.id):
        try:
            batch = store.batches.get(row.id, store.now())
            return f"it waits for its batch to finish: {batch_in_words(batch)}"
        except DamagedRow as error:
            return f"it waits for its batch to finish, but {error}"
    unmet = [parent for parent in parents(store, row) if parent.state is not State.DONE]
    # Failed ones first: they need a retry.
    unmet.sort(key=lambda parent: not parent.failed)
    named = "; ".join(parent_in_words(parent, database) for parent in unmet[:NAMED_PARENTS])
    more = (
        f"; and {jobs_counted(len(unmet) - NAMED_PARENTS)} more"
        if len(unmet) > NAMED_PARENTS
        else ""
    )
    return f"it waits for {named}{more}" if unmet else "it waits for other jobs to succeed"


def parent_in_words(parent: Parent, database: str) -> str:
    """Return the state of a job that another depends on, and what to do if it failed."""
    name = f" ({parent.name})" if parent.name else ""
    if not parent.failed:
        return f"{parent.id}{name}, which is {parent.state}"
    reason = f" ({parent.reason})" if parent.reason else ""
    return (
        f"{parent.id}{name}, which failed{reason}; run it again with "
        f"`litequeue retry {database} {parent.id}`"
    )


def _when_due(store: Store, row: JobRow) -> str:
    again = span(row.available_at.timestamp() - store.clock())
    if row.unknown_since is not None:
        until = row.unknown_since.timestamp() + UNKNOWN_SECONDS
        return (
            f"no worker so far has a job named {row.name}; a worker tries again in {again}, and "
            f"the job fails permanently in {span(until - store.clock())}; start a worker whose "
            f"jobs package has it"
        )
    over_rate = _why_over_rate(store, row) if row.rate_since is not None else None
    if over_rate:
        return over_rate
    due = f"due in {again}"
    if row.exception is None:
        return f"it is {due}"
    return f"attempt {row.attempts} failed ({row.reason}), and the next one is {due}"


def _why_not_yet(store: Store, row: JobRow, database: str) -> str:
    name, shell_name = row.queue, shlex.quote(row.queue)
    if name in store.admin.paused():
        return f"queue {name} is paused; resume it with `litequeue resume {database} {shell_name}`"
    if not any(not worker.queues or name in worker.queues for worker in store.presence.alive()):
        work = f"`litequeue work {database}`"
        return f"no living worker serves queue {name}; start one with {work}"
    held = _why_blocked(store, row) or _why_over_rate(store, row)
    if held:
        return held
    before = ahead(store, row)
    if before:
        return f"{jobs_counted(before)} of its queue {'is' if before == 1 else 'are'} ahead of it"
    return "it is next in its queue, and runs as soon as a worker is free"


def _why_over_rate(store: Store, row: JobRow) -> str | None:
    left = store.rates.seconds_left(row)
    limit = f"its rate limit of {row.options.get('rate_limit')}"
    if left > 0:
        return f"{limit} is reached; its turn comes in {span(ceil(left))}"
    return None


def _why_blocked(store: Store, row: JobRow) -> str | None:
    if row.overlap_key is None:
        return None
    running, limit = running_of_key(store, row), row.overlap_limit or 1
    if running < limit and not store.database.rows(IS_BLOCKED, {"id": row.id}):
        return None
    return (
        f"the concurrency limit of key {row.overlap_key} is reached ({running} of {limit} "
        f"running); it runs when one of them ends"
    )


def allowed_attempts(row: JobRow) -> int:
    """Return the maximum attempts of a job, or the default where it sets none."""
    return DEFAULTS["max_attempts"] if row.max_attempts is None else row.max_attempts


def jobs_counted(count: int) -> str:
    """Return a number of jobs in words: 1 job, 3 jobs."""
    return f"{count} job" if count == 1 else f"{count} jobs"


def span(seconds: float) -> str:
    """Return a duration in its largest useful unit: 90 s, 5 min, 30 h, 3 days."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
