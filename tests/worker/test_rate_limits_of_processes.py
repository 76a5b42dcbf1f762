"""Several worker processes on one file keep a rate limit together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from waiting import Child

from litequeue import Queue
from litequeue.records import State

COUNT, SECONDS = 10, 0.5

WORK = """
import os, sys, time
from litequeue import Job, Limits, Queue, Worker

starts = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

class Call(Job):
    n: int
    def handle(self):
        os.write(starts, f"{time.time():.6f}\\n".encode())

class Other(Call):
    def handle(self):
        pass

with Queue(sys.argv[1]) as queue:
    Worker(queue, [Call, Other], limits=Limits(seconds=3)).run()
"""


def test_they_never_start_more_than_the_limit_in_any_window(
    start: Callable[..., Child], tmp_path: Path
) -> None:
    with Queue(tmp_path / "jobs.db") as queue:
        calls = [("call", {"n": n}) for n in range(200)]
        queue.push_many(calls, rate_limit=f"{COUNT}/{SECONDS}s")
        queue.push_many([("other", {"n": n}) for n in range(200)])
        workers = [start(WORK, queue.path, tmp_path / "starts") for _ in range(4)]
        for worker in workers:
            worker.finish()
        times = sorted(map(float, (tmp_path / "starts").read_text().split()))
        counts = queue.counts()["default"]
        assert queue.check() == []
    # Hardly fewer than it allows in three seconds, on a machine that may be busy.
    assert len(times) >= COUNT * 4
    gaps = [later - earlier for earlier, later in zip(times, times[COUNT:], strict=False)]
    assert min(gaps) >= SECONDS
    # What waits has not run, and nothing else had to wait for it.
    assert counts == {State.SCHEDULED: 200 - len(times)}
