"""One insert or many rows in one: push and push_many store the same rows."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from waiting import Clock
from worker_side import WorkerSide

from litequeue import Batch, Job, job
from litequeue.errors import LitequeueError, PayloadError
from litequeue.options import Options
from litequeue.queue import Queue
from litequeue.records import Spec
from litequeue.store.batches import BatchRow

MakeQueue = Callable[..., Queue]


class Plain(Job):
    number: int

    def handle(self) -> None: ...


class Target(Job, max_attempts=7, backoff=[1, 2.5], timeout=3, keep=60, priority=-1):
    number: int
    text: str | None = None

    def handle(self) -> None: ...


class Late(Job, delay="10 minutes", queue="late"):
    number: int

    def handle(self) -> None: ...


class Alone(Job, without_overlapping=True):
    number: int

    def handle(self) -> None: ...


class Few(Job, concurrency=2, without_overlapping=lambda few: f"few {few.number % 3}"):
    number: int

    def handle(self) -> None: ...


class Unique(Job, unique=True):
    number: int

    def handle(self) -> None: ...


@job(max_attempts=2)
def shrink(number: int, tags: list[str] | None = None) -> None: ...


class Many(Batch):
    number: int

    def plan(self, cursor: object) -> tuple[list[Job], object]:
        return [], None

    def finished(self, counts: BatchRow) -> None: ...


class Own:
    """Not a job, but it can say what is to be stored."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __litequeue_spec__(self) -> Spec:
        options = Options(priority=self.number % 2)
        return Spec(f"own-{self.number % 2}", f"[{self.number}]", options)


FREE: list[Callable[[int], Any]] = [
    Plain,
    Target,
    Late,
    Alone,
    Few,
    Own,
    lambda number: shrink(number=number, tags=["a", "é"] if number % 2 else None),
    lambda number: ("by-name", {"number": number}),
    lambda number: ("by-name", {"numbers": [number]}),
    lambda number: ("other", None),
]
TIED: list[Callable[[int], Any]] = [Unique, Many]
GIVEN: list[Options] = [
    {},
    {"queue": "given"},
    {"priority": 3, "max_attempts": 1},
    {"delay": 30},
    {"at": "now", "without_overlapping": "all"},
    {"backoff": 5, "on_failure": "delete"},
    {"max_attempts": 4, "without_overlapping": False},
]


def rows(queue: Queue) -> list[tuple[object, ...]]:
    return WorkerSide(queue).rows("select * from litequeue_jobs order by id")


def compare(make_queue: MakeQueue, jobs: list[Any], given: Options) -> None:
    one, many = make_queue("one.db"), make_queue("many.db")
    ids = [
        one.push(*each, **given) if isinstance(each, tuple) else one.push(each, **given)
        for each in jobs
    ]
    assert many.push_many(iter(jobs), **given) == ids
    assert rows(many) == rows(one)
    assert many.check() == []


@pytest.mark.parametrize("seed", range(25))
def test_jobs_are_stored_together_as_they_are_one_by_one(
    make_queue: MakeQueue, clock: Clock, seed: int
) -> None:
    chance = random.Random(seed)
    clock.now += chance.random()
    jobs: list[Any] = []
    for _ in range(chance.randint(0, 8)):
        make = chance.choice(FREE if seed % 3 else FREE + TIED)
        jobs += [make(chance.randint(0, 99)) for _ in range(chance.choice([1, 2, 9, 70, 140]))]
    compare(make_queue, jobs, chance.choice(GIVEN))


@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 72, 128, 137])
@pytest.mark.parametrize("make", [Plain, Alone])
def test_no_job_is_lost_where_one_insert_ends_and_the_next_begins(
    make_queue: MakeQueue, make: Callable[[int], Job], count: int
) -> None:
    compare(make_queue, [make(number) for number in range(count)], {})


def test_jobs_of_one_name_and_different_options_keep_their_own(make_queue: MakeQueue) -> None:
    compare(make_queue, [Own(0), Own(2), Own(1), Own(3), Own(0)], {})


@pytest.mark.parametrize("number", [0, 1, 63, 64, 99])
def test_one_that_is_refused_among_many_leaves_nothing(make_queue: MakeQueue, number: int) -> None:
    queue = make_queue()
    jobs = [Plain(place if place != number else "x") for place in range(100)]  # type: ignore[arg-type]
    with pytest.raises(PayloadError, match=r"Plain: field 'number' must be int, not str \('x'\)"):
        queue.push_many(jobs)
    pairs: list[Any] = [("a", {"x": place if place != number else {1}}) for place in range(100)]
    pairs[number][1]["x"] = object()
    with pytest.raises(PayloadError, match="a: field 'x' "):
        queue.push_many(pairs)
    assert rows(queue) == []


def test_each_of_many_is_weighed(make_queue: MakeQueue) -> None:
    queue = make_queue(max_payload=100)
    pairs = [("a", {"x": "é" * size}) for size in (1, 40, 47)]
    with pytest.raises(PayloadError, match="a: the payload has 102 bytes"):
        queue.push_many(pairs)
    assert rows(queue) == []
    assert len(queue.push_many(pairs[:2])) == 2


def test_many_in_a_transaction_of_the_caller_go_with_it(make_queue: MakeQueue) -> None:
    queue = make_queue()
    connection = sqlite3.connect(queue.path)
    with closing(connection), connection:
        ids = queue.push_many((Plain(number) for number in range(70)), connection=connection)
        assert queue.push(Plain(70), connection=connection) == ids[-1] + 1
        assert rows(queue) == []
    assert [id for id, *_ in rows(queue)] == [*ids, ids[-1] + 1]


def test_many_that_sqlite_refuses_leave_nothing_and_a_sentence(make_queue: MakeQueue) -> None:
    queue = make_queue()
    WorkerSide(queue).rows(
        "create trigger refuse before insert on litequeue_jobs when new.payload like '%66%' "
        "begin select raise(abort, 'no 66 here'); end"
    )
    with pytest.raises(LitequeueError, match="no 66 here"):
        queue.push_many(Plain(number) for number in range(100))
    with pytest.raises(LitequeueError, match="no 66 here"):
        queue.push(Plain(66))
    assert rows(queue) == []
    assert not WorkerSide(queue).in_transaction()


def test_the_members_of_a_batch_are_stored_together(make_queue: MakeQueue) -> None:
    queue = make_queue()
    with queue.batch(then=Plain(0)) as batch:
        for number in range(70):
            batch.push(Plain(number))
        batch.push(Plain(70), priority=2)
        batch.push("by-name", {"number": 71})
    assert batch.id is not None
    assert len(set(batch.ids)) == 72
    assert queue.batch(batch.id).planned == 72
    assert {queue.get(id).batch for id in batch.ids} == {batch.id}
    assert [queue.get(id).priority for id in batch.ids[69:]] == [0, 2, 0]
    assert queue.check() == []
