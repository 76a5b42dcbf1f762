"""Unblocking other jobs when a job ends: the next job of its key, its batch, and the jobs
that depend on it."""

from __future__ import annotations

from collections.abc import Callable

from litequeue.engine.database import Database
from litequeue.records import State
from litequeue.store.batches import Batches
from litequeue.store.concurrency import Slots
from litequeue.store.dependencies import Dependencies


class Unblocker:
    """Unblocks other jobs when a job has ended. Every method is part of the transaction that
    ends the job."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], int],
        slots: Slots,
        dependencies: Dependencies,
        batches: Batches,
        notify: Callable[[str], None],
    ) -> None:
        self._database = database
        self._now = now
        self._slots = slots
        self._dependencies = dependencies
        self._batches = batches
        self._notify = notify

    def job_ended(self, key: str | None, batch: int | None, state: State) -> None:
        """Make the next blocked job of ``key`` ready, and count the job in its batch."""
        self.unblock_next(key)
        if batch is not None:
            self.count_in_batch(batch, state)

    def unblock_next(self, key: str | None) -> None:
        """Make the next blocked job of a concurrency key ready."""
        for queue in self._slots.unblock(key) if key is not None else ():
            self._notify(queue)

    def count_in_batch(self, batch: int, state: State, by: int = 1) -> None:
        """Count a job of a batch that ended in ``state``, and close the batch if it was the
        last."""
        self._batches.count(batch, state, by)
        self.close_batch(batch)

    def close_batch(self, batch: int) -> None:
        """Close a batch whose jobs have all ended, and let the job that follows it run."""
        if self._batches.close(batch, self._now()):
            self._stop_waiting(batch)

    def start_dependents(self, parent: int, result: str | None) -> None:
        """Let the jobs run that waited only for ``parent``, and store its result (JSON text)
        for all its dependents."""
        children = self._dependencies.dependents(parent)
        if not children:
            return
        self._dependencies.satisfy(parent, result, self._now())
        for child in children:
            if not self._dependencies.is_waiting(child):
                self._stop_waiting(child)

    CANCEL_DEPENDENT = """
    update litequeue_jobs
    set state = 8, cancelled_at = :now, finished_at = :now
    where id = :id and state = 2
    returning batch"""

    def cancel_dependents(self, parent: int) -> None:
        """Cancel the jobs that depend on one that will not succeed, directly or through other
        jobs."""
        found = self._dependencies.dependents(parent)
        while found:
            child = found.pop()
            values = {"id": child, "now": self._now()}
            for (batch,) in self._database.rows(self.CANCEL_DEPENDENT, values):
                found += self._dependencies.dependents(child)
                if batch is not None:
                    self.count_in_batch(batch, State.CANCELLED)

    STOP_WAITING = """
    update litequeue_jobs
    set state = case when available_at <= :now then 3 else 4 end
    where id = :id and state = 2
    returning queue"""

    def _stop_waiting(self, id: int) -> None:
        for (queue,) in self._database.rows(self.STOP_WAITING, {"id": id, "now": self._now()}):
            self._notify(str(queue))
