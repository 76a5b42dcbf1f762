"""The life of a run: a job is reserved by a worker, and then completed, failed or
released by that worker and nobody else.

Every statement that ends or changes a run says which run it is: the row, in state
running, at this attempt, of this worker. It counts the rows that it changed, and where
there are none the run was lost, and nothing was written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from litequeue.database import NOTHING, Database, Parameters
from litequeue.errors import DamagedRow, RunLost
from litequeue.record import COLUMNS, NOBODY, JobRow, Row, State, read_row

PROMOTE_AT_ONCE = 100
EXPIRE_AT_ONCE = 100

logger = logging.getLogger("litequeue")


class Runs:
    """What a worker does with the rows of one database."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self.database = database
        self.clock = clock

    # A claim that finds nothing would still take the write lock, so look first.
    def reserve(self, worker: int, queues: Sequence[str] = ()) -> JobRow | None:
        """Claim the next due job for ``worker`` and return its row, or None.

        With ``queues``, the first of them that has a due job; without, the job of the
        highest priority, then the oldest, of all queues that are not paused.
        """
        while self.has_ready(queues) or self._has_due():
            with self.database.transaction():
                # Who is first is known when all that is due is ready.
                if self._promote() < PROMOTE_AT_ONCE:
                    return self._first(worker, queues)
        return None

    def _first(self, worker: int, queues: Sequence[str]) -> JobRow | None:
        if not queues:
            return self._claim(self.CLAIM_ANY, {"worker": worker})
        for queue in queues:
            row = self._claim(self.CLAIM_FROM, {"worker": worker, "queue": queue})
            if row is not None:
                return row
        return None

    CLAIM = (
        """
    update litequeue_jobs
    set state = 5, attempts = attempts + 1, worker = :worker, reserved_at = :now
    where id in ({first})
    returning """
        + COLUMNS
    )

    FIRST_FROM = """
      select id
      from litequeue_jobs
      where state = 3 and queue = :queue
        and not exists (select 1 from litequeue_paused where queue = :queue)
      order by priority desc, id
      limit 1"""

    # The names of the queues that have a ready job, by leaping from one to the next in
    # the index, and not by walking over the jobs.
    FIRST_ANY = """
      select id
      from litequeue_jobs
      where state = 3 and queue in (
        with recursive names (queue) as (
          select (select min(queue) from litequeue_jobs where state = 3)
          union all
          select (select min(queue) from litequeue_jobs where state = 3 and queue > names.queue)
          from names
          where names.queue is not null
        )
        select queue from names where queue is not null
        except
        select queue from litequeue_paused
      )
      order by priority desc, id
      limit 1"""

    CLAIM_FROM = CLAIM.format(first=FIRST_FROM)
    CLAIM_ANY = CLAIM.format(first=FIRST_ANY)

    CLAIM_ONE = CLAIM.format(
        first="select id from litequeue_jobs where id = :id and state in (3, 4)"
    )

    def reserve_job(self, worker: int, id: int) -> JobRow | None:
        """Claim this job for ``worker``, due or not; None if it is not to be had."""
        return self._claim(self.CLAIM_ONE, {"worker": worker, "id": id})

    def _claim(self, sql: str, parameters: dict[str, object]) -> JobRow | None:
        rows = self.database.rows(sql, {**parameters, "now": self.now()})
        if not rows:
            return None
        readable = self._readable(rows)
        # One that cannot be read has failed; the next may do.
        return readable[0] if readable else self._claim(sql, parameters)

    DUE_NAMED = """
    select id
    from litequeue_jobs
    where (state = 3 or (state = 4 and available_at <= :now))
      and lower(replace(replace(name, '-', ''), '_', '')) = :key
    order by priority desc, id"""

    def due_named(self, key: str) -> list[int]:
        """The due jobs, in the order of running, whose folded name is ``key``."""
        rows = self.database.rows(self.DUE_NAMED, {"now": self.now(), "key": key})
        return [int(id) for (id,) in rows]

    PROMOTE = f"""
    update litequeue_jobs
    set state = 3
    where id in (
      select id
      from litequeue_jobs
      where state = 4 and available_at <= :now
      order by available_at
      limit {PROMOTE_AT_ONCE}
    )"""

    def _promote(self) -> int:
        """Make ready some of what is due, the longest due first; returns how many."""
        return self.database.change(self.PROMOTE, {"now": self.now()})

    def has_ready(self, queues: Sequence[str] = ()) -> bool:
        """Whether a worker of these queues would find a job that is ready."""
        if not queues:
            return bool(self.database.rows(self.FIRST_ANY))
        return any(self.database.rows(self.FIRST_FROM, {"queue": queue}) for queue in queues)

    NEXT_DUE = """
    select min(available_at)
    from litequeue_jobs
    where state = 4"""

    def next_due(self) -> float | None:
        """The instant, in seconds since the epoch, when the next scheduled job is due."""
        found = self.database.rows(self.NEXT_DUE)[0][0]
        return None if found is None else float(found) / 1000

    def _has_due(self) -> bool:
        due = self.next_due()
        return due is not None and due <= self.clock()

    THIS_RUN = "where id = :id and state = 5 and attempts = :attempts and worker = :worker"

    DELETE_RUN = f"""
    delete from litequeue_jobs
    {THIS_RUN}"""

    COMPLETE = f"""
    update litequeue_jobs
    set state = 6, finished_at = :now, expires_at = :expires_at, result = :result
    {THIS_RUN}"""

    def complete(self, row: JobRow, *, result: str | None = None, keep: float = 0) -> None:
        """End a run with success: the row goes, or with ``keep`` stays ``done`` for that
        many seconds with its result (JSON text). Raises RunLost."""
        if keep:
            expires_at = self.now() + int(keep * 1000)
            self._end(self.COMPLETE, row, {"result": result, "expires_at": expires_at})
        else:
            self._end(self.DELETE_RUN, row)

    # A run that someone asked to cancel is not to start again: these two leave it alone,
    # and CANCEL_RUN takes it.
    FAIL = f"""
    update litequeue_jobs
    set state = 7, finished_at = :now, failed_at = :now, exception = :exception
    {THIS_RUN} and cancelled_at is null"""

    FAIL_AND_DELETE = f"""
    delete from litequeue_jobs
    {THIS_RUN} and cancelled_at is null"""

    def fail(self, row: JobRow, exception: str, *, delete: bool = False) -> State:
        """End a run, and its job, with failure; returns the state that it left, which is
        ``cancelled`` where that was asked for. Raises RunLost."""
        sql = self.FAIL_AND_DELETE if delete else self.FAIL
        if self._change(sql, row, {"exception": exception}):
            return State.FAILED
        return self._cancel_run(row, exception)

    RETRY_LATER = f"""
    update litequeue_jobs
    set state = :state, available_at = :available_at, worker = {NOBODY},
        failed_at = :now, exception = :exception
    {THIS_RUN} and cancelled_at is null"""

    def retry_later(self, row: JobRow, exception: str, *, after: float) -> State:
        """End a run with a failure that spent its attempt: the job runs again ``after``
        seconds from now. Returns the state that it left. Raises RunLost."""
        return self._again(self.RETRY_LATER, row, after, exception)

    RELEASE = f"""
    update litequeue_jobs
    set state = :state, available_at = :available_at, worker = {NOBODY}, attempts = attempts - 1
    {THIS_RUN} and cancelled_at is null"""

    def release(self, row: JobRow, *, after: float = 0) -> State:
        """Give a run back with its attempt unspent, to run ``after`` seconds from now.
        Returns the state that it left. Raises RunLost."""
        return self._again(self.RELEASE, row, after, row.exception)

    def _again(self, sql: str, row: JobRow, after: float, exception: str | None) -> State:
        state = State.SCHEDULED if after > 0 else State.READY
        at = self.now() + int(after * 1000)
        values = {"state": state.code, "available_at": at, "exception": exception}
        if self._change(sql, row, values):
            self.pushed(row.queue)
            return state
        return self._cancel_run(row, exception)

    CANCEL_RUN = f"""
    update litequeue_jobs
    set state = 8, finished_at = :now, exception = :exception
    {THIS_RUN} and cancelled_at is not null"""

    def _cancel_run(self, row: JobRow, exception: str | None) -> State:
        self._end(self.CANCEL_RUN, row, {"exception": exception})
        return State.CANCELLED

    PROGRESS = f"""
    update litequeue_jobs
    set progress_done = :done, progress_total = :total
    {THIS_RUN}"""

    def progress(self, row: JobRow, done: int, total: int) -> None:
        """Write down how far a run has come. Raises RunLost."""
        self._end(self.PROGRESS, row, {"done": done, "total": total})

    REMARK = f"""
    update litequeue_jobs
    set exception = :remark
    {THIS_RUN}"""

    def remark(self, row: JobRow, remark: str) -> None:
        """Write a word about a run on its row, for whoever looks. Raises RunLost."""
        self._end(self.REMARK, row, {"remark": remark})

    WANTED = f"""
    select 1
    from litequeue_jobs
    {THIS_RUN} and cancelled_at is null"""

    def wanted(self, row: JobRow) -> bool:
        """Whether this run is still its worker's, and nobody asked to cancel it."""
        return bool(self.database.rows(self.WANTED, _key(row)))

    RUNNING = f"""
    select {COLUMNS}
    from litequeue_jobs
    where state = 5 and worker = :worker
    order by id"""

    def running(self, worker: int) -> list[JobRow]:
        """The rows that a worker has reserved and not ended."""
        return self._readable(self.database.rows(self.RUNNING, {"worker": worker}))

    FAIL_DAMAGED = """
    update litequeue_jobs
    set state = 7, finished_at = :now, failed_at = :now, exception = :exception
    where id = :id and state = 5"""

    def _readable(self, rows: Sequence[Row]) -> list[JobRow]:
        """The running rows as they are, but for those that somebody has edited into
        nonsense: these fail, and hold up nobody."""
        readable = []
        for row in rows:
            try:
                readable.append(read_row(row))
            except DamagedRow as error:
                values = {"id": row[0], "now": self.now(), "exception": str(error)}
                self.database.change(self.FAIL_DAMAGED, values)
                logger.error("%s", error)
        return readable

    EXPIRED = """
    select 1
    from litequeue_jobs
    where expires_at <= :now
    limit 1"""

    EXPIRE = f"""
    delete from litequeue_jobs
    where id in (
      select id
      from litequeue_jobs
      where expires_at <= :now
      limit {EXPIRE_AT_ONCE}
    )
    and state = 6"""

    def expire(self) -> int:
        """Delete some of the done rows whose time of keeping is over; returns how many."""
        if not self.database.rows(self.EXPIRED, {"now": self.now()}):
            return 0
        return self.database.change(self.EXPIRE, {"now": self.now()})

    def pushed(self, queue: str) -> None:
        """Called when a job of ``queue`` has become due, or will; a queue rings here."""

    def now(self) -> int:
        """The instant as rows store it, in milliseconds since the epoch."""
        return int(self.clock() * 1000)

    def _end(self, sql: str, row: JobRow, values: Parameters = NOTHING) -> None:
        if not self._change(sql, row, values):
            raise RunLost(id=row.id, attempt=row.attempts)

    def _change(self, sql: str, row: JobRow, values: Parameters = NOTHING) -> int:
        return self.database.change(sql, {**_key(row), "now": self.now(), **values})


def _key(row: JobRow) -> dict[str, object]:
    return {"id": row.id, "attempts": row.attempts, "worker": row.worker}
