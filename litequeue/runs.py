"""The life of a run: a job is reserved by a worker, and then completed, failed or
released by that worker and nobody else.

Every statement that ends or changes a run says which run it is: the row, in state
running, at this attempt, of this worker. It counts the rows that it changed, and where
there are none the run was lost, and nothing was written. What the end means for others,
those that wait for the job, those of its key, its batch, is part of the transaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from litequeue.claims import Claims
from litequeue.database import NOTHING, Parameters
from litequeue.errors import RunLost
from litequeue.record import COLUMNS, NOBODY, JobRow, State

if TYPE_CHECKING:
    from litequeue.batches import Batches
    from litequeue.flows import Flows
    from litequeue.hand import Note

EXPIRE_AT_ONCE = 100


class Runs(Claims):
    """What a worker does with the rows that it has claimed."""

    @cached_property
    def flows(self) -> Flows:
        """Which job waits for which."""
        from litequeue.flows import Flows  # most producers tie no job to another

        return Flows(self.database)

    @cached_property
    def batches(self) -> Batches:
        """The records of batches."""
        from litequeue.batches import Batches  # and most push no batch

        return Batches(self.database)

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
        many seconds with its result (JSON text). The jobs that waited for it have the
        result too. Raises RunLost."""
        with self.database.transaction():
            if keep:
                expires_at = self.now() + int(keep * 1000)
                self._end(self.COMPLETE, row, {"result": result, "expires_at": expires_at})
            else:
                self._end(self.DELETE_RUN, row)
                self.flows.untie([row.id])
            self.left(row.overlap_key, row.batch, State.DONE)
            self._free_dependents(row.id, result)

    DELETE_RUNS = """
    delete from litequeue_jobs
    where id in (select value from json_each(:ids))
      and state = 5 and attempts = :attempts and worker = :worker
    returning id"""

    def complete_all(self, finished: Sequence[tuple[JobRow, str | None]]) -> list[JobRow]:
        """Complete the runs of one worker, with their results, as ``complete`` does each
        of them; returns the rows of those that were lost."""
        worker = finished[0][0].worker
        runs: dict[int, list[int]] = {}
        for row, _ in finished:
            runs.setdefault(row.attempts, []).append(row.id)
        gone: set[int] = set()
        with self.database.transaction():
            for attempts, ids in runs.items():
                values = {"ids": json.dumps(ids), "attempts": attempts, "worker": worker}
                gone.update(id for (id,) in self.database.rows(self.DELETE_RUNS, values))
            for row, _ in finished:
                if row.batch is not None and row.id in gone:
                    self.left(None, row.batch, State.DONE)
            if self.flows.are_there():
                self.flows.untie(list(gone))
                for row, result in finished:
                    if row.id in gone:
                        self._free_dependents(row.id, result)
        return [row for row, _ in finished if row.id not in gone]

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
        with self.database.transaction():
            if not self._change(sql, row, {"exception": exception}):
                return self._cancel_run(row, exception)
            self.left(row.overlap_key, row.batch, State.FAILED)
            if delete:
                self.flows.untie([row.id])
                self.cancel_dependents(row.id)
        return State.FAILED

    RETRY_LATER = f"""
    update litequeue_jobs
    set state = :state, available_at = :available_at, worker = {NOBODY},
        failed_at = :now, exception = :exception, unknown_since = null
    {THIS_RUN} and cancelled_at is null"""

    def retry_later(self, row: JobRow, exception: str, *, after: float) -> State:
        """End a run with a failure that spent its attempt: the job runs again ``after``
        seconds from now. Returns the state that it left. Raises RunLost."""
        return self._again(self.RETRY_LATER, row, after, exception)

    RELEASE = f"""
    update litequeue_jobs
    set state = :state, available_at = :available_at, worker = {NOBODY}, attempts = attempts - 1,
        unknown_since = null
    {THIS_RUN} and cancelled_at is null"""

    def release(self, row: JobRow, *, after: float = 0) -> State:
        """Give a run back with its attempt unspent, to run ``after`` seconds from now.
        Returns the state that it left. Raises RunLost."""
        return self._again(self.RELEASE, row, after, row.exception)

    PUT_BACK = f"""
    update litequeue_jobs
    set state = :state, available_at = :available_at, worker = {NOBODY}, attempts = attempts - 1,
        unknown_since = coalesce(unknown_since, :now)
    {THIS_RUN} and cancelled_at is null"""

    def put_back(self, row: JobRow, *, after: float) -> State:
        """Release a run whose worker has no class for it, to be looked at again ``after``
        seconds from now, by whichever worker. Returns the state that it left. Raises
        RunLost."""
        return self._again(self.PUT_BACK, row, after, row.exception)

    def _again(self, sql: str, row: JobRow, after: float, exception: str | None) -> State:
        state = State.SCHEDULED if after > 0 else State.READY
        at = self.now() + int(after * 1000)
        values = {"state": state.code, "available_at": at, "exception": exception}
        with self.database.transaction():
            if not self._change(sql, row, values):
                return self._cancel_run(row, exception)
            self.admit(row.overlap_key)
            self.pushed(row.queue)
        return state

    CANCEL_RUN = f"""
    update litequeue_jobs
    set state = 8, finished_at = :now, exception = :exception
    {THIS_RUN} and cancelled_at is not null"""

    def _cancel_run(self, row: JobRow, exception: str | None) -> State:
        with self.database.transaction():
            self._end(self.CANCEL_RUN, row, {"exception": exception})
            self.left(row.overlap_key, row.batch, State.CANCELLED)
            self.cancel_dependents(row.id)
        return State.CANCELLED

    def take_back(self, worker: int, note: Note) -> int:
        """End what a worker has in hand for it: what has succeeded is completed, what has
        not started is released; returns how many jobs."""
        ended = 0
        rows = self.running(worker)
        note = note.about(rows)
        for row in rows:
            if row.id in note.finished:
                self.complete(row, result=note.finished[row.id])
                ended += 1
            elif row.id in note.fetched:
                self.release(row)
                ended += 1
        return ended

    def left(self, key: str | None, batch: int | None, state: State) -> None:
        """What the end of a job means for its key and its batch; part of the caller's
        transaction."""
        self.admit(key)
        if batch is not None:
            self.count_in_batch(batch, state)

    def count_in_batch(self, batch: int, left: State, by: int = 1) -> None:
        """Count a member that has ended, and close the batch if it was the last; part of
        the caller's transaction."""
        self.batches.count(batch, left, by)
        self.close_batch(batch)

    def close_batch(self, batch: int) -> None:
        """Close a batch whose members have all ended; part of the caller's transaction."""
        for queue in self.batches.close(batch, self.now()):
            self.pushed(queue)

    FREE = """
    update litequeue_jobs
    set state = case when available_at <= :now then 3 else 4 end
    where id = :id and state = 2
    returning queue"""

    def _free_dependents(self, parent: int, result: str | None) -> None:
        children = self.flows.dependents(parent)
        if not children:
            return
        self.flows.meet(parent, result, self.now())
        for child in children:
            if not self.flows.waits(child):
                for (queue,) in self.database.rows(self.FREE, {"id": child, "now": self.now()}):
                    self.pushed(str(queue))

    CANCEL_DEPENDENT = """
    update litequeue_jobs
    set state = 8, cancelled_at = :now, finished_at = :now
    where id = :id and state = 2
    returning batch"""

    def cancel_dependents(self, parent: int) -> None:
        """Cancel the jobs that wait for one that will not succeed, and those that wait
        for them; part of the caller's transaction."""
        found = self.flows.dependents(parent)
        while found:
            child = found.pop()
            values = {"id": child, "now": self.now()}
            for (batch,) in self.database.rows(self.CANCEL_DEPENDENT, values):
                found += self.flows.dependents(child)
                if batch is not None:
                    self.count_in_batch(batch, State.CANCELLED)

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

    # A dead worker may have had hundreds, and who brings them back needs no payload.
    RUNNING = f"""
    select {COLUMNS.removesuffix("payload")} ''
    from litequeue_jobs
    where state = 5 and worker = :worker
    order by id"""

    def running(self, worker: int) -> list[JobRow]:
        """The rows that a worker has reserved and not ended, with payloads of no length:
        see with_payload."""
        return self._readable(self.database.rows(self.RUNNING, {"worker": worker}))

    WORKERLESS = f"""
    select {COLUMNS}
    from litequeue_jobs
    where state = 5 and typeof(worker) <> 'integer'"""

    def fail_workerless(self) -> int:
        """Fail the running jobs whose worker is no number, and so none that could end them;
        returns how many."""
        rows = self.database.rows(self.WORKERLESS)
        for row in rows:
            self._fail_damaged(row)
        return len(rows)

    PAYLOAD = """
    select payload
    from litequeue_jobs
    where id = :id"""

    def with_payload(self, row: JobRow) -> JobRow:
        """The same row with the payload that is stored; as it is, where it is gone."""
        found = self.database.rows(self.PAYLOAD, {"id": row.id})
        return row._replace(payload=found[0][0]) if found else row

    SEVERAL = """
    select id
    from litequeue_jobs
    where state = 5 and worker = :worker
    limit 2"""

    def has_several(self, worker: int) -> bool:
        """Whether a worker has reserved more than the job that it can be running."""
        return len(self.database.rows(self.SEVERAL, {"worker": worker})) > 1

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
    and state = 6
    returning id"""

    def expire(self) -> int:
        """Delete some of the done rows whose time of keeping is over; returns how many."""
        if not self.database.rows(self.EXPIRED, {"now": self.now()}):
            return 0
        with self.database.transaction():
            gone = [int(id) for (id,) in self.database.rows(self.EXPIRE, {"now": self.now()})]
            self.flows.untie(gone)
        return len(gone)

    def _end(self, sql: str, row: JobRow, values: Parameters = NOTHING) -> None:
        if not self._change(sql, row, values):
            raise RunLost(id=row.id, attempt=row.attempts)

    def _change(self, sql: str, row: JobRow, values: Parameters = NOTHING) -> int:
        return self.database.change(sql, {**_key(row), "now": self.now(), **values})


def _key(row: JobRow) -> dict[str, object]:
    return {"id": row.id, "attempts": row.attempts, "worker": row.worker}
