"""without_overlapping= and concurrency=: how many jobs of one key run at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from metering import Meter
from waiting import Clock
from worker_side import WorkerSide, claim_one, claimed

from litequeue import Batch, Job, Queue
from litequeue.errors import LitequeueError, RunLost
from litequeue.options import Options
from litequeue.records import NOBODY, JobRow, State
from litequeue.worker.worker import Worker

if TYPE_CHECKING:
    from typing_extensions import Unpack

ONE, TWO, THREE = (NOBODY + number for number in range(1, 4))


class Mail(Job, without_overlapping=lambda mail: f"shop {mail.shop}"):
    shop: int
    text: str = ""

    def handle(self) -> None: ...


def push(queue: Queue, count: int, key: str = "k", /, **options: Unpack[Options]) -> list[int]:
    return queue.push_many([("x", {})] * count, without_overlapping=key, **options)


def taken(queue: Queue, *queues: str, worker: int = ONE) -> JobRow:
    return claimed(queue, worker, queues)


def ids(queue: Queue, worker: int = TWO) -> list[int]:
    """The ids of all jobs that can be claimed now, in that order."""
    return [row.id for row in iter(lambda: claim_one(queue, worker), None)]


def blocked(queue: Queue) -> list[int]:
    rows = WorkerSide(queue).rows("select id from litequeue_jobs where state = 9 order by id")
    return [id for (id,) in rows]


# One at a time, and so many at a time.

KEYS = {
    "a text": ([("a", {}), ("b", {})], {"without_overlapping": "k"}, 1),
    "True: the name": ([("a", {"n": 1}), ("a", {"n": 2})], {"without_overlapping": True}, 1),
    "True, other names": ([("a", {}), ("b", {})], {"without_overlapping": True}, 2),
    "a callable": ([Mail(1, "a"), Mail(1, "b")], {}, 1),
    "a callable, other keys": ([Mail(1), Mail(2)], {}, 2),
    "the push says no": ([Mail(1), Mail(1)], {"without_overlapping": False}, 2),
    "concurrency alone: the name": ([("a", {})] * 5 + [("b", {})], {"concurrency": 3}, 4),
    "concurrency of a key": ([Mail(1)] * 5 + [Mail(2)] * 5, {"concurrency": 2}, 4),
    "more than there are": ([("a", {})] * 3, {"concurrency": 9}, 3),
    "another spelling of the name": ([("a-b", {}), ("AB", {})], {"without_overlapping": True}, 1),
}


@pytest.mark.parametrize(("jobs", "options", "at_once"), KEYS.values(), ids=KEYS)
def test_only_as_many_jobs_of_a_key_run_at_once_as_its_limit_allows(
    make_queue: Callable[..., Queue], jobs: list[Job], options: dict[str, bool], at_once: int
) -> None:
    one, two = make_queue(), make_queue()
    one.push_many(jobs, **options)
    runs = []
    while (row := claim_one(one, ONE) or claim_one(two, TWO)) is not None:
        runs.append(row)
        one, two = two, one
    assert len(runs) == at_once
    assert one.counts()["default"].get(State.READY, 0) == len(jobs) - at_once
    assert one.check() == []
    # Each that starts from now on has the slot of one that has ended.
    ended = 0
    while runs:
        WorkerSide(one).complete(runs.pop(0))
        runs += [row] if (row := claim_one(two, TWO)) is not None else []
        ended += 1
        assert claim_one(one, THREE) is None
    assert ended == len(jobs)


def test_blocked_jobs_are_shown_as_ready(queue: Queue) -> None:
    first, *others = push(queue, 4)
    assert taken(queue).id == first
    assert claim_one(queue, TWO) is None
    assert blocked(queue) == others
    assert {queue.get(id).state for id in others} == {State.READY}
    assert [row.id for row in queue.find(state="ready")] == others[::-1]
    assert queue.counts() == {"default": {State.RUNNING: 1, State.READY: 3}}
    shown = WorkerSide(queue).rows(
        "select id from litequeue_list where state = 'ready' order by id"
    )
    assert [id for (id,) in shown] == others
    assert [queue.get(id).attempts for id in others] == [0] * 3
    assert queue.check() == []


def test_blocked_jobs_start_by_priority_and_then_age(queue: Queue) -> None:
    push(queue, 1, priority=9)
    for priority in (0, 2, 1, 2, -1, 0):
        push(queue, 1, priority=priority)
    row, order = taken(queue), []
    assert claim_one(queue, TWO) is None
    late = push(queue, 1, priority=3)
    while row is not None:
        WorkerSide(queue).complete(row)
        order.append(row.id)
        row = claim_one(queue, ONE)
    assert order == [1, *late, 3, 5, 4, 2, 7, 6]


def test_a_blocked_job_says_why_it_does_not_run(queue: Queue) -> None:
    push(queue, 3)
    registration = WorkerSide(queue).register([])
    taken(queue, worker=registration.worker)
    assert claim_one(queue, TWO) is None
    why = WorkerSide(queue).why_not_running(2)
    with pytest.raises(LitequeueError) as caught:
        Worker(queue, [Mail]).run_job(2)
    registration.leave()
    assert why is not None
    assert "the concurrency limit of key" in why
    # It is ready.
    assert "only a job that is ready" not in str(caught.value)


def test_behind_a_blocked_job_the_next_is_still_the_best_of_all_queues(queue: Queue) -> None:
    push(queue, 2, queue="a", priority=9)
    for name, at, priority in (("low", "a", 0), ("high", "b", 5)):
        queue.push(name, queue=at, priority=priority)
    assert taken(queue).queue == "a"
    assert [taken(queue).name for _ in "12"] == ["high", "low"]


# However many are blocked.


@pytest.mark.parametrize("queues", [[], ["default"], ["none", "default"]])
def test_any_number_of_blocked_jobs_delays_no_other_job(queue: Queue, queues: list[str]) -> None:
    push(queue, 2_001)
    (other,) = push(queue, 1, "another")
    plain = queue.push("plain")
    assert taken(queue, *queues).id == 1
    assert [taken(queue, *queues).id for _ in "12"] == [other, plain]
    assert claim_one(queue, TWO, queues) is None
    assert len(blocked(queue)) == 2_000
    assert not WorkerSide(queue).has_ready(queues)


def test_a_claim_and_the_end_of_a_run_cost_the_same_however_many_jobs_are_blocked(
    make_queue: Callable[..., Queue],
) -> None:
    costs = []
    for count in (10, 2_000):
        queue, runs = make_queue(f"{count}.db"), []
        meter = Meter(queue)
        push(queue, count + 1)
        runs.append(taken(queue))
        assert claim_one(queue, TWO) is None
        push(queue, 1)
        queue.push_many([("plain", {})] * 2)
        acts: list[Callable[[], object]] = [
            lambda queue=queue: taken(queue),  # which holds the new one
            lambda queue=queue: taken(queue),
            lambda queue=queue: claim_one(queue, TWO),
            lambda queue=queue, row=runs[0]: WorkerSide(queue).complete(row),
            lambda queue=queue, runs=runs: runs.append(taken(queue)),
            lambda queue=queue: push(queue, 1),
        ]
        costs.append([meter.steps(act) for act in acts])
    few, many = costs
    assert all(most <= 1.2 * least for least, most in zip(few, many, strict=True)), costs
    assert max(many) < 2_000


def test_the_claim_that_blocks_many_jobs_lets_other_writers_in_between(queue: Queue) -> None:
    push(queue, 2_001)
    taken(queue)
    with WorkerSide(queue).transaction() as connection:
        pass
    steps = [0]

    def tick() -> int:
        if connection.in_transaction:
            steps[-1] += 1
        elif steps[-1]:
            steps.append(0)
        return 0

    connection.set_progress_handler(tick, 1)
    assert claim_one(queue, TWO) is None
    connection.set_progress_handler(None, 1)
    assert len(blocked(queue)) == 2_000
    # About 105 for each that is blocked, at most 100 of them in one transaction.
    assert max(steps) < 30_000


# Freed at once.


def end_for_dead(queue: Queue, row: JobRow) -> None:
    # No lock file has this worker: it is dead.
    assert WorkerSide(queue).rescue(TWO) == 1


def cancel_running(queue: Queue, row: JobRow) -> None:
    queue.cancel(row.id)
    assert claim_one(queue, TWO) is None
    assert WorkerSide(queue).release(row) is State.CANCELLED


FREED: dict[str, tuple[Callable[[Queue, JobRow], object], int]] = {
    "complete": (lambda queue, row: WorkerSide(queue).complete(row), 2),
    "complete and keep": (lambda queue, row: WorkerSide(queue).complete(row, keep=9), 2),
    "fail": (lambda queue, row: WorkerSide(queue).fail(row, "boom"), 2),
    "fail and delete": (lambda queue, row: WorkerSide(queue).fail(row, "boom", delete=True), 2),
    "retry later": (lambda queue, row: WorkerSide(queue).retry_later(row, "boom", after=9), 2),
    "retry at once": (lambda queue, row: WorkerSide(queue).retry_later(row, "boom", after=0), 1),
    "snooze": (lambda queue, row: WorkerSide(queue).release(row, after=9), 2),
    "release": (lambda queue, row: WorkerSide(queue).release(row), 1),
    "cancel": (cancel_running, 2),
    "retry by force": (lambda queue, row: queue.retry(row.id, force=True), 1),
    "the worker dies": (end_for_dead, 1),
}


@pytest.mark.parametrize(("frees", "next"), FREED.values(), ids=FREED)
def test_the_next_job_of_the_key_can_be_claimed_as_soon_as_the_run_has_ended(
    queue: Queue, frees: Callable[[Queue, JobRow], object], next: int
) -> None:
    push(queue, 3)
    row = taken(queue)
    assert claim_one(queue, TWO) is None
    frees(queue, row)
    assert taken(queue, worker=TWO).id == next
    assert claim_one(queue, THREE) is None
    # The worker that had it can do nothing more to the key.
    for late in (
        WorkerSide(queue).complete,
        WorkerSide(queue).release,
        lambda row: WorkerSide(queue).fail(row, "late"),
    ):
        with pytest.raises(RunLost):
            late(row)
    assert claim_one(queue, THREE) is None
    assert queue.check() == []


@pytest.mark.parametrize("verb", ["cancel", "forget"])
def test_when_the_next_job_is_cancelled_or_forgotten_the_one_after_it_may_start(
    queue: Queue, verb: str
) -> None:
    push(queue, 5)
    row = taken(queue)
    assert claim_one(queue, TWO) is None
    getattr(queue, verb)(3)
    WorkerSide(queue).complete(row)
    assert blocked(queue) == [4, 5]
    getattr(queue, verb)(2)
    assert blocked(queue) == [5]
    assert ids(queue) == [4]


# Queues, and one job by its id.


@pytest.mark.parametrize("away", ["paused", "without a worker"])
def test_blocked_jobs_of_one_queue_run_although_another_queue_stands_still(
    queue: Queue, away: str
) -> None:
    push(queue, 1, queue="away", priority=9)
    push(queue, 2, queue="away")
    push(queue, 2, queue="here")
    row = taken(queue, "away")
    assert claim_one(queue, TWO, ["here", "away"]) is None
    if away == "paused":
        queue.pause("away")
    queues = [] if away == "paused" else ["here"]
    WorkerSide(queue).complete(row)
    for id in (4, 5):
        row = taken(queue, *queues)
        assert row.id == id
        assert claim_one(queue, TWO) is None
        WorkerSide(queue).complete(row)
    queue.resume("away")
    assert ids(queue) == [2]


def test_a_blocked_job_cannot_be_claimed_by_its_id_and_stays_blocked(queue: Queue) -> None:
    push(queue, 3)
    row = taken(queue)
    assert claim_one(queue, TWO) is None
    before = queue.get(2)
    assert WorkerSide(queue).claim_job(TWO, 2) is None
    assert (queue.get(2), blocked(queue)) == (before, [2, 3])
    WorkerSide(queue).complete(row)
    assert [taken(queue).id, WorkerSide(queue).claim_job(TWO, 3)] == [2, None]


def test_a_scheduled_job_that_cannot_be_claimed_by_its_id_stays_scheduled(
    queue: Queue, clock: Clock
) -> None:
    push(queue, 1)
    (later,) = push(queue, 1, delay=60)
    row = taken(queue)
    before = queue.get(later)
    assert WorkerSide(queue).claim_job(TWO, later) is None
    assert queue.get(later) == before
    WorkerSide(queue).complete(row)
    assert ids(queue) == []
    clock.advance(60)
    assert ids(queue) == [later]


def test_a_row_that_cannot_be_read_keeps_no_other_of_its_key_from_running(queue: Queue) -> None:
    push(queue, 3)
    row = taken(queue)
    assert claim_one(queue, TWO) is None
    WorkerSide(queue).rows("update litequeue_jobs set options = '[' where id = 2")
    WorkerSide(queue).complete(row)
    assert ids(queue) == [3]


class Import(Batch, without_overlapping=True):
    shop: int

    def plan(self, cursor: object) -> tuple[list[Job], None]:
        return [], None


def test_a_batch_that_is_cancelled_while_it_waits_keeps_no_other_from_running(queue: Queue) -> None:
    first, second = queue.push_many([Import(1), Import(2)])
    row = taken(queue)
    assert claim_one(queue, TWO) is None
    WorkerSide(queue).plan(row, [("member", {})], None)
    queue.cancel_batch(first)
    assert ids(queue) == [second]
