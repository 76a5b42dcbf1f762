"""A worker that was stopped keeps its job; one whose job was taken writes nothing more."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing

import pytest

from litequeue.records import worker_name

from .harness import World
from .journal import OK, OUT, START

# Longer than two looks for the dead.
LATER_SECONDS = 1.2


def test_a_stopped_worker_keeps_its_job(world: World) -> None:
    id = world.push("gate")
    stopped = world.work()
    world.started(id)
    stopped.signal(signal.SIGSTOP)
    other = world.work()
    late = world.push(delay=LATER_SECONDS)
    assert world.started(late).pid == other.pid
    world.gone(late)
    assert world.queue.get(id).state == "running"
    world.open_gate(id)
    stopped.signal(signal.SIGCONT)
    world.gone(id)
    assert world.journal.names(id) == [START, OK]


@pytest.mark.parametrize("ending", ["ok", "raise", "retry", "snooze", "fail", "effect"])
def test_a_worker_whose_job_was_taken_by_force_writes_nothing(ending: str, world: World) -> None:
    id = world.push(f"watch+{ending}", "ok")
    worker = world.work()
    world.started(id)
    assert world.queue.retry(id, force=True) == 1
    worker.said(f"Run lost: {id}")
    world.gone(id)
    left = OK if ending == "ok" else OUT
    assert world.journal.names(id) == [START, "cancelled", left, START, OK]
    assert world.effects(id) == 0
    assert [event.attempt for event in world.journal.of(id, START)] == [1, 1]


def test_a_worker_whose_lock_file_was_removed_loses_its_job_and_registers_again(
    world: World,
) -> None:
    id = world.push("watch", "ok")
    worker = world.work()
    world.started(id)
    name = worker_name(world.queue.get(id).worker)
    (world.queue.store.presence.folder / name).unlink()
    other = world.work()
    # The other brings it back; either may be the first to claim it then.
    world.started(id, times=2)
    worker.said(f"Run lost: {id}")
    worker.said("lock file of this worker was removed")
    world.gone(id)
    assert [event.attempt for event in world.journal.of(id, START)] == [1, 2]
    other.kill()
    after = world.push()
    assert world.started(after).pid == worker.pid
    world.gone(after)


def test_a_worker_over_whose_job_a_backup_was_restored_writes_nothing(world: World) -> None:
    id = world.push("watch", "ok")
    world.queue.backup(world.folder / "copy.db")
    worker = world.work()
    world.started(id)
    with (
        closing(sqlite3.connect(world.folder / "copy.db")) as copy,
        closing(sqlite3.connect(world.path, timeout=30)) as live,
    ):
        live.execute("pragma wal_autocheckpoint = 0")
        copy.backup(live)
    worker.said(f"Run lost: {id}")
    world.gone(id)
    assert world.journal.names(id) == [START, "cancelled", OK, START, OK]


def test_a_job_that_was_cancelled_while_its_worker_was_stopped_learns_it(world: World) -> None:
    id = world.push("watch+raise")
    worker = world.work()
    world.started(id)
    worker.signal(signal.SIGSTOP)
    world.queue.cancel(id)
    worker.signal(signal.SIGCONT)
    world.until(lambda: world.queue.get(id).state == "cancelled")
    assert world.journal.names(id) == [START, "cancelled", OUT]
