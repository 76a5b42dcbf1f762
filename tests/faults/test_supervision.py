"""``work --workers N``: replaced, drained, recycled, left alone."""

from __future__ import annotations

import os
import re
import signal

import pytest

from .harness import World, children_of, ended
from .journal import OK, START


def test_a_worker_that_was_killed_at_work_has_not_died_at_its_start(world: World) -> None:
    supervisor = world.work("--workers", 1)
    for _ in range(3):
        id = world.push("gate", "ok")
        pid = world.started(id).pid
        os.kill(pid, signal.SIGKILL)
        supervisor.said(f"Worker process {pid} died (signal 9); another starts now")
        world.gone(id)


def test_workers_that_die_at_their_start_are_replaced_more_and_more_slowly(world: World) -> None:
    (world.folder / "broken.py").write_text("import os\nos._exit(3)\n")
    supervisor = world.work("--jobs", "broken", "--workers", 1)
    world.until(lambda: supervisor.err().count("died (exit code 3)") >= 3)
    assert "another starts now" in supervisor.err().splitlines()[0]
    pauses = [
        float(text) for text in re.findall(r"another starts in ([0-9.]+) s", supervisor.err())
    ]
    assert 0 < pauses[0] < pauses[1]
    supervisor.signal(signal.SIGTERM)
    supervisor.ends_with(0)


def test_a_stop_lets_the_running_jobs_finish_and_starts_no_other(world: World) -> None:
    id = world.push("gate")
    supervisor = world.work("--workers", 2)
    busy = world.started(id).pid
    idle = (set(world.registered(2)) - {busy}).pop()
    supervisor.signal(signal.SIGTERM)
    world.until(lambda: ended(idle))
    late = world.push()
    world.open_gate(id)
    supervisor.ends_with(0)
    world.gone(id)
    assert (world.journal.names(id), world.journal.names(late)) == ([START, OK], [])
    assert ended(busy)


def test_ctrl_c_in_a_terminal_lets_the_running_jobs_finish(world: World) -> None:
    id = world.push("gate")
    supervisor = world.work("--workers", 2)
    busy = world.started(id).pid
    idle = (set(world.registered(2)) - {busy}).pop()
    os.killpg(supervisor.pid, signal.SIGINT)
    world.until(lambda: ended(idle))
    world.open_gate(id)
    supervisor.ends_with(0)
    assert world.journal.names(id) == [START, OK]


def test_the_workers_of_a_killed_supervisor_end_after_their_jobs(world: World) -> None:
    id = world.push("gate", max_attempts=1)
    supervisor = world.work("--workers", 2)
    busy = world.started(id).pid
    idle = (set(world.registered(2)) - {busy}).pop()
    supervisor.process.kill()
    supervisor.status()
    world.until(lambda: ended(idle))
    assert not ended(busy)
    late = world.push()
    world.open_gate(id)
    world.gone(id)
    world.until(lambda: ended(busy))
    assert world.journal.names(id) == [START, OK]
    assert world.journal.names(late) == []


@pytest.mark.parametrize(
    ("flags", "first"), [(("--max-jobs", 1), "ok"), (("--memory-limit", "75M"), "grow")]
)
def test_a_worker_that_has_had_enough_is_replaced(
    flags: tuple[object, ...], first: str, world: World
) -> None:
    ids = [world.push(first), world.push()]
    supervisor = world.work("--workers", 1, *flags)
    world.gone(*ids)
    assert len({world.started(id).pid for id in ids}) == 2
    assert "died" not in supervisor.err()
    supervisor.signal(signal.SIGTERM)
    supervisor.ends_with(0)


@pytest.mark.parametrize(
    ("flags", "first"), [(("--max-jobs", 1), "ok"), (("--memory-limit", "75M"), "grow")]
)
def test_a_worker_alone_that_has_had_enough_ends(
    flags: tuple[object, ...], first: str, world: World
) -> None:
    ids = [world.push(first), world.push()]
    world.work(*flags).ends_with(0)
    world.gone(ids[0])
    assert world.queue.get(ids[1]).state == "ready"


def test_a_worker_under_its_memory_limit_goes_on(world: World) -> None:
    ids = [world.push() for _ in range(3)]
    world.work("--memory-limit", "75M", "--drain").ends_with(0)
    world.gone(*ids)


def test_supervised_workers_end_when_nothing_is_due(world: World) -> None:
    ids = [world.push("kill", "ok"), *(world.push() for _ in range(5))]
    world.work("--workers", 2, "--drain").ends_with(0)
    world.gone(*ids)


def test_wrong_use_ends_the_supervisor_instead_of_being_tried_again(world: World) -> None:
    supervisor = world.work("--jobs", "nothing_there", "--workers", 2)
    supervisor.ends_with(2)
    assert "No jobs found: there is no module 'nothing_there'" in supervisor.err()
    assert "Traceback" not in supervisor.err()
    assert children_of(supervisor.pid) == []


@pytest.mark.parametrize("status", [0, 2, 90])
@pytest.mark.parametrize("flags", [(), ("--drain",)])
def test_the_status_of_a_job_that_ends_its_process_is_only_its_own(
    flags: tuple[str, ...], status: int, world: World
) -> None:
    id = world.push(f"exit_{status}", "ok")
    supervisor = world.work("--workers", 2, *flags)
    pid = world.started(id).pid
    world.gone(id)
    supervisor.said(f"Worker process {pid} died (exit code {status}); another starts now")
    if not flags:
        assert supervisor.process.poll() is None
        supervisor.signal(signal.SIGTERM)
    supervisor.ends_with(0)
    assert [event.attempt for event in world.journal.of(id, START)] == [1, 2]


def test_a_job_that_asks_for_the_status_of_wrong_use_fails_alone(world: World) -> None:
    ids = [world.push("system_exit_2", "ok"), world.push()]
    supervisor = world.work("--workers", 1)
    world.gone(*ids)
    assert len({world.started(id).pid for id in ids}) == 1
    assert supervisor.process.poll() is None


def test_a_worker_that_may_not_write_any_more_is_replaced_and_its_job_completed(
    world: World,
) -> None:
    id = world.push("small_files_only", "ok")
    supervisor = world.work("--workers", 1)
    first = world.started(id).pid
    world.gone(id)
    assert [event.attempt for event in world.journal.of(id, START)] == [1]
    supervisor.said(f"Worker process {first} died (exit code 2)")
    assert supervisor.process.poll() is None


def test_the_end_of_a_worker_says_nothing_of_another_with_the_same_pid(world: World) -> None:
    """As for two containers on one file, each of which counts its processes from 1."""
    id = world.push("swallow", max_attempts=1)
    supervisor = world.work("--workers", 1, "--grace", 0.3)
    pid = world.started(id).pid
    elsewhere = world.queue.store.presence.register(())
    world.queue.store.database.change(
        "update litequeue_workers set pid = :pid where id = :id",
        {"pid": pid, "id": elsewhere.worker},
    )
    supervisor.signal(signal.SIGTERM)
    supervisor.ends_with(0)
    assert world.queue.get(id).state == "ready"
    assert [(row.id, row.cause) for row in world.queue.store.presence.workers()] == [
        (elsewhere.worker, None)
    ]
    elsewhere.leave()
    world.queue.store.presence.deregister(elsewhere.worker)
