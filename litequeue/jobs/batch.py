"""Batches whose jobs are not known up front: a job plans them chunk by chunk, and
``finished`` runs when all of them have ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

from litequeue.errors import Fail
from litequeue.jobs.context import current
from litequeue.jobs.job import Called, Job
from litequeue.records import PLAN
from litequeue.store.batches import BatchRow
from litequeue.store.insert import Pushed


class Batch(Job):
    """A job that plans a batch: ``plan`` returns its jobs, ``finished`` runs after the last.

        class RefreshCatalog(Batch):
            shop_id: int

            def plan(self, cursor):
                ids = next_ids(self.shop_id, after=cursor, limit=500)
                return [RefreshProduct(id) for id in ids], (ids[-1] if ids else None)

            def finished(self, counts): ...

    It is pushed like any job, and ``queue.batch(id)`` returns its record. The jobs of the
    first chunk run while later chunks are planned, on all workers.
    """

    __litequeue_step__: ClassVar[str | None] = PLAN
    __litequeue_calls__: ClassVar[Mapping[str, Called]] = {
        **Job.__litequeue_calls__,
        "plan": Called(("cursor",)),
        "finished": Called(("counts",), awaited=True),
    }
    __litequeue_work__: ClassVar[str] = "plan"

    def plan(self, cursor: object) -> tuple[Sequence[Pushed], object]:
        """Return the next jobs and the next cursor: any JSON value, or None after the last
        jobs.

        Called with None first, then with the cursor that the last call returned. Each chunk
        is stored with its cursor in one transaction, so a killed run continues after the last
        stored chunk.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no plan()")

    def finished(self, counts: BatchRow) -> object:
        """Called after the last job of the batch has ended, or where there was none; runs as
        a job of its own, with all attempts."""

    def handle(self) -> object:
        """Plan the batch, or finish it."""
        run = current()
        if run.finishing:
            record = run.batch
            assert record is not None
            return self.finished(record)
        run.begin_batch()
        while not run.completed:
            if run.cancelled:
                raise Fail("the batch was cancelled")
            record = run.batch
            assert record is not None
            run.plan(*self._chunk(record.cursor))
        return None

    def _chunk(self, cursor: object) -> tuple[list[Pushed], object]:
        jobs, next_cursor = self.plan(cursor)
        if next_cursor is not None and _as_stored(next_cursor) == _as_stored(cursor):
            # It would plan the same chunk for ever.
            name = type(self).__qualname__
            problem = (
                f"{name}.plan() returned its cursor {cursor!r} again; return the next one, or None"
            )
            raise ValueError(problem)
        return list(jobs), next_cursor


def _as_stored(cursor: object) -> str:
    # A stored tuple is read as a list.
    return json.dumps(cursor)
