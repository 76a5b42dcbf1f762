"""A worker that is killed at each step of a prefetch: before each statement, before each number
and result that it notes, before each first and last line of a job."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litequeue import Queue, Worker
from litequeue.engine.database import Database
from litequeue.engine.prefetch_log import PrefetchLog
from litequeue.worker.worker import Limits

from . import jobs_for_faults
from .harness import World, drain, in_fork
from .jobs_for_faults import Scripted, believe_all_jobs_short
from .journal import OK, START, Journal
from .test_kill_at_each_step import worlds

MOST_STEPS = 400
# How often each job of the flow runs when nobody is killed.
FIRST, FOLLOWER, MEMBERS, RAISES, EFFECT, UNIQUE, BIG, LAST, CHILD = 1, 2, (3, 4), 5, 6, 7, 8, 9, 10
RUNS = {id: 2 if id == RAISES else 1 for id in range(FIRST, CHILD + 1)}


def many_dependent_jobs(world: World) -> None:
    """Fill a prefetch with jobs that end in all ways, on which others wait."""
    options: dict[str, Any] = {"max_attempts": 10}
    world.push("ok", **options)
    with world.queue.batch(then=Scripted(), **options) as batch:
        for _ in MEMBERS:
            batch.push(Scripted(), **options)
    world.push("raise", "ok", **options)
    world.push("effect", **options)
    world.push("ok", unique=True, **options)
    world.push("big", **options)
    world.push("ok", **options)
    world.push("take", after=[FIRST, LAST], **options)


def reclaimed_in_between(world: World) -> None:
    """The same, and one of the jobs reclaims what its worker has claimed."""
    many_dependent_jobs(world)
    job = Scripted(endings=["recall"])
    sql = "update litequeue_jobs set payload = :payload where id = :id"
    values = {"payload": job.__litequeue_spec__().payload, "id": MEMBERS[1]}
    world.queue.store.database.rows(sql, values)


@pytest.mark.parametrize(
    "case", [many_dependent_jobs, reclaimed_in_between], ids=lambda f: f.__name__
)
def test_a_kill_at_any_step_of_a_prefetch_is_like_a_kill_of_one_job(
    case: Callable[[World], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "template.db"
    world = World(tmp_path)
    case(world)
    world.close()
    shutil.move(world.path, template)
    steps = 0
    for world in worlds(tmp_path, template, MOST_STEPS):
        monkeypatch.setattr(jobs_for_faults, "journal", world.journal)
        status = in_fork(lambda at=steps, db=world.path: run_and_die(db, at))
        last = Step.last(world)
        world.queue = Queue(world.path)
        drain(world.queue, jobs_for_faults)
        hold_against_promises(world, f"step {steps}, before {last}")
        shutil.rmtree(world.path.parent)
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL, f"step {steps}: {status}"
        steps += 1
    assert 100 < steps < MOST_STEPS


class Step:
    """Counts what a worker does, says what comes next, and kills it before its turn."""

    def __init__(self, path: Path, at: int) -> None:
        self._log = path.with_name("steps")
        self._left = at

    def __call__(self, what: object) -> None:
        if not self._left:
            self._log.write_text(str(what))
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    @staticmethod
    def last(world: World) -> str:
        log = world.path.with_name("steps")
        return log.read_text() if log.exists() else "nothing"


class Numbers:
    """The numbers of a prefetch log, each of which is written in a step of its own."""

    def __init__(self, numbers: memoryview, step: Step) -> None:
        self._numbers = numbers
        self._step = step

    def __getitem__(self, place: Any) -> Any:
        return self._numbers[place]

    def __setitem__(self, place: int, value: int) -> None:
        self._step(f"number {place} = {value}")
        self._numbers[place] = value

    def release(self) -> None:
        self._numbers.release()


def run_and_die(path: Path, at: int) -> int:
    """Work until nothing is left to do, and be killed before the step number ``at``,
    counted from when the worker begins; 0 if there are not so many."""
    believe_all_jobs_short()
    queue = Queue(path)
    worker = Worker(queue, jobs_for_faults, limits=Limits(drain=True))
    step = Step(path, at)
    fetch, note, made = Database._fetch, Journal.note, PrefetchLog.__init__

    def fetch_after_a_step(database: Database, link: object, sql: str, *values: object) -> object:
        step(sql)
        return fetch(database, link, sql, *values)  # type: ignore[arg-type]

    def note_after_a_step(journal: Journal, job: int, attempt: int, name: str) -> None:
        step(f"{name} of {job}")
        note(journal, job, attempt, name)

    def made_of_steps(prefetch_log: PrefetchLog, *arguments: object, **options: object) -> None:
        made(prefetch_log, *arguments, **options)  # type: ignore[arg-type]
        prefetch_log._numbers = Numbers(prefetch_log._numbers, step)  # type: ignore[assignment]

    Database._fetch = fetch_after_a_step  # type: ignore[assignment, method-assign]
    Journal.note = note_after_a_step  # type: ignore[method-assign]
    PrefetchLog.__init__ = made_of_steps  # type: ignore[assignment, method-assign]
    return worker.run()


def hold_against_promises(world: World, moment: str) -> None:
    events = world.journal.events()
    starts = {id: [e.attempt for e in events if (e.job, e.name) == (id, START)] for id in RUNS}
    try:
        for id in RUNS:
            assert world.ends(id) == [0], (id, moment)
        again = {id: found for id, found in starts.items() if len(found) != RUNS[id]}
        # One job was running, if any, and it alone runs again; but for what is between a
        # job's last line and the note of its success.
        assert sum(len(found) - RUNS[id] for id, found in again.items()) in (0, 1), (again, moment)
        charged = sum(found[-1] - RUNS[id] for id, found in starts.items())
        assert charged in (0, 1), (starts, moment)
        # Whoever ran twice was charged, and whoever was charged had begun.
        for id, found in again.items():
            assert found == list(range(1, RUNS[id] + 2)), (again, moment)
        assert world.effects(EFFECT) == 1
        assert len(world.journal.of(FOLLOWER, OK)) in (1, 2)
        seq = world.queue.store.database.rows("select seq from sqlite_sequence")
        assert seq == [(CHILD,)]
        assert world.queue.store.database.rows("select planned, done from litequeue_batches") == [
            (2, 2)
        ]
        assert world.queue.check() == []
        assert world.queue.store.presence.workers() == []
        # A worker that was not registered yet cannot be rescued.
        if "insert into litequeue_workers" not in moment:
            left = [
                each for each in world.queue.store.presence.folder.iterdir() if not each.is_fifo()
            ]
            assert left == [], moment
    finally:
        world.queue.close()
