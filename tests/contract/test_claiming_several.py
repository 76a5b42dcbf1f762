"""Several jobs claimed at once, in the order in which they would be claimed one by one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from waiting import Clock
from worker_side import WorkerSide, claimed, edit

from litequeue import Batch
from litequeue.errors import NoSuchJob
from litequeue.queue import Queue
from litequeue.records import NOBODY, JobRow, State

WORKER, OTHER = NOBODY + 1, NOBODY + 2


def anything(row: JobRow) -> bool:
    return True


def fetched(queue: Queue, most: int, queues: Sequence[str] = (), worker: int = WORKER) -> list[int]:
    return [row.id for row in WorkerSide(queue).claim(worker, queues, most, anything)]


def states(queue: Queue, ids: Sequence[int]) -> list[str]:
    """The state of each, "gone" where the row is."""

    def state(id: int) -> str:
        try:
            return queue.get(id).state
        except NoSuchJob:
            return "gone"

    return [state(id) for id in ids]


# Claiming


def test_jobs_that_are_claimed_together_are_as_those_claimed_alone(
    queue: Queue, clock: Clock
) -> None:
    ids = [queue.push("a", {"x": 1}, max_attempts=4), queue.push("b", keep=5), queue.push("c")]
    clock.advance(3)
    rows = WorkerSide(queue).claim(WORKER, (), 9, anything)
    assert [row.id for row in rows] == ids
    assert rows == [queue.get(id) for id in ids]
    assert {(row.state, row.worker, row.attempts) for row in rows} == {(State.RUNNING, WORKER, 1)}
    assert WorkerSide(queue).claim(OTHER, (), 9, anything) == []
    assert queue.check() == []


def test_no_more_jobs_are_claimed_than_asked_for(queue: Queue) -> None:
    ids = [queue.push("a") for _ in range(7)]
    assert fetched(queue, 3) == ids[:3]
    assert fetched(queue, 1) == ids[3:4]
    assert fetched(queue, 250) == ids[4:]
    assert fetched(queue, 250) == []


def test_jobs_of_lower_priority_in_another_queue_do_not_make_a_prefetch_smaller(
    queue: Queue,
) -> None:
    low = queue.push_many([("a", {})] * 9, queue="low", priority=-5)
    ids = queue.push_many([("a", {})] * 9)
    assert [fetched(queue, most) for most in (2, 4)] == [ids[:2], ids[2:6]]
    assert fetched(queue, 9) == ids[6:]
    assert fetched(queue, 9) == low


@pytest.mark.parametrize("most", [2, 3, 8])
def test_jobs_of_several_queues_fill_one_prefetch(queue: Queue, most: int) -> None:
    ids = [queue.push("a", queue=name) for _ in range(8) for name in ("one", "two")]
    assert fetched(queue, most) == ids[:most]


def test_a_job_that_does_not_fit_ends_the_prefetch(queue: Queue) -> None:
    ids = [queue.push(name) for name in "aabaa"]
    rows = WorkerSide(queue).claim(WORKER, (), 9, lambda row: row.name == "a")
    assert [row.id for row in rows] == ids[:2]
    assert states(queue, ids[2:]) == ["ready"] * 3


def test_a_first_job_that_fits_with_no_other_is_claimed_alone(queue: Queue) -> None:
    ids = [queue.push(name) for name in "baa"]
    rows = WorkerSide(queue).claim(WORKER, (), 9, lambda row: row.name == "a")
    assert [row.id for row in rows] == ids[:1]


def test_due_jobs_are_claimed_with_the_ready_ones(queue: Queue, clock: Clock) -> None:
    late = queue.push("a", delay=5)
    ids = [queue.push("a", delay=3), queue.push("a")]
    clock.advance(4)
    assert fetched(queue, 9) == ids
    clock.advance(4)
    assert fetched(queue, 9) == [late]


def failed_before(queue: Queue) -> int:
    id = queue.push("first", priority=99)
    row = claimed(queue, WORKER)
    WorkerSide(queue).retry_later(row, "boom", after=0)
    return id


def told_its_progress(queue: Queue) -> int:
    id = queue.push("first", priority=99)
    row = claimed(queue, WORKER)
    WorkerSide(queue).progress(row, 1, 3)
    WorkerSide(queue).release(row)
    return id


class Planned(Batch):
    def plan(self, cursor: object) -> tuple[list[Planned], None]:
        return [], None


ALONE: dict[str, Callable[[Queue], int]] = {
    "with a key": lambda queue: queue.push("a", without_overlapping="k", priority=99),
    "failed before": failed_before,
    "told its progress": told_its_progress,
    "that plans a batch": lambda queue: queue.push(Planned(), priority=99),
}


@pytest.mark.parametrize("kind", ALONE)
def test_some_jobs_are_always_claimed_alone(kind: str, queue: Queue) -> None:
    alone = ALONE[kind](queue)
    others = [queue.push("b", priority=200), queue.push("c"), queue.push("d")]
    assert fetched(queue, 9) == others[:1]
    assert fetched(queue, 9) == [alone]
    assert fetched(queue, 9) == others[1:]
    assert queue.check() == []


DAMAGES = [
    "name = x'00'",
    "payload = x'00'",
    "options = '[]'",
    "options = '{'",
    "available_at = 1 << 62",
    "created_at = 1 << 62",
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_row_fails_alone_and_delays_no_other_job(damage: str, queue: Queue) -> None:
    ids = [queue.push("a") for _ in range(5)]
    edit(queue, f"update litequeue_jobs set {damage} where id = {ids[2]}")
    assert fetched(queue, 9) == ids[:2]
    # The damaged one is claimed by itself, and fails; the others come after it.
    found: list[int] = []
    while rows := fetched(queue, 9):
        found += rows
    assert found == ids[3:]
    sql = f"select state from litequeue_jobs where id = {ids[2]}"
    assert WorkerSide(queue).rows(sql) == [(State.FAILED.code,)]


# A random queue


class Model:
    """What is to be claimed next, by sorting all that there is."""

    def __init__(self, chance: random.Random) -> None:
        self.ready: dict[int, tuple[str, int, bool]] = {}
        self.paused: set[str] = set()
        self.chance = chance

    def order(self, queues: Sequence[str]) -> list[int]:
        open_ones = {
            id: (queue, priority)
            for id, (queue, priority, _) in self.ready.items()
            if queue not in self.paused and (not queues or queue in queues)
        }

        def place(id: int) -> tuple[int, int, int]:
            queue, priority = open_ones[id]
            return (queues.index(queue) if queues else 0, -priority, id)

        return sorted(open_ones, key=place)

    def push(self, queue: Queue) -> None:
        where, priority = self.chance.choice("abcde"), self.chance.choice([0, 0, 0, 1, 5, -3])
        keyed = self.chance.random() < 0.15
        options: dict[str, object] = {"queue": where, "priority": priority}
        if keyed:
            options["without_overlapping"] = f"key {len(self.ready)} {self.chance.random()}"
        id = queue.push("job", **options)  # type: ignore[arg-type]
        self.ready[id] = (where, priority, keyed)

    def pause(self, queue: Queue) -> None:
        name = self.chance.choice("abcde")
        if name in self.paused:
            queue.resume(name)
        else:
            queue.pause(name)
        self.paused ^= {name}


@pytest.mark.parametrize("seed", range(12))
def test_the_order_is_that_of_claiming_one_by_one(seed: int, queue: Queue) -> None:
    chance = random.Random(seed)
    model = Model(chance)
    for _ in range(60):
        for _ in range(chance.choice([0, 1, 3, 20])):
            model.push(queue)
        if chance.random() < 0.2:
            model.pause(queue)
        asked = chance.choice([[], [], ["a"], ["c", "a"], ["e", "b", "d", "a", "c"], ["zero", "b"]])
        most = chance.choice([1, 2, 3, 4, 5, 7, 10, 50, 250])
        found = fetched(queue, most, asked)
        expected = model.order(asked)
        assert len(found) <= most
        assert found == expected[: len(found)], (asked, most)
        assert bool(found) == bool(expected)
        if len(found) > 1:
            assert not any(model.ready[id][2] for id in found)
        for id in found:
            del model.ready[id]
    assert queue.check() == []
