"""A long random walk of the verbs, with a small model of the queue walking along.

The model is a dictionary. After each step the file must hold what the model says, and
break no law.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest
from waiting import Clock
from worker_side import WorkerSide, claim_one

from litequeue.errors import NoSuchJob, RunLost, WrongState
from litequeue.queue import Queue
from litequeue.records import NOBODY, JobRow, State

QUEUES = ("a", "b", "c")
WORKERS = (NOBODY + 1, NOBODY + 2)
MOST_ROWS = 40
MAX_ATTEMPTS = 3
LEAVES = {
    "retry": (State.SCHEDULED, State.FAILED, State.CANCELLED),
    "cancel": (State.READY, State.SCHEDULED, State.RUNNING),
    "forget": (State.READY, State.SCHEDULED, State.DONE, State.FAILED, State.CANCELLED),
}


@dataclass
class Fact:
    """What the model knows of a job."""

    queue: str
    priority: int
    state: State
    available_at: float
    attempts: int = 0
    worker: int = NOBODY
    cancelled: bool = False
    finished_at: float | None = None
    expires_at: float | None = None


class Model:
    """The queue as the documentation has it, in a dictionary."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.jobs: dict[int, Fact] = {}
        self.paused: set[str] = set()
        self.highest = 0

    def push(self, queue: str, priority: int, delay: float) -> int:
        self.highest += 1
        state = State.SCHEDULED if delay > 0 else State.READY
        self.jobs[self.highest] = Fact(queue, priority, state, self.clock.now + delay)
        return self.highest

    def reserve(self, worker: int, queues: tuple[str, ...]) -> int | None:
        if not self._ready(queues) and not self._due():
            return None
        for fact in self._due():
            fact.state = State.READY
        ready = self._ready(queues)
        if not ready:
            return None
        ready.sort(key=lambda id: (queues and queues.index(self.jobs[id].queue),
                                   -self.jobs[id].priority, id))  # fmt: skip
        fact = self.jobs[ready[0]]
        fact.state, fact.worker = State.RUNNING, worker
        fact.attempts += 1
        return ready[0]

    def end(self, id: int, verb: str, after: float, keep: float) -> None:
        fact = self.jobs[id]
        if verb == "complete":
            fact.expires_at = self.clock.now + keep
            self._finish(id, State.DONE) if keep else self.jobs.pop(id)
        elif fact.cancelled:
            self._finish(id, State.CANCELLED)
        elif verb == "fail":
            self._finish(id, State.FAILED)
        else:
            fact.state = State.SCHEDULED if after > 0 else State.READY
            fact.available_at, fact.worker = self.clock.now + after, NOBODY
            fact.attempts -= verb == "release"

    def alter(self, verb: str, ids: list[int]) -> None:
        for id in ids:
            fact = self.jobs[id]
            if verb == "forget":
                del self.jobs[id]
            elif verb == "cancel":
                fact.cancelled = True
                if fact.state is not State.RUNNING:
                    self._finish(id, State.CANCELLED)
            else:
                anew = fact.state is not State.SCHEDULED
                fact.attempts = 0 if anew else fact.attempts
                fact.state, fact.worker = State.READY, NOBODY
                fact.available_at, fact.finished_at, fact.cancelled = self.clock.now, None, False

    def drop(self, which: Callable[[Fact], bool]) -> int:
        gone = [id for id, fact in self.jobs.items() if which(fact)]
        for id in gone:
            del self.jobs[id]
        return len(gone)

    def _finish(self, id: int, state: State) -> None:
        self.jobs[id].state, self.jobs[id].finished_at = state, self.clock.now

    def _ready(self, queues: tuple[str, ...]) -> list[int]:
        served = set(queues or QUEUES) - self.paused
        return [
            id
            for id, fact in self.jobs.items()
            if fact.state is State.READY and fact.queue in served
        ]

    def _due(self) -> list[Fact]:
        return [
            fact
            for fact in self.jobs.values()
            if fact.state is State.SCHEDULED and fact.available_at <= self.clock.now
        ]


