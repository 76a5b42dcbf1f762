"""Workers that have claimed several jobs: killed, held up, told to end. In either mode of
the suite each job ends as if it were alone."""

from __future__ import annotations

import signal

import pytest

from .harness import Row, World
from .jobs_for_faults import MODE, PREFETCHING, Scripted
from .journal import OK, START

# Killed


@pytest.mark.parametrize("next_work", [("--drain",), ("--once",), ("--workers", 2, "--drain")])
def test_a_kill_charges_the_job_that_ran_and_no_other(
    next_work: tuple[object, ...], world: World
) -> None:
    row = Row(world, "kill", "ok", max_attempts=2)
    assert world.work().status() == -signal.SIGKILL
    assert all(world.journal.names(id) == [START, OK] for id in row.before)
    world.work(*next_work).ends_with(0)
    row.ran_once(*row.before)
    world.work("--drain").ends_with(0)
    row.ran_once(*row.others)
    assert [event.attempt for event in world.journal.of(row.middle, START)] == [1, 2]
    world.gone(row.middle)


def test_a_job_that_kills_each_worker_uses_its_attempts_and_the_others_use_none(
    world: World,
) -> None:
    row = Row(world, "kill", max_attempts=3)
    world.work("--workers", 2)
    world.until(lambda: world.queue.get(row.middle).state == "failed")
    row.ran_once(*row.others)
    assert [event.attempt for event in world.journal.of(row.middle, START)] == [1, 2, 3]


def test_the_results_of_jobs_that_a_killed_worker_had_finished_reach_their_dependents(
    world: World,
) -> None:
    parents = [world.push("page"), world.push("ok")]
    row = Row(world, "kill", "ok", max_attempts=2)
    child = world.push("take", after=parents, keep=60)
    assert world.work().status() == -signal.SIGKILL
    world.work("--drain").ends_with(0)
    row.ran_once(*parents, *row.others)
    assert world.queue.result(child) == ["x" * 2500, "ok"]


def test_a_batch_counts_what_a_killed_worker_had_finished_once(world: World) -> None:
    with world.queue.batch(then=Scripted()) as batch:
        for endings in (["ok"], ["ok"], ["kill", "ok"], ["ok"]):
            batch.push(Scripted(endings=endings))
    assert world.work().status() == -signal.SIGKILL
    world.work("--drain").ends_with(0)
    world.gone(*batch.ids, batch.id)
    record = world.queue.batch(batch.id)
    assert (record.planned, record.done, record.failed) == (4, 4, 0)
    assert len(world.journal.of(batch.id, START)) == 1


# Held up


@pytest.mark.parametrize("ending", ["stop", "freeze", "gate"])
def test_another_worker_runs_the_jobs_that_wait_behind_a_slow_one(
    ending: str, world: World
) -> None:
    row = Row(world, ending, "ok")
    first = world.work()
    world.started(row.middle)
    other = world.work()
    row.ran_once(*row.others)
    if MODE == PREFETCHING:
        assert {world.started(id).pid for id in row.behind} == {other.pid}
    assert world.queue.get(row.middle).state == "running"
    if ending == "freeze":
        first.kill()
    else:
        world.open_gate(row.middle)
        first.signal(signal.SIGCONT)
    world.gone(row.middle)
    after = world.push()
    row.ran_once(after, *row.others)
    runs = 2 if ending == "freeze" else 1
    assert len(world.journal.of(row.middle, START)) == runs


# Told to end


@pytest.mark.parametrize("ending", ["term", "term+gate"])
def test_the_first_signal_releases_the_jobs_that_have_not_started(
    ending: str, world: World
) -> None:
    row = Row(world, ending, max_attempts=1)
    worker = world.work()
    world.started(row.middle)
    world.open_gate(row.middle)
    worker.ends_with(0)
    row.ran_once(*row.before, row.middle)
    row.unstarted(*row.behind)
    assert world.queue.store.presence.workers() == []


@pytest.mark.parametrize("ending", ["term+term", "term+term+hang", "hang"])
def test_the_second_signal_releases_the_running_job_as_well(ending: str, world: World) -> None:
    row = Row(world, ending, max_attempts=1)
    worker = world.work()
    world.started(row.middle)
    for _ in range(2 - ending.count("term")):
        worker.signal(signal.SIGTERM)
    worker.ends_with(128 + signal.SIGTERM)
    row.ran_once(*row.before)
    row.unstarted(*row.behind)
    middle = world.queue.get(row.middle)
    assert (middle.state, middle.attempts) == ("ready", 0)
    assert world.queue.store.presence.workers() == []


@pytest.mark.parametrize("ending", ["freeze", "swallow", "stop"])
def test_a_supervisor_that_ends_a_worker_loses_nothing_of_its_prefetch(
    ending: str, world: World
) -> None:
    row = Row(world, ending, max_attempts=1)
    supervisor = world.work("--workers", 1, "--grace", 0.2)
    world.started(row.middle)
    supervisor.signal(signal.SIGTERM)
    supervisor.ends_with(0)
    row.ran_once(*row.before)
    row.unstarted(*row.behind)
    middle = world.queue.get(row.middle)
    assert (middle.state, middle.attempts) == ("ready", 0)
    assert world.queue.store.presence.workers() == []


@pytest.mark.parametrize("flags", [("--once",), ("--max-jobs", 1), ("--max", 1)])
def test_a_worker_that_may_run_one_job_claims_no_other(
    flags: tuple[object, ...], world: World
) -> None:
    row = Row(world, "ok")
    world.work(*flags).ends_with(0)
    row.ran_once(row.before[0])
    row.unstarted(row.before[1], *row.behind)
    ends = world.queue.store.database.rows("select count(*) from ends")
    assert ends == [(1,)]
