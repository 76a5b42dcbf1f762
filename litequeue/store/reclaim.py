"""Reclaiming the jobs that a worker has claimed but not started."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from litequeue.engine.database import Database
from litequeue.engine.prefetch_log import Snapshot
from litequeue.engine.presence import Presence
from litequeue.errors import RunLost
from litequeue.records import JobRow
from litequeue.store.claim import Claims
from litequeue.store.finish import Executions


class Reclaimer:
    """Ends the runs of jobs that a worker has claimed and does not run now: those that it has
    finished are completed, and those that it has not started are released."""

    def __init__(
        self, database: Database, presence: Presence, claims: Claims, executions: Executions
    ) -> None:
        self._database = database
        self._presence = presence
        self._claims = claims
        self._executions = executions

    def reclaim(self, worker: int | None = None, busy_seconds: float = 0) -> int:
        """Release the jobs that this worker, or every worker, has claimed but not started,
        and complete those that it has finished. A worker that has started a job within the
        last ``busy_seconds`` is skipped. Returns how many jobs were ended."""
        ended = 0
        with self._database.transaction():
            workers = [row.id for row in self._presence.workers()] if worker is None else [worker]
            for each in workers:
                snapshot = self._presence.reclaim(each, busy_seconds)
                ended += 0 if snapshot is None else self.settle(each, snapshot)
        return ended

    def settle(self, worker: int, snapshot: Snapshot) -> int:
        """End the runs of a living worker as its prefetch log says: jobs that have succeeded are
        completed, jobs that have not started are released. Returns how many."""
        rows = self._claims.running(worker)
        snapshot = snapshot.about(rows)
        ended = [row for row in rows if row.id in snapshot.finished or row.id in snapshot.unstarted]
        self.end_all(ended, snapshot)
        return len(ended)

    def end_all(self, rows: Sequence[JobRow], snapshot: Snapshot) -> None:
        """Complete those of these runs that have succeeded, and release the others, to run alone
        if they were running together; runs that are lost are skipped."""
        for row in rows:
            with suppress(RunLost):
                if row.id in snapshot.finished:
                    result, keep = snapshot.finished[row.id]
                    self._executions.complete(row, result=result, keep=keep)
                elif row.id in snapshot.together:
                    self._executions.release_to_run_alone(row)
                else:
                    self._executions.release(row)

    def release_all(self, worker: int, snapshot: Snapshot) -> None:
        """End all runs of a worker that was stopped on purpose: jobs that have succeeded are
        completed, the others are released."""
        rows = self._claims.running(worker)
        self.end_all(rows, snapshot.about(rows)._replace(together=()))

    def release_everything(self) -> None:
        """Release all runs and deregister all workers, in a copy of the file: the workers
        belong to the original, and the files beside the original do not describe the copy."""
        with self._database.transaction():
            for worker in self._presence.workers():
                for row in self._claims.running(worker.id):
                    self._executions.release(row)
                self._presence.deregister(worker.id)
