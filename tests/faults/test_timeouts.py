"""Timeouts that are kept, whatever a job does about them."""

from __future__ import annotations

import pytest

from litequeue import Job

from .harness import World
from .jobs_for_faults import MODE, PREFETCHING, ScriptedAsync
from .journal import OK, OUT, START

FAILED = 7
SHORT_TIMEOUT_SECONDS = 0.2
GRACE = ("--grace", 0.3)

IN_BACKGROUND = f"""
import os, time
import jobs_for_faults
from jobs_for_faults import PREFETCH
from litequeue import Queue, Worker

with Worker(Queue("jobs.db"), jobs_for_faults, prefetch=PREFETCH, grace={GRACE[1]}).in_background():
    while not os.path.exists("enough"):
        time.sleep(0.01)
"""


def test_a_timeout_is_raised_inside_the_job(world: World) -> None:
    id = world.push("hang", timeout=SHORT_TIMEOUT_SECONDS, max_attempts=1)
    innocent = world.push()
    world.work("--drain").ends_with(0)
    row = world.queue.get(id)
    assert row.state == "failed"
    assert "did not end within its timeout of 0.2 s" in row.reason
    assert "in hang" in (row.exception or "")
    assert world.journal.names(id) == [START, OUT]
    world.gone(innocent)
    assert world.started(innocent).pid == world.started(id).pid


def test_an_async_job_is_cancelled_when_its_time_is_over(world: World) -> None:
    job: Job = ScriptedAsync(endings=["hang"])
    id = world.queue.push(job, timeout=SHORT_TIMEOUT_SECONDS, max_attempts=1)
    innocent = world.queue.push(ScriptedAsync())
    world.work("--drain").ends_with(0)
    row = world.queue.get(id)
    assert row.state == "failed"
    assert "did not end within its timeout of 0.2 s" in row.reason
    assert world.journal.names(id) == [START, OUT]
    world.gone(innocent)


@pytest.mark.parametrize("ending", ["swallow", "freeze"])
def test_a_job_that_does_not_end_at_its_timeout_is_ended_with_its_process(
    ending: str, world: World
) -> None:
    id = world.push(ending, "ok", timeout=SHORT_TIMEOUT_SECONDS)
    innocents = [world.push() for _ in range(3)]
    world.work("--workers", 1, "--drain", *GRACE).ends_with(0)
    world.gone(id, *innocents)
    first, second = world.journal.of(id, START)
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.pid != second.pid
    for innocent in innocents:
        assert [event.attempt for event in world.journal.of(innocent, START)] == [1]


@pytest.mark.skipif(MODE != PREFETCHING, reason="it is about jobs that were claimed together")
@pytest.mark.parametrize("meddles", ["stop_watchdog", "stop_alarm"])
def test_a_job_cannot_stop_the_timeout_of_the_next_one(meddles: str, world: World) -> None:
    world.push(meddles, timeout=60)
    ending = "swallow" if meddles == "stop_watchdog" else "hang"
    id = world.push(ending, timeout=SHORT_TIMEOUT_SECONDS, max_attempts=1)
    world.push()
    world.work("--workers", 1, "--drain", *GRACE).ends_with(0)
    assert world.queue.get(id).state == "failed"
    assert "JobTimeout" in world.queue.get(id).reason


@pytest.mark.parametrize("ending", ["swallow", "freeze"])
def test_the_exception_of_a_job_that_was_ended_says_where_it_hung(
    ending: str, world: World
) -> None:
    id = world.push(ending, timeout=SHORT_TIMEOUT_SECONDS, max_attempts=1)
    world.work("--workers", 1, "--drain", *GRACE).ends_with(0)
    row = world.queue.get(id)
    assert row.state == "failed"
    assert f"in {ending}" in (row.exception or "")
    assert "jobs_for_faults.py" in (row.exception or "")
    assert "did not stop when it was told to; its process was ended" in row.reason


def test_a_worker_alone_ends_with_the_job_and_the_next_one_charges_it(world: World) -> None:
    id = world.push("freeze", "ok", timeout=SHORT_TIMEOUT_SECONDS)
    assert world.work(*GRACE).status() != 0
    world.work("--drain").ends_with(0)
    world.gone(id)
    assert [event.attempt for event in world.journal.of(id, START)] == [1, 2]


def test_a_job_in_a_thread_gets_its_timeout_raised_too(world: World) -> None:
    id = world.push("hang", timeout=SHORT_TIMEOUT_SECONDS, max_attempts=1)
    innocent = world.push()
    program = world.script(IN_BACKGROUND)
    world.gone(innocent)
    assert "did not end within its timeout" in world.queue.get(id).reason
    assert world.journal.names(id) == [START, OUT]
    (world.folder / "enough").touch()
    program.ends_with(0)


def test_a_job_in_a_thread_that_goes_on_is_said_to_and_runs_once_at_a_time(world: World) -> None:
    id = world.push("swallow", timeout=SHORT_TIMEOUT_SECONDS, max_attempts=1)
    program = world.script(IN_BACKGROUND)
    world.started(id)
    world.until(lambda: world.queue.get(id).exception == "timed out, still running")
    other = world.work()
    late = world.push(delay=1.2)
    assert world.started(late).pid == other.pid
    other.kill()
    world.open_gate(id)
    world.gone(id, late)
    assert len(world.journal.of(id, START)) == len(world.journal.of(id, OK)) == 1
    innocent = world.push()
    world.gone(innocent)
    assert [event.attempt for event in world.journal.of(innocent, START)] == [1]
    (world.folder / "enough").touch()
    program.ends_with(0)
