"""with queue.batch(then=...): a known set of jobs, and one that follows it; and how far a
batch has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from waiting import Clock
from worker_side import claimed

from litequeue import Batch, Job, Queue, Worker, current
from litequeue.errors import OptionError, PayloadError
from litequeue.records import NOBODY
from litequeue.worker.worker import Limits

WORKER = NOBODY + 1


class Part(Job):
    number: int

    def handle(self) -> None: ...


class Report(Job, queue="reports"):
    month: int

    def handle(self) -> None: ...


class Start(Job):
    """Pushes a batch from inside its own transaction."""

    fails: bool = False

    def handle(self) -> None:
        with current().transaction():
            with current().pushes_to.batch(then=Report(7)) as batch:
                batch.push(Part(1))
                batch.push(Part(2))
            assert not self.fails


class Planned(Batch):
    def plan(self, cursor: object) -> tuple[list[Job], object]:
        raise AssertionError("nobody runs it here")


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Iterator[Queue]:
    queue = make_queue()
    yield queue
    assert queue.check() == []


def states(queue: Queue) -> dict[str, list[str]]:
    """The states of the jobs of each name, in the order of their ids."""
    found: dict[str, list[str]] = {}
    for row in reversed(queue.find()):
        found.setdefault(row.name, []).append(str(row.state))
    return found


def succeed(queue: Queue, *ids: int) -> None:
    for id in ids:
        row = queue.store.claims.claim_job(WORKER, id)
        assert row is not None
        queue.store.executions.complete(row)


# The block


def test_the_jobs_of_the_block_are_pushed_at_its_end(queue: Queue) -> None:
    with queue.batch(then=Report(month=7)) as batch:
        batch.push(Part(1))
        batch.push("by-name", {"x": 1}, priority=5)
        batch.push("by-name-alone")
        assert (queue.counts(), batch.id, batch.ids) == ({}, None, [])
    assert batch.id is not None
    rows = [queue.get(id) for id in batch.ids]
    assert [(row.name, row.priority, row.batch) for row in rows] == [
        ("Part", 0, batch.id),
        ("by-name", 5, batch.id),
        ("by-name-alone", 0, batch.id),
    ]
    follower = queue.get(batch.id)
    assert (follower.name, follower.queue, str(follower.state)) == ("Report", "reports", "waiting")
    assert queue.batch(batch.id).planned == 3


def test_with_no_members_what_follows_runs_at_once(queue: Queue) -> None:
    with queue.batch(then=Report(7)) as batch:
        pass
    assert batch.ids == []
    row = claimed(queue, WORKER)
    assert row.id == batch.id


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        pytest.param(lambda batch: 1 / 0, ZeroDivisionError, id="the block"),
        pytest.param(lambda batch: batch.push(Part("x")), PayloadError, id="a payload"),
        pytest.param(lambda batch: batch.push(Part(1), prio=2), OptionError, id="an option"),
        pytest.param(lambda batch: batch.push(" "), OptionError, id="a name"),
    ],
)
def test_an_exception_pushes_nothing(
    queue: Queue, wrong: Callable[[object], object], error: type[Exception]
) -> None:
    with pytest.raises(error), queue.batch(then=Report(7)) as batch:
        batch.push(Part(1))
        wrong(batch)
    assert queue.counts() == {}
    assert queue.store.database.rows("select * from litequeue_batches") == []


@pytest.mark.parametrize("options", [{"after": [1]}, {"prio": 2}, {"queue": ""}], ids=str)
def test_a_wrong_option_of_what_follows_is_said_before_the_block(
    queue: Queue, options: dict[str, object]
) -> None:
    entered = []
    with pytest.raises(OptionError), queue.batch(then=Report(7), **options):  # type: ignore
        entered.append(True)
    assert entered == []


def test_options_of_what_follows_are_its_own(queue: Queue, clock: Clock) -> None:
    with queue.batch(then=Report(7), queue="late", delay=60, priority=3) as batch:
        batch.push(Part(1))
    assert batch.id is not None
    assert queue.get(batch.ids[0]).queue == "default"
    follower = queue.get(batch.id)
    assert (follower.queue, follower.priority) == ("late", 3)
    succeed(queue, *batch.ids)
    assert states(queue) == {"Report": ["scheduled"]}
    clock.advance(60)
    row = claimed(queue, WORKER, ["late"])
    assert row.id == batch.id


def test_what_follows_may_be_unique_and_then_there_is_no_second_batch(queue: Queue) -> None:
    held = queue.push(Report(7), unique="july")
    with pytest.raises(OptionError), queue.batch(then=Report(7), unique="july") as batch:
        batch.push(Part(1))
    assert [row.id for row in queue.find()] == [held]


def test_a_batch_in_a_transaction_is_part_of_it(queue: Queue) -> None:
    with pytest.raises(ZeroDivisionError), queue.store.database.transaction():
        with queue.batch(then=Report(7)) as batch:
            batch.push(Part(1))
        assert batch.ids
        raise ZeroDivisionError
    assert queue.counts() == {}
    with queue.store.database.transaction(), queue.batch(then=Report(7)) as batch:
        batch.push(Part(1))
    assert states(queue) == {"Report": ["waiting"], "Part": ["ready"]}


@pytest.mark.parametrize("fails", [False, True])
def test_a_batch_pushed_in_the_transaction_of_a_run_stands_or_falls_with_it(
    queue: Queue, fails: bool
) -> None:
    queue.push(Start(fails), max_attempts=1)
    Worker(queue, [Start, Part, Report], limits=Limits(jobs=1)).run()
    whole = {"Report": ["waiting"], "Part": ["ready", "ready"]}
    assert states(queue) == ({"Start": ["failed"]} if fails else whole)


def test_one_batch_is_put_together_while_another_is(queue: Queue) -> None:
    with queue.batch(then=Report(1)) as outer:
        outer.push(Part(1))
        with queue.batch(then=Report(2)) as inner:
            inner.push(Part(2))
        outer.push(Part(3))
    found = {row.id: row.batch for row in queue.find(name="Part")}
    assert found == {**dict.fromkeys(inner.ids, inner.id), **dict.fromkeys(outer.ids, outer.id)}


# Progress


def test_progress_is_told_by_the_clock_of_the_queue(queue: Queue, clock: Clock) -> None:
    with queue.batch(then=Report(7)) as batch:
        for number in range(8):
            batch.push(Part(number))
    assert batch.id is not None
    record = queue.batch(batch.id)
    assert (record.percent, record.rate, record.seconds_left) == (0.0, 0.0, None)
    clock.advance(10)
    succeed(queue, batch.ids[0])
    queue.cancel(batch.ids[1])
    record = queue.batch(batch.id)
    assert (record.percent, record.rate, record.seconds_left) == (25.0, 0.2, 30.0)
    assert (record.seconds, record.ended) == (10.0, 2)
    succeed(queue, *batch.ids[2:])
    clock.advance(3600)
    record = queue.batch(batch.id)
    assert (record.percent, record.rate, record.seconds_left) == (100.0, 0.8, 0.0)


def test_a_batch_that_is_being_planned_tells_nothing_of_its_end(queue: Queue, clock: Clock) -> None:
    id = queue.push(Planned())
    record = queue.batch(id)
    assert (record.percent, record.seconds_left) == (0.0, None)
    row = queue.store.claims.claim_job(WORKER, id)
    assert row is not None
    queue.store.batch_inserts.plan(row, [Part(1), Part(2)], 2)
    succeed(queue, id + 1)
    clock.advance(4)
    record = queue.batch(id)
    assert (record.planned, record.percent, record.rate) == (2, 50.0, 0.25)
    succeed(queue, id + 2)
    assert queue.batch(id).seconds_left is None
    queue.store.batch_inserts.plan(row, [], None)
    record = queue.batch(id)
    assert (record.percent, record.seconds_left) == (100.0, 0.0)
