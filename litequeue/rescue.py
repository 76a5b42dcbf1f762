"""Bringing back what dead workers have left.

The job that was running has spent its attempt, and says how its worker died; one that
was only fetched goes back unspent.
"""

from __future__ import annotations

from contextlib import suppress

from litequeue.errors import JobTimeout, RunLost, WorkerDied
from litequeue.executor import Executor
from litequeue.queue import Queue
from litequeue.record import JobRow, WorkerRow
from litequeue.roster import STOPPED, Note

UNKNOWN_CAUSE = "killed, or its machine went down"


class Rescuer:
    """Looks for the dead among the workers of a queue, and ends their runs."""

    def __init__(self, queue: Queue, executor: Executor) -> None:
        self._queue = queue
        self._executor = executor

    def rescue(self, own: int) -> int:
        """End the runs of all dead workers but ``own``, which lives; returns how many."""
        workers = self._queue.roster.listed()
        return sum(self._bury(worker) for worker in workers if worker.id != own)

    def _bury(self, worker: WorkerRow) -> int:
        with self._queue.roster.burial(worker.id) as note:
            if note is None:
                return 0
            rows = self._queue.running(worker.id)
            for row in rows:
                with suppress(RunLost):
                    self._end(row, worker, note)
            return len(rows)

    def _end(self, row: JobRow, worker: WorkerRow, note: Note) -> None:
        if worker.cause == STOPPED or note.running not in (row.id, None):
            self._queue.release(row)
        else:
            self._executor.bury(row, self._error(row, worker, note))

    def _error(self, row: JobRow, worker: WorkerRow, note: Note) -> JobTimeout | WorkerDied:
        if note.hung:
            detail = " and did not stop when it was told to; its process was ended"
            return JobTimeout(detail=detail, hung=note.hung)
        return WorkerDied(
            worker=f"{worker.name} (process {worker.pid})",
            cause=worker.cause or UNKNOWN_CAUSE,
            attempt=row.attempts,
            max_attempts=self._executor.policy(row).max_attempts,
        )
