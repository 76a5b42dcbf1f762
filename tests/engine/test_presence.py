"""Which workers are alive: registrations, locks, prefetch logs, and the rescue of the dead."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import Clock
from worker_side import claim_one

from litequeue.engine import locks
from litequeue.engine.prefetch_log import Snapshot, Success
from litequeue.engine.presence import Presence, Registration
from litequeue.errors import CannotOpen
from litequeue.queue import Queue
from litequeue.records import NOBODY


@pytest.fixture
def presence(queue: Queue) -> Presence:
    return queue.store.presence


@pytest.fixture
def register(presence: Presence) -> Iterator[Callable[..., Registration]]:
    """Registers workers of this process; they leave after the test."""
    registrations: list[Registration] = []

    def register(*queues: str) -> Registration:
        registrations.append(presence.register(queues))
        return registrations[-1]

    yield register
    for registration in registrations:
        registration.leave()


def ids(rows: object) -> list[int]:
    return [row.id for row in rows]  # type: ignore[attr-defined]


def lock_file(presence: Presence, worker: int) -> Path:
    return presence.folder / f"{worker:012x}"


def log_file(presence: Presence, worker: int) -> Path:
    return presence.folder / f"{worker:012x}.hand"


def rescues(presence: Presence, worker: int) -> list[Snapshot | None]:
    """What a rescue of the worker gives; as a list, for comparing."""
    with presence.rescue(worker) as note:
        return [note]


# Registering


def test_a_registered_worker_is_listed_with_its_queues(
    presence: Presence, register: Callable[..., Registration], clock: Clock
) -> None:
    every, some = register(), register("high", "low")
    rows = {row.id: row for row in presence.workers()}
    assert rows.keys() == {every.worker, some.worker}
    assert (rows[every.worker].queues, rows[some.worker].queues) == ((), ("high", "low"))
    assert {row.pid for row in rows.values()} == {os.getpid()}
    assert {row.started_at.timestamp() for row in rows.values()} == {clock.now}
    assert {row.cause for row in rows.values()} == {None}
    assert ids(presence.alive()) == ids(presence.workers())


def test_a_workers_id_is_its_own_and_six_bytes_wide(register: Callable[..., Registration]) -> None:
    workers = {register().worker for _ in range(20)}
    assert len(workers) == 20
    assert all(NOBODY < worker < 1 << 47 for worker in workers)


def test_a_worker_is_named_by_the_name_of_its_file(
    presence: Presence, register: Callable[..., Registration]
) -> None:
    registration = register()
    name = presence.workers()[0].name
    assert sorted(path.name for path in presence.folder.iterdir()) == [name, f"{name}.hand"]
    assert lock_file(presence, registration.worker).exists()
    assert registration.still_held()


def test_a_worker_that_leaves_leaves_no_file(
    presence: Presence, register: Callable[..., Registration]
) -> None:
    registration, other = register(), register()
    registration.leave()
    presence.deregister(registration.worker)
    assert ids(presence.workers()) == ids(presence.alive()) == [other.worker]
    assert not lock_file(presence, registration.worker).exists()
    assert not registration.still_held()
    assert other.still_held()


def test_a_worker_may_leave_twice(register: Callable[..., Registration]) -> None:
    registration = register()
    registration.leave()
    registration.leave()
    assert not registration.still_held()


def test_a_worker_whose_lock_is_free_is_dead(
    presence: Presence, register: Callable[..., Registration]
) -> None:
    registration = register()
    registration.close()
    assert presence.alive() == []
    assert ids(presence.workers()) == [registration.worker]


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o644, 0o666])
def test_who_may_use_the_database_may_work_on_it(
    queue: Queue, register: Callable[..., Registration], mode: int
) -> None:
    os.chmod(queue.path, mode)
    register()
    folder = stat.S_IMODE(os.stat(queue.store.presence.folder).st_mode)
    assert folder == mode | (mode & 0o444) >> 2


def test_a_folder_that_cannot_be_made_is_told_with_its_path(
    queue: Queue, presence: Presence
) -> None:
    presence.folder.write_text("in the way")
    with pytest.raises(CannotOpen, match="workers keep their locks there") as told:
        presence.register([])
    assert str(presence.folder) in str(told.value)
    assert presence.workers() == []
    assert queue.push("a") == 1


def test_a_worker_that_cannot_be_listed_leaves_no_lock_behind(
    queue: Queue, presence: Presence
) -> None:
    queue.store.database.rows(
        "create trigger refuse before insert on litequeue_workers "
        "begin select raise(abort, 'no workers here'); end"
    )
    with pytest.raises(Exception, match="no workers here"):
        presence.register([])
    assert list(presence.folder.iterdir()) == []


# The prefetch log


@pytest.mark.parametrize(
    ("noted", "running"),
    [([], 0), ([7], 7), ([7, 0], 0), ([2**63 - 1], 2**63 - 1), ([2**62, 5], 5)],
)
def test_the_log_of_a_dead_worker_says_what_it_was_running(
    presence: Presence, register: Callable[..., Registration], noted: list[int], running: int
) -> None:
    registration = register()
    for job_id in noted:
        registration.prefetch_log.clear()
        if job_id:
            registration.prefetch_log.begin([job_id])
            registration.prefetch_log.start()
    registration.close()
    assert rescues(presence, registration.worker) == [Snapshot(running)]


def test_a_worker_that_leaves_with_claimed_jobs_leaves_them_to_its_rescuer(
    presence: Presence, register: Callable[..., Registration]
) -> None:
    registration = register()
    registration.prefetch_log.begin([7, 8, 9])
    registration.prefetch_log.start()
    registration.prefetch_log.finish('"told"')
    registration.prefetch_log.start()
    assert not registration.leave()
    assert rescues(presence, registration.worker) == [Snapshot(8, {7: Success('"told"')}, (9,))]


def test_where_a_job_hung_is_part_of_the_snapshot(
    presence: Presence, register: Callable[..., Registration]
) -> None:
    registration = register()
    registration.prefetch_log.begin([7])
    registration.prefetch_log.start()
    os.write(registration.fileno(), b"  File x, line 1")
    registration.close()
    assert rescues(presence, registration.worker) == [Snapshot(7, stuck_at="  File x, line 1")]


# Rescuing


def test_a_living_worker_is_not_rescued(
    presence: Presence, register: Callable[..., Registration]
) -> None:
    registration = register()
    assert rescues(presence, registration.worker) == [None]
    assert ids(presence.alive()) == [registration.worker]
    assert registration.still_held()


def test_after_a_rescue_nothing_of_the_dead_worker_is_left(
    presence: Presence, register: Callable[..., Registration]
) -> None:
    registration, other = register(), register()
    registration.close()
    assert rescues(presence, registration.worker) == [Snapshot(0)]
    assert ids(presence.workers()) == [other.worker]
    assert not lock_file(presence, registration.worker).exists()
    assert not log_file(presence, registration.worker).exists()


def test_only_one_rescuer_gets_a_dead_worker(
    presence: Presence, register: Callable[..., Registration], make_queue: Callable[..., Queue]
) -> None:
    rival = make_queue().store.presence
    registration = register()
    registration.prefetch_log.begin([7])
    registration.prefetch_log.start()
    registration.close()
    with presence.rescue(registration.worker) as note:
        assert note == Snapshot(7)
        assert rescues(rival, registration.worker) == [None]
        assert ids(rival.workers()) == [registration.worker]
    assert rival.workers() == []


def test_a_rescue_that_fails_is_left_to_the_next(
    presence: Presence, register: Callable[..., Registration]
) -> None:
    registration = register()
    registration.prefetch_log.begin([7])
    registration.prefetch_log.start()
    registration.close()
    with pytest.raises(ZeroDivisionError), presence.rescue(registration.worker):
        raise ZeroDivisionError
    assert ids(presence.workers()) == [registration.worker]
    assert rescues(presence, registration.worker) == [Snapshot(7)]


def test_a_dead_worker_without_a_file_is_rescued_all_the_same(
    presence: Presence, register: Callable[..., Registration]
) -> None:
    registration = register()
    registration.leave()
    assert presence.alive() == []
    assert rescues(presence, registration.worker) == [Snapshot(None)]
    assert presence.workers() == []


def test_the_worker_of_a_running_job_is_dead_if_it_is_not_registered(
    queue: Queue, presence: Presence
) -> None:
    stranger = NOBODY + 5
    queue.push_many([("a", {}), ("b", {})])
    claim_one(queue, stranger)
    claim_one(queue, stranger)
    assert ids(presence.workers()) == [stranger]
    assert presence.alive() == []
    assert rescues(presence, stranger) == [Snapshot(None)]


def test_the_cause_of_a_death_is_written_for_one_worker_of_several_with_one_pid(
    presence: Presence, register: Callable[..., Registration]
) -> None:
    # As in two containers, which may give their processes equal numbers.
    ended, alive = register(), register()
    assert presence.set_cause(ended.worker, "signal 9")
    causes = {row.id: row.cause for row in presence.workers()}
    assert causes == {ended.worker: "signal 9", alive.worker: None}
    assert not presence.set_cause(ended.worker + alive.worker, "signal 9")


# A removed file


def test_a_worker_sees_that_its_lock_file_was_replaced_and_leaves_the_new_one(
    presence: Presence, register: Callable[..., Registration]
) -> None:
    registration = register()
    path = lock_file(presence, registration.worker)
    path.unlink()
    path.touch()
    assert not registration.still_held()
    registration.leave()
    assert path.exists()


def test_a_worker_that_lost_its_folder_can_register_again(
    presence: Presence, register: Callable[..., Registration]
) -> None:
    registration = register()
    lock_file(presence, registration.worker).unlink()
    log_file(presence, registration.worker).unlink()
    presence.folder.rmdir()
    registration.leave()
    assert register().still_held()


@pytest.fixture
def just_before_locking(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Does something between the opening of a lock file and the lock, once."""
    lock = locks.lock

    def do(action: Callable[[], object]) -> None:
        def late(descriptor: int) -> bool:
            monkeypatch.setattr(locks, "lock", lock)
            action()
            return lock(descriptor)

        monkeypatch.setattr(locks, "lock", late)

    return do


def test_a_lock_is_never_taken_on_a_file_that_was_unlinked(
    tmp_path: Path, just_before_locking: Callable[..., None]
) -> None:
    path = tmp_path / "lock"
    just_before_locking(path.unlink)
    held = locks.acquire(path)
    assert held is not None
    assert locks.leads_to(path, held)
    assert locks.acquire(path) is None
    os.close(held)


def test_a_rescuer_that_comes_as_another_has_finished_rescues_nothing(
    presence: Presence,
    register: Callable[..., Registration],
    make_queue: Callable[..., Queue],
    just_before_locking: Callable[..., None],
) -> None:
    rival = make_queue().store.presence
    registration = register()
    registration.prefetch_log.begin([7])
    registration.prefetch_log.start()
    registration.close()
    rescued: list[Snapshot | None] = []
    just_before_locking(lambda: rescued.extend(rescues(rival, registration.worker)))
    assert rescues(presence, registration.worker) == [None]
    assert rescued == [Snapshot(7)]
