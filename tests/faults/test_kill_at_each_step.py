"""A worker that is killed before and after each statement of a run."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from litequeue import Queue, Worker
from litequeue.engine.database import Database
from litequeue.worker.worker import Jobs, Limits

from . import jobs_for_faults
from .harness import World, drain, in_fork
from .journal import START, Journal

MOST_STEPS = 200
DONE, FAILED = 6, 7

# The endings of the runs, the options of the push, and the state that the job ends in.
CASES = {
    "complete": (("ok",), {}, 0),
    "complete and keep": (("ok",), {"keep": 60}, DONE),
    "fail": (("fail",), {}, FAILED),
    "fail and delete": (("fail",), {"on_failure": "delete"}, 0),
    "retry": (("raise", "ok"), {}, 0),
    "release": (("snooze", "ok"), {}, 0),
    "transaction": (("effect",), {}, 0),
    "transaction with a push": (("effect_and_push",), {}, 0),
}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("case", CASES)
def test_a_kill_at_any_statement_leaves_exactly_one_end(
    case: str, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "template.db"
    with_one_job(template, case)
    steps = 0
    for world in worlds(tmp_path, template):
        monkeypatch.setattr(jobs_for_faults, "journal", world.journal)
        status = in_fork(lambda at=steps, db=world.path: run_and_die(db, at, moment))
        finish(world)
        hold_against_promises(world, case)
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL, f"step {steps}: {status}"
        steps += 1
    assert 8 < steps < MOST_STEPS


def with_one_job(path: Path, case: str) -> None:
    endings, options, _ = CASES[case]
    world = World(path.parent)
    world.push(*endings, max_attempts=10, **options)
    world.close()
    shutil.move(world.path, path)


def worlds(folder: Path, template: Path, most: int = MOST_STEPS) -> Iterator[World]:
    """A fresh copy of the template's database for each step."""
    for step in range(most):
        place = folder / str(step)
        place.mkdir()
        shutil.copy(template, place / "jobs.db")
        world = World.__new__(World)
        world.path = place / "jobs.db"
        world.journal = Journal(place / "journal")
        yield world


def run_and_die(path: Path, at: int, moment: str, jobs: Jobs = jobs_for_faults) -> int:
    """Work until nothing is left to do, and be killed about the statement number ``at``,
    counted from when the worker begins; 0 if there are not so many."""
    queue = Queue(path)
    worker = Worker(queue, jobs, limits=Limits(drain=True))
    fetch, count = Database._fetch, 0

    def fetch_and_die(*arguments: object) -> object:
        nonlocal count
        number, count = count, count + 1
        if (number, moment) == (at, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        rows = fetch(*arguments)  # type: ignore[arg-type]
        if (number, moment) == (at, "after"):
            os.kill(os.getpid(), signal.SIGKILL)
        return rows

    Database._fetch = fetch_and_die  # type: ignore[assignment, method-assign]
    return worker.run()


def finish(world: World) -> None:
    """What the next worker does, from cron or any other."""
    world.queue = Queue(world.path)
    drain(world.queue, jobs_for_faults)


def hold_against_promises(world: World, case: str) -> None:
    endings, _, state = CASES[case]
    try:
        assert world.ends(1) == [state]
        assert len(world.journal.of(1, START)) >= len(endings)
        if endings[0].startswith("effect"):
            assert world.effects(1) == 1
        pushed = world.queue.store.database.rows("select seq from sqlite_sequence")[0][0]
        children = 1 if endings == ("effect_and_push",) else 0
        assert pushed == 1 + children
        assert world.ends(2) == [0] * children
        assert world.queue.check() == []
        assert world.queue.store.presence.workers() == []
    finally:
        world.queue.close()
