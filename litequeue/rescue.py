"""Bringing back what dead workers have left.

The job that was running has spent its attempt, and says how its worker died; one that
had succeeded is completed, and one that was only fetched goes back unspent. Short jobs
behind a long one are had back from the living.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from litequeue.errors import JobLeftTransaction, JobTimeout, RunLost, WorkerDied
from litequeue.executor import DeathOfRun, Executor
from litequeue.hand import Note
from litequeue.queue import Queue
from litequeue.record import JobRow, WorkerRow
from litequeue.roster import LEFT_TRANSACTION, STOPPED

# How long a worker may be at one job while others wait in its hand.
REST_SECONDS = 0.05
UNKNOWN_CAUSE = "killed, or its machine went down"


class Rescuer:
    """Looks for the dead among the workers of a queue, and ends their runs."""

    def __init__(self, queue: Queue, executor: Executor) -> None:
        self._queue = queue
        self._executor = executor

    def rescue(self, own: int) -> int:
        """End the runs of all dead workers, and have back what those fetched that live
        and do not come to it; returns how many jobs that was about. ``own`` is passed
        over."""
        workers = [worker for worker in self._queue.roster.listed() if worker.id != own]
        return sum(self._bury(worker) or self._relieve(worker.id) for worker in workers)

    def _relieve(self, worker: int) -> int:
        late = self._queue.roster.rests(worker, REST_SECONDS)
        # What is in its hand may have been had back already.
        late = late and self._queue.has_several(worker)
        return self._queue.recall(worker, REST_SECONDS) if late else 0

    def _bury(self, worker: WorkerRow) -> int:
        with self._queue.roster.burial(worker.id) as note:
            if note is None:
                return 0
            rows = self._queue.running(worker.id)
            # Where several were fetched, and power failed before it was noted which one
            # had started, none of them is to blame.
            blamed = note.running
            if blamed is None and len(rows) == 1:
                blamed = rows[0].id
            if worker.cause == STOPPED:
                blamed = 0
            self._end(rows, worker, note, blamed)
            return len(rows)

    def _end(
        self, rows: Sequence[JobRow], worker: WorkerRow, note: Note, blamed: int | None
    ) -> None:
        fetched = [row.id for row in rows if row.id not in note.finished and row.id != blamed]
        # Together: there may be hundreds, and each by itself would wait for the lock.
        with self._queue.database.transaction():
            self._queue.take_back(worker.id, note._replace(fetched=fetched))
        for row in rows:
            if row.id in note.finished:
                self._executor.tell_finished(row)
            elif row.id == blamed:
                with suppress(RunLost):
                    self._executor.bury(row, self._error(row, worker, note))

    def _error(self, row: JobRow, worker: WorkerRow, note: Note) -> DeathOfRun:
        if LEFT_TRANSACTION in note.hung:
            return JobLeftTransaction(job=f"Job {row.id} ({row.name})", path=self._queue.path)
        if note.hung:
            detail = " and did not stop when it was told to; its process was ended"
            return JobTimeout(detail=detail, hung=note.hung)
        return WorkerDied(
            worker=f"{worker.name} (process {worker.pid})",
            cause=worker.cause or UNKNOWN_CAUSE,
            attempt=row.attempts,
            max_attempts=self._executor.policy(row).max_attempts,
        )
