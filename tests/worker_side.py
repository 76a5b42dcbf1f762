"""What a worker does with the rows of a queue, for tests that play the worker's part."""

from __future__ import annotations

from collections.abc import Sequence

from litequeue import JobRow, Queue


def claim_one(queue: Queue, worker: int, queues: Sequence[str] = ()) -> JobRow | None:
    """Claim the next due job by itself and return its row, or None."""
    rows = queue.store.claims.claim(worker, queues)
    return rows[0] if rows else None
