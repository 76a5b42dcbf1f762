"""The end of a run: a job that a worker has claimed is completed, failed or released, for
that worker only.

Every statement that ends or changes a run names the run: the id, the running state, the
attempt and the worker. If it changes no row, the run was lost and nothing was written. The
effects on other jobs are part of the same transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from litequeue.engine.database import NOTHING, Database, Parameters
from litequeue.errors import RunLost
from litequeue.records import FINISH, NOBODY, PLAN, RUNS_ALONE, JobRow, State
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

    def complete(self, row: JobRow, *, result: str | None = None, keep: float = 0) -> None:
        """End a run with success. The row is deleted, or, with ``keep``, stays ``done`` for
        that many seconds with its result (JSON text). The jobs that depend on it get the
        result too. Raises RunLost."""
        if self.complete_all([(row, result, keep)]):
            raise RunLost(id=row.id, attempt=row.attempts)

    DELETE_RUNS = """
    delete from litequeue_jobs
    where id in (select value from json_each(:ids))
      and state = 5 and attempts = :attempts and worker = :worker
    returning id"""

    def complete_all(self, finished: Sequence[tuple[JobRow, str | None, float]]) -> list[JobRow]:
        """Complete runs of one worker, each with its result and the seconds to keep it, with the
        effects of ``complete``; returns the rows of the runs that were lost."""
        with self._database.together():
            deleted = self._delete_all([row for row, _, keep in finished if not keep])
            ended = deleted | self._keep_all([each for each in finished if each[2]])
            for row, _, _ in finished:
                if row.id in ended and (row.batch is not None or row.overlap_key is not None):
                    self._unblocker.job_ended(row.overlap_key, row.batch, State.DONE)
            if self._dependencies.exist():
                self._dependencies.remove(list(deleted))
                for row, result, _ in finished:
                    if row.id in ended:
                        self._unblocker.start_dependents(row.id, result)
        return [row for row, _, _ in finished if row.id not in ended]

    def _delete_all(self, rows: Sequence[JobRow]) -> set[int]:
        """Delete the rows of runs that have succeeded; returns the ids of those deleted."""
        if len(rows) == 1:
            return {rows[0].id} if self._change(self.DELETE_RUN, rows[0]) else set()
        runs: dict[int, list[int]] = {}
        for row in rows:
            runs.setdefault(row.attempts, []).append(row.id)
        deleted: set[int] = set()
        for attempts, ids in runs.items():
            values = {"ids": json.dumps(ids), "attempts": attempts, "worker": rows[0].worker}
            deleted.update(id for (id,) in self._database.rows(self.DELETE_RUNS, values))
        return deleted

    COMPLETE = f"""
    update litequeue_jobs
    set state = 6, finished_at = :now, expires_at = :expires_at, result = :result
    {THIS_RUN}"""

    def _keep_all(self, finished: Sequence[tuple[JobRow, str | None, float]]) -> set[int]:
        """Mark runs as done, each with its result and the seconds to keep it; returns the ids of
        those that were marked."""
        kept: set[int] = set()
        for row, result, keep in finished:
            values = {"result": result, "expires_at": self._now() + int(keep * 1000)}
            if self._change(self.COMPLETE, row, values):
                kept.add(row.id)
        return kept

    # A run with a cancel request must not start again: these statements skip it, and
    # CANCEL_RUN ends it.
    FAIL = f"""
    update litequeue_jobs
    set state = 7, finished_at = :now, failed_at = :now, exception = :exception
    {THIS_RUN} and cancelled_at is null"""

    FAIL_AND_DELETE = f"""
    delete from litequeue_jobs
    {THIS_RUN} and cancelled_at is null"""

    def fail(self, row: JobRow, exception: str, *, delete: bool = False) -> State:
        """End a run with failure, and fail its job; returns the job's new state, which is
        ``cancelled`` if a cancel was requested. Raises RunLost."""
        sql = self.FAIL_AND_DELETE if delete else self.FAIL
        with self._database.together():
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
        seconds from now. Returns the job's new state. Raises RunLost."""
        return self._again(self.RETRY_LATER, row, after, exception)

    RELEASE = f"""
    update litequeue_jobs
    set state = :state, available_at = :available_at, worker = {NOBODY},
        attempts = max(attempts - 1, 0), unknown_since = null
    {THIS_RUN} and cancelled_at is null"""

    def release(self, row: JobRow, *, after: float = 0) -> State:
        """Release a run, its attempt not used; the job runs again ``after`` seconds from now.
        Returns the job's new state. Raises RunLost."""
        return self._again(self.RELEASE, row, after, row.exception)

    RELEASE_TO_RUN_ALONE = f"""
    update litequeue_jobs
    set state = :state, available_at = :available_at, worker = {NOBODY},
        attempts = max(attempts - 1, 0), unknown_since = null, exception = :exception
    {THIS_RUN} and cancelled_at is null"""

    def release_to_run_alone(self, row: JobRow) -> State:
        """Release a run whose worker died while it ran other jobs too, its attempt not used;
        the job runs by itself next. Returns the job's new state. Raises RunLost."""
        return self._again(self.RELEASE_TO_RUN_ALONE, row, 0, RUNS_ALONE)

    PUT_BACK = f"""
    update litequeue_jobs
    set state = :state, available_at = :available_at, worker = {NOBODY},
        attempts = max(attempts - 1, 0), unknown_since = coalesce(unknown_since, :now)
    {THIS_RUN} and cancelled_at is null"""

    def put_back(self, row: JobRow, *, after: float) -> State:
        """Release a run whose worker has no class of the job's name, its attempt not used, and
        record since when; any worker may claim it again ``after`` seconds from now. Returns
        the job's new state. Raises RunLost."""
        return self._again(self.PUT_BACK, row, after, row.exception)

    def _again(self, sql: str, row: JobRow, after: float, exception: str | None) -> State:
        state = State.SCHEDULED if after > 0 else State.READY
        at = self._now() + int(after * 1000)
        values = {"state": state.code, "available_at": at, "exception": exception}
        with self._database.together():
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
        with self._database.together():
            self._end(self.CANCEL_RUN, row, {"exception": exception})
            self._unblocker.job_ended(row.overlap_key, row.batch, State.CANCELLED)
            self._unblocker.cancel_dependents(row.id)
        return State.CANCELLED

    PROGRESS = f"""
    update litequeue_jobs
    set progress_done = :done, progress_total = :total
    {THIS_RUN}"""

    def progress(self, row: JobRow, done: int, total: int) -> None:
        """Store the progress of a run. Raises RunLost."""
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
        """Whether this run still belongs to its worker and no cancel was requested."""
        return bool(self._database.rows(self.WANTED, _key(row)))

    PLAN_BATCH = f"""
    update litequeue_jobs
    set step = '{PLAN}'
    {THIS_RUN}"""

    def plan_batch(self, row: JobRow) -> None:
        """Mark the row of a run as planning a batch. Raises RunLost."""
        self._end(self.PLAN_BATCH, row)

    FOLLOW_BATCH = f"""
    update litequeue_jobs
    set state = 2, step = '{FINISH}', attempts = 0, worker = {NOBODY}, deadline_at = null
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
