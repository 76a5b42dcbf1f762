"""What those who watch a queue ask of it beside its rows and counts: reads only, and
each by one of the partial indexes."""

from __future__ import annotations

import shlex

from litequeue.options import DEFAULTS
from litequeue.queue import Queue
from litequeue.record import COLUMNS, JobRow, State, WorkerRow, read_row

# A job that was pushed for a time in the past has waited since it was pushed.
OLDEST_WAITS = """
select queue, max(:now - max(available_at, created_at))
from litequeue_jobs
where state = 3
group by queue"""


def oldest_waits(queue: Queue) -> dict[str, float]:
    """Return, for each queue with a ready job, the seconds that the oldest has waited."""
    found = queue.database.rows(OLDEST_WAITS, {"now": queue.now()})
    return {str(name): max(0.0, waited / 1000) for name, waited in found}


NEXT_SCHEDULED = f"""
select {COLUMNS}
from litequeue_jobs
where state = 4
order by available_at
limit 1"""


def next_scheduled(queue: Queue) -> JobRow | None:
    """Return the scheduled job that is due first."""
    rows = queue.database.rows(NEXT_SCHEDULED)
    return read_row(rows[0]) if rows else None


# Two ranges of the index; one condition with "or" would walk over the whole queue.
AHEAD = """
select
  (select count(*)
   from litequeue_jobs
   where state = 3 and queue = :queue and priority > :priority)
  +
  (select count(*)
   from litequeue_jobs
   where state = 3 and queue = :queue and priority = :priority and id < :id)"""


def ahead(queue: Queue, row: JobRow) -> int:
    """Return how many ready jobs of its queue a worker would take before this one."""
    key = {"queue": row.queue, "priority": row.priority, "id": row.id}
    return int(queue.database.rows(AHEAD, key)[0][0])


RUNNING_OF_WORKERS = """
select worker, count(*)
from litequeue_jobs
where state = 5
group by worker"""


def at_work(queue: Queue) -> tuple[list[tuple[WorkerRow, list[JobRow]]], int]:
    """Return the living workers, each with what it runs, and how many jobs the dead ones
    have left behind."""
    # Before the workers: one that starts in between is not to look dead.
    counts = queue.database.rows(RUNNING_OF_WORKERS)
    alive = queue.roster.alive()
    ids = {worker.id for worker in alive}
    left_behind = sum(count for worker, count in counts if worker not in ids)
    return [(worker, queue.running(worker.id)) for worker in alive], left_behind


def worker_of(queue: Queue, row: JobRow) -> WorkerRow | None:
    """Return the living worker that runs a job."""
    if row.state is not State.RUNNING:
        return None
    return next((worker for worker in queue.roster.alive() if worker.id == row.worker), None)


def why_not_running(queue: Queue, row: JobRow, database: str) -> str | None:
    """Say why a job is not running, and what to do about it with the file that a shell
    calls ``database``; None for a job that runs."""
    retry = f"`litequeue retry {database} {row.id}`"
    if row.state is State.RUNNING:
        alive = worker_of(queue, row) is not None
        return None if alive else "its worker is dead; start one, and it takes over"
    if row.state is State.WAITING:
        return "it waits for other jobs to succeed"
    if row.state is State.SCHEDULED and row.available_at.timestamp() > queue.clock():
        return _when_due(queue, row)
    if row.state is State.DONE:
        return "it has succeeded"
    if row.state is State.CANCELLED:
        return f"it was cancelled; bring it back with {retry}"
    if row.state is State.FAILED:
        spent = row.attempts >= allowed_attempts(row)
        why = "its attempts are spent" if spent else f"it failed for good at attempt {row.attempts}"
        return f"{why}; run it again with {retry}"
    return _why_not_yet(queue, row, database)


def _when_due(queue: Queue, row: JobRow) -> str:
    due = f"due in {span(row.available_at.timestamp() - queue.clock())}"
    if row.exception is None:
        return f"it is {due}"
    return f"attempt {row.attempts} failed ({row.reason}), and the next one is {due}"


def _why_not_yet(queue: Queue, row: JobRow, database: str) -> str:
    name, shell_name = row.queue, shlex.quote(row.queue)
    if name in queue.paused():
        return (
            f"queue {name} is paused; let it go on with `litequeue resume {database} {shell_name}`"
        )
    if not any(not worker.queues or name in worker.queues for worker in queue.roster.alive()):
        work = f"`litequeue work {database}`"
        return f"no living worker serves queue {name}; start one with {work}"
    before = ahead(queue, row)
    if before:
        return f"{jobs_counted(before)} of its queue {'is' if before == 1 else 'are'} ahead of it"
    return "it is the next of its queue, as soon as a worker is free"


def allowed_attempts(row: JobRow) -> int:
    """Return how often a job may run; where it does not say, the usual number."""
    return DEFAULTS["max_attempts"] if row.max_attempts is None else row.max_attempts


def jobs_counted(count: int) -> str:
    """Return a number of jobs in words: 1 job, 3 jobs."""
    return f"{count} job" if count == 1 else f"{count} jobs"


def span(seconds: float) -> str:
    """Return a duration to be read at a glance: 90 s, 5 min, 30 h, 3 days."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
