"""Signals to a worker alone, at every moment of its life."""

from __future__ import annotations

import signal

import pytest
from waiting import wait_until

from .harness import LONG, Program, World
from .journal import OK, OUT, START

SLOW_JOBS = """
import os, time
open("importing", "w").close()
while not os.path.exists("import on"):
    time.sleep(0.005)
from jobs_for_faults import Scripted
"""


@pytest.fixture
def importing(world: World) -> Program:
    """A worker that is importing its jobs, and goes on when there is a file ``import on``."""
    (world.folder / "slow.py").write_text(SLOW_JOBS)
    worker = world.work("--jobs", "slow")
    world.until((world.folder / "importing").exists)
    return worker


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_loop_starts_ends_the_worker_before_its_first_job(
    number: int, world: World, importing: Program
) -> None:
    id = world.push()
    importing.signal(number)
    (world.folder / "import on").touch()
    importing.ends_with(0)
    assert world.queue.get(id).state == "ready"


def test_two_signals_before_the_loop_starts_are_the_exit_status(
    world: World, importing: Program
) -> None:
    id = world.push()
    importing.signal(signal.SIGTERM)
    importing.signal(signal.SIGTERM)
    (world.folder / "import on").touch()
    importing.ends_with(128 + signal.SIGTERM)
    assert (world.queue.get(id).state, world.queue.get(id).attempts) == ("ready", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_ends_at_once(number: int, world: World) -> None:
    worker = world.work("--sleep", 3600)
    world.gone(world.push())
    worker.signal(number)
    worker.ends_with(0)
    assert world.queue.store.presence.workers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_lets_the_running_job_finish(number: int, world: World) -> None:
    id = world.push("gate")
    worker = world.work()
    world.started(id)
    late = world.push()
    worker.signal(number)
    world.open_gate(id)
    worker.ends_with(0)
    world.gone(id)
    assert "Releasing" not in worker.err()
    assert (world.journal.names(id), world.journal.names(late)) == ([START, OK], [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_releases_the_running_job_with_its_attempt_not_used(
    number: int, world: World
) -> None:
    id = world.push("hang", max_attempts=1)
    worker = world.work()
    world.started(id)
    worker.signal(number)
    worker.signal(number)
    worker.ends_with(128 + number)
    row = world.queue.get(id)
    assert (row.state, row.attempts) == ("ready", 0)
    assert world.journal.names(id) == [START, OUT]


def test_five_signals_one_after_the_other_end_a_worker_as_two_do(world: World) -> None:
    id = world.push("hang", max_attempts=1)
    worker = world.work()
    world.started(id)
    for _ in range(5):
        worker.signal(signal.SIGTERM)
    # One that comes when Python itself is about to end is what ends it; a shell calls
    # both 143.
    assert worker.status() in (128 + signal.SIGTERM, -signal.SIGTERM)
    row = world.queue.get(id)
    assert (row.state, row.attempts) == ("ready", 0)


# Two that are pending at once are one signal; these are two at least.
@pytest.mark.parametrize("turn", range(5))
def test_a_burst_of_signals_ends_a_worker_as_two_do(turn: int, world: World) -> None:
    id = world.push("hang", max_attempts=1)
    worker = world.work()
    world.started(id)
    for _ in range(5):
        worker.process.send_signal(signal.SIGTERM)
        worker.process.send_signal(signal.SIGINT)
    stops = (signal.SIGTERM, signal.SIGINT)
    assert worker.status() in {status for each in stops for status in (128 + each, -each)}
    row = world.queue.get(id)
    assert (row.state, row.attempts) == ("ready", 0), world.told()


def test_a_job_that_swallows_everything_cannot_keep_its_worker(world: World) -> None:
    id = world.push("swallow", "ok")
    worker = world.work()
    world.started(id)

    def signalled_to_its_end() -> bool:
        worker.process.send_signal(signal.SIGTERM)
        return worker.process.poll() is not None

    wait_until(signalled_to_its_end, within=LONG)
    worker.ends_with(128 + signal.SIGTERM)
    world.work("--drain").ends_with(0)
    world.gone(id)


@pytest.mark.parametrize(
    ("ending", "reason"), [("interrupt", "KeyboardInterrupt"), ("system_exit", "SystemExit: 3")]
)
def test_what_a_job_raises_to_end_the_process_ends_that_job_alone(
    ending: str, reason: str, world: World
) -> None:
    id = world.push(ending, max_attempts=1)
    innocent = world.push()
    world.work("--drain").ends_with(0)
    assert (world.queue.get(id).state, world.queue.get(id).reason) == ("failed", reason)
    world.gone(innocent)
    assert world.started(innocent).pid == world.started(id).pid


def test_a_stop_during_a_wait_for_the_next_attempt_ends_the_worker(world: World) -> None:
    id = world.push("raise", backoff=3600)
    worker = world.work("--sleep", 3600)
    world.until(lambda: world.queue.get(id).state == "scheduled")
    worker.signal(signal.SIGTERM)
    worker.ends_with(0)
    assert world.queue.get(id).attempts == 1
