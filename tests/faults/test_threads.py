"""Workers with threads: what a death, a stop and a job that hangs mean for the jobs beside."""

from __future__ import annotations

import itertools
import os
import signal

import pytest

from litequeue import Job

from .harness import World, ended
from .jobs_for_faults import Scripted, ScriptedAsync
from .journal import OK, OUT, START

FAILED = 7
FOUR = ("--threads", 4)
GRACE = ("--grace", 0.5)


def attempts(world: World, id: int) -> list[int]:
    return [event.attempt for event in world.journal.of(id, START)]


@pytest.fixture
def killed(world: World) -> list[int]:
    """Three jobs that were running when their worker was killed, and that may end now."""
    ids = [world.push("gate", seconds=0.2, max_attempts=1) for _ in range(3)]
    worker = world.work(*FOUR)
    for id in ids:
        world.started(id)
    worker.kill()
    for id in ids:
        world.open_gate(id)
    return ids


def test_a_kill_of_a_worker_charges_none_of_several_jobs(world: World, killed: list[int]) -> None:
    world.work(*FOUR, "--drain").ends_with(0)
    world.gone(*killed)
    for id in killed:
        assert attempts(world, id) == [1, 1]


def test_after_that_each_runs_by_itself(world: World, killed: list[int]) -> None:
    world.work(*FOUR, "--drain").ends_with(0)
    world.gone(*killed)
    runs = sorted(
        (world.journal.of(id, START)[1].at, world.journal.of(id, OK)[-1].at) for id in killed
    )
    for (_, over_at), (started_at, _) in itertools.pairwise(runs):
        assert over_at <= started_at


def test_a_job_that_kills_every_worker_fails_and_costs_its_neighbours_no_attempt(
    world: World,
) -> None:
    neighbours = [world.push(max_attempts=1, seconds=0.05) for _ in range(6)]
    killer = world.push("kill", max_attempts=2)
    neighbours += [world.push(max_attempts=1, seconds=0.05) for _ in range(6)]
    world.work(*FOUR, "--workers", 1)
    world.until(lambda: world.ends(killer) == [FAILED])
    world.gone(*neighbours)
    # It is charged each time that nothing ran beside it, which may be the first time.
    found = attempts(world, killer)
    assert found == sorted(found)
    assert set(found) == {1, 2}
    for id in neighbours:
        assert set(attempts(world, id)) == {1}
    assert "died" in (world.queue.get(killer).exception or "")


def test_a_job_that_runs_alone_in_its_worker_is_charged_at_once(world: World) -> None:
    killer = world.push("kill", max_attempts=1)
    world.work(*FOUR, "--workers", 1)
    world.until(lambda: world.ends(killer) == [FAILED])
    assert attempts(world, killer) == [1]


@pytest.mark.parametrize("ending", ["swallow", "freeze"])
def test_a_job_that_does_not_end_at_its_timeout_is_ended_with_its_process(
    ending: str, world: World
) -> None:
    neighbour = world.push("gate", max_attempts=1)
    hangs = world.push(ending, timeout=0.2, max_attempts=1)
    world.work(*FOUR, *GRACE, "--workers", 1)
    world.started(neighbour)
    world.started(hangs)
    world.open_gate(neighbour)
    world.until(lambda: world.ends(hangs) == [FAILED])
    world.gone(neighbour)
    assert set(attempts(world, neighbour)) == {1}
    assert f"in {ending}" in (world.queue.get(hangs).exception or "")


def test_the_neighbours_of_a_job_that_hangs_have_the_grace_to_end(world: World) -> None:
    neighbour = world.push("gate", max_attempts=1)
    hangs = world.push("swallow", timeout=0.2, max_attempts=1)
    world.work(*FOUR, "--grace", 2, "--workers", 1)
    world.started(neighbour)
    world.noted(hangs, "swallowed")
    world.open_gate(neighbour)
    world.until(lambda: world.ends(hangs) == [FAILED])
    world.gone(neighbour)
    assert attempts(world, neighbour) == [1]


