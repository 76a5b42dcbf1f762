"""Periodic jobs: once for each due time, however many workers; never two, never a pile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from commands import claimed_here
from waiting import Child, Clock

from litequeue import Job, Queue, Retry, State, job
from litequeue.worker.periodic import PeriodicPusher, ScheduleEntry, Schedules
from litequeue.worker.worker import Limits, Worker

MINUTE = 60.0
HOUR = 3600.0
PERIOD = 15 * MINUTE
# A quarter of an hour, by every="15m": periods are counted from 1970.
START = 1_900_000_800.0


class Poll(Job, every="15m"):
    def handle(self) -> None:
        ran.append("poll")


class Nightly(Job, cron="0 2 * * *", tz="Europe/Berlin", queue="reports"):
    def handle(self) -> None:
        ran.append("nightly")


ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    ran.clear()


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Queue:
    # Threads that wait move the one clock together.
    return make_queue(busy_timeout=3600)


def ticker(queue: Queue, *jobs: type[Job]) -> PeriodicPusher:
    """The schedules of a worker's jobs, entered."""
    made = PeriodicPusher(queue.store, jobs or (Poll,))
    made.begin()
    made.tick()
    return made


def work(queue: Queue, *jobs: type[Job]) -> None:
    """What a worker does that cron starts: what is due, and no more."""
    Worker(queue, jobs or (Poll,), limits=Limits(drain=True)).run()


def entry_of(queue: Queue, name: str = "Poll") -> ScheduleEntry:
    return Schedules(queue.store).entry(name)


def waiting(queue: Queue) -> list[str]:
    return [row.name for row in reversed(queue.find())]


# Once for each due time


def test_a_job_comes_once_for_each_due_time(queue: Queue, clock: Clock) -> None:
    work(queue)
    for _ in range(3):
        clock.advance(PERIOD)
        work(queue)
        work(queue)
    assert ran == ["poll"] * 3


def test_the_first_start_catches_nothing_up(queue: Queue, clock: Clock) -> None:
    clock.advance(MINUTE)
    work(queue)
    assert ran == []
    assert entry_of(queue).next_at.timestamp() == START + PERIOD
    assert entry_of(queue).last_at is None


def test_after_many_missed_times_there_is_one_run(queue: Queue, clock: Clock) -> None:
    work(queue)
    clock.advance(100 * PERIOD + MINUTE)
    work(queue)
    work(queue)
    assert ran == ["poll"]
    assert entry_of(queue).last_at == datetime.fromtimestamp(START + 100 * PERIOD, timezone.utc)
    assert entry_of(queue).next_at.timestamp() == START + 101 * PERIOD


def test_a_period_of_part_of_a_millisecond_comes_once_for_each_time(
    queue: Queue, clock: Clock
) -> None:
    @job(every=timedelta(seconds=10, microseconds=333), unique=False)
    def odd() -> None: ...

    pusher = ticker(queue, odd)  # type: ignore[arg-type]
    for count in range(1, 4):
        due = entry_of(queue, "odd").next_at.timestamp()
        clock.now = due - 0.001
        pusher.tick()
        clock.now = due
        pusher.tick()
        pusher.tick()
        assert len(queue.find()) == count


def test_four_processes_at_one_tick_push_once(
    tmp_path: Path, start: Callable[..., Child], clock: Clock, queue: Queue
) -> None:
    script = """
import sys
from litequeue import Job, Queue
from litequeue.worker.periodic import PeriodicPusher

class Poll(Job, every="15m", unique=False):
    def handle(self): ...

at = float(sys.argv[2])
ticker = PeriodicPusher(Queue(sys.argv[1], clock=lambda: at).store, [Poll])
ticker.begin()
print("ready", flush=True)
for line in sys.stdin:
    at += 900
    ticker.tick()
    print("ticked", flush=True)
"""
    children = [start(script, tmp_path / "jobs.db", START) for _ in range(4)]
    assert [child.line() for child in children] == ["ready"] * 4
    for count in range(1, 6):
        for child in children:
            child.say()
        assert [child.line() for child in children] == ["ticked"] * 4
        assert len(queue.find()) == count


# What changes, and what stays


def test_what_has_not_changed_keeps_its_next_time(queue: Queue, clock: Clock) -> None:
    work(queue)
    clock.advance(PERIOD + MINUTE)
    PeriodicPusher(queue.store, [Poll]).begin()
    assert entry_of(queue).next_at.timestamp() == START + PERIOD


def test_a_changed_expression_counts_from_now(queue: Queue, clock: Clock) -> None:
    @job(name="Poll", every="1h")
    def slower() -> None:
        ran.append("slower")

    work(queue)
    clock.advance(PERIOD + MINUTE)
    work(queue, slower)  # type: ignore[arg-type]
    assert ran == []
    assert entry_of(queue).text == "every 3600"
    assert entry_of(queue).next_at.timestamp() == START // HOUR * HOUR + HOUR


def test_a_renamed_job_goes_on_where_the_old_name_was(queue: Queue, clock: Clock) -> None:
    @job(aliases=["Poll"], every="15m")
    def poll_again() -> None:
        ran.append("renamed")

    work(queue)
    Schedules(queue.store).pause("poll")
    clock.advance(PERIOD)
    work(queue, poll_again)  # type: ignore[arg-type]
    assert [(each.name, each.paused) for each in Schedules(queue.store).entries()] == [
        ("poll_again", True)
    ]
    assert entry_of(queue, "PollAgain").next_at.timestamp() == START + PERIOD


