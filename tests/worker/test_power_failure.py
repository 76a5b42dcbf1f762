"""What workers have noted beside the database, when the database is older than the note: after a
power failure, and after a backup was restored."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from waiting import Clock
from worker_side import claim_one

from litequeue import Job, Queue, Worker, current
from litequeue.engine import boot
from litequeue.engine.presence import Registration
from litequeue.records import JobRow, State
from litequeue.worker.worker import Limits

runs: list[tuple[int, int]] = []


class Parent(Job, name="parent", max_attempts=2):
    """Pushes its follow-up in a commit of its own."""

    def handle(self) -> None:
        run = current()
        runs.append((run.id, run.attempt))
        run.push(Follower(run.id))


class Follower(Job, name="follower"):
    parent: int

    def handle(self) -> None:
        followed.append(self.parent)


followed: list[int] = []


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Iterator[Queue]:
    runs.clear()
    followed.clear()
    return make_queue()


@pytest.fixture
def start_machine_anew(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(boot, "boot_id", lambda: "another start")


def claimed(queue: Queue, count: int) -> tuple[Registration, list[JobRow]]:
    """A worker that has fetched so many parents, and has started the first of them."""
    for _ in range(count):
        queue.push(Parent())
    registration = queue.store.presence.register(())
    rows = queue.store.claims.claim(registration.worker, (), count, lambda row: True)
    reserved_at = rows[0].reserved_at
    assert reserved_at is not None
    registration.prefetch_log.begin([row.id for row in rows], reserved_at.timestamp())
    registration.prefetch_log.start()
    return registration, rows


def drain(queue: Queue) -> None:
    assert Worker(queue, [Parent, Follower], limits=Limits(drain=True)).run() == 0
    assert queue.counts() == {}
    assert queue.check() == []
    assert queue.store.presence.workers() == []


def test_a_job_finished_only_in_the_prefetch_log_runs_again_after_a_power_failure(
    queue: Queue, start_machine_anew: Callable[[], None]
) -> None:
    """It had pushed another job, and the power failure lost that commit."""
    registration, rows = claimed(queue, 3)
    registration.prefetch_log.finish()
    assert registration.prefetch_log.start()
    registration.close()
    start_machine_anew()
    drain(queue)
    assert runs == [(row.id, 1) for row in rows]
    assert sorted(followed) == [row.id for row in rows]


def test_after_a_reboot_no_job_is_charged_even_if_only_one_was_claimed(
    queue: Queue, start_machine_anew: Callable[[], None]
) -> None:
    registration, rows = claimed(queue, 1)
    registration.close()
    start_machine_anew()
    drain(queue)
    assert runs == [(rows[0].id, 1)]


def test_without_a_reboot_the_running_job_is_charged_and_the_finished_one_is_complete(
    queue: Queue,
) -> None:
    registration, rows = claimed(queue, 3)
    registration.prefetch_log.finish()
    assert registration.prefetch_log.start()
    registration.close()
    drain(queue)
    assert sorted(runs) == [(rows[1].id, 2), (rows[2].id, 1)]


VERBS: dict[str, Callable[[Queue], object]] = {
    "reclaim": lambda queue: queue.store.reclaimer.reclaim(),
    "cancel": lambda queue: queue.cancel(queue.push("other")),
    "pause": lambda queue: queue.pause("elsewhere"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_command_of_an_operator_trusts_the_prefetch_log_after_a_power_failure(
    verb: str, queue: Queue, start_machine_anew: Callable[[], None]
) -> None:
    registration, rows = claimed(queue, 3)
    registration.prefetch_log.finish()
    registration.close()
    start_machine_anew()
    VERBS[verb](queue)
    assert {queue.get(row.id).state for row in rows} == {State.RUNNING}
    Worker(queue, [Parent, Follower], limits=Limits(drain=True)).run()
    assert runs == [(row.id, 1) for row in rows]


# Restored backups


def put_in_place(copy: Path, queue: Queue) -> None:
    """As `cp` does: the file keeps its inode."""
    queue.close()
    for ending in ("-wal", "-shm"):
        Path(f"{queue.path}{ending}").unlink(missing_ok=True)
    shutil.copyfile(copy, queue.path)


def test_a_backup_taken_during_a_prefetch_is_restored_without_losing_jobs(
    queue: Queue, tmp_path: Path
) -> None:
    """The inode, the start of the machine and the claim are those that the prefetch log names."""
    registration, rows = claimed(queue, 3)
    queue.backup(tmp_path / "copy.db")
    queue.push(Follower(rows[0].id))
    registration.prefetch_log.finish()
    assert registration.prefetch_log.start()
    registration.close()
    put_in_place(tmp_path / "copy.db", queue)
    drain(queue)
    assert runs == [(row.id, 1) for row in rows]
    assert sorted(followed) == [row.id for row in rows]


def test_a_copy_with_an_older_claim_does_not_match_the_prefetch_log(
    queue: Queue, tmp_path: Path, clock: Clock
) -> None:
    registration, rows = claimed(queue, 3)
    with (
        closing(sqlite3.connect(queue.path)) as live,
        closing(sqlite3.connect(tmp_path / "copy.db")) as copy,
    ):
        live.backup(copy)
    registration.prefetch_log.clear()
    for row in rows:
        queue.store.executions.release(row)
    clock.advance(1)
    rows = queue.store.claims.claim(registration.worker, (), 3, lambda row: True)
    reserved_at = rows[0].reserved_at
    assert reserved_at is not None
    registration.prefetch_log.begin([row.id for row in rows], reserved_at.timestamp())
    registration.prefetch_log.start()
    registration.prefetch_log.finish()
    registration.close()
    put_in_place(tmp_path / "copy.db", queue)
    drain(queue)
    assert runs == [(row.id, 1) for row in rows]


def test_in_a_backup_nothing_runs_and_the_original_is_as_it_was(
    queue: Queue, make_queue: Callable[..., Queue], tmp_path: Path
) -> None:
    registration, rows = claimed(queue, 1)
    for key in ("a", "a", "b"):
        queue.push("keyed", without_overlapping=key)
    keyed = claim_one(queue, registration.worker)
    assert keyed is not None
    asked = queue.push("asked")
    assert queue.store.claims.claim_job(registration.worker, asked)
    queue.cancel(asked)
    queue.backup(tmp_path / "copy.db")
    copy = make_queue("copy.db")
    assert copy.check() == queue.check() == []
    assert copy.store.presence.workers() == []
    states = {row.id: (row.state, row.attempts) for row in copy.find()}
    assert states.pop(asked)[0] == State.CANCELLED
    assert set(states.values()) == {(State.READY, 0)}
    for row in (*rows, keyed):
        assert queue.get(row.id) == row
    registration.prefetch_log.clear()
    registration.leave()
