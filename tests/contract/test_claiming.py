"""Which job a worker gets, and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone

import pytest
from waiting import Clock
from worker_side import WorkerSide, claim_one, claimed

from litequeue.queue import Queue
from litequeue.records import NOBODY, JobRow, State

WORKER, OTHER = NOBODY + 1, NOBODY + 2


def names(queue: Queue, queues: Sequence[str] = ()) -> str:
    """The names of all jobs that can be claimed, in that order."""
    found = []
    while (row := claim_one(queue, WORKER, queues)) is not None:
        found.append(row.name)
    return "".join(found)


def taken(queue: Queue, queues: Sequence[str] = ()) -> JobRow:
    return claimed(queue, WORKER, queues)


def test_a_claimed_job_is_running_for_its_worker(queue: Queue, clock: Clock) -> None:
    job_id = queue.push("a", {"x": 1}, queue="low", priority=2, max_attempts=4, timeout=9)
    pushed = queue.get(job_id)
    clock.advance(5)
    row = taken(queue)
    assert (row.state, row.worker, row.attempts) == (State.RUNNING, WORKER, 1)
    assert row.reserved_at == datetime.fromtimestamp(clock.now, timezone.utc)
    assert row == queue.get(job_id)
    for same in ("id", "name", "queue", "priority", "max_attempts", "payload", "options"):
        assert getattr(row, same) == getattr(pushed, same)


def test_a_job_is_claimed_once(make_queue: Callable[..., Queue]) -> None:
    queue, rival = make_queue(), make_queue()
    queue.push("a")
    assert taken(queue).name == "a"
    assert claim_one(rival, OTHER) is None
    assert claim_one(rival, OTHER, ["default"]) is None
    assert WorkerSide(rival).claim_job(OTHER, 1) is None


@pytest.mark.parametrize(
    ("priorities", "order"),
    [
        ([("a", 0), ("b", 0), ("c", 0)], "abc"),
        ([("a", 0), ("b", 1), ("c", 2)], "cba"),
        ([("a", -1), ("b", 0), ("c", -2)], "bac"),
        ([("a", 1), ("b", 5), ("c", 5), ("d", 1)], "bcad"),
        ([("a", -(2**63)), ("b", 2**63 - 1), ("c", 0)], "bca"),
        ([("a", 9), ("b", 10), ("c", 100)], "cba"),
    ],
)
@pytest.mark.parametrize("queues", [[], ["default"], ["none", "default"]])
def test_the_highest_priority_goes_first_and_then_the_oldest(
    queue: Queue, priorities: list[tuple[str, int]], order: str, queues: list[str]
) -> None:
    for name, priority in priorities:
        queue.push(name, {}, priority=priority)
    assert names(queue, queues) == order


@pytest.mark.parametrize(
    ("queues", "order"),
    [
        (["high", "low"], "bcda"),
        (["low", "high"], "dabc"),
        (["low"], "da"),
        (["mail", "high"], "ebc"),
        (["high", "high"], "bc"),
        (["nobody-pushes-here"], ""),
        (["LOW"], ""),
        ([], "edbca"),
    ],
)
def test_a_list_of_queues_is_strict_and_no_list_is_all_of_them(
    queue: Queue, queues: list[str], order: str
) -> None:
    pushed = [("a", "low", 1), ("b", "high", 2), ("c", "high", 2), ("d", "low", 3)]
    for name, where, priority in [*pushed, ("e", "mail", 9)]:
        queue.push(name, {}, queue=where, priority=priority)
    assert names(queue, queues) == order


@pytest.mark.parametrize("queues", [[], ["low", "high"]])
def test_a_paused_queue_is_passed_over_until_it_is_resumed(queue: Queue, queues: list[str]) -> None:
    queue.push("a", {}, queue="low", priority=9)
    queue.push("b", {}, queue="high")
    queue.pause("low")
    assert WorkerSide(queue).has_ready(queues)
    assert names(queue, queues) == "b"
    assert not WorkerSide(queue).has_ready(queues)
    queue.resume("low")
    assert names(queue, queues) == "a"


@pytest.mark.parametrize("queues", [[], ["default"]])
def test_a_due_job_takes_its_place_by_priority_and_id(
    queue: Queue, clock: Clock, queues: list[str]
) -> None:
    queue.push("a", {}, delay=20)
    queue.push("b", {}, delay=10, priority=1)
    queue.push_many([("c", {}), ("d", {})])
    queue.push("e", {}, delay=60, priority=9)
    clock.advance(30)
    assert names(queue, queues) == "bacd"


def test_a_due_job_is_found_behind_any_number_that_were_due_before_it(
    queue: Queue, clock: Clock
) -> None:
    queue.push_many((("theirs", {}) for _ in range(350)), queue="theirs", delay=1)
    queue.push("mine", {}, queue="mine", delay=2)
    clock.advance(10)
    assert taken(queue, ["mine"]).name == "mine"


def test_any_number_of_jobs_may_come_due_at_once(queue: Queue, clock: Clock) -> None:
    queue.push_many((("x", {}) for _ in range(350)), delay=1)
    clock.advance(1)
    assert names(queue) == "x" * 350


def test_the_next_due_instant_is_that_of_the_first_scheduled_job(
    queue: Queue, clock: Clock
) -> None:
    assert WorkerSide(queue).next_due() is None
    queue.push("ready")
    assert WorkerSide(queue).next_due() is None
    queue.push("b", {}, delay=20.123)
    queue.push("a", {}, delay=10.456)
    assert WorkerSide(queue).next_due() == clock.now + 10.456


@pytest.mark.parametrize("delay", [0.001, 0.29, 1.001, 4.35, 33.333, 86399.999])
def test_at_the_next_due_instant_the_job_is_there(queue: Queue, clock: Clock, delay: float) -> None:
    queue.push("a", {}, delay=delay)
    due = WorkerSide(queue).next_due()
    assert due is not None
    clock.now = due
    assert names(queue) == "a"


@pytest.mark.parametrize(
    ("there", "queues", "ready"),
    [
        ([], [], False),
        (["a"], [], True),
        (["a"], ["a"], True),
        (["a"], ["b"], False),
        (["a"], ["b", "a"], True),
    ],
)
def test_has_ready_says_whether_a_worker_of_these_queues_would_find_a_job(
    queue: Queue, there: list[str], queues: list[str], ready: bool
) -> None:
    for name in there:
        queue.push("x", {}, queue=name)
    assert WorkerSide(queue).has_ready(queues) is ready


@pytest.mark.parametrize("delay", [0, 60])
def test_one_job_can_be_claimed_by_its_id_due_or_not(queue: Queue, delay: float) -> None:
    queue.push("first", {}, priority=9)
    job_id = queue.push("a", {}, delay=delay)
    row = WorkerSide(queue).claim_job(WORKER, job_id)
    assert row is not None
    assert (row.id, row.state, row.attempts, row.worker) == (job_id, State.RUNNING, 1, WORKER)


def test_a_job_that_is_running_finished_or_gone_cannot_be_claimed_by_its_id(
    queue: Queue, table: Callable[[], object]
) -> None:
    running, failed, cancelled, gone = queue.push_many([("a", {})] * 4)
    taken(queue)
    WorkerSide(queue).fail(taken(queue), "boom")
    queue.cancel(cancelled)
    queue.forget(gone)
    before = table()
    for job_id in (running, failed, cancelled, gone, 99):
        assert WorkerSide(queue).claim_job(OTHER, job_id) is None
    assert table() == before


def test_due_jobs_of_one_name_are_listed_in_the_order_of_running(
    queue: Queue, clock: Clock
) -> None:
    later = queue.push("SendMail", {}, delay=10)
    plain = queue.push("send-mail")
    urgent = queue.push("send_mail", {}, priority=1)
    queue.push("send-mails")
    assert WorkerSide(queue).due_named("sendmail") == [urgent, plain]
    clock.advance(10)
    assert WorkerSide(queue).due_named("sendmail") == [urgent, later, plain]
