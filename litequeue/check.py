"""The laws of the file: what is always true of its rows, whatever was killed."""

from __future__ import annotations

from litequeue.database import Database
from litequeue.record import NOBODY

# Each law with the statement that finds the rows that break it.
LAWS = (
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
    (
        "states, attempts, priorities, workers and instants are whole numbers",
        """
        select id from litequeue_jobs
        where typeof(state) <> 'integer' or state not between 2 and 9
           or typeof(attempts) <> 'integer' or attempts < 0
           or typeof(priority) <> 'integer' or typeof(worker) <> 'integer'
           or typeof(available_at) <> 'integer' or typeof(reserved_at) <> 'integer'
           or typeof(created_at) <> 'integer'""",
    ),
    (
        "names, queues and payloads are text",
        """
        select id from litequeue_jobs
        where typeof(name) <> 'text' or typeof(queue) <> 'text' or typeof(payload) <> 'text'""",
    ),
)

SHOWN_IDS = 10


def broken_laws(database: Database) -> list[str]:
    """Return a sentence for each law that the file breaks, with the jobs that break it."""
    found = []
    for law, statement in LAWS:
        ids = [str(id) for (id,) in database.rows(statement)]
        if ids:
            more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
            found.append(f"{law}: not so for {', '.join(ids[:SHOWN_IDS])}{more}")
    return found
