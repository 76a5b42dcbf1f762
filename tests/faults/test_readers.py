"""A program that holds a read transaction open, beside a worker and those who push."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import Child, wait_until

from litequeue import Queue
from litequeue.engine.checkpoint import CHECKPOINT_BYTES, IDLE_BYTES

WORKER = """
import sys
from litequeue import Job, Queue, Worker

class Idle(Job):
    def handle(self) -> None: ...

with Queue(sys.argv[1]) as queue:
    worker = Worker(queue, [Idle], queues=["elsewhere"], sleep=0.05)
    with worker.in_background():
        print("works", flush=True)
        input()
"""

READER = """
import sqlite3, sys
reader = sqlite3.connect(sys.argv[1], isolation_level=None)
reader.execute("begin")
reader.execute("select count(*) from litequeue_jobs").fetchall()
print("reads", flush=True)
input()
reader.close()
"""

PUSHES = 15


@pytest.fixture
def beside(start: Callable[..., Child], tmp_path: Path) -> tuple[Queue, Child]:
    """A queue that an idle worker serves, and a program that has begun to read."""
    queue = Queue(tmp_path / "jobs.db")
    queue.push("a")
    reader = start(READER, queue.path)
    assert reader.line() == "reads"
    assert start(WORKER, queue.path).line() == "works"
    return queue, reader


@pytest.mark.parametrize("bytes", [0, IDLE_BYTES, CHECKPOINT_BYTES])
def test_no_push_waits_for_a_checkpoint_that_a_reader_is_in_the_way_of(
    beside: tuple[Queue, Child], bytes: int
) -> None:
    queue, _ = beside
    queue.push("large", {"text": "x" * bytes})
    took = []
    for _ in range(PUSHES):
        before = time.monotonic()
        queue.push("a")
        took.append(time.monotonic() - before)
        time.sleep(0.06)  # so that the worker, too, looks at the WAL between two pushes
    assert statistics.median(took) < 0.3, took
    queue.close()


def test_the_wal_is_emptied_once_the_reader_has_gone(beside: tuple[Queue, Child]) -> None:
    queue, reader = beside
    for _ in range(8):
        queue.push("large", {"text": "x" * IDLE_BYTES})
    assert os.stat(f"{queue.path}-wal").st_size > 8 * IDLE_BYTES
    reader.say()
    assert reader.finish() == ""
    wait_until(lambda: os.stat(f"{queue.path}-wal").st_size < IDLE_BYTES, within=20)
    queue.close()
