"""What a worker does with the rows of a queue, for tests that play the worker's part."""

from __future__ import annotations

from collections.abc import Sequence

from litequeue import JobRow, Queue


def claim_one(queue: Queue, worker: int, queues: Sequence[str] = ()) -> JobRow | None:
    """Claim the next due job by itself and return its row, or None."""
    rows = queue.store.claims.claim(worker, queues)
    return rows[0] if rows else None


class WorkerSide:
    """The transitions that a worker writes, in one place for all tests."""

    def __init__(self, queue: Queue) -> None:
        store = queue.store
        self.complete = store.executions.complete
        self.complete_all = store.executions.complete_all
        self.fail = store.executions.fail
        self.retry_later = store.executions.retry_later
        self.release = store.executions.release
        self.plan = store.batch_inserts.plan
        self.register = store.presence.register
        self.reclaim = store.reclaimer.reclaim
