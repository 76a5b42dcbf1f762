"""How many jobs are fetched at once, by how long they took before."""

from __future__ import annotations

import pytest

from litequeue.engine.prefetch_log import MOST
from litequeue.errors import OptionError
from litequeue.worker.prefetch_size import LEAST_FETCH, PREFETCH_SECONDS, WEIGHT, PrefetchSize


def fitting(prefetch_size: PrefetchSize, *names: str) -> int:
    """How many of these, in this order, are fetched together."""
    fits = prefetch_size.fits()
    return next((place for place, name in enumerate(names) if not fits(name)), len(names))


def test_a_worker_fetches_one_and_then_twice_as_many_each_time() -> None:
    prefetch_size = PrefetchSize(MOST)
    found = []
    for _ in range(10):
        found.append(prefetch_size.most())
        prefetch_size.fetched(found[-1], found[-1])
    assert found == [1, 2, 4, 8, 16, 32, 64, 128, MOST, MOST]


def test_if_fewer_come_it_asks_for_somewhat_more_than_these() -> None:
    prefetch_size = PrefetchSize(MOST)
    prefetch_size.fetched(100, 100)
    assert prefetch_size.most() == 200
    prefetch_size.fetched(80, 200)
    assert prefetch_size.most() == 100
    prefetch_size.fetched(100, 100)
    assert prefetch_size.most() == 200


def test_after_few_or_none_it_asks_for_enough_to_start_with() -> None:
    prefetch_size = PrefetchSize(MOST)
    prefetch_size.fetched(100, 100)
    prefetch_size.fetched(0, 200)
    assert prefetch_size.most() == LEAST_FETCH
    small = PrefetchSize(5)
    small.fetched(2, 2)
    small.fetched(0, 4)
    assert small.most() == 4


@pytest.mark.parametrize(
    ("prefetch_size", "most"),
    [(PrefetchSize(5), 5), (PrefetchSize(1), 1)],
)
def test_it_never_fetches_more_than_it_may(prefetch_size: PrefetchSize, most: int) -> None:
    for _ in range(10):
        prefetch_size.fetched(prefetch_size.most(), prefetch_size.most())
    assert prefetch_size.most() == most


@pytest.mark.parametrize("most", [0, -1, MOST + 1])
def test_prefetch_must_be_within_its_limits(most: int) -> None:
    with pytest.raises(OptionError, match=rf"prefetch must be .* from 1 to {MOST}, not {most}"):
        PrefetchSize(most)


def test_a_job_that_was_never_measured_does_not_fit() -> None:
    prefetch_size = PrefetchSize(MOST)
    prefetch_size.ran("known", 0.0001)
    assert fitting(prefetch_size, "unknown", "known") == 0
    assert fitting(prefetch_size, "known", "unknown", "known") == 1


def test_as_many_jobs_are_fetched_as_fit_into_the_time() -> None:
    prefetch_size = PrefetchSize(MOST)
    prefetch_size.ran("tenth", PREFETCH_SECONDS / 10)
    assert fitting(prefetch_size, *["tenth"] * 50) in (9, 10)
    prefetch_size.ran("half", PREFETCH_SECONDS / 2)
    assert fitting(prefetch_size, "half", *["tenth"] * 50) in (5, 6)


@pytest.mark.parametrize("seconds", [PREFETCH_SECONDS, 1, 3600])
def test_no_other_job_is_fetched_with_a_slow_one(seconds: float) -> None:
    prefetch_size = PrefetchSize(MOST)
    prefetch_size.ran("slow", seconds)
    prefetch_size.ran("short", 0.0001)
    assert fitting(prefetch_size, "slow", "short") == 0
    assert fitting(prefetch_size, "short", "slow", "short") == 1


def test_one_measurement_counts_for_its_weight() -> None:
    prefetch_size = PrefetchSize(MOST)
    prefetch_size.ran("job", 0.001)
    prefetch_size.ran("job", 0.001 + PREFETCH_SECONDS / WEIGHT)
    assert fitting(prefetch_size, "job") == 0
    for _ in range(60):
        prefetch_size.ran("job", 0.001)
    assert fitting(prefetch_size, *["job"] * 10) == 10
