"""The end of a run: a job is claimed by a worker, and then completed, failed or released by
that worker and nobody else.

Every statement that ends or changes a run says which run it is: the row, in state
running, at this attempt, of this worker. It counts the rows that it changed, and where
there are none the run was lost, and nothing was written. What the end means for other jobs
is part of the transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from litequeue.engine.database import NOTHING, Database, Parameters
from litequeue.errors import RunLost
from litequeue.records import FINISH, NOBODY, PLAN, JobRow, State
from litequeue.store.dependencies import Dependencies
from litequeue.store.unblock import Unblocker


class Executions:
    """Ends the runs of one database, or changes their rows."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], int],
        unblocker: Unblocker,
        dependencies: Dependencies,
        notify: Callable[[str], None],
    ) -> None:
        self._database = database
        self._now = now
        self._unblocker = unblocker
        self._dependencies = dependencies
        self._notify = notify

    THIS_RUN = "where id = :id and state = 5 and attempts = :attempts and worker = :worker"

    DELETE_RUN = f"""
    delete from litequeue_jobs
    {THIS_RUN}"""

    COMPLETE = f"""
    update litequeue_jobs
    set state = 6, finished_at = :now, expires_at = :expires_at, result = :result
    {THIS_RUN}"""

    def complete(self, row: JobRow, *, result: str | None = None, keep: float = 0) -> None:
        """End a run with success: the row is deleted, or with ``keep`` stays ``done`` for
        that many seconds with its result (JSON text). The jobs that depend on it have the
        result too. Raises RunLost."""
        with self._database.transaction():
            if keep:
                expires_at = self._now() + int(keep * 1000)
                self._end(self.COMPLETE, row, {"result": result, "expires_at": expires_at})
            else:
                self._end(self.DELETE_RUN, row)
                self._dependencies.remove([row.id])
            self._unblocker.job_ended(row.overlap_key, row.batch, State.DONE)
            self._unblocker.start_dependents(row.id, result)

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
        with self._database.transaction():
            for attempts, ids in runs.items():
                values = {"ids": json.dumps(ids), "attempts": attempts, "worker": worker}
                gone.update(id for (id,) in self._database.rows(self.DELETE_RUNS, values))
            for row, _ in finished:
                if row.batch is not None and row.id in gone:
                    self._unblocker.job_ended(None, row.batch, State.DONE)
            if self._dependencies.exist():
                self._dependencies.remove(list(gone))
                for row, result in finished:
                    if row.id in gone:
                        self._unblocker.start_dependents(row.id, result)
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
        with self._database.transaction():
            if not self._change(sql, row, {"exception": exception}):
                return self._cancel_run(row, exception)
            self._unblocker.job_ended(row.overlap_key, row.batch, State.FAILED)
            if delete:
                self._dependencies.remove([row.id])
                self._unblocker.cancel_dependents(row.id)
        return State.FAILED

    RETRY_LATER = f"""
    update litequeue_jobs
    set state = :state, available_at = :available_at, worker = {NOBODY},
        failed_at = :now, exception = :exception, unknown_since = null
    {THIS_RUN} and cancelled_at is null"""

    def retry_later(self, row: JobRow, exception: str, *, after: float) -> State:
        """End a run with a failure that used its attempt: the job runs again ``after``
        seconds from now. Returns the state that it left. Raises RunLost."""
        return self._again(self.RETRY_LATER, row, after, exception)

    RELEASE = f"""
    update litequeue_jobs
    set state = :state, available_at = :available_at, worker = {NOBODY},
        attempts = max(attempts - 1, 0), unknown_since = null
    {THIS_RUN} and cancelled_at is null"""

    def release(self, row: JobRow, *, after: float = 0) -> State:
        """Put a run back, its attempt not used, to run ``after`` seconds from now. Returns
        the state that it left. Raises RunLost."""
        return self._again(self.RELEASE, row, after, row.exception)

    PUT_BACK = f"""
    update litequeue_jobs
    set state = :state, available_at = :available_at, worker = {NOBODY},
        attempts = max(attempts - 1, 0), unknown_since = coalesce(unknown_since, :now)
    {THIS_RUN} and cancelled_at is null"""

    def put_back(self, row: JobRow, *, after: float) -> State:
        """Release a run whose worker has no class for it, to be looked at again ``after``
        seconds from now, by whichever worker. Returns the state that it left. Raises
        RunLost."""
        return self._again(self.PUT_BACK, row, after, row.exception)

    def _again(self, sql: str, row: JobRow, after: float, exception: str | None) -> State:
        state = State.SCHEDULED if after > 0 else State.READY
        at = self._now() + int(after * 1000)
        values = {"state": state.code, "available_at": at, "exception": exception}
        with self._database.transaction():
            if not self._change(sql, row, values):
                return self._cancel_run(row, exception)
            self._unblocker.unblock_next(row.overlap_key)
            self._notify(row.queue)
        return state

    CANCEL_RUN = f"""
    update litequeue_jobs
    set state = 8, finished_at = :now, exception = :exception
    {THIS_RUN} and cancelled_at is not null"""

    def _cancel_run(self, row: JobRow, exception: str | None) -> State:
        with self._database.transaction():
            self._end(self.CANCEL_RUN, row, {"exception": exception})
            self._unblocker.job_ended(row.overlap_key, row.batch, State.CANCELLED)
            self._unblocker.cancel_dependents(row.id)
        return State.CANCELLED

    PROGRESS = f"""
    update litequeue_jobs
    set progress_done = :done, progress_total = :total
    {THIS_RUN}"""

    def progress(self, row: JobRow, done: int, total: int) -> None:
        """Store how far a run has come. Raises RunLost."""
        self._end(self.PROGRESS, row, {"done": done, "total": total})

    REMARK = f"""
    update litequeue_jobs
    set exception = :remark
    {THIS_RUN}"""

    def remark(self, row: JobRow, remark: str) -> None:
        """Store a remark about a run as the exception of its row. Raises RunLost."""
        self._end(self.REMARK, row, {"remark": remark})

    WANTED = f"""
    select 1
    from litequeue_jobs
    {THIS_RUN} and cancelled_at is null"""

    def wanted(self, row: JobRow) -> bool:
        """Whether this run is still its worker's, and nobody asked to cancel it."""
        return bool(self._database.rows(self.WANTED, _key(row)))

    PLAN_BATCH = f"""
    update litequeue_jobs
    set step = '{PLAN}'
    {THIS_RUN}"""

    def plan_batch(self, row: JobRow) -> None:
        """Note on the row of a run that it plans a batch. Raises RunLost."""
        self._end(self.PLAN_BATCH, row)

    FOLLOW_BATCH = f"""
    update litequeue_jobs
    set state = 2, step = '{FINISH}', attempts = 0, worker = {NOBODY}
    {THIS_RUN}"""

    def follow_batch(self, row: JobRow) -> None:
        """End a run that has planned its batch: the row waits until the batch is closed.
        Raises RunLost."""
        self._end(self.FOLLOW_BATCH, row)
        self._unblocker.unblock_next(row.overlap_key)

    def _end(self, sql: str, row: JobRow, values: Parameters = NOTHING) -> None:
        if not self._change(sql, row, values):
            raise RunLost(id=row.id, attempt=row.attempts)

    def _change(self, sql: str, row: JobRow, values: Parameters = NOTHING) -> int:
        return self._database.change(sql, {**_key(row), "now": self._now(), **values})


def _key(row: JobRow) -> dict[str, object]:
    return {"id": row.id, "attempts": row.attempts, "worker": row.worker}
