"""Rescuing the jobs of dead workers.

The job that was running has used its attempt, and its exception says how its worker died.
A job that had succeeded is completed, and one that had not started is released, its attempt
not used. Short jobs that wait behind a long one are reclaimed from living workers.
"""

from __future__ import annotations

import re

from litequeue.engine.prefetch_log import Snapshot
from litequeue.engine.presence import LEFT_TRANSACTION, STOPPED, STOPS, STUCK_JOB
from litequeue.errors import JobLeftTransaction, JobTimeout, WorkerDied
from litequeue.records import JobRow, WorkerRow
from litequeue.store.store import Store
from litequeue.worker.executor import DeathOfRun, Executor

# How long a worker may run one job while others that it has claimed wait.
LATE_SECONDS = 0.05
UNKNOWN_CAUSE = "killed, or unable to write how the job ended"
# How a worker may end after a request to stop without the job being to blame: another process
# killed it, or it ended itself because the job did not end. A crash still counts.
ENDS_OF_A_STOP = {None, "signal 9", *(f"signal {n}" for n in STOPS)}
ENDS_OF_A_STOP |= {f"exit code {128 + n}" for n in STOPS}


class Rescuer:
    """Ends the runs of dead workers, and reclaims jobs that living workers have not started."""

    def __init__(self, store: Store, executor: Executor) -> None:
        self._store = store
        self._executor = executor

    def rescue(self, own: int) -> int:
        """End the runs of all dead workers, and reclaim the jobs that wait behind a long one of
        a living worker; return how many runs ended. The worker ``own`` is skipped."""
        workers = [worker for worker in self._store.presence.workers() if worker.id != own]
        ended = sum(
            self._rescue_worker(worker) or self._reclaim_late(worker.id) for worker in workers
        )
        return ended + self._store.claims.fail_workerless()

    def _reclaim_late(self, worker: int) -> int:
        late = self._store.presence.has_unstarted(worker, LATE_SECONDS)
        # What it has claimed may have been reclaimed already.
        late = late and self._store.claims.has_several(worker)
        return self._store.reclaimer.reclaim(worker, LATE_SECONDS) if late else 0

    def _rescue_worker(self, worker: WorkerRow) -> int:
        with self._store.presence.rescue(worker.id) as snapshot:
            return 0 if snapshot is None else self._end(worker, snapshot)

    def _end(self, worker: WorkerRow, snapshot: Snapshot) -> int:
        """End all runs that a dead worker has in the table: as its prefetch log says, if that
        can be believed; runs that the log says nothing about are released."""
        # Together: there may be hundreds, and each by itself would wait for the lock.
        with self._store.database.transaction():
            rows = self._store.claims.running(worker.id)
            snapshot = snapshot.about(rows)
            snapshot, blamed = _blame(worker, snapshot)
            rows = [
                self._store.claims.with_payload(row)
                if row.id == blamed or self._executor.has_hook(row)
                else row
                for row in rows
            ]
            self._store.reclaimer.end_all([row for row in rows if row.id != blamed], snapshot)
        for row in rows:
            if row.id in snapshot.finished:
                self._executor.report_finished(row, snapshot.finished[row.id].result)
            elif row.id == blamed:
                self._executor.end_for_dead(row, self._error(row, worker, snapshot))
        return len(rows)

    def _error(self, row: JobRow, worker: WorkerRow, snapshot: Snapshot) -> DeathOfRun:
        if LEFT_TRANSACTION in snapshot.stuck_at:
            return JobLeftTransaction(
                job=f"Job {row.id} ({row.name})", path=self._store.database.path
            )
        if snapshot.stuck_at:
            detail = " and did not stop when it was told to; its process was ended"
            return JobTimeout(detail=detail, stuck_at=snapshot.stuck_at)
        return WorkerDied(
            worker=f"{worker.name} (process {worker.pid})",
            cause=worker.cause or UNKNOWN_CAUSE,
            attempt=row.attempts,
            max_attempts=self._executor.policy(row).max_attempts,
        )


def _blame(worker: WorkerRow, snapshot: Snapshot) -> tuple[Snapshot, int]:
    """The job that ended the worker, 0 for none, and the snapshot without the doubt about those
    that ran together if that is known."""
    stuck = re.match(rf"{STUCK_JOB}(\d+)\n", snapshot.stuck_at)
    if stuck:
        blamed = int(stuck[1])
        trace = snapshot.stuck_at[stuck.end() :]
        snapshot = snapshot._replace(stuck_at=trace, together=())
    elif _was_stopped(worker, snapshot):
        return snapshot._replace(together=()), 0
    else:
        blamed = snapshot.running or 0
    # It may have ended at the last moment.
    return snapshot, 0 if blamed in snapshot.finished else blamed


def _was_stopped(worker: WorkerRow, snapshot: Snapshot) -> bool:
    """Whether a worker was ended on purpose, in whatever way."""
    if LEFT_TRANSACTION in snapshot.stuck_at:
        return False
    return worker.cause == STOPPED or (snapshot.stopped and worker.cause in ENDS_OF_A_STOP)
