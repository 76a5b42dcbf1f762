"""Whatever is done to limited jobs, in any order: no window has too many starts, no job is
started after its deadline, and none is forgotten."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from waiting import Clock
from worker_side import WorkerSide, claim_one

from litequeue import Queue
from litequeue.errors import LitequeueError
from litequeue.records import NOBODY, JobRow, State

ONE = NOBODY + 1
LIMITS = {"a": (1, 10), "b": (3, 60), "c": (12, 30)}


class Walk:
    """Random commands on one queue, and the starts that came of them."""

    def __init__(self, queues: list[Queue], clock: Clock, seed: int) -> None:
        self.random, self.queues, self.clock = random.Random(seed), queues, clock
        self.starts: dict[str, list[float]] = {key: [] for key in LIMITS}
        self.running: list[JobRow] = []

    @property
    def queue(self) -> Queue:
        return self.random.choice(self.queues)

    def step(self) -> None:
        choice = self.random.choice
        choice([
            self.push, self.push, self.claim, self.claim, self.claim, self.end, self.end, self.wait,
            self.change, self.look,
        ])()  # fmt: skip

    def push(self) -> None:
        chance, key = self.random, self.random.choice(list(LIMITS))
        count, seconds = LIMITS[key]
        options: dict[str, object] = {"rate_limit": f"{count}/{seconds}s", "rate_key": key}
        if chance.random() < 0.3:
            options["priority"] = chance.randrange(3)
        if chance.random() < 0.2:
            options["delay"] = chance.randrange(60)
        if chance.random() < 0.2:
            options["expires"] = chance.randrange(1, 300)
        if chance.random() < 0.2:
            options["without_overlapping"] = "k"
        jobs = [("x", {})] * chance.choice([1, 1, 5, 30])
        self.queue.push_many(jobs, **options)  # type: ignore[arg-type]

    def claim(self) -> None:
        row = claim_one(self.queue, ONE)
        if row is not None:
            assert row.rate_key is not None
            assert row.deadline_at is None or row.deadline_at.timestamp() > self.clock()
            self.starts[row.rate_key].append(self.clock())
            self.running.append(row)

    def end(self) -> None:
        if self.running:
            row = self.running.pop(self.random.randrange(len(self.running)))
            side = WorkerSide(self.queue)
            self.random.choice([
                lambda: side.complete(row),
                lambda: side.fail(row, "ValueError: no"),
                lambda: side.retry_later(row, "ValueError: no", after=self.random.randrange(20)),
                lambda: side.release(row, after=self.random.randrange(20)),
            ])()  # fmt: skip

    def wait(self) -> None:
        self.clock.advance(self.random.choice([0.001, 1, 7, 10, 45]))

    def look(self) -> None:
        WorkerSide(self.queue).cancel_passed()
        WorkerSide(self.queue).forget_old_starts()
        assert self.queue.check() == []

    def change(self) -> None:
        rows = [row for row in self.queue.find(limit=30) if row.state is not State.RUNNING]
        if rows:
            verb = self.random.choice(["cancel", "retry", "forget"])
            try:
                getattr(self.queue, verb)(self.random.choice(rows).id)
            except LitequeueError:
                pass  # not in this state

    def finish(self) -> None:
        """Let everything run that is left."""
        for row in self.running:
            WorkerSide(self.queue).complete(row)
        for _ in range(20_000):
            row = claim_one(self.queue, ONE)
            if row is not None:
                assert row.rate_key is not None
                self.starts[row.rate_key].append(self.clock())
                WorkerSide(self.queue).complete(row)
                continue
            due = WorkerSide(self.queue).next_due()
            if due is None:
                return
            self.clock.now = max(self.clock.now + 0.001, due)
        raise AssertionError("it does not end")


@pytest.mark.parametrize("seed", range(5))
def test_a_limit_holds_whatever_is_done(
    make_queue: Callable[..., Queue], clock: Clock, seed: int
) -> None:
    queues = [make_queue(), make_queue()]
    walk = Walk(queues, clock, seed)
    for _ in range(200):
        walk.step()
    walk.finish()
    unfinished = {State.WAITING, State.READY, State.SCHEDULED, State.RUNNING}
    assert not unfinished & set(queues[0].counts().get("default", {}))
    assert queues[0].check() == []
    for key, (count, seconds) in LIMITS.items():
        found = walk.starts[key]
        assert len(found) > count
        gaps = [later - earlier for earlier, later in zip(found, found[count:], strict=False)]
        # Instants are stored in milliseconds.
        assert min(gaps) > seconds - 0.0015
