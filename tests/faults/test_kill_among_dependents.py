"""A worker that is killed before and after each statement where more than one job is
concerned: batches, flows, subscribers, keys and the schedules."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from litequeue import Batch, Job, Queue, current, job, on
from litequeue.worker.periodic import Schedules

from .harness import drain, in_fork
from .test_kill_at_each_step import MOST_STEPS, run_and_die

HOUR_MS = 3_600_000
LOG = "ran.log"


def ran(word: str) -> None:
    descriptor = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{word}\n".encode())
    os.close(descriptor)


class Part(Job, max_attempts=10):
    number: int

    def handle(self) -> int:
        ran(f"part {self.number}")
        return self.number


class Whole(Job, max_attempts=10):
    def handle(self) -> None:
        ran(f"whole {sum(part for part in current().results if isinstance(part, int))}")


class Planned(Batch, max_attempts=10):
    def plan(self, cursor: object) -> tuple[list[Part], object]:
        page = cursor if isinstance(cursor, int) else 0
        return [Part(2 * page), Part(2 * page + 1)], page + 1 if page < 1 else None

    def finished(self, counts: object) -> None:
        ran("finished")


class Alone(Job, max_attempts=10, without_overlapping=True):
    number: int

    def handle(self) -> None:
        ran(f"alone {self.number}")


@job(every="1h", max_attempts=10)
def hourly() -> None:
    ran("hourly")


@on("paid", max_attempts=10)
def first(order: int) -> None:
    ran(f"first {order}")


@on("paid", max_attempts=10)
def second(order: int) -> None:
    ran(f"second {order}")


JOBS = [Part, Whole, Planned, Alone, hourly, first, second]


def a_flow(queue: Queue) -> None:
    queue.push(Whole(), after=[Part(1), Part(2)])


def a_batch_that_is_planned(queue: Queue) -> None:
    queue.push(Planned())


def a_batch_of_known_jobs(queue: Queue) -> None:
    with queue.batch(then=Whole()) as batch:
        batch.push(Part(1))
        batch.push(Part(2))


def jobs_of_one_key(queue: Queue) -> None:
    queue.push_many([Alone(1), Alone(2), Alone(3)])


def an_event(queue: Queue) -> None:
    queue.push("paid", {"order": 7})


def a_time_that_is_due(queue: Queue) -> None:
    Schedules(queue.store).enter(hourly)  # type: ignore[arg-type]
    queue.store.database.rows(f"update litequeue_schedules set next_at = next_at - {HOUR_MS}")


# What is to have run at least once, and how many rows there are to have been in all.
CASES: dict[Callable[[Queue], None], tuple[set[str], int]] = {
    a_flow: ({"part 1", "part 2", "whole 3"}, 3),
    a_batch_that_is_planned: ({"part 0", "part 1", "part 2", "part 3", "finished"}, 5),
    a_batch_of_known_jobs: ({"part 1", "part 2", "whole 0"}, 3),
    jobs_of_one_key: ({"alone 1", "alone 2", "alone 3"}, 3),
    an_event: ({"first 7", "second 7"}, 3),
    a_time_that_is_due: ({"hourly"}, 1),
}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_kill_at_any_statement_neither_loses_nor_doubles_dependent_jobs(
    case: Callable[[Queue], None], moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Queue(tmp_path / "template.db") as queue:
        case(queue)
    for step in range(MOST_STEPS):
        place = tmp_path / str(step)
        place.mkdir()
        monkeypatch.chdir(place)
        path = Path(shutil.copy(tmp_path / "template.db", place / "jobs.db"))
        status = in_fork(lambda at=step, db=path: run_and_die(db, at, moment, JOBS))
        hold_against_promises(path, case)
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL, f"step {step}: {status}"
    assert 8 < step < MOST_STEPS - 1


def hold_against_promises(path: Path, case: Callable[[Queue], None]) -> None:
    expected, rows = CASES[case]
    with Queue(path) as queue:
        drain(queue, JOBS)
        times = Counter(Path(LOG).read_text().splitlines())
        assert set(times) == expected
        # The kill can have come between a job's end and the note of it: one job ran twice.
        assert sum(times.values()) <= len(expected) + 1
        assert queue.store.database.rows("select seq from sqlite_sequence") == [(rows,)]
        assert queue.counts() == {}
        assert queue.check() == []
        for batch in queue.store.database.rows(
            "select planned, done, closed_at from litequeue_batches"
        ):
            assert batch[0] == batch[1] > 0
            assert batch[2] is not None