def test_a_busy_worker_ends_after_the_death_of_its_supervisor(world: World) -> None:
    jobs = [Scripted(endings=["ok"], seconds=0.005) for _ in range(8000)]
    first, *_, last = world.queue.push_many(jobs)
    supervisor = world.work(*FOUR, "--workers", 1)
    worker = world.started(first).pid
    supervisor.process.kill()
    world.until(lambda: ended(worker))
    assert world.queue.get(last).state == "ready"


def test_a_child_that_comes_back_from_a_job_ends_there(world: World) -> None:
    forks = [world.push("fork_and_return", timeout=60) for _ in range(10)]
    others = [world.push(timeout=60) for _ in range(200)]
    world.work(*FOUR, "--drain").ends_with(0)
    world.gone(*forks, *others)
    assert all(attempts(world, id) == [1] for id in [*forks, *others])


def test_the_first_signal_lets_all_running_jobs_finish(world: World) -> None:
    ids = [world.push("gate") for _ in range(6)]
    worker = world.work(*FOUR)
    for id in ids[:4]:
        world.started(id)
    worker.signal(signal.SIGTERM)
    worker.said("Finishing 4 jobs within 8 s; a signal again releases them")
    for id in ids[:4]:
        world.open_gate(id)
    worker.ends_with(0)
    world.gone(*ids[:4])
    for id in ids[4:]:
        row = world.queue.get(id)
        assert (row.state, row.attempts) == ("ready", 0)


def test_the_second_signal_releases_all_running_jobs(world: World) -> None:
    hanging: Job = ScriptedAsync(endings=["hang"])
    ids = [world.push("hang"), world.push("hang"), world.queue.push(hanging)]
    worker = world.work(*FOUR)
    for id in ids:
        world.started(id)
    worker.signal(signal.SIGTERM)
    worker.signal(signal.SIGTERM)
    worker.ends_with(128 + signal.SIGTERM)
    for id in ids:
        row = world.queue.get(id)
        assert (row.state, row.attempts) == ("ready", 0)
        assert world.journal.names(id) == [START, OUT]


def test_the_end_of_the_grace_does_the_same(world: World) -> None:
    ids = [world.push("hang") for _ in range(3)]
    worker = world.work(*FOUR, *GRACE)
    for id in ids:
        world.started(id)
    worker.signal(signal.SIGTERM)
    worker.status()
    for id in ids:
        row = world.queue.get(id)
        assert (row.state, row.attempts) == ("ready", 0)


def test_a_job_that_swallows_everything_cannot_keep_its_worker(world: World) -> None:
    ids = [world.push("swallow"), world.push("hang")]
    worker = world.work(*FOUR)
    for id in ids:
        world.started(id)
    worker.signal(signal.SIGTERM)
    worker.signal(signal.SIGTERM)
    worker.ends_with(128 + signal.SIGTERM)
    world.open_gate(ids[0])
    world.work("--max-jobs", 1).ends_with(0)
    world.gone(ids[0])
    for id in ids:
        assert set(attempts(world, id)) == {1}


def test_what_waits_behind_a_long_job_is_run_by_another_thread(world: World) -> None:
    for _ in range(50):
        world.push()
    long = world.push("gate")
    behind = [world.push() for _ in range(50)]
    worker = world.work("--threads", 2)
    world.started(long)
    world.gone(*behind)
    world.open_gate(long)
    world.gone(long)
    worker.signal(signal.SIGTERM)
    worker.ends_with(0)


def test_twenty_jobs_at_once_are_charged_for_nothing(world: World) -> None:
    ids = [world.push("gate", max_attempts=1) for _ in range(20)]
    worker = world.work("--threads", 20, "--workers", 1)
    for id in ids:
        world.started(id)
    row = next(row for row in world.queue.store.presence.workers())
    assert row.pid != worker.pid

    os.kill(row.pid, signal.SIGKILL)
    for id in ids:
        world.open_gate(id)
    world.gone(*ids)
    for id in ids:
        assert set(attempts(world, id)) == {1}
