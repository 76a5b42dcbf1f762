"""How much is read at once: what is fetched together is bounded in bytes, too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from waiting import Child

from litequeue import Queue
from litequeue.records import NOBODY, JobRow
from litequeue.store.claim import CLAIM_BYTES

WORKER = NOBODY + 1
MOST = 250


def push(queue: Queue, count: int, size: int, to: str = "default") -> list[int]:
    return queue.push_many([("job", {"text": "x" * size})] * count, queue=to)


def fetch(queue: Queue, *queues: str) -> list[JobRow]:
    return queue.store.claims.claim(WORKER, queues, MOST, lambda row: True)


def test_jobs_are_fetched_together_until_their_payloads_fill_the_budget(queue: Queue) -> None:
    ids = push(queue, 10, CLAIM_BYTES // 4)
    assert [row.id for row in fetch(queue)] == ids[:4]
    assert [row.id for row in fetch(queue, "default")] == ids[4:8]
    assert {queue.get(id).state for id in ids[8:]} == {"ready"}


def test_a_job_that_is_larger_than_the_budget_is_fetched_alone_or_last(queue: Queue) -> None:
    small, (large, other) = push(queue, 2, 10), push(queue, 2, 2 * CLAIM_BYTES)
    assert [row.id for row in fetch(queue)] == [*small, large]
    assert [row.id for row in fetch(queue)] == [other]


@pytest.mark.parametrize("served", [(), ("a", "b", "c")])
def test_the_budget_is_that_of_all_queues_together(served: tuple[str, ...], queue: Queue) -> None:
    ids = [id for _ in range(3) for name in "abc" for id in push(queue, 1, 500_000, name)]
    rows = fetch(queue, *served)
    assert len(rows) == 3
    assert served or [row.id for row in rows] == ids[:3]
    rest = [row for _ in range(5) for row in fetch(queue, *served)]
    assert sorted(row.id for row in (*rows, *rest)) == ids


def test_small_jobs_are_fetched_as_many_at_once_as_ever(queue: Queue) -> None:
    push(queue, MOST, 4000)
    assert len(fetch(queue)) == MOST


DRAIN = """
import sys, tracemalloc
from litequeue import Job, Queue, Worker
from litequeue.worker.worker import Limits

class Large(Job, name="job"):
    text: str
    def handle(self):
        pass

with Queue(sys.argv[1]) as queue:
    worker = Worker(queue, [Large], limits=Limits(drain=True))
    worker._prefetch_size.ran("job", 1e-6)
    worker._prefetch_size.fetched(250, 250)
    tracemalloc.start()
    worker.run()
    assert queue.counts() == {}
    print(tracemalloc.get_traced_memory()[1] // 1_000_000, flush=True)
"""


def test_a_worker_over_large_payloads_stays_small(
    queue: Queue, start: Callable[..., Child]
) -> None:
    """In megabytes, of a hundred and twenty."""
    push(queue, 60, 2_000_000)
    assert int(start(DRAIN, queue.path).line(within=60)) < 30
