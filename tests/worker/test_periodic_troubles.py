"""Periodic jobs in trouble: rows edited into nonsense, jobs that cannot be pushed, clocks
that are set, zones."""

from __future__ import annotations

import logging
import sqlite3
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest
from waiting import Clock
from worker_side import edit

from litequeue import Job, Queue, job
from litequeue.errors import DatabaseBusy
from litequeue.worker.periodic import PeriodicPusher, ScheduleEntry, Schedules
from litequeue.worker.worker import Limits, Worker

MINUTE = 60.0
HOUR = 3600.0
DAY = 24 * HOUR
PERIOD = 15 * MINUTE
START = 1_900_000_800.0

Log = pytest.LogCaptureFixture


class Poll(Job, every="15m"):
    def handle(self) -> None: ...


class Other(Job, every="15m"):
    def handle(self) -> None: ...


class Minutely(Job, cron="* * * * *"):
    def handle(self) -> None: ...


class Fixed(Job, cron="30 4 * * *", tz="UTC"):
    def handle(self) -> None: ...


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


def ticker(queue: Queue, *jobs: type[Job]) -> PeriodicPusher:
    made = PeriodicPusher(queue.store, jobs or (Poll,))
    made.begin()
    made.tick()
    return made


def entry_of(queue: Queue, name: str = "Poll") -> ScheduleEntry:
    return Schedules(queue.store).entry(name)


def waiting(queue: Queue) -> list[str]:
    return sorted(row.name for row in queue.find())


# Rows that were edited

NONSENSE = [
    "expression = 'cron whenever'",
    "expression = 'every'",
    "expression = ''",
    "expression = x'ff00'",
    "expression = 42",
    "zone = 'Mars/Olympus'",
    "zone = x'ff'",
    "zone = ''",
    "next_at = 'soon'",
    "next_at = x'00'",
    "next_at = -9e18",
    "next_at = 0",
    "next_at = 1.5",
]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_line_edited_into_nonsense_is_put_right_and_hurts_nobody_else(
    queue: Queue, clock: Clock, caplog: Log, nonsense: str
) -> None:
    pusher = ticker(queue, Poll, Other)
    edit(queue, f"update litequeue_schedules set {nonsense} where name = 'Poll'")
    clock.advance(PERIOD)
    pusher.tick()
    pusher.tick()
    assert waiting(queue) == ["Other"]
    assert pusher.seconds_left() == PERIOD
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "the stored schedule of Poll is replaced by that of its code"
    ]
    assert entry_of(queue).next_at.timestamp() == START + 2 * PERIOD
    clock.advance(PERIOD)
    pusher.tick()
    assert waiting(queue) == ["Other", "Poll"]


@pytest.mark.parametrize("nonsense", [*NONSENSE, "next_at = 9e18", "next_at = 4102444800000"])
def test_a_worker_that_starts_puts_nonsense_right(
    queue: Queue, clock: Clock, nonsense: str
) -> None:
    ticker(queue)
    edit(queue, f"update litequeue_schedules set {nonsense}")
    ticker(queue)
    assert entry_of(queue).text == "every 900"
    assert entry_of(queue).next_at.timestamp() == START + PERIOD


def test_nonsense_in_the_other_columns_changes_nothing(queue: Queue, clock: Clock) -> None:
    pusher = ticker(queue)
    edit(queue, "update litequeue_schedules set last_at = 'x', last_job = x'00'")
    clock.advance(PERIOD)
    pusher.tick()
    assert waiting(queue) == ["Poll"]


def test_a_line_of_nobodys_is_left_alone(queue: Queue, clock: Clock, caplog: Log) -> None:
    pusher = ticker(queue)
    edit(queue, "insert into litequeue_schedules values (x'ff', 'x', 1, 'y', 2, 3, null)")
    clock.advance(PERIOD)
    pusher.tick()
    assert waiting(queue) == ["Poll"]
    assert not caplog.records


# Jobs that cannot be pushed


def _refuses(job: Job) -> str:
    raise ZeroDivisionError("no key today")


@job(every="15m", unique=_refuses)
def keyless() -> None: ...


@job(every="15m", unique=lambda job: "")
def empty_key() -> None: ...


@job(every="15m", delay="whenever")
def timeless() -> None: ...


@job(every="15m")
def unwritable(ratio: float = float("nan")) -> None: ...


@pytest.mark.parametrize("broken", [keyless, empty_key, timeless, unwritable])
def test_a_job_that_cannot_be_pushed_is_logged_once_for_each_time(
    queue: Queue, clock: Clock, caplog: Log, broken: type[Job]
) -> None:
    pusher = ticker(queue, broken, Poll)
    for times in range(1, 3):
        clock.advance(PERIOD)
        for _ in range(3):
            pusher.tick()
        assert waiting(queue) == ["Poll"]
        assert len(caplog.records) == times
        assert "was not pushed" in caplog.text
        assert pusher.seconds_left() == PERIOD