def test_a_job_whose_code_is_gone_is_pushed_by_nobody(queue: Queue, clock: Clock) -> None:
    work(queue, Poll, Nightly)
    clock.advance(24 * HOUR)
    work(queue, Nightly)
    assert ran == ["nightly"]
    Schedules(queue.store).forget("poll")
    assert [each.name for each in Schedules(queue.store).entries()] == ["Nightly"]


def test_a_base_for_others_does_not_make_them_periodic(queue: Queue) -> None:
    class Quiet(Poll):
        def handle(self) -> None: ...

    work(queue, Quiet)
    assert Schedules(queue.store).entries() == []


# Pausing


def test_a_paused_job_does_not_come(queue: Queue, clock: Clock) -> None:
    work(queue)
    assert Schedules(queue.store).pause("poll")
    assert not Schedules(queue.store).pause("poll")
    clock.advance(PERIOD)
    work(queue)
    assert ran == []


def test_a_resumed_job_comes_at_its_next_time_and_makes_up_for_nothing(
    queue: Queue, clock: Clock
) -> None:
    work(queue)
    Schedules(queue.store).pause("poll")
    clock.advance(10 * PERIOD + MINUTE)
    assert Schedules(queue.store).resume("poll")
    assert not Schedules(queue.store).resume("poll")
    work(queue)
    assert ran == []
    clock.advance(PERIOD)
    work(queue)
    assert ran == ["poll"]


def test_a_worker_at_work_sees_that_its_only_job_was_resumed(queue: Queue, clock: Clock) -> None:
    pusher = ticker(queue)
    Schedules(queue.store).pause("poll")
    clock.advance(PERIOD)
    pusher.tick()
    assert pusher.seconds_left() == float("inf")
    Schedules(queue.store).resume("poll")
    clock.advance(1)
    pusher.tick()
    assert pusher.seconds_left() == PERIOD - 1


def test_to_resume_what_was_not_paused_takes_no_time_from_it(queue: Queue, clock: Clock) -> None:
    work(queue)
    clock.advance(PERIOD)
    assert not Schedules(queue.store).resume("poll")
    work(queue)
    assert ran == ["poll"]


# Overlap


def test_while_one_runs_no_second_is_pushed_and_none_piles_up(queue: Queue, clock: Clock) -> None:
    pusher = ticker(queue)
    clock.advance(PERIOD)
    pusher.tick()
    row = claimed_here(queue)
    for _ in range(3):
        clock.advance(PERIOD)
        pusher.tick()
    assert [each.state for each in queue.find()] == [State.RUNNING]
    queue.store.executions.complete(row)
    pusher.tick()
    assert queue.find() == []
    clock.advance(PERIOD)
    pusher.tick()
    assert waiting(queue) == ["Poll"]


def test_while_one_waits_to_be_retried_no_second_is_pushed(queue: Queue, clock: Clock) -> None:
    @job(every="15m", backoff=3 * PERIOD, queue="slow")
    def unlucky() -> None:
        ran.append("unlucky")
        raise Retry

    work(queue, unlucky)  # type: ignore[arg-type]
    for _ in range(3):
        clock.advance(PERIOD)
        work(queue, unlucky)  # type: ignore[arg-type]
    assert ran == ["unlucky"]
    assert [each.state for each in queue.find()] == [State.SCHEDULED]


def test_one_that_failed_for_good_stands_in_nobodys_way(queue: Queue, clock: Clock) -> None:
    @job(every="15m", max_attempts=1)
    def broken() -> None:
        raise ValueError

    work(queue, broken)  # type: ignore[arg-type]
    for _ in range(2):
        clock.advance(PERIOD)
        work(queue, broken)  # type: ignore[arg-type]
    assert [each.state for each in queue.find()] == [State.FAILED] * 2


def test_a_job_with_keys_of_its_own_keeps_them(queue: Queue, clock: Clock) -> None:
    @job(every="15m", unique=False, without_overlapping=lambda job: "the printer")
    def piles() -> None: ...

    pusher = ticker(queue, piles)  # type: ignore[arg-type]
    for _ in range(2):
        clock.advance(PERIOD)
        pusher.tick()
    keys = queue.store.database.rows("select unique_key, overlap_key from litequeue_jobs")
    assert keys == [(None, "the printer")] * 2


def test_a_job_that_may_run_twice_at_once_keeps_its_number(queue: Queue, clock: Clock) -> None:
    @job(every="15m", concurrency=2)
    def two() -> None: ...

    pusher = ticker(queue, two)  # type: ignore[arg-type]
    clock.advance(PERIOD)
    pusher.tick()
    found = queue.store.database.rows(
        "select unique_key, overlap_key, overlap_limit from litequeue_jobs"
    )
    assert found == [("schedule two", "two", 2)]


# One in addition to the schedule


def test_without_its_code_it_has_the_keys_of_a_tick(queue: Queue, clock: Clock) -> None:
    pusher = ticker(queue)
    id = Schedules(queue.store).push_now("POLL")
    clock.advance(PERIOD)
    pusher.tick()
    assert [row.id for row in queue.find()] == [id]
    assert entry_of(queue).last_job == id
    work(queue)
    assert ran == ["poll"]


class Limited(Job, every="15m", rate_limit="1/hour", rate_key=lambda job: "k", expires="10m"):
    def handle(self) -> None:
        ran.append("limited")


def test_a_periodic_job_may_have_a_rate_limit_and_expire(queue: Queue, clock: Clock) -> None:
    worker = Worker(queue, [Limited], limits=Limits(drain=True))
    for quarter in range(5):
        worker.run()
        assert len(ran) == (0, 1, 1, 1, 1)[quarter]
        clock.advance(PERIOD)
    worker.run()
    # Of the four that were over the limit, three have expired.
    assert ran == ["limited", "limited"]
    assert [row.state for row in queue.find()] == [State.CANCELLED] * 3
