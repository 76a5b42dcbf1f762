"""A write transaction that a job leaves open on the queue's own file stops nobody."""

from __future__ import annotations

import gc
import signal

import pytest

from litequeue import Queue, Worker
from litequeue.errors import JobLeftTransaction

from . import jobs_that_leave as jobs
from .harness import World
from .journal import OK, START

# Where dropping what the job has raised or returned closes its connection.
LET_GO = [jobs.Raises, jobs.Returns, jobs.ReturnsIt, jobs.KeepsIt, jobs.IsAsync, jobs.TimesOut]
FAILS = (jobs.Raises, jobs.IsAsync, jobs.TimesOut)
PACKAGE = ("--jobs", "jobs_that_leave")
LEFT = "left a write transaction open on"


@pytest.mark.parametrize("job", LET_GO, ids=lambda job: job.__name__)
def test_what_a_job_has_raised_or_returned_is_dropped_with_its_transaction(
    job: type[jobs.Raises], world: World
) -> None:
    id, plain = world.queue.push(job()), world.queue.push(jobs.Plain())
    world.work(*PACKAGE, "--drain").ends_with(0)
    row = world.row(id)
    if job in FAILS:
        assert row is not None
        assert (row.state, row.attempts) == ("failed", 2)
    else:
        assert row is None
    world.gone(plain)
    assert (world.effects(id), world.effects(0)) == (0, 0)


@pytest.mark.parametrize("job", [jobs.IsModuleLevel, jobs.IsInAThread])
def test_a_worker_that_would_wait_for_itself_ends_and_its_job_is_charged(
    job: type[jobs.IsModuleLevel], world: World
) -> None:
    id = world.queue.push(job())
    supervisor = world.work(*PACKAGE, "--workers", 1)
    world.until(lambda: world.queue.get(id).attempts == 2)
    plain = world.queue.push(jobs.Plain())
    world.until(lambda: world.queue.get(id).state == "failed")
    world.gone(plain)
    row = world.queue.get(id)
    assert f"JobLeftTransaction: Job {id} ({row.name}) {LEFT} {world.queue.path}" in row.exception
    assert supervisor.err().count("died (exit code 1); another starts now") == 2
    assert supervisor.process.poll() is None


def test_of_several_jobs_claimed_together_only_the_one_that_left_it_open_is_charged(
    world: World,
) -> None:
    before = [world.push(max_attempts=1) for _ in range(3)]
    id = world.push("leave_transaction", max_attempts=1)
    behind = [world.push(max_attempts=1) for _ in range(3)]
    supervisor = world.work("--workers", 1)
    world.gone(*before, *behind)
    row = world.queue.get(id)
    assert (row.state, row.attempts) == ("failed", 1)
    assert f"Job {id} (scripted) {LEFT} {world.queue.path}" in str(row.exception)
    assert f"litequeue: Job {id} (scripted) {LEFT}" in supervisor.err()
    for each in (*before, *behind):
        assert world.journal.names(each) == [START, OK]


def test_a_lone_worker_that_would_wait_for_itself_ends_with_a_clear_line(world: World) -> None:
    id = world.queue.push(jobs.IsModuleLevel())
    worker = world.work(*PACKAGE)
    worker.ends_with(1)
    assert f"litequeue: Job {id} (IsModuleLevel) {LEFT}" in worker.err()
    assert "Traceback" not in worker.err()
    world.queue.cancel(world.queue.push(jobs.Plain()))


@pytest.mark.parametrize("job", [jobs.EntersOurs, jobs.BeginsOnOurs])
def test_a_transaction_left_open_on_our_own_connection_is_undone_and_fails_its_job(
    job: type[jobs.EntersOurs], world: World
) -> None:
    id, plain = world.queue.push(job()), world.queue.push(jobs.Plain())
    worker = world.work(*PACKAGE)
    world.gone(plain)
    world.until(lambda: world.queue.get(id).state == "failed")
    assert LEFT in str(world.queue.get(id).exception)
    assert world.effects(1) == 0
    assert worker.process.poll() is None
    worker.signal(signal.SIGTERM)
    worker.ends_with(0)
    assert "Traceback" not in worker.err()


# Python 3.13 warns of the connection that the job has left.
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_a_worker_in_a_thread_raises_what_keeps_it_from_working(world: World) -> None:
    queue = Queue(world.path)
    id = queue.push(jobs.IsModuleLevel())
    worker = Worker(queue, jobs)
    try:
        with pytest.raises(JobLeftTransaction, match=f"Job {id} "), worker.in_background():
            world.until(lambda: not worker.alive)
        assert isinstance(worker.error, JobLeftTransaction)
    finally:
        # The last reference: the connection closes, and its transaction ends.
        jobs.kept.clear()
        gc.collect()
        queue.close()
