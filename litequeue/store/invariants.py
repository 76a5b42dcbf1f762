"""The invariants of the file: what is always true of its rows, even after a crash."""

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
from litequeue.store.batches import KINDS as BATCHES

EDGES = {
    "child": NUMBER,
    "position": NUMBER,
    "parent": NUMBER,
    "met_at": MAYBE_NUMBER,
    "result": MAYBE_TEXT,
}
SCHEDULES = {
    "name": TEXT,
    "expression": TEXT,
    "zone": MAYBE_TEXT,
    "next_at": NUMBER,
    "last_at": MAYBE_NUMBER,
    "last_job": MAYBE_NUMBER,
    "paused_at": MAYBE_NUMBER,
}
WORKERS = {
    "id": NUMBER,
    "pid": NUMBER,
    "queues": TEXT,
    "started_at": NUMBER,
    "cause": MAYBE_TEXT,
    "keeps": MAYBE_NUMBER,
}
PAUSED = {"queue": TEXT, "paused_at": NUMBER}

# Each invariant with the statement that finds the rows that break it.
INVARIANTS = (
    (
        "a running job has a worker and has spent an attempt",
        f"""
        select id from litequeue_jobs
        where state = 5 and (worker = {NOBODY} or attempts < 1)""",
    ),
    (
        "a job is finished exactly when it is done, failed or cancelled",
        """
        select id from litequeue_jobs
        where (state in (6, 7, 8)) <> (finished_at is not null)""",
    ),
    (
        "a failed job says why",
        """
        select id from litequeue_jobs
        where state = 7 and (exception is null or failed_at is null)""",
    ),
    (
        "a cancelled job was asked to be",
        """
        select id from litequeue_jobs
        where (state = 8 and cancelled_at is null)
           or (state in (2, 3, 4, 9) and cancelled_at is not null)""",
    ),
    (
        "only a done job has a result and a time of keeping",
        """
        select id from litequeue_jobs
        where state <> 6 and (result is not null or expires_at is not null)""",
    ),
    (
        "no job runs more often than its attempts",
        """
        select id from litequeue_jobs
        where attempts > max_attempts""",
    ),
    (
        "no job has run less often than never",
        """
        select id from litequeue_jobs
        where attempts < 0""",
    ),
    (
        "a job waits exactly while a parent has not succeeded or its batch is open",
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
        "no job waits for one that has succeeded, or that is gone",
        """
        select child from litequeue_edges
        where met_at is null
          and parent not in (select id from litequeue_jobs where state <> 6)
          and child in (select id from litequeue_jobs where state = 2)""",
    ),
    (
        "what a job comes after is forgotten with it",
        """
        select distinct child from litequeue_edges
        where child not in (select id from litequeue_jobs)""",
    ),
    (
        "a batch's counts and its unfinished members make up what was planned",
        """
        select id from litequeue_batches as batch
        where planned - done - failed - cancelled <> (
          select count(*) from litequeue_jobs
          where batch = batch.id and state in (2, 3, 4, 5, 9)
        )""",
    ),
    (
        "no more jobs of a key run than may",
        """
        select min(id) from litequeue_jobs
        where overlap_key is not null and state = 5
        group by overlap_key
        having count(*) > max(coalesce(overlap_limit, 1))""",
    ),
    (
        "a job is held only while another of its key runs, or is to run",
        """
        select min(id) from litequeue_jobs as job
        where overlap_key is not null and state = 9
          and not exists (
            select 1 from litequeue_jobs
            where overlap_key = job.overlap_key and state in (3, 5)
          )
        group by overlap_key""",
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
            found.append(f"{invariant}: not so for {', '.join(ids[:SHOWN_IDS])}{more}")
    return found + unreadable_rows(database)


class Table(NamedTuple):
    """A table of ours, for who reads all of it."""

    name: str
    thing: str
    key: str
    kinds: Mapping[str, tuple[type, ...]]


TABLES = (
    Table("jobs", "job", "id", KINDS),
    Table("batches", "batch", "id", BATCHES),
    Table("edges", "what comes before job", "child, position", EDGES),
    Table("schedules", "periodic job", "name", SCHEDULES),
    Table("workers", "worker", "id", WORKERS),
    Table("paused", "paused queue", "queue", PAUSED),
)

AT_ONCE = 1000


def unreadable_rows(database: Database) -> list[str]:
    """Return a sentence for each row that was edited into what no verb writes, at most
    SHOWN_IDS for each table."""
    found = []
    for table in TABLES:
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
    """All rows in the order of their key, some at a time: there may be millions."""
    keys = table.key.split(", ")
    bound = ", ".join(f":{key}" for key in keys)
    columns = ", ".join(table.kinds)
    begin = f"select {columns} from litequeue_{table.name}"
    end = f"order by {table.key} limit {AT_ONCE}"
    rows = database.rows(f"{begin} {end}")
    while rows:
        yield from rows
        after = dict(zip(table.kinds, rows[-1], strict=True))
        where = f"where ({table.key}) > ({bound})"
        rows = database.rows(f"{begin} {where} {end}", {key: after[key] for key in keys})
