"""Keys of running jobs on a random walk, and among real workers: never too many at once,
and never one that is stuck."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest
from test_concurrency import blocked, push
from waiting import Child, Clock, wait_until
from worker_side import WorkerSide, claim_one

from litequeue import Queue
from litequeue.records import NOBODY, JobRow, State

ONE, TWO, THREE, FOUR = (NOBODY + number for number in range(1, 5))

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

LIMITS = {"a": 1, "b": 1, "c": 3}
LEFT = "select count(*) from litequeue_jobs where state in (2, 3, 4, 5, 9)"
CODES = "select overlap_key, queue, state from litequeue_jobs where overlap_key is not null"


class Walk:
    """Takes random steps through a queue whose jobs have keys."""

    def __init__(self, queue: Queue, clock: Clock, seed: int) -> None:
        self.queue, self.clock, self.random = queue, clock, random.Random(seed)
        self.runs: list[JobRow] = []

    def step(self) -> None:
        acts = [self.push] * 2 + [self.reserve] * 4 + [self.end] * 4
        self.random.choice([*acts, self.alter, self.pause, self.by_id, self.wait])()

    def push(self) -> None:
        if WorkerSide(self.queue).rows(LEFT)[0][0] < 60:
            key = self.random.choice(list(LIMITS))
            queue, priority = self.random.choice("pq"), self.random.randint(0, 2)
            options = {"queue": queue, "priority": priority, "delay": self.random.choice([0, 0, 9])}
            push(self.queue, self.random.randint(1, 6), key, concurrency=LIMITS[key], **options)

    def reserve(self) -> None:
        queues = self.random.sample("pq", self.random.randint(0, 2))
        row = claim_one(self.queue, self.random.choice([ONE, TWO]), queues)
        assert row is None or row.available_at.timestamp() <= self.clock.now
        self._had(row)

    def by_id(self) -> None:
        self._had(WorkerSide(self.queue).claim_job(THREE, self._any("ready", "scheduled")))

    def end(self) -> None:
        if self.runs:
            row = self.runs.pop(self.random.randrange(len(self.runs)))
            after, keep = self.random.choice([0, 9]), self.random.choice([0, 9])
            self.random.choice(
                [
                    lambda: WorkerSide(self.queue).complete(row, keep=keep),
                    lambda: WorkerSide(self.queue).fail(row, "boom", delete=bool(keep)),
                    lambda: WorkerSide(self.queue).retry_later(row, "boom", after=after),
                    lambda: WorkerSide(self.queue).release(row, after=after),
                ]
            )()

    def alter(self) -> None:
        verb = self.random.choice(["cancel", "forget", "retry", "cancel", "force"])
        if verb == "force" and self.runs:
            self.queue.retry(self.runs.pop().id, force=True)
        elif verb == "retry" and (id := self._any("scheduled", "failed", "cancelled")):
            self.queue.retry(id)
        elif verb == "forget" and (id := self._any("ready", "scheduled", "failed")):
            self.queue.forget(id)
        elif verb == "cancel" and (id := self._any("ready", "ready", "scheduled", "running")):
            self.queue.cancel(id)

    def pause(self) -> None:
        name = self.random.choice("pq")
        self.queue.resume(name) or self.queue.pause(name)

    def wait(self) -> None:
        self.clock.advance(5)

    def drain(self) -> None:
        self.clock.advance(100)
        for name in "pq":
            self.queue.resume(name)
        while self.runs or WorkerSide(self.queue).has_ready():
            self._had(claim_one(self.queue, FOUR))
            WorkerSide(self.queue).complete(self.runs.pop())

    def _had(self, row: JobRow | None) -> None:
        self.runs += [] if row is None else [row]

    def _any(self, *states: str) -> int:
        found = self.queue.find(state=self.random.choice(states))
        return self.random.choice(found).id if found else 0


def check(queue: Queue) -> None:
    """No more run than may; and where jobs are blocked there is one that will let them go."""
    count = Counter(WorkerSide(queue).rows(CODES))
    running: Counter[str] = Counter()
    for (key, _, state), number in count.items():
        running[key] += number if state == 5 else 0
    for key, name, state in count:
        assert running[key] <= LIMITS[key]
        assert state != 9 or running[key] or count[key, name, 3], f"{key} is stuck in {name}"
    assert queue.check() == []


@pytest.mark.parametrize("seed", range(8))
def test_on_a_random_walk_nothing_overlaps_and_nothing_is_ever_stuck(
    queue: Queue, clock: Clock, seed: int
) -> None:
    walk, most_blocked = Walk(queue, clock, seed), 0
    for _ in range(600):
        walk.step()
        check(queue)
        most_blocked = max(most_blocked, len(blocked(queue)))
    walk.drain()
    assert WorkerSide(queue).rows(LEFT) == [(0,)]
    # A walk on which none was blocked would show nothing.
    assert most_blocked > 10


# Real workers.

WORKER = """
import sys
from litequeue import Job, Queue, Worker

class Step(Job, without_overlapping=True):
    number: int

    def handle(self):
        print(self.number, "runs", flush=True)
        input()

with Queue(sys.argv[1]) as queue:
    print("here", flush=True)
    Worker(queue, [Step]).run()
"""

CROWD = """
import fcntl, sys
from litequeue import Job, Queue, Worker
from litequeue.worker.worker import Limits

class Alone(Job, without_overlapping=lambda job: job.key, max_attempts=1):
    key: str

    def handle(self):
        with open(f"{sys.argv[1]}.{self.key}", "w") as file:
            # Raises where another process has it.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sum(range(20_000))

with Queue(sys.argv[1]) as queue:
    print("here", flush=True)
    input()
    Worker(queue, [Alone], limits=Limits(drain=True)).run()
"""


@pytest.fixture
def real(make_queue: Callable[..., Queue]) -> Queue:
    return make_queue(clock=time.time, sleep=time.sleep)


@posix
def test_when_a_worker_is_killed_its_key_is_free_for_another(
    real: Queue, start: Callable[..., Child]
) -> None:
    real.push_many([("Step", {"number": number}) for number in (1, 2)], without_overlapping=True)
    first = start(WORKER, real.path)
    assert [first.line(), first.line()] == ["here", "1 runs"]
    second = start(WORKER, real.path)
    assert second.line() == "here"
    wait_until(lambda: blocked(real) == [2], within=20)
    first.process.send_signal(signal.SIGKILL)
    assert second.line(within=5) == "1 runs"
    wait_until(lambda: real.get(2).state is State.READY)
    second.say()
    assert second.line(within=5) == "2 runs"
    second.say()
    wait_until(lambda: real.find() == [])


@posix
def test_four_workers_never_run_two_of_a_key_at_once_and_leave_none(
    real: Queue, start: Callable[..., Child]
) -> None:
    for key in "abc":
        real.push_many([("Alone", {"key": key})] * 60, without_overlapping=key)
    workers = [start(CROWD, real.path) for _ in range(4)]
    assert [worker.line() for worker in workers] == ["here"] * 4
    for worker in workers:
        worker.say()
    for worker in workers:
        assert worker.finish() == ""
    assert real.find() == []
