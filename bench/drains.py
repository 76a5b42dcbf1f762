"""Draining a queue with a worker in this process, and how long that takes."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.jobs import Nothing, Text
from litequeue import Job, Queue, State, Worker
from litequeue.engine.database import Synchronous
from litequeue.worker.worker import Limits

JOBS = (Nothing, Text)
HAS_PREFETCH = "prefetch" in inspect.signature(Worker.__init__).parameters


class Stopwatch:
    """A listener that notes when the first job started, and says nothing."""

    first: float | None = None

    def started(self, *arguments: object) -> None:
        if self.first is None:
            self.first = time.perf_counter()

    def ended(self, *arguments: object) -> None: ...

    def lost(self, *arguments: object) -> None: ...


def drained(
    queue: Queue, count: int, *, prefetch: int | None = None, jobs: Sequence[type[Job]] = JOBS
) -> float:
    """Run ``count`` jobs with one worker; returns the seconds from the first start until
    the worker has ended, with all of them written down."""
    stopwatch = Stopwatch()
    options = {} if prefetch is None else {"prefetch": prefetch}
    # A litequeue without prefetch is not asked for it.
    make: Callable[..., Worker] = Worker
    limits = Limits(drain=True, jobs=count)
    make(queue, jobs, limits=limits, observer=stopwatch, **options).run()
    ended = time.perf_counter()
    assert stopwatch.first is not None, "the worker has found no job"
    return ended - stopwatch.first


def filled_and_drained(
    folder: Path,
    count: int,
    *,
    make: Callable[[int], Job] = Nothing,
    prefetch: int | None = None,
    synchronous: Synchronous = "normal",
) -> float:
    """Push ``count`` jobs to a new file and drain it; returns the seconds of the drain."""
    jobs = [make(number) for number in range(count)]
    with Queue(folder / "jobs.db", synchronous=synchronous) as queue:
        queue.push_many(jobs)
        seconds = drained(queue, count, prefetch=prefetch, jobs=(type(jobs[0]),))
        assert all(row.state is State.DONE for row in queue.find()), "the worker has left jobs"
        return seconds