def test_a_locked_file_costs_no_tick(queue: Queue, clock: Clock) -> None:
    pusher = ticker(queue)
    clock.advance(PERIOD)
    other = sqlite3.connect(queue.path, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(DatabaseBusy):
        pusher.tick()
    other.execute("rollback")
    other.close()
    pusher.tick()
    assert waiting(queue) == ["Poll"]


def test_the_worker_goes_on_after_a_job_that_could_not_be_pushed(
    queue: Queue, clock: Clock, caplog: Log
) -> None:
    caplog.set_level(logging.CRITICAL)
    for _ in range(2):
        Worker(queue, [keyless, Poll], limits=Limits(drain=True)).run()  # type: ignore[list-item]
        clock.advance(PERIOD)
    assert entry_of(queue).last_job == 1
    assert entry_of(queue, "keyless").last_at == entry_of(queue).last_at


# Clocks that are set


def test_after_a_clock_was_set_back_an_hour_a_fixed_time_does_not_come_again(
    queue: Queue, clock: Clock
) -> None:
    pusher = ticker(queue, Fixed)
    clock.now = entry_of(queue, "Fixed").next_at.timestamp()
    pusher.tick()
    assert waiting(queue) == ["Fixed"]
    queue.forget(all=True)
    clock.advance(-HOUR)
    for _ in range(8):
        pusher.tick()
        assert waiting(queue) == []
        clock.advance(PERIOD)
    clock.advance(DAY)
    pusher.tick()
    assert waiting(queue) == ["Fixed"]


@pytest.mark.parametrize(("kind", "seconds"), [("Poll", PERIOD), ("Minutely", MINUTE)])
def test_after_a_clock_was_set_back_an_hour_what_comes_again_and_again_goes_on(
    queue: Queue, clock: Clock, kind: str, seconds: float
) -> None:
    pusher = ticker(queue, Poll, Minutely)
    clock.advance(seconds)
    pusher.tick()
    clock.advance(-HOUR)
    for _ in range(4):
        queue.forget(all=True)
        pusher.tick()
        assert waiting(queue) == []
        assert pusher.seconds_left() <= MINUTE
        clock.advance(seconds)
        pusher.tick()
        assert kind in waiting(queue)


@pytest.mark.parametrize("kind", ["Poll", "Minutely"])
def test_it_goes_on_too_where_the_worker_started_after_the_clock_was_set(
    queue: Queue, clock: Clock, kind: str
) -> None:
    ticker(queue, Poll, Minutely)
    clock.advance(-HOUR)
    ticker(queue, Poll, Minutely)
    assert entry_of(queue, kind).next_at.timestamp() <= clock() + PERIOD


@pytest.mark.parametrize("kind", ["Poll", "Minutely", "Fixed"])
def test_a_small_step_back_repeats_nothing(queue: Queue, clock: Clock, kind: str) -> None:
    pusher = ticker(queue, Poll, Minutely, Fixed)
    clock.now = entry_of(queue, kind).next_at.timestamp()
    pusher.tick()
    assert kind in waiting(queue)
    queue.forget(all=True)
    clock.advance(-0.5)
    pusher.tick()
    clock.advance(0.6)
    pusher.tick()
    assert waiting(queue) == []


def test_a_job_resumed_after_the_clock_was_set_back_goes_on(queue: Queue, clock: Clock) -> None:
    ticker(queue, Poll, Fixed)
    fixed_at = entry_of(queue, "Fixed").next_at
    schedules = Schedules(queue.store)
    for name in ("Poll", "Fixed"):
        schedules.pause(name)
    clock.advance(-HOUR)
    for name in ("Poll", "Fixed"):
        schedules.resume(name)
    assert entry_of(queue).next_at.timestamp() <= clock() + PERIOD
    assert entry_of(queue, "Fixed").next_at == fixed_at


def test_a_clock_set_forward_an_hour_is_one_run(queue: Queue, clock: Clock) -> None:
    pusher = ticker(queue)
    clock.advance(HOUR)
    pusher.tick()
    pusher.tick()
    assert waiting(queue) == ["Poll"]
    assert pusher.seconds_left() == PERIOD


def test_a_clock_that_was_years_ahead_stops_nothing(queue: Queue, clock: Clock) -> None:
    clock.advance(4 * 365 * DAY)
    pusher = ticker(queue)
    clock.now = START
    pusher.tick()
    assert entry_of(queue).next_at.timestamp() == START + PERIOD
    clock.advance(PERIOD)
    pusher.tick()
    assert waiting(queue) == ["Poll"]


# Zones


def instants(
    queue: Queue, clock: Clock, pusher: PeriodicPusher, name: str, count: int
) -> list[str]:
    """The next times of a job, as the clock is moved on to each."""
    found = []
    for _ in range(count):
        clock.now = entry_of(queue, name).next_at.timestamp()
        found.append(entry_of(queue, name).next_at.strftime("%m-%d %H:%M"))
        pusher.tick()
    return found


def test_a_job_with_a_tz_comes_by_its_clock_over_the_change(queue: Queue, clock: Clock) -> None:
    class Early(Job, cron="30 2 * * *", tz="Europe/Berlin"):
        def handle(self) -> None: ...

    clock.now = datetime(2030, 3, 29, 12, tzinfo=timezone.utc).timestamp()
    pusher = ticker(queue, Early)
    # 02:30 is 01:30 UTC in winter; on the 31st it is skipped, and comes at the jump.
    expected = ["03-30 01:30", "03-31 01:00", "04-01 00:30"]
    assert instants(queue, clock, pusher, "Early", 3) == expected


def test_a_job_without_a_tz_comes_by_the_clock_of_the_process(
    queue: Queue, clock: Clock, zone: ZoneInfo
) -> None:
    class Local(Job, cron="0 9 * * *"):
        def handle(self) -> None: ...

    ticker(queue, Local)
    shown = entry_of(queue, "Local").next_at.astimezone(zone)
    assert (shown.hour, shown.minute) == (9, 0)
    assert START < shown.timestamp() <= START + DAY


def test_another_tz_counts_from_now(queue: Queue, clock: Clock) -> None:
    class Berlin(Job, name="report", cron="0 9 * * *", tz="Europe/Berlin"):
        def handle(self) -> None: ...

    class Kolkata(Job, name="report", cron="0 9 * * *", tz="Asia/Kolkata"):
        def handle(self) -> None: ...

    ticker(queue, Berlin)
    ticker(queue, Kolkata)
    assert entry_of(queue, "report").next_at.astimezone(ZoneInfo("Asia/Kolkata")).hour == 9
