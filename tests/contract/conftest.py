"""What the contract's tests share: a queue, and ways to look at all of its rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from worker_side import WorkerSide

from litequeue.queue import Queue


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Queue:
    return make_queue()


@pytest.fixture
def table(queue: Queue) -> Callable[[], list[tuple[object, ...]]]:
    """All that the table holds, to show that nothing of it was changed."""
    return lambda: WorkerSide(queue).rows("select * from litequeue_jobs order by id")
