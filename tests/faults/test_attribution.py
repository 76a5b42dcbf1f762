"""Who pays for a death: the job that was running, and nobody else."""

from __future__ import annotations

import os
import signal

import pytest
from worker_side import claimed

from litequeue import Queue

from . import jobs_for_faults
from .harness import World, drain, in_fork
from .journal import OK, START

FAILED = 7


def test_a_job_that_kills_every_worker_it_meets_fails_and_says_so(world: World) -> None:
    killer = world.push("kill", max_attempts=3)
    innocents = [world.push() for _ in range(3)]
    supervisor = world.work("--workers", 1)
    world.until(lambda: world.ends(killer) == [FAILED])
    world.gone(*innocents)
    row = world.queue.get(killer)
    assert row.exception is not None
    assert "its worker died each time" in row.exception
    assert "signal 9" in row.exception
    assert "attempt 3 of 3" in row.exception
    assert len({event.pid for event in world.journal.of(killer, START)}) == 3
    for id in innocents:
        assert [event.attempt for event in world.journal.of(id, START)] == [1]
    supervisor.signal(signal.SIGTERM)
    supervisor.ends_with(0)


@pytest.mark.parametrize("flags", [("--workers", 1), ("--drain",)])
def test_a_job_that_closes_all_files_of_each_worker_fails_after_its_attempts(
    flags: tuple[object, ...], world: World
) -> None:
    """Its end can be written down by none of them."""
    closer = world.push("close_all_and_fail", max_attempts=2)
    worker = world.work(*flags)
    if "--drain" in flags:
        for _ in range(2):
            worker.ends_with(2)
            assert "Traceback" not in worker.err()
            worker = world.work(*flags)
    world.until(lambda: world.ends(closer) == [FAILED])
    innocent = world.push()
    if "--drain" in flags:
        world.work(*flags)
    world.gone(innocent)
    assert [event.attempt for event in world.journal.of(closer, START)] == [1, 2]
    assert "died" in (world.queue.get(closer).exception or "")


def test_a_job_that_succeeds_but_closes_all_files_of_its_worker_is_completed_by_the_next(
    world: World,
) -> None:
    closer = world.push("close_all", max_attempts=2)
    world.work("--drain").ends_with(2)
    world.work("--drain").ends_with(0)
    world.gone(closer)
    assert [event.attempt for event in world.journal.of(closer, START)] == [1]


def test_a_job_that_ends_its_process_is_told_its_exit_code(world: World) -> None:
    id = world.push("exit", max_attempts=1)
    world.work("--workers", 1)
    world.until(lambda: world.ends(id) == [FAILED])
    assert "died (exit code 3)" in (world.queue.get(id).exception or "")


def test_a_death_between_two_attempts_is_written_on_the_row(world: World) -> None:
    id = world.push("kill", "gate")
    world.work("--workers", 1)
    world.started(id, times=2)
    row = world.queue.get(id)
    assert (row.attempts, row.state) == (2, "running")
    assert "died (signal 9) while it ran attempt 1 of 3" in (row.exception or "")
    world.open_gate(id)
    world.gone(id)


def test_a_job_that_was_claimed_but_not_started_when_its_worker_died_is_not_charged(
    world: World,
) -> None:
    id = world.push(max_attempts=1)

    def fetch_and_die() -> int:
        queue = Queue(world.path)
        registration = queue.store.presence.register(())
        row = claimed(queue, registration.worker)
        assert row.id == id
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    world.queue.close()
    assert os.WTERMSIG(in_fork(fetch_and_die)) == signal.SIGKILL
    assert world.queue.get(id).state == "running"
    jobs_for_faults.journal = world.journal
    drain(world.queue, jobs_for_faults)
    assert [event.attempt for event in world.journal.of(id, START)] == [1]
    assert world.ends(id) == [0]


# Every command that runs jobs looks for the dead first. (``run --id`` names a job that
# the dead worker had.)
COMMANDS = {
    "work": ("work", "jobs.db"),
    "once": ("work", "jobs.db", "--once"),
    "drain": ("work", "jobs.db", "--drain"),
    "workers": ("work", "jobs.db", "--workers", "1"),
    "run": ("run", "jobs.db", "scripted"),
    "run by id": ("run", "jobs.db", "--id", "1"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_that_runs_jobs_rescues_those_of_dead_workers(
    command: str, world: World
) -> None:
    id = world.push("gate", "ok")
    worker = world.work()
    world.started(id)
    worker.kill()
    world.start("-m", "litequeue", *COMMANDS[command], "--jobs", "jobs_for_faults")
    world.gone(id)
    assert [event.attempt for event in world.journal.of(id, START)] == [1, 2]
    assert world.journal.names(id) == [START, START, OK]


def test_an_idle_worker_rescues_the_job_of_another_that_was_killed(world: World) -> None:
    id = world.push("gate", "ok")
    victim = world.work()
    world.started(id)
    other = world.work()
    world.registered(2)
    victim.kill()
    assert world.started(id, times=2).pid == other.pid
    world.gone(id)


def test_a_child_of_a_job_does_not_keep_its_dead_worker_alive(world: World) -> None:
    id = world.push("fork_and_gate", "ok")
    worker = world.work()
    child = world.noted(id, "forked")
    worker.process.kill()
    assert child.pid != worker.pid
    other = world.work()
    assert world.started(id, times=2).pid == other.pid
    world.gone(id)
    world.open_gate(id)
