"""The invariants of the file: what is true of its rows at any time, also after a crash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from litequeue.engine.database import Database
from litequeue.messages import show
from litequeue.records import (
    KINDS,
    MAYBE_NUMBER,
    MAYBE_TEXT,
    NOBODY,
    NUMBER,
    TEXT,
    Row,
    faults_in,
)
from litequeue.store.batches import BATCH_KINDS

EDGE_KINDS = {
    "child": NUMBER,
    "position": NUMBER,
    "parent": NUMBER,
    "met_at": MAYBE_NUMBER,
    "result": MAYBE_TEXT,
}
SCHEDULE_KINDS = {
    "name": TEXT,
    "expression": TEXT,
    "zone": MAYBE_TEXT,
    "next_at": NUMBER,
    "last_at": MAYBE_NUMBER,
    "last_job": MAYBE_NUMBER,
    "paused_at": MAYBE_NUMBER,
}
WORKER_KINDS = {
    "id": NUMBER,
    "pid": NUMBER,
    "queues": TEXT,
    "started_at": NUMBER,
    "cause": MAYBE_TEXT,
    "keeps": MAYBE_NUMBER,
}
RATE_KINDS = {
    "key": TEXT,
    "starts": TEXT,
    "length": NUMBER,
    "waiting": NUMBER,
    "over_at": NUMBER,
}
PAUSED_KINDS = {"queue": TEXT, "paused_at": NUMBER}

# Each invariant, with the statement that finds the rows that violate it.
INVARIANTS = (
    (
        "a running job has a worker and has used an attempt",
        f"""
        select id from litequeue_jobs
        where state = 5 and (worker = {NOBODY} or attempts < 1)""",
    ),
    (
        "a job has a finish time if and only if it is done, failed or cancelled",
        """
        select id from litequeue_jobs
        where (state in (6, 7, 8)) <> (finished_at is not null)""",
    ),
    (
        "a failed job has an exception and a failure time",
        """
        select id from litequeue_jobs
        where state = 7 and (exception is null or failed_at is null)""",
    ),
    (
        "a cancelled job has a cancellation time, and a job that will run has none",
        """
        select id from litequeue_jobs
        where (state = 8 and cancelled_at is null)
           or (state in (2, 3, 4, 9) and cancelled_at is not null)""",
    ),
    (
        "only a done job has a result or an expiry time",
        """
        select id from litequeue_jobs
        where state <> 6 and (result is not null or expires_at is not null)""",
    ),
    (
        "no job has used more attempts than its maximum",
        """
        select id from litequeue_jobs
        where attempts > max_attempts""",
    ),
    (
        "no job has a negative number of attempts",
        """
        select id from litequeue_jobs
        where attempts < 0""",
    ),
    (
        "a job waits if and only if a parent has not succeeded or its batch is open",
        """
        select id from litequeue_jobs as job
        where (state = 2) <> (
          exists (select 1 from litequeue_edges where child = job.id and met_at is null)
          or exists (
            select 1 from litequeue_batches
            where id = job.id and closed_at is null and job.step is not 'plan'
          )
        )
        and state in (2, 3, 4, 5, 9)""",
    ),
    (
        "no job waits for a parent that has succeeded or was deleted",
        """
        select child from litequeue_edges
        where met_at is null
          and parent not in (select id from litequeue_jobs where state <> 6)
          and child in (select id from litequeue_jobs where state = 2)""",
    ),
    (
        "the dependencies of a deleted job are deleted too",
        """
        select distinct child from litequeue_edges
        where child not in (select id from litequeue_jobs)""",
    ),
    (
        "the counts of a batch and its unfinished jobs add up to its planned jobs",
        """
        select id from litequeue_batches as batch
        where planned - done - failed - cancelled <> (
          select count(*) from litequeue_jobs
          where batch = batch.id and state in (2, 3, 4, 5, 9)
        )""",
    ),
    (
        "no more jobs of a key run than its concurrency limit",
        """
        select min(id) from litequeue_jobs
        where overlap_key is not null and state = 5
        group by overlap_key
        having count(*) > max(coalesce(overlap_limit, 1))""",
    ),
    (
        "a job is blocked only while another job of its key is ready or running",
        """
        select min(id) from litequeue_jobs as job
        where overlap_key is not null and state = 9
          and not exists (
            select 1 from litequeue_jobs
            where overlap_key = job.overlap_key and state in (3, 5)
          )
        group by overlap_key""",
    ),
    (
        "only a job with a rate limit waits for it",
        """
        select id from litequeue_jobs
        where rate_since is not null and rate_key is null""",
    ),
)

SHOWN_IDS = 10


def violations(database: Database) -> list[str]:
    """Return a sentence for each violated invariant, with the ids of the jobs."""
    found = []
    for invariant, statement in INVARIANTS:
        ids = [str(id) for (id,) in database.rows(statement)]
        if ids:
            more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
            found.append(f"{invariant}: violated by {', '.join(ids[:SHOWN_IDS])}{more}")
    return found + unreadable_rows(database)


class Table(NamedTuple):
    """A table, what its rows are called, and what its columns may hold."""

    name: str
    thing: str
    key: str
    kinds: Mapping[str, tuple[type, ...]]


CHECKED_TABLES = (
    Table("jobs", "job", "id", KINDS),
    Table("batches", "batch", "id", BATCH_KINDS),
    Table("edges", "a dependency of job", "child, position", EDGE_KINDS),
    Table("schedules", "periodic job", "name", SCHEDULE_KINDS),
    Table("workers", "worker", "id", WORKER_KINDS),
    Table("rates", "rate limit", "key", RATE_KINDS),
    Table("paused", "paused queue", "queue", PAUSED_KINDS),
)

READ_AT_ONCE = 1000


def unreadable_rows(database: Database) -> list[str]:
    """Return a sentence for each row with a value that litequeue never writes, at most
    SHOWN_IDS for each table."""
    found = []
    for table in CHECKED_TABLES:
        sentences = list(islice(_unreadable_in(database, table), SHOWN_IDS + 1))
        found += sentences[:SHOWN_IDS]
        if len(sentences) > SHOWN_IDS:
            found.append(f"there are more such rows in litequeue_{table.name}")
    return found


def _unreadable_in(database: Database, table: Table) -> Iterator[str]:
    for values in _rows(database, table):
        faults = faults_in(table.kinds, values)
        if faults:
            named = values[0] if isinstance(values[0], str | int) else show(values[0])
            yield f"{table.thing} {named} cannot be read: {'; '.join(faults.values())}"


def _rows(database: Database, table: Table) -> Iterator[Row]:
    """All rows in the order of their key, read in parts: there may be millions."""
    keys = table.key.split(", ")
    bound = ", ".join(f":{key}" for key in keys)
    columns = ", ".join(table.kinds)
    begin = f"select {columns} from litequeue_{table.name}"
    end = f"order by {table.key} limit {READ_AT_ONCE}"
    rows = database.rows(f"{begin} {end}")
    while rows:
        yield from rows
        after = dict(zip(table.kinds, rows[-1], strict=True))
        where = f"where ({table.key}) > ({bound})"
        rows = database.rows(f"{begin} {where} {end}", {key: after[key] for key in keys})