class Walk:
    """Takes the same random steps through the queue and through the model."""

    def __init__(self, queue: Queue, other: Queue, clock: Clock, seed: int) -> None:
        self.queue, self.other, self.clock = queue, other, clock
        self.model = Model(clock)
        self.random = random.Random(seed)
        # What workers hold, and what they once held and may come back with.
        self.runs: dict[int, JobRow] = {}
        self.stale: list[JobRow] = []

    def step(self) -> str:
        """Take one step and return its name."""
        steps = [self.push, self.push_many, self.lose_a_push, self.alter, self.refuse, self.sweep]
        steps += [self.reserve] * 4 + [self.end] * 4 + [self.come_late, self.look_busy]
        steps += [self.pause, self.wait]
        chosen = self.random.choice(steps)
        # Two connections to one file take turns.
        self.queue, self.other = self.random.choice(
            [(self.queue, self.other), (self.other, self.queue)]
        )
        chosen()
        return chosen.__name__

    def push(self) -> None:
        if len(self.model.jobs) < MOST_ROWS:
            queue, priority, delay = self._words()
            job_id = self.queue.push("x", {}, queue=queue, priority=priority, delay=delay)
            assert job_id == self.model.push(queue, priority, delay)

    def push_many(self) -> None:
        if len(self.model.jobs) < MOST_ROWS:
            queue, priority, delay = self._words()
            many = [("x", {})] * self.random.randint(0, 3)
            ids = self.queue.push_many(many, queue=queue, priority=priority, delay=delay)
            assert ids == [self.model.push(queue, priority, delay) for _ in many]

    def lose_a_push(self) -> None:
        with suppress(ZeroDivisionError), WorkerSide(self.queue).transaction():
            self.queue.push("x", {}, queue="a")
            self.queue.cancel(all=True)
            raise ZeroDivisionError

    def reserve(self) -> None:
        queues = tuple(self.random.sample(QUEUES, self.random.randint(0, 3)))
        worker = self.random.choice(WORKERS)
        row = claim_one(self.queue, worker, queues)
        assert (row and row.id) == self.model.reserve(worker, queues)
        if row is not None:
            self.runs[row.id] = row

    def end(self) -> None:
        if not self.runs:
            return
        row = self.runs.pop(self.random.choice(list(self.runs)))
        verb = self.random.choice(["complete", "complete", "fail", "retry_later", "release"])
        if verb == "retry_later" and row.attempts >= MAX_ATTEMPTS:
            verb = "fail"
        after, keep = self.random.choice([0, 3, 30]), self.random.choice([0, 5, 50])
        ways: dict[str, Callable[[], object]] = {
            "complete": lambda: WorkerSide(self.queue).complete(row, result="1", keep=keep),
            "fail": lambda: WorkerSide(self.queue).fail(row, "boom"),
            "retry_later": lambda: WorkerSide(self.queue).retry_later(row, "boom", after=after),
            "release": lambda: WorkerSide(self.queue).release(row, after=after),
        }
        left = ways[verb]()
        self.model.end(row.id, verb, after, keep)
        if verb != "complete":
            assert left is self.model.jobs[row.id].state
        self.stale.append(row)

    def come_late(self) -> None:
        if not self.stale:
            return
        row = self.random.choice(self.stale)
        held = self.runs.get(row.id)
        if held is not None and (held.attempts, held.worker) == (row.attempts, row.worker):
            # It was released, and the same worker has the same attempt again.
            return
        late = self.random.choice(
            [
                lambda: WorkerSide(self.queue).complete(row),
                lambda: WorkerSide(self.queue).fail(row, "late"),
                lambda: WorkerSide(self.queue).retry_later(row, "late", after=0),
                lambda: WorkerSide(self.queue).release(row),
                lambda: WorkerSide(self.queue).progress(row, 1, 1),
            ]
        )
        with pytest.raises(RunLost):
            late()

    def look_busy(self) -> None:
        for row in self.runs.values():
            WorkerSide(self.queue).progress(row, 1, 2)
            assert WorkerSide(self.queue).wanted(row) is not self.model.jobs[row.id].cancelled

    def alter(self) -> None:
        verb = self.random.choice(list(LEAVES))
        fitting = [id for id, fact in self.model.jobs.items() if fact.state in LEAVES[verb]]
        ids = self.random.sample(fitting, min(len(fitting), self.random.randint(1, 3)))
        where: dict[str, object] = {}
        if self.random.random() < 0.1:
            where = {"queue": self.random.choice(QUEUES)}
            ids = [id for id in fitting if self.model.jobs[id].queue == where["queue"]]
        elif not ids:
            return
        assert getattr(self.queue, verb)(*([] if where else ids), **where) == len(ids)
        self.model.alter(verb, ids)

    def refuse(self) -> None:
        verb = self.random.choice(list(LEAVES))
        wrong = [id for id, fact in self.model.jobs.items() if fact.state not in LEAVES[verb]]
        right = [id for id in self.model.jobs if id not in wrong][:2]
        if wrong and self.random.random() < 0.5:
            with pytest.raises(WrongState):
                getattr(self.queue, verb)(*right, self.random.choice(wrong))
        else:
            with pytest.raises(NoSuchJob):
                getattr(self.queue, verb)(*right, self.model.highest + 1)

    def sweep(self) -> None:
        now = self.clock.now
        if self.random.random() < 0.5:
            assert WorkerSide(self.queue).expire() == self.model.drop(
                lambda fact: fact.expires_at is not None and fact.expires_at <= now
            )
        else:
            assert self.queue.prune(60) == self.model.drop(
                lambda fact: fact.finished_at is not None and fact.finished_at <= now - 60
            )

    def pause(self) -> None:
        name = self.random.choice(QUEUES)
        if name in self.model.paused:
            assert self.queue.resume(name)
            self.model.paused.remove(name)
        elif self.random.random() < 0.3:
            assert self.queue.pause(name)
            self.model.paused.add(name)

    def wait(self) -> None:
        self.clock.advance(self.random.choice([1, 2, 10]))

    def compare(self, step: str) -> None:
        """The file must hold what the model says, and break no law."""
        found = {row.id: row for row in self.queue.find(limit=1000)}
        assert {id: _seen(row) for id, row in found.items()} == {
            id: replace(fact, expires_at=None) for id, fact in self.model.jobs.items()
        }, step
        assert self.queue.check() == [], step
        assert self.queue.paused() == sorted(self.model.paused), step
        running = [row for worker in WORKERS for row in WorkerSide(self.queue).running(worker)]
        assert {row.id for row in running} == self.runs.keys(), step

    def _words(self) -> tuple[str, int, float]:
        delay = self.random.choice([0, 0, 5, 20])
        return self.random.choice(QUEUES), self.random.randint(-1, 2), delay


def _seen(row: JobRow) -> Fact:
    """A row as the model would have it. A finished row still names its worker."""
    return Fact(
        queue=row.queue,
        priority=row.priority,
        state=row.state,
        available_at=row.available_at.timestamp(),
        attempts=row.attempts,
        worker=row.worker,
        cancelled=row.cancelled_at is not None,
        finished_at=row.finished_at and row.finished_at.timestamp(),
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_random_walk_goes_where_the_model_goes(
    make_queue: Callable[..., Queue], clock: Clock, seed: int
) -> None:
    walk = Walk(make_queue(), make_queue(), clock, seed)
    taken = set()
    for _ in range(1_000):
        step = walk.step()
        taken.add(step)
        walk.compare(step)
    # A walk that never got far would show nothing.
    assert len(taken) == 12
    assert walk.model.highest > 100
    assert len(walk.stale) > 50
