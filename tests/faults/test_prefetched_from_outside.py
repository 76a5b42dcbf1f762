"""What workers have claimed, and what comes from outside: commands, a locked file, files that
are removed, and children that their jobs fork."""

from __future__ import annotations

import os
import signal

import pytest

from litequeue.errors import NoSuchJob
from litequeue.records import worker_name

from .harness import Row, World, is_stopped
from .jobs_for_faults import MODE, PREFETCHING
from .journal import OK, START
from .test_trouble_with_the_file import IMPATIENT, held

only_prefetching = pytest.mark.skipif(
    MODE != PREFETCHING, reason="it is about what one worker has claimed"
)


# Commands


def stopped(world: World, again: str = "watch") -> Row:
    """A row whose worker is stopped in the middle; the job there may run ``again``."""
    row = Row(world, "stop+watch", again)
    world.work()
    pid = world.started(row.middle).pid
    world.until(lambda: is_stopped(pid))
    return row


def gone_on(world: World, row: Row) -> None:
    os.kill(world.started(row.middle).pid, signal.SIGCONT)
    world.queue.cancel(row.middle)
    world.gone(row.middle)


def test_a_job_that_is_claimed_but_not_started_can_be_cancelled_forgotten_and_paused(
    world: World,
) -> None:
    row = stopped(world)
    cancelled, forgotten, paused = row.behind
    world.queue.cancel(cancelled)
    assert world.queue.get(cancelled).state == "cancelled"
    world.queue.forget(forgotten)
    world.queue.pause("default")
    row.unstarted(paused)
    row.ran_once(*row.before)
    gone_on(world, row)
    assert [world.journal.names(id) for id in row.behind] == [[], [], []]
    world.queue.resume("default")
    row.ran_once(paused)


def test_a_job_that_is_claimed_but_not_started_can_be_run_by_its_id(world: World) -> None:
    row = stopped(world)
    run = world.start(
        "-m", "litequeue", "run", "jobs.db", "--id", row.behind[1], "--jobs", "jobs_for_faults"
    )
    run.ends_with(0)
    row.ran_once(row.behind[1], *row.before)
    assert world.started(row.behind[1]).pid == run.pid
    gone_on(world, row)
    row.ran_once(*row.others)


def test_a_refused_command_keeps_no_job_from_other_workers(world: World) -> None:
    row = stopped(world)
    with pytest.raises(NoSuchJob):
        world.queue.cancel(row.behind[0], 10**6)
    other = world.work()
    row.ran_once(*row.others)
    if MODE == PREFETCHING:
        assert {world.started(id).pid for id in row.behind} == {other.pid}
    gone_on(world, row)


def test_a_refused_command_keeps_no_job_behind_a_slow_one(world: World) -> None:
    """The same for the worker's own watch."""
    row = Row(world, "refused+gate")
    world.work()
    world.gone(*row.before)
    row.unstarted(*row.behind)
    world.open_gate(row.middle)
    row.ran_once(row.middle, *row.others)


def test_a_job_in_the_middle_that_was_retried_by_force_is_reported_as_lost(world: World) -> None:
    row = Row(world, "watch", "ok")
    worker = world.work()
    world.started(row.middle)
    assert world.queue.retry(row.middle, force=True) == 1
    worker.said(f"Run lost: {row.middle}")
    row.ran_once(*row.others)
    world.gone(row.middle)
    for id in row.others:
        assert f"Run lost: {id}" not in worker.out() + worker.err()


def test_an_equal_job_that_a_later_one_pushes_is_not_taken_for_a_finished_one(world: World) -> None:
    first = world.push(unique="the key")
    second = world.push("push_unique")
    world.work("--drain").ends_with(0)
    world.gone(first, second, second + 1)
    assert world.journal.names(second + 1) == [START, OK]


# With a file in trouble


@only_prefetching
def test_the_ends_of_a_prefetch_wait_for_as_long_as_another_process_holds_the_lock(
    world: World,
) -> None:
    row = Row(world, "gate")
    worker = world.script(IMPATIENT)
    world.started(row.middle)
    with held(world.path):
        world.open_gate(row.middle)
        world.until(lambda: worker.err().count("is not written yet") >= 2)
    row.ran_once(row.middle, *row.others)
    worker.signal(signal.SIGTERM)
    worker.ends_with(0)


@only_prefetching
def test_a_worker_that_must_end_while_the_file_is_locked_leaves_its_prefetch_to_the_next(
    world: World,
) -> None:
    row = Row(world, "hold+ok", max_attempts=1)
    worker = world.script(IMPATIENT)
    world.started(row.middle)
    with held(world.path):
        world.open_gate(row.middle)
        worker.said("is not written yet")
        worker.process.send_signal(signal.SIGTERM)
        worker.process.send_signal(signal.SIGINT)
        assert worker.status() != 0
        assert len(world.queue.store.presence.workers()) == 1
    world.work("--drain").ends_with(0)
    row.ran_once(row.middle, *row.others)
    assert world.queue.store.presence.workers() == []


@only_prefetching
@pytest.mark.parametrize("signals", [1, 2])
def test_a_signal_while_the_file_is_locked_charges_nobody(signals: int, world: World) -> None:
    row = Row(world, "gate", "ok", max_attempts=1)
    worker = world.script(IMPATIENT)
    world.started(row.middle)
    with held(world.path):
        for number in (signal.SIGTERM, signal.SIGINT)[:signals]:
            worker.signal(number)
        world.open_gate(row.middle)
        if signals == 2:
            worker.status()
        else:
            worker.said("is not written yet")
    worker.status()
    world.work("--drain").ends_with(0)
    world.gone(row.middle)
    row.ran_once(*row.others)


def test_a_worker_whose_files_were_removed_runs_nothing_that_others_run(world: World) -> None:
    row = stopped(world, "ok")
    stopped_pid = world.started(row.middle).pid
    name = worker_name(world.queue.get(row.middle).worker)
    for path in world.queue.store.presence.folder.glob(f"{name}*"):
        path.unlink()
    world.work()
    world.gone(*row.others, row.middle)
    os.kill(stopped_pid, signal.SIGCONT)
    for id in row.behind:
        assert world.journal.names(id) == [START, OK]
    after = world.push()
    world.gone(after)
    for id in row.behind:
        assert world.journal.names(id) == [START, OK]
    assert len(world.journal.of(row.middle, START)) == 2


# With company of its own


@pytest.mark.parametrize("ending", ["fork", "fork_and_return", "fork_and_gate"])
def test_a_job_that_forks_leaves_the_prefetch_to_its_worker(ending: str, world: World) -> None:
    row = Row(world, ending)
    worker = world.work()
    world.started(row.middle)
    world.open_gate(row.middle)
    world.gone(row.middle)
    row.ran_once(*row.others)
    after = world.push()
    row.ran_once(after)
    assert world.started(after).pid == worker.pid


@only_prefetching
def test_a_kill_after_a_job_that_forked_is_seen_although_the_child_lives(world: World) -> None:
    row = Row(world, "fork_and_gate", "ok", max_attempts=2)
    worker = world.work()
    world.noted(row.middle, "forked")
    worker.process.kill()
    worker.status()
    world.work("--drain").ends_with(0)
    row.ran_once(*row.others)
    world.open_gate(row.middle)
    world.gone(row.middle)
    assert [event.attempt for event in world.journal.of(row.middle, START)] == [1, 2]
