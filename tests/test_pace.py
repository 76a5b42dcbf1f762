"""How many jobs are fetched at once, by how long they took before."""

from __future__ import annotations

import pytest

from litequeue.errors import OptionError
from litequeue.hand import MOST
from litequeue.pace import HAND_SECONDS, WEIGHT, Pace


def fitting(pace: Pace, *names: str) -> int:
    """How many of these, in this order, are fetched together."""
    fits = pace.fits()
    return next((place for place, name in enumerate(names) if not fits(name)), len(names))


def test_a_worker_fetches_one_and_then_twice_as_many_each_time() -> None:
    pace = Pace(MOST)
    found = []
    for _ in range(10):
        found.append(pace.most())
        pace.fetched(pace.most())
    assert found == [1, 2, 4, 8, 16, 32, 64, 128, MOST, MOST]


def test_after_few_it_asks_for_no_fewer_than_before() -> None:
    pace = Pace(MOST)
    pace.fetched(50)
    pace.fetched(3)
    assert pace.most() == 100
    pace.fetched(0)
    assert pace.most() == 100


@pytest.mark.parametrize(("pace", "most"), [(Pace(5), 5), (Pace(1), 1), (Pace(9, durable=True), 1)])
def test_it_never_fetches_more_than_it_may(pace: Pace, most: int) -> None:
    for _ in range(10):
        pace.fetched(pace.most())
    assert pace.most() == most


@pytest.mark.parametrize("most", [0, -1, MOST + 1])
def test_a_hand_holds_from_one_to_its_most(most: int) -> None:
    with pytest.raises(OptionError, match=rf"prefetch must be .* from 1 to {MOST}, not {most}"):
        Pace(most)


def test_what_was_never_measured_does_not_fit() -> None:
    pace = Pace(MOST)
    pace.ran("known", 0.0001)
    assert fitting(pace, "unknown", "known") == 0
    assert fitting(pace, "known", "unknown", "known") == 1


def test_as_much_is_fetched_as_takes_that_long() -> None:
    pace = Pace(MOST)
    pace.ran("tenth", HAND_SECONDS / 10)
    assert fitting(pace, *["tenth"] * 50) in (9, 10)
    pace.ran("half", HAND_SECONDS / 2)
    assert fitting(pace, "half", *["tenth"] * 50) in (5, 6)


@pytest.mark.parametrize("seconds", [HAND_SECONDS, 1, 3600])
def test_a_slow_job_takes_no_other_along(seconds: float) -> None:
    pace = Pace(MOST)
    pace.ran("slow", seconds)
    pace.ran("short", 0.0001)
    assert fitting(pace, "slow", "short") == 0
    assert fitting(pace, "short", "slow", "short") == 1


def test_one_measurement_counts_for_its_weight() -> None:
    pace = Pace(MOST)
    pace.ran("job", 0.001)
    pace.ran("job", 0.001 + HAND_SECONDS / WEIGHT)
    assert fitting(pace, "job") == 0
    for _ in range(60):
        pace.ran("job", 0.001)
    assert fitting(pace, *["job"] * 10) == 10
