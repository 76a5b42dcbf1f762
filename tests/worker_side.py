"""What a worker does with the rows of a queue, for tests that play the worker's part.

The tests in ``tests/contract`` reach the inside of a queue only through this file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from litequeue import JobRow, Queue
from litequeue.engine.notifier import Listener
from litequeue.monitor.status import why_not_running
from litequeue.worker.executor import Executor
from litequeue.worker.rescuer import Rescuer
from litequeue.worker.shutdown import Shutdown
from litequeue.worker.worker import LogObserver


def claim_one(queue: Queue, worker: int, queues: Sequence[str] = ()) -> JobRow | None:
    """Claim the next due job by itself and return its row, or None."""
    rows = WorkerSide(queue).claim(worker, queues)
    return rows[0] if rows else None


def claimed(queue: Queue, worker: int, queues: Sequence[str] = ()) -> JobRow:
    """Claim the next due job, which there must be."""
    row = claim_one(queue, worker, queues)
    assert row is not None, "no job is due"
    return row


def edit(queue: Queue, statement: str) -> None:
    """Change rows from another connection, as no command would: no constraint is checked."""
    with closing(sqlite3.connect(queue.path, isolation_level=None)) as connection:
        connection.execute("pragma ignore_check_constraints = on")
        connection.execute(statement)


class WorkerSide:
    """What a worker calls on the store of a queue, and the queue's own connection."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        store = queue.store
        # Claiming
        self.claim = store.claims.claim
        self.claim_job = store.claims.claim_job
        self.due_named = store.claims.due_named
        self.has_ready = store.claims.has_ready
        self.next_due = store.claims.next_due
        # Running
        self.progress = store.executions.progress
        self.wanted = store.executions.wanted
        self.results = store.dependencies.results
        self.unsatisfied = store.dependencies.unsatisfied
        self.plan = store.batch_inserts.plan
        # Ending
        self.complete = store.executions.complete
        self.complete_all = store.executions.complete_all
        self.fail = store.executions.fail
        self.retry_later = store.executions.retry_later
        self.release = store.executions.release
        self.put_back = store.executions.put_back
        self.expire = store.admin.expire
        self.cancel_passed = store.deadlines.cancel_passed
        self.forget_old_starts = store.rates.forget_old
        # Other workers
        self.register = store.presence.register
        self.keeps = store.presence.keeps
        self.reclaim = store.reclaimer.reclaim
        self.settle = store.reclaimer.settle
        # The database
        self.rows = store.database.rows
        self.transaction = store.database.transaction
        self.in_transaction = store.database.in_transaction

    def running(self, worker: int) -> list[JobRow]:
        """The rows of the jobs that a worker has, with their payloads."""
        claims = self._queue.store.claims
        return [claims.with_payload(row) for row in claims.running(worker)]

    def rescue(self, worker: int) -> int:
        """End the runs of all dead workers, as ``worker``; returns how many those were."""
        stop, observer = Shutdown(), LogObserver()
        executor = Executor(self._queue, {}, flags={}, grace=1, stop=stop, observer=observer)
        return Rescuer(self._queue.store, executor).rescue(worker)

    def why_not_running(self, id: int) -> str | None:
        """The reason that the command ``show`` gives for a job that is not running."""
        return why_not_running(self._queue.store, self._queue.get(id), "jobs.db")

    def listen(self, queues: Sequence[str] = ()) -> Listener:
        """What an idle worker waits on."""
        folder: Path = self._queue.store.presence.folder
        folder.mkdir(exist_ok=True)
        return Listener(folder, tuple(queues))
