"""rate_limit= and rate_key=: how many jobs of one key start in any window of a length."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from waiting import Clock
from worker_side import WorkerSide, claim_one, claimed, edit

from litequeue import Batch, Job, Queue
from litequeue.errors import OptionError, RateLimitReached
from litequeue.records import NOBODY, State
from litequeue.worker.worker import Limits, Worker

ONE, TWO = NOBODY + 1, NOBODY + 2

pytestmark = pytest.mark.usefixtures("sound")


class Call(Job, rate_limit="2/minute", rate_key=lambda call: f"host {call.host}"):
    host: int

    def handle(self) -> None: ...


def push(queue: Queue, count: int, limit: str = "2/minute", **options: object) -> list[int]:
    return queue.push_many([("x", {})] * count, rate_limit=limit, **options)  # type: ignore[arg-type]


def started(queue: Queue, worker: int = ONE) -> list[int]:
    """The ids of all jobs that can be started now, in that order."""
    return [row.id for row in iter(lambda: claim_one(queue, worker), None)]


def waits(queue: Queue, ids: list[int], clock: Clock) -> list[float]:
    """How many seconds these jobs are scheduled to wait."""
    rows = [queue.get(id) for id in ids]
    assert {row.state for row in rows} == {State.SCHEDULED}
    return [row.available_at.timestamp() - clock() for row in rows]


@pytest.mark.parametrize(
    ("limit", "count", "seconds"),
    [("2/second", 2, 1), ("2/minute", 2, 60), ("3/hour", 3, 3600), ("1/day", 1, 86_400),
     ("5/10s", 5, 10), ("1/1h30m", 1, 5400), ("4 / 2 minutes", 4, 120)],
)  # fmt: skip
def test_as_many_start_as_the_limit_allows_and_the_next_when_the_first_has_left_the_window(
    queue: Queue, clock: Clock, limit: str, count: int, seconds: float
) -> None:
    ids = push(queue, 2 * count + 1, limit)
    assert started(queue) == ids[:count]
    assert waits(queue, ids[count:], clock) == [seconds] * count + [2 * seconds]
    clock.advance(seconds - 0.001)
    assert started(queue) == []
    clock.advance(0.001)
    assert started(queue) == ids[count : 2 * count]
    clock.advance(seconds)
    assert started(queue) == ids[2 * count :]


def test_the_window_slides(queue: Queue, clock: Clock) -> None:
    ids = push(queue, 1)
    assert started(queue) == ids
    clock.advance(59)
    # One start at 0 and one at 59: the next ones come at 60 and 119, and not two at 60.
    more = push(queue, 3)
    assert started(queue) == more[:1]
    assert waits(queue, more[1:], clock) == [1, 60]
    clock.advance(1)
    assert started(queue) == more[1:2]
    clock.advance(58.999)
    assert started(queue) == []
    clock.advance(0.001)
    assert started(queue) == more[2:]


def test_all_workers_of_the_file_share_the_limit(make_queue: Callable[..., Queue]) -> None:
    one, two = make_queue(), make_queue()
    push(one, 5)
    assert [claimed(one, ONE).id, claimed(two, TWO).id] == [1, 2]
    assert claim_one(one, ONE) is None
    assert claim_one(two, TWO) is None


def test_a_job_over_the_limit_has_used_no_attempt_and_holds_up_no_other(queue: Queue) -> None:
    limited = push(queue, 300)
    other = queue.push("other", priority=-1)
    assert started(queue) == [*limited[:2], other]
    assert all(queue.get(id).attempts == 0 for id in limited[2:])


@pytest.mark.parametrize(
    ("jobs", "options", "count"),
    [
        ([("a", {}), ("a", {}), ("A", {}), ("b", {})], {}, 3),
        ([("a", {}), ("b", {}), ("c", {})], {"rate_key": "k"}, 2),
        ([("a", {}), ("b", {}), ("a", {}), ("a", {})], {"rate_key": True}, 3),
        ([("a", {})] * 5, {"rate_key": False}, 5),
    ],
    ids=["the name", "a text", "True: the name", "False: no limit"],
)
def test_jobs_of_one_key_share_the_limit(
    queue: Queue, jobs: list[tuple[str, dict[str, object]]], options: dict[str, bool], count: int
) -> None:
    queue.push_many(jobs, rate_limit="2/minute", **options)  # type: ignore[arg-type]
    assert len(started(queue)) == count


def test_the_key_may_be_a_function_of_the_job(queue: Queue) -> None:
    ids = queue.push_many([Call(1)] * 3 + [Call(2)] * 3)
    assert started(queue) == [*ids[:2], *ids[3:5]]
    with pytest.raises(OptionError, match="a callable needs the job itself"):
        queue.push("call", rate_limit="1/s", rate_key=lambda call: "k")


def test_a_key_without_a_limit_is_refused(queue: Queue) -> None:
    with pytest.raises(OptionError, match="rate_key needs a rate_limit"):
        queue.push("a", rate_key="k")


def test_the_turns_go_by_priority_and_then_by_age(queue: Queue, clock: Clock) -> None:
    first = push(queue, 300, "1/minute")
    assert started(queue) == first[:1]
    (urgent,) = push(queue, 1, "1/minute", priority=9)
    assert started(queue) == []
    for expected in (urgent, *first[1:4]):
        clock.advance(60)
        assert started(queue) == [expected]


@pytest.mark.parametrize("command", ["cancel", "forget", "expire"])
def test_a_job_that_leaves_gives_its_turn_to_the_next(
    queue: Queue, clock: Clock, command: str
) -> None:
    first, second, third = push(queue, 3, "1/hour")
    options = {"expires": 60} if command == "expire" else {}
    (urgent,) = push(queue, 1, "1/hour", priority=9, **options)
    assert started(queue) == [urgent]
    queue.retry(second)
    if command == "expire":
        (urgent,) = push(queue, 1, "1/hour", priority=9, **options)
    assert started(queue) == []
    if command == "expire":
        clock.advance(60)
        assert WorkerSide(queue).cancel_passed() == 1
        clock.advance(3600 - 60)
    else:
        getattr(queue, command)(first)
        clock.advance(3600)
    assert started(queue) == [second if command != "expire" else first]
    clock.advance(3600)
    assert started(queue) == [third if command != "expire" else second]


def test_cancelling_all_leaves_no_hole(queue: Queue, clock: Clock) -> None:
    push(queue, 500, "1/hour")
    assert len(started(queue)) == 1
    queue.cancel(state="scheduled")
    (late,) = push(queue, 1, "1/hour")
    assert started(queue) == []
    assert waits(queue, [late], clock) == [3600]


def test_each_attempt_counts_as_a_start(queue: Queue, clock: Clock) -> None:
    first, second = push(queue, 2, "1/minute")
    row = claimed(queue, ONE)
    WorkerSide(queue).retry_later(row, "ValueError: no", after=0)
    assert started(queue) == []
    clock.advance(60)
    assert started(queue) == [first]
    assert queue.get(first).attempts == 2
    clock.advance(60)
    assert started(queue) == [second]


def test_retry_makes_a_job_due_but_the_limit_holds(queue: Queue, clock: Clock) -> None:
    ids = push(queue, 3, "1/minute")
    assert started(queue) == ids[:1]
    queue.retry(*ids[1:])
    assert started(queue) == []
    assert waits(queue, ids[1:], clock) == [60, 120]


def test_a_delayed_job_waits_for_its_own_time_and_then_for_its_turn(
    queue: Queue, clock: Clock
) -> None:
    (delayed,) = push(queue, 1, "1/minute", delay=10)
    (now,) = push(queue, 1, "1/minute")
    assert started(queue) == [now]
    assert WorkerSide(queue).claim_job(ONE, delayed) is None
    assert waits(queue, [delayed], clock) == [10]
    clock.advance(10)
    assert started(queue) == []
    assert waits(queue, [delayed], clock) == [50]


def test_with_a_concurrency_key_both_limits_hold(queue: Queue, clock: Clock) -> None:
    ids = push(queue, 3, "2/minute", without_overlapping=True)
    row = claimed(queue, ONE)
    assert started(queue) == []
    assert queue.get(ids[1]).state is State.READY
    WorkerSide(queue).complete(row)
    row = claimed(queue, ONE)
    WorkerSide(queue).complete(row)
    assert started(queue) == []
    assert queue.get(ids[2]).state is State.SCHEDULED
    clock.advance(60)
    assert started(queue) == ids[2:]


def test_a_job_that_is_over_its_rate_does_not_block_the_next_of_its_concurrency_key(
    queue: Queue,
) -> None:
    push(queue, 1, "1/hour", without_overlapping="k")
    (over,) = push(queue, 1, "1/hour", without_overlapping="k")
    WorkerSide(queue).complete(claimed(queue, ONE))
    other = queue.push("other", without_overlapping="k")
    assert started(queue) == [other]
    assert queue.get(over).state is State.SCHEDULED


def test_why_it_is_not_running_says_when_its_turn_comes(queue: Queue, clock: Clock) -> None:
    ids = push(queue, 4)
    assert started(queue) == ids[:2]
    clock.advance(56)
    assert WorkerSide(queue).why_not_running(ids[3]) == (
        "its rate limit of 2/minute is reached; its turn comes in 4 s"
    )


def test_jobs_with_different_limits_may_share_a_key(queue: Queue, clock: Clock) -> None:
    strict = push(queue, 2, "1/hour", rate_key="k")
    easy = push(queue, 2, "3/minute", rate_key="k")
    assert started(queue) == [strict[0], *easy]
    clock.advance(3600)
    assert started(queue) == strict[1:]


def test_a_clock_that_is_set_back_holds_nothing_up_for_longer_than_the_window(
    queue: Queue, clock: Clock
) -> None:
    first, second = push(queue, 2, "1/minute")
    assert started(queue) == [first]
    clock.advance(-86_400)
    queue.retry(second)
    assert started(queue) == []
    assert waits(queue, [second], clock) == [60]


def test_an_edited_row_of_a_limit_counts_as_just_reached(queue: Queue, clock: Clock) -> None:
    second = push(queue, 2, "2/minute")[1]
    claimed(queue, ONE)
    edit(queue, "update litequeue_rates set starts = '[[1, null]]'")
    assert started(queue) == []
    clock.advance(60)
    assert started(queue) == [second]


def test_draining_is_over_when_the_rest_waits_for_its_rate(queue: Queue) -> None:
    ids = queue.push_many([Call(1)] * 5)
    for limits in (Limits(drain=True), Limits(drain=True, jobs=1)):
        assert Worker(queue, [Call], limits=limits).run() == 0
    assert queue.counts() == {"default": {State.SCHEDULED: 3}}
    with pytest.raises(RateLimitReached, match=r"rate limit of 2/minute is reached.* in 60 s"):
        Worker(queue, [Call]).run_job(ids[2])
    assert queue.get(ids[2]).state is State.SCHEDULED


class Plan(Batch, rate_limit="1/hour"):
    def plan(self, cursor: object) -> tuple[list[Job], object]:
        return [Call(7)], None

    def finished(self, counts: object) -> None: ...


def test_a_batch_may_be_limited(queue: Queue, clock: Clock) -> None:
    queue.push(Plan())
    Worker(queue, [Plan, Call], limits=Limits(drain=True)).run()
    # Planning was one start, and finishing is another.
    assert queue.counts() == {"default": {State.SCHEDULED: 1}}
    clock.advance(3600)
    Worker(queue, [Plan, Call], limits=Limits(drain=True)).run()
    assert queue.counts() == {}


def test_old_starts_are_forgotten(queue: Queue, clock: Clock) -> None:
    push(queue, 1)
    assert len(started(queue)) == 1
    clock.advance(59)
    WorkerSide(queue).forget_old_starts()
    assert len(WorkerSide(queue).rows("select * from litequeue_rates")) == 1
    clock.advance(1)
    WorkerSide(queue).forget_old_starts()
    assert WorkerSide(queue).rows("select * from litequeue_rates") == []
