"""What the contract's tests share: ways to look at all the rows of a queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from worker_side import WorkerSide

from litequeue.queue import Queue


@pytest.fixture
def table(queue: Queue) -> Callable[[], list[tuple[object, ...]]]:
    """All that the table holds, to show that nothing of it was changed."""
    return lambda: WorkerSide(queue).rows("select * from litequeue_jobs order by id")


@pytest.fixture
def sound(queue: Queue) -> Iterator[None]:
    """After the test the file is sound, and nothing is left when its jobs are deleted."""
    yield
    assert queue.check() == []
    queue.retry(state="running", force=True)
    queue.forget(all=True)
    queue.prune(0)
    for table in ("edges", "batches"):
        assert WorkerSide(queue).rows(f"select * from litequeue_{table}") == []
