"""What a job leaves running does not keep its worker's process from its end."""

from __future__ import annotations

import signal

import pytest

from .harness import World, ended
from .journal import START

LEFT = {
    "leave_thread": "thread 'left-behind'",
    "leave_child": "('left-child')",
    "leave_handler": "The handlers of atexit did not end",
}


@pytest.mark.parametrize("left", LEFT)
def test_a_worker_ends_though_a_job_has_left_something_running(left: str, world: World) -> None:
    id = world.push(left)
    worker = world.work("--drain", "--grace", 1)
    worker.ends_with(0)
    assert LEFT[left] in worker.err()
    assert worker.err().count("\n") == 1
    world.gone(id)
    assert all(ended(event.pid) for event in world.journal.events())


@pytest.mark.parametrize(
    ("flags", "first"),
    [(("--once",), "ok"), (("--max-jobs", 1), "ok"), (("--memory-limit", "75M"), "grow")],
)
def test_a_worker_that_has_had_enough_ends_though_a_thread_is_left(
    flags: tuple[object, ...], first: str, world: World
) -> None:
    id = world.push(f"leave_thread+{first}")
    worker = world.work("--grace", 0.6, *flags)
    worker.ends_with(0)
    assert "thread 'left-behind'" in worker.err()
    world.gone(id)


def test_a_named_run_ends_though_a_thread_is_left(world: World) -> None:
    id = world.push("leave_thread")
    run = world.start("-m", "litequeue", "run", "jobs.db", "scripted", "--jobs", "jobs_for_faults")
    run.said("thread 'left-behind'")
    world.gone(id)
    run.signal(signal.SIGINT)
    run.ends_with(0)
    assert "Traceback" not in run.err()


def test_a_stopped_worker_ends_though_a_thread_is_left(world: World) -> None:
    id = world.push("leave_thread")
    worker = world.work("--grace", 0.6)
    world.gone(id)
    worker.signal(signal.SIGTERM)
    worker.ends_with(0)


def test_the_next_signal_ends_a_worker_that_waits_for_a_thread(world: World) -> None:
    id = world.push("leave_thread")
    worker = world.work("--drain", "--grace", 1000)
    worker.said("thread 'left-behind'")
    worker.signal(signal.SIGINT)
    worker.ends_with(0)
    assert "Traceback" not in worker.err()
    world.gone(id)


@pytest.mark.parametrize("left", [*LEFT, "leave_stop"])
def test_a_recycled_worker_is_replaced_though_it_does_not_end_by_itself(
    left: str, world: World
) -> None:
    ids = [world.push(left), world.push()]
    supervisor = world.work("--workers", 1, "--max-jobs", 1, "--grace", 0.5)
    world.gone(*ids)
    assert len({world.started(id).pid for id in ids}) == 2
    assert "died" not in supervisor.err()
    supervisor.signal(signal.SIGTERM)
    supervisor.ends_with(0)
    assert [event.attempt for event in world.journal.of(ids[0], START)] == [1]
