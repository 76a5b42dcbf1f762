"""expires=: a job that was not started in time is cancelled."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from waiting import Clock
from worker_side import WorkerSide, claim_one, claimed

from litequeue import Batch, Job, Queue
from litequeue.errors import OptionError, WhenError
from litequeue.records import NOBODY, State
from litequeue.worker.worker import Limits, Worker

ONE = NOBODY + 1

pytestmark = pytest.mark.usefixtures("sound")


def expired(queue: Queue, id: int) -> str:
    """The reason of a cancelled job."""
    row = queue.get(id)
    assert row.state is State.CANCELLED
    assert row.finished_at is not None
    assert row.cancelled_at is not None
    assert row.attempts == 0 or row.failed_at is not None
    return row.reason


@pytest.mark.parametrize(
    ("value", "seconds", "words"),
    [
        (30, 30, "30s"),
        (0.5, 0.5, "0.5s"),
        ("1h", 3600, "1h"),
        ("90 minutes", 5400, "1h30m"),
        (timedelta(days=1, seconds=5), 86_405, "1d5s"),
        (datetime.fromtimestamp(1_900_000_060, timezone.utc), 60, "1m"),
    ],
)
def test_a_job_starts_until_its_deadline_and_not_after_it(
    queue: Queue, clock: Clock, value: str, seconds: float, words: str
) -> None:
    in_time, late = queue.push("a", expires=value), queue.push("a", expires=value)
    deadline = queue.get(late).deadline_at
    assert deadline is not None
    assert deadline.timestamp() == clock() + seconds
    clock.advance(seconds - 0.001)
    assert claimed(queue, ONE).id == in_time
    clock.advance(0.001)
    assert claim_one(queue, ONE) is None
    assert expired(queue, late) == f"it expired: not started within {words} of its push"
    assert WorkerSide(queue).why_not_running(late) == f"{queue.get(late).reason}; push it again"


@pytest.mark.parametrize("value", [0, -1, "soon", "2/minute", True])
def test_what_is_no_time_is_refused(queue: Queue, value: str) -> None:
    with pytest.raises((OptionError, WhenError)):
        queue.push("a", expires=value)


def test_several_that_are_claimed_together_expire_one_by_one(queue: Queue, clock: Clock) -> None:
    ids = [queue.push("a", expires=seconds) for seconds in (9, 1, 9, 1, 9)]
    clock.advance(5)
    rows = []
    while found := WorkerSide(queue).claim(ONE, (), 8, lambda row: True):
        rows += found
    assert [row.id for row in rows] == [ids[0], ids[2], ids[4]]
    assert all(row.deadline_at is not None for row in rows)
    assert [queue.get(id).state for id in (ids[1], ids[3])] == [State.CANCELLED] * 2


def test_waiting_scheduled_blocked_and_paused_jobs_expire_when_a_worker_looks(
    queue: Queue, clock: Clock
) -> None:
    parent = queue.push("parent", delay=3600)
    ids = [
        queue.push("a", after=[parent], expires=60),
        queue.push("a", delay=3600, expires=60),
        queue.push("a", rate_limit="1/day", rate_key="k", expires=60),
        queue.push("a", rate_limit="1/day", rate_key="k", expires=60),
        queue.push("a", queue="paused", expires=60),
    ]
    queue.pause("paused")
    running = claimed(queue, ONE)
    assert running.id == ids.pop(2)
    assert claim_one(queue, ONE) is None
    assert WorkerSide(queue).cancel_passed() == 0
    clock.advance(60)
    assert WorkerSide(queue).cancel_passed() == len(ids)
    for id in ids:
        assert expired(queue, id) == "it expired: not started within 1m of its push"
    assert queue.get(running.id).state is State.RUNNING


def test_a_run_may_take_longer_than_the_deadline(queue: Queue, clock: Clock) -> None:
    queue.push("a", expires=60)
    row = claimed(queue, ONE)
    clock.advance(3600)
    assert WorkerSide(queue).cancel_passed() == 0
    WorkerSide(queue).complete(row)


def test_a_retry_past_the_deadline_does_not_run(queue: Queue, clock: Clock) -> None:
    id = queue.push("a", expires=60)
    WorkerSide(queue).retry_later(claimed(queue, ONE), "Traceback\nValueError: no", after=90)
    clock.advance(90)
    assert claim_one(queue, ONE) is None
    assert expired(queue, id) == "it expired: not started within 1m of its push"
    assert "The attempt before it failed: ValueError: no" in (queue.get(id).exception or "")
    queue.retry(id)
    assert claim_one(queue, ONE) is None
    assert expired(queue, id) == "it expired: not started within 1m of its push"


@pytest.mark.parametrize("by", ["the claim", "a look"])
def test_what_depends_on_it_is_cancelled_its_batch_counted_and_its_keys_freed(
    queue: Queue, clock: Clock, by: str
) -> None:
    with queue.batch(then=Follow()) as batch:
        batch.push("a", expires=60)
    (id,) = batch.ids
    keyed = queue.push("b", unique="u", without_overlapping="k", expires=60)
    blocked = queue.push("c", without_overlapping="k", queue="later")
    child = queue.push("d", after=[keyed])
    grandchild = queue.push("e", after=[child])
    clock.advance(60)
    if by == "a look":
        assert WorkerSide(queue).cancel_passed() == 2
    assert batch.id is not None
    assert claimed(queue, ONE, ["default"]).id == batch.id
    assert claim_one(queue, ONE, ["default"]) is None
    assert expired(queue, id) == expired(queue, keyed)
    assert queue.batch(batch.id).cancelled == 1
    for each in (child, grandchild):
        assert queue.get(each).state is State.CANCELLED
    assert queue.push("b", unique="u") != keyed
    assert claimed(queue, ONE, ["later"]).id == blocked


class Follow(Job):
    def handle(self) -> None: ...


class Plan(Batch, expires=60):
    def plan(self, cursor: object) -> tuple[list[Job], object]:
        return [Follow()], None

    def finished(self, counts: object) -> None: ...


def test_a_batch_that_was_planned_in_time_finishes_after_its_deadline(
    queue: Queue, clock: Clock
) -> None:
    queue.push(Plan())
    Worker(queue, [Plan], limits=Limits(drain=True, jobs=1)).run()
    clock.advance(3600)
    Worker(queue, [Plan, Follow], limits=Limits(drain=True)).run()
    assert queue.counts() == {}


def test_a_batch_that_was_not_planned_in_time_is_cancelled(queue: Queue, clock: Clock) -> None:
    id = queue.push(Plan())
    clock.advance(60)
    Worker(queue, [Plan, Follow], limits=Limits(drain=True)).run()
    assert queue.get(id).state is State.CANCELLED
    assert queue.batch(id).cancelled_at is not None


def test_draining_cancels_what_has_expired_and_runs_what_follows(
    queue: Queue, clock: Clock
) -> None:
    with queue.batch(then=Follow()) as batch:
        batch.push("a", delay=7200, expires=60)
    clock.advance(60)
    Worker(queue, [Follow], limits=Limits(drain=True)).run()
    assert queue.counts() == {"default": {State.CANCELLED: 1}}


def test_a_chain_and_many_jobs_take_the_option(queue: Queue, clock: Clock) -> None:
    ids = queue.chain(Follow(), Follow(), expires=60)
    ids += queue.push_many([Follow()] * 100, expires="1m")
    clock.advance(60)
    assert WorkerSide(queue).cancel_passed() == 102 - 1  # the second of the chain depends on it
    assert {queue.get(id).state for id in ids} == {State.CANCELLED}
