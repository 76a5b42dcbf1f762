"""The invariants of dependencies and batches: the check finds each violation, and no command
violates one."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from test_dependencies import WORKER, Step, fail, succeed
from waiting import Clock
from worker_side import WorkerSide, claim_one

from litequeue import Batch, Job
from litequeue.errors import RunLost, WrongState
from litequeue.queue import Queue

WAITS = "a job waits if and only if a parent has not succeeded or its batch is open"
COUNTED = "the counts of a batch and its unfinished jobs add up to its planned jobs"
STEPS = 400
AFTERMATH_SECONDS = 10**6


class Catalog(Batch):
    """Planned by the walk, by hand."""

    def plan(self, cursor: object) -> tuple[list[Job], object]:
        raise AssertionError("nobody runs it here")


@pytest.fixture
def flow(queue: Queue) -> dict[str, int]:
    """A parent and its child, and a batch of two members of which one is done."""
    parent = queue.push("parent", {})
    child = queue.push("child", {}, after=[parent])
    with queue.batch(then=Step("then")) as batch:
        batch.push(Step("a"))
        batch.push(Step("b"))
    succeed(queue, batch.ids[0])
    assert batch.id is not None
    return {"parent": parent, "child": child, "batch": batch.id, "member": batch.ids[1]}


@pytest.mark.parametrize(
    ("invariant", "named", "statement"),
    [
        (WAITS, "child", "update litequeue_jobs set state = 3 where id = :child"),
        (WAITS, "child", "update litequeue_jobs set state = 4 where id = :child"),
        (WAITS, "child", "update litequeue_edges set met_at = 1 where child = :child"),
        (WAITS, "child", "delete from litequeue_edges where child = :child"),
        (WAITS, "parent", "update litequeue_jobs set state = 2 where id = :parent"),
        (WAITS, "batch", "update litequeue_jobs set state = 3 where id = :batch"),
        (WAITS, "batch", "update litequeue_batches set closed_at = 1 where id = :batch"),
        (WAITS, "batch", "delete from litequeue_batches where id = :batch"),
        (COUNTED, "batch", "update litequeue_batches set done = 2 where id = :batch"),
        (COUNTED, "batch", "update litequeue_batches set planned = 3 where id = :batch"),
        (COUNTED, "batch", "delete from litequeue_jobs where id = :member"),
        (COUNTED, "batch", "update litequeue_jobs set batch = null where id = :member"),
    ],
)
def test_the_check_names_the_invariant_and_the_job(
    queue: Queue, flow: dict[str, int], invariant: str, named: str, statement: str
) -> None:
    assert queue.check() == []
    used = {name: id for name, id in flow.items() if f":{name}" in statement}
    WorkerSide(queue).rows(statement, used)
    assert f"{invariant}: violated by {flow[named]}" in queue.check()


class Walk:
    """Somebody who pushes flows and batches, runs some, and meddles with all of them."""

    def __init__(self, queue: Queue, clock: Clock, chance: random.Random) -> None:
        self.queue, self.clock, self.chance = queue, clock, chance

    def step(self) -> None:
        verb = self.chance.choice(
            [self.push, self.push, self.put_together, self.work, self.work, self.work, self.meddle]
        )
        with suppress(WrongState, RunLost):
            verb()

    def push(self) -> None:
        known = [row.id for row in self.queue.find(limit=30)]
        parents = self.chance.sample(known, min(len(known), self.chance.randrange(4)))
        delay = self.chance.choice([0, 0, 5])
        job = self.chance.choice([Step("a"), Catalog()])
        self.queue.push(job, after=parents, delay=delay, on_failure=self._on_failure())

    def put_together(self) -> None:
        with self.queue.batch(then=Step("then"), delay=self.chance.choice([0, 5])) as batch:
            for _ in range(self.chance.randrange(4)):
                batch.push(Step("member"), on_failure=self._on_failure())

    def work(self) -> None:
        self.clock.advance(self.chance.random())
        row = claim_one(self.queue, WORKER)
        if row is None:
            return
        if self.chance.random() < 0.1:
            self.queue.cancel(row.id)
        if row.step == "plan" and self.chance.random() < 0.8:
            chunk = [Step("member")] * self.chance.randrange(3)
            WorkerSide(self.queue).plan(row, chunk, self.chance.choice([1, None]))
            return
        self.chance.choice(
            [
                lambda: WorkerSide(self.queue).complete(
                    row, result="1", keep=self.chance.choice([0, 5])
                ),
                lambda: WorkerSide(self.queue).complete(row),
                lambda: WorkerSide(self.queue).fail(
                    row, "no", delete=row.options.get("on_failure") == "delete"
                ),
                lambda: WorkerSide(self.queue).retry_later(row, "no", after=2),
                lambda: WorkerSide(self.queue).release(row, after=1),
                lambda: None,
            ]
        )()

    def meddle(self) -> None:
        known = [row.id for row in self.queue.find(limit=30)] or [1]
        id = self.chance.choice(known)
        batches = [id for (id,) in WorkerSide(self.queue).rows("select id from litequeue_batches")]
        self.chance.choice(
            [
                lambda: self.queue.cancel(id),
                lambda: self.queue.forget(id),
                lambda: self.queue.retry(id),
                lambda: self.queue.retry(id, force=True),
                lambda: self.queue.retry(all=True),
                lambda: self.queue.prune(self.chance.choice([5, 20])),
                lambda: WorkerSide(self.queue).expire(),
                lambda: self.queue.cancel_batch(self.chance.choice(batches or [0])),
            ]
        )()

    def _on_failure(self) -> str:
        return self.chance.choice(["keep", "keep", "delete"])


@pytest.mark.parametrize("seed", range(8))
def test_no_command_violates_an_invariant(queue: Queue, clock: Clock, seed: int) -> None:
    walk = Walk(queue, clock, random.Random(seed))
    walk.put_together()
    for step in range(STEPS):
        walk.step()
        assert queue.check() == [], f"at step {step}"
    come_to_an_end(queue, clock)


def come_to_an_end(queue: Queue, clock: Clock) -> None:
    """Whatever was left can be brought to its end, and then there is nothing."""
    for _ in range(100):
        queue.retry(state="running", force=True)
        queue.retry(all=True)
        clock.advance(10)
        while (row := claim_one(queue, WORKER)) is not None:
            if row.step == "plan":
                WorkerSide(queue).plan(row, [], None)
            else:
                WorkerSide(queue).complete(row)
        assert queue.check() == []
        if set(queue.counts().get("default", {})) <= {"done"}:
            break
    clock.advance(AFTERMATH_SECONDS)
    queue.prune(0)
    assert queue.counts() == {}
    for table in ("edges", "batches"):
        assert WorkerSide(queue).rows(f"select * from litequeue_{table}") == []


def test_a_failed_member_and_a_failed_parent_violate_no_invariant(
    queue: Queue, flow: dict[str, int]
) -> None:
    fail(queue, flow["parent"], flow["member"])
    assert queue.check() == []
    queue.retry(flow["parent"], flow["member"])
    assert queue.check() == []
