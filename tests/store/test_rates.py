"""The starts of a rate limit: what they allow, what they cost, and the indexes for those that
wait."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from math import ceil
from pathlib import Path

import pytest
from metering import WORKER, Meter
from waiting import Clock
from worker_side import claim_one

from litequeue.durations import Rate, in_short, rate_of
from litequeue.engine.database import PAGE_BYTES
from litequeue.queue import Queue
from litequeue.records import State
from litequeue.store.deadlines import Deadlines
from litequeue.store.rates import GROUPS, PARK_AT_ONCE, Rates, Starts


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/minute", (100, 60)), ("1/second", (1, 1)), ("7/hour", (7, 3600)),
        ("7/Day", (7, 86_400)), ("5/10s", (5, 10)), (" 5 / 2 minutes ", (5, 120)),
        ("5/1h30m", (5, 5400)), ("5/10", (5, 10)), ("2/0.5s", (2, 0.5)), ("3/week", (3, 604_800)),
    ],
)  # fmt: skip
def test_a_rate_is_a_number_and_a_duration(text: str, rate: tuple[int, float]) -> None:
    assert rate_of(text) == rate


@pytest.mark.parametrize(
    "value",
    ["", "5", "/s", "5/", "5/s/s", "0/s", "-1/s", "1.5/s", "٣/s", "5/0s", "5/fortnight", "5/-1s",
     f"{2**31}/s", f"{'9' * 5000}/s", "5/0.0001", 5, None, b"5/s", 5.5],
    ids=lambda value: ascii(value)[:20],
)  # fmt: skip
def test_what_is_no_rate_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - options say which option it was
        rate_of(value)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (0.5, "0.5s"),
        (30, "30s"),
        (60, "1m"),
        (5400, "1h30m"),
        (90_061.25, "1d1h1m1.25s"),
    ],
)
def test_a_duration_in_short_is_one_that_can_be_given(seconds: float, words: str) -> None:
    assert in_short(seconds) == words


@pytest.mark.parametrize("count", [1, 2, 7, 100, 101, 250, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_no_window_has_more_starts_than_the_limit_and_none_waits_too_long(
    count: int, seed: int
) -> None:
    rate, length, group = Rate(count, 60), 60_000, ceil(count / GROUPS)
    chance, starts, now, found = random.Random(seed), Starts([]), 1_000_000, list[int]()
    while len(found) < 5 * count:
        # Bursts, an even flow, and gaps.
        now += chance.choice([0, 0, chance.randrange(2 * length // count)])
        if chance.random() < 1 / count:
            now += chance.randrange(2 * length)
        allowed = starts.allowed_at(1, rate, now, 0)
        if len(found) >= count:
            assert allowed >= max(now, found[-count] + length)
        # Up to a hundred are exact; of more, all but one of a group may count too long.
        counted = found[group - 1 - count :] if len(found) >= count - group + 1 else [now - length]
        assert allowed <= max(now, counted[0] + length)
        now = allowed
        starts.add(rate, now, 0)
        assert len(starts.groups) <= GROUPS + 2
        found.append(now)


def test_the_nth_start_is_allowed_when_as_many_have_left_the_window() -> None:
    starts, rate = Starts([]), Rate(3, 10)
    for at in (1000, 2000, 3000):
        starts.add(rate, at, 0)
    turns = [starts.allowed_at(nth, rate, 5000, 0) for nth in range(1, 8)]
    assert turns == [11_000, 12_000, 13_000, 21_000, 22_000, 23_000, 31_000]
    assert starts.allowed_at(1, rate, 12_500, 0) == 12_500
    assert starts.allowed_at(3, rate, 12_500, 0) == 13_000
    # Of a stricter limit, all three have to leave.
    assert starts.allowed_at(1, Rate(1, 10), 5000, 0) == 13_000


def test_a_turn_is_never_later_than_a_row_can_say(queue: Queue) -> None:
    ids = queue.push_many([("x", {})] * 60, rate_limit="1/200 weeks", rate_key="k")
    starts, rate = Starts([[1_900_000_000_000, 1]]), Rate(1, 2**33 - 1)
    assert starts.allowed_at(10**9, rate, 1_900_000_000_001, 20) == 253_402_300_799_000
    assert claim_one(queue, WORKER) is not None
    assert claim_one(queue, WORKER) is None
    assert queue.get(ids[-1]).available_at.year > 2200


def test_limits_of_one_key_that_differ_lose_no_start() -> None:
    starts, chance, count = Starts([]), random.Random(5), 0
    for now in range(1_000_000, 1_050_000, 10):
        rate = chance.choice([Rate(1, 60), Rate(50, 60), Rate(100_000, 60)])
        starts.add(rate, now, 0)
        count += 1
        assert len(starts.groups) <= 2 * GROUPS
    assert sum(number for _, number in starts.groups) == count
    assert starts.groups == sorted(starts.groups)
    # None is taken to be earlier than it was, so none leaves a window too soon.
    seen = 0
    for at, number in starts.groups:
        seen += number
        assert at >= 1_000_000 + 10 * (seen - 1)


def test_a_start_that_came_later_than_its_claim_is_counted_when_it_came() -> None:
    starts, rate = Starts([]), Rate(1, 10)
    starts.add(rate, 1000, 0)
    starts.remove(1000)
    assert starts.groups == []
    starts.add(rate, 4000, 0)
    assert starts.allowed_at(1, rate, 5000, 0) == 14_000


@pytest.fixture
def rated(clock: Clock, tmp_path: Path) -> Callable[[int], tuple[Queue, Rates]]:
    """A queue with the rates of a real clock, for which a start takes some time."""

    def make(count: int) -> tuple[Queue, Rates]:
        queue = Queue(tmp_path / "jobs.db", clock=clock, sleep=clock.sleep)
        queue.push_many([("x", {})] * count, rate_limit="1/10s")
        return queue, Rates(queue.store.database, queue.store.now, queue.store.notify, 20)

    return make


def test_a_job_that_starts_late_is_counted_again_and_one_that_has_lost_its_turn_waits(
    rated: Callable[[int], tuple[Queue, Rates]], clock: Clock
) -> None:
    queue, rates = rated(2)
    with queue:
        row = claim_one(queue, WORKER)
        assert row is not None
        assert rates.started(row) == 0
        clock.advance(0.011)
        assert rates.started(row) == 0
        clock.advance(10)
        assert rates.started(row) == 0
        # Meanwhile it counts, so another one waits for the whole window.
        other = claim_one(queue, WORKER)
        assert other is None
        clock.advance(10)
        other = claim_one(queue, WORKER)
        assert other is not None
        assert rates.started(row) == 10.02
        assert rates.started(other) == 0


def plan(queue: Queue, sql: str) -> str:
    parameters = dict.fromkeys(re.findall(r":(\w+)", sql), 1)
    rows = queue.store.database.rows(f"explain query plan {sql}", parameters)
    return "\n".join(detail for *_, detail in rows)


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (Rates.AHEAD, "litequeue_rated (rate_key=? AND priority>?)"),
        (Rates.AHEAD, "litequeue_rated (rate_key=? AND priority=? AND rowid<?)"),
        (Rates.FIRST_WAITING, "litequeue_rated (rate_key=?)"),
        (Rates.ALIKE, "litequeue_ready (queue=?)"),
        (Rates.OVER, "litequeue_rates_over (over_at<?)"),
        (Rates.FORGET, "litequeue_rates_over (over_at<?)"),
        (Rates.GET, "PRIMARY KEY (key=?)"),
        (Deadlines.ANY, "litequeue_deadline (deadline_at<?)"),
        (Deadlines.PASSED, "litequeue_deadline (deadline_at<?)"),
    ],
)
def test_the_statements_of_limits_use_their_indexes(
    make_queue: Callable[..., Queue], statement: str, index: str
) -> None:
    found = plan(make_queue(), statement)
    assert index in found
    assert "SCAN litequeue" not in found
    assert "TEMP B-TREE" not in found


def test_a_job_without_a_limit_has_no_entry_in_the_indexes_of_limits(queue: Queue) -> None:
    queue.push_many([("x", {})] * 10)
    queue.push_many([("x", {})] * 10, delay=60)
    for where in (
        "indexed by litequeue_rated where rate_since > 1099511627776 and state = 4",
        "indexed by litequeue_deadline where deadline_at is not null and state in (2, 3, 4, 9)",
    ):
        rows = queue.store.database.rows(f"select count(*) from litequeue_jobs {where}")
        assert rows == [(0,)]


def test_a_claim_costs_the_same_however_many_wait_for_their_rate(
    make_queue: Callable[..., Queue], clock: Clock
) -> None:
    costs = []
    for count in (200, 10_000):
        queue = make_queue(f"{count}.db")
        queue.push_many([("x", {})] * count, rate_limit="1/minute")
        assert claim_one(queue, WORKER) is not None
        assert claim_one(queue, WORKER) is None
        assert queue.counts()["default"][State.SCHEDULED] == count - 1
        meter = Meter(queue)
        other, limited = queue.push("other"), queue.push("x", rate_limit="1/minute", priority=1)
        nothing = meter.steps(lambda queue=queue: claim_one(queue, WORKER, ["default"]))
        assert queue.get(limited).state is State.SCHEDULED
        assert queue.get(other).state is State.RUNNING
        clock.advance(60)
        turn = meter.steps(lambda queue=queue: claim_one(queue, WORKER, ["default"]))
        assert queue.get(limited).state is State.RUNNING
        costs.append((nothing, turn))
    (nothing, turn), (nothing_in_many, turn_in_many) = costs
    assert nothing_in_many <= 1.2 * nothing
    assert turn_in_many <= 1.2 * turn


def test_a_burst_waits_after_one_short_transaction_for_each_hundred(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 10_000
    queue.push_many([("x", {})] * count, rate_limit="1/minute")
    taken: list[bool] = []
    take = queue.store.rates.take
    monkeypatch.setattr(queue.store.rates, "take", lambda row: taken.append(take(row)) or taken[-1])
    while claim_one(queue, WORKER):
        pass
    assert taken.count(True) == 1
    assert len(taken) <= 2 + count / PARK_AT_ONCE


def test_letting_a_large_job_wait_writes_few_pages(queue: Queue, tmp_path: Path) -> None:
    for _ in range(2):
        queue.push("a", {"text": "x" * 100_000}, rate_limit="1/hour")
    assert claim_one(queue, WORKER) is not None
    queue.store.database.checkpoint()
    assert claim_one(queue, WORKER) is None
    assert queue.counts()["default"][State.SCHEDULED] == 1
    frames = (tmp_path / "jobs.db-wal").stat().st_size // (PAGE_BYTES + 24)
    assert frames < 25
