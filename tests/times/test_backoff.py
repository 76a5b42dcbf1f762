from __future__ import annotations

import math
import random
from datetime import timedelta

import pytest

from litequeue.errors import OptionError
from litequeue.times.backoff import exponential, pause


def middle() -> float:
    return 0.5


def never() -> float:
    raise AssertionError("only the default backoff is spread")


@pytest.mark.parametrize(
    ("backoff", "pauses"),
    [
        (0, [0, 0, 0]),
        (30, [30, 30, 30]),
        (0.5, [0.5, 0.5, 0.5]),
        ([10], [10, 10, 10]),
        ([10, 30, 60], [10, 30, 60, 60, 60]),
        ((1, 2), [1, 2, 2]),
        ("30s", [30]),
        ([1, "1m"], [1, 60]),
        (lambda attempt: f"{attempt}m", [60, 120]),
        (lambda attempt: timedelta(hours=attempt), [3600]),
        (lambda attempt: attempt**2, [1, 4, 9, 16]),
        (lambda attempt: -attempt, [0, 0]),
        (lambda attempt: True, [1, 1]),
    ],
)
def test_a_backoff_gives_these_pauses(backoff: object, pauses: list[float]) -> None:
    found = [pause(backoff, attempt, never) for attempt in range(1, len(pauses) + 1)]  # type: ignore[arg-type]
    assert found == pauses
    assert all(type(seconds) is float for seconds in found)


@pytest.mark.parametrize("seconds", [None, "soon", math.nan, math.inf, -math.inf, [10], 1j])
def test_a_callable_that_returns_no_seconds_is_refused(seconds: object) -> None:
    with pytest.raises(OptionError, match=r"^backoff: the callable must return seconds, .*, not "):
        pause(lambda attempt: seconds, 1, never)  # type: ignore[arg-type, return-value]


def test_a_callable_that_raises_is_not_hidden() -> None:
    def broken(attempt: int) -> float:
        raise LookupError(f"no pause for {attempt}")

    with pytest.raises(LookupError, match="no pause for 2"):
        pause(broken, 2, never)


@pytest.mark.parametrize(
    ("attempt", "seconds"),
    [(1, 10), (2, 20), (3, 40), (8, 1280), (9, 2560), (10, 3600), (11, 3600), (10**9, 3600)],
)
def test_the_default_doubles_from_ten_seconds_to_an_hour(attempt: int, seconds: float) -> None:
    assert pause(None, attempt, middle) == seconds
    assert exponential(attempt, middle) == seconds


@pytest.mark.parametrize(
    ("drawn", "seconds"), [(0.0, 7.5), (0.25, 8.75), (0.5, 10.0), (0.75, 11.25)]
)
def test_the_default_is_spread_by_a_quarter_either_way(drawn: float, seconds: float) -> None:
    assert exponential(1, lambda: drawn) == seconds


def test_jobs_that_fail_together_do_not_come_back_together() -> None:
    chance = random.Random(20300116)
    pauses = [exponential(10, chance.random) for _ in range(200)]
    assert len(set(pauses)) == 200
    assert 2700 <= min(pauses) < 2800
    assert 4400 < max(pauses) < 4500
