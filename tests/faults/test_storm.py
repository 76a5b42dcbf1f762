"""Workers and their supervisor, killed at random while they work."""

from __future__ import annotations

from pathlib import Path

import pytest

from .jobs_for_faults import MODE, PREFETCHING
from .journal import OK, START, Event
from .storm import Storm, report
from .verdict import Kill, judge


# With threads, more jobs for fewer workers: or most kills would meet a worker that is idle.
@pytest.mark.parametrize(("jobs", "workers", "threads"), [(10_000, 4, 1), (20_000, 2, 4)])
def test_a_storm_of_kills_loses_no_job_and_runs_none_twice_at_once(
    jobs: int, workers: int, threads: int, tmp_path: Path
) -> None:
    size = {"jobs": jobs, "workers": workers, "threads": threads}
    verdict = Storm(tmp_path, kills=30, seed=7, **size).run()
    assert verdict.wrong == ()
    assert (verdict.lost, verdict.doubled, verdict.jobs) == (0, 0, jobs)
    assert (verdict.kills_of_several > 0) == (MODE == PREFETCHING or threads > 1)
    assert verdict.kills >= 25
    assert verdict.supervisor_kills >= 1
    assert verdict.rerun >= 2
    assert verdict.witnessed(0.5) < 1000
    assert "recovery p50" in report(verdict, "pytest")


MS = 1_000_000


def events(*lines: tuple[int, int, str, int]) -> list[Event]:
    return [Event(job, 1, pid, name, at * MS) for job, pid, name, at in lines]


def test_the_judge_of_a_storm_sees_a_lost_job() -> None:
    found = judge([1, 2], events((1, 10, START, 0), (1, 10, OK, 1)), [], [], 1)
    assert found.wrong == ("job 2 was lost",)


def test_the_judge_of_a_storm_sees_two_runs_at_the_same_time() -> None:
    lines = ((1, 10, START, 0), (1, 11, START, 5), (1, 10, OK, 6), (1, 11, OK, 7))
    found = judge([1], events(*lines), [Kill(10, "worker", 8 * MS)], [], 1)
    assert found.doubled == 1


def test_the_judge_of_a_storm_sees_a_run_that_nobody_asked_for() -> None:
    lines = ((1, 10, START, 0), (1, 10, OK, 1), (1, 11, START, 5), (1, 11, OK, 6))
    assert judge([1], events(*lines), [], [], 1).wrong


@pytest.mark.parametrize("first", [START, OK])
def test_the_judge_of_a_storm_allows_a_run_after_a_kill(first: str) -> None:
    lines = [(1, 10, START, 0), (1, 11, START, 5), (1, 11, OK, 6)]
    if first == OK:
        lines.insert(1, (1, 10, OK, 2))
    found = judge([1], events(*lines), [Kill(10, "worker", 3 * MS)], ["a law"], 1)
    assert (found.wrong, found.rerun, found.recovery(1)) == (("a law",), 1, 2.0)
