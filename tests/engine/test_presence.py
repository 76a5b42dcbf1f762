"""Who is alive: seats, locks, notes, and the burial of the dead."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import Clock
from worker_side import claim_one

from litequeue.engine import locks
from litequeue.engine.prefetch_log import Snapshot
from litequeue.engine.presence import Presence, Registration
from litequeue.errors import CannotOpen
from litequeue.queue import Queue
from litequeue.records import NOBODY


@pytest.fixture
def presence(queue: Queue) -> Presence:
    return queue.store.presence


@pytest.fixture
def join(presence: Presence) -> Iterator[Callable[..., Registration]]:
    """Takes seats for workers of this process; they leave after the test."""
    registrations: list[Registration] = []

    def join(*queues: str) -> Registration:
        registrations.append(presence.register(queues))
        return registrations[-1]

    yield join
    for registration in registrations:
        registration.leave()


def ids(rows: object) -> list[int]:
    return [row.id for row in rows]  # type: ignore[attr-defined]


def lock_file(presence: Presence, worker: int) -> Path:
    return presence.folder / f"{worker:012x}"


def hand_file(presence: Presence, worker: int) -> Path:
    return presence.folder / f"{worker:012x}.hand"


def rescues(presence: Presence, worker: int) -> list[Snapshot | None]:
    """What a burial of the worker gives; as a list, for comparing."""
    with presence.rescue(worker) as note:
        return [note]


# A seat


def test_a_worker_that_joins_is_listed_with_what_it_serves(
    presence: Presence, join: Callable[..., Registration], clock: Clock
) -> None:
    every, some = join(), join("high", "low")
    rows = {row.id: row for row in presence.workers()}
    assert rows.keys() == {every.worker, some.worker}
    assert (rows[every.worker].queues, rows[some.worker].queues) == ((), ("high", "low"))
    assert {row.pid for row in rows.values()} == {os.getpid()}
    assert {row.started_at.timestamp() for row in rows.values()} == {clock.now}
    assert {row.cause for row in rows.values()} == {None}
    assert ids(presence.alive()) == ids(presence.workers())


def test_a_workers_id_is_its_own_and_six_bytes_wide(join: Callable[..., Registration]) -> None:
    workers = {join().worker for _ in range(20)}
    assert len(workers) == 20
    assert all(NOBODY < worker < 1 << 47 for worker in workers)


def test_a_worker_is_named_by_the_name_of_its_file(
    presence: Presence, join: Callable[..., Registration]
) -> None:
    registration = join()
    name = presence.workers()[0].name
    assert sorted(path.name for path in presence.folder.iterdir()) == [name, f"{name}.hand"]
    assert lock_file(presence, registration.worker).exists()
    assert registration.still_held()


def test_a_worker_that_leaves_leaves_no_file(
    presence: Presence, join: Callable[..., Registration]
) -> None:
    registration, other = join(), join()
    registration.leave()
    presence.deregister(registration.worker)
    assert ids(presence.workers()) == ids(presence.alive()) == [other.worker]
    assert not lock_file(presence, registration.worker).exists()
    assert not registration.still_held()
    assert other.still_held()


def test_a_worker_may_leave_twice(join: Callable[..., Registration]) -> None:
    registration = join()
    registration.leave()
    registration.leave()
    assert not registration.still_held()


def test_a_lock_that_was_let_go_of_is_a_death(
    presence: Presence, join: Callable[..., Registration]
) -> None:
    registration = join()
    registration.close()
    assert presence.alive() == []
    assert ids(presence.workers()) == [registration.worker]


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o644, 0o666])
def test_who_may_use_the_database_may_work_on_it(
    queue: Queue, join: Callable[..., Registration], mode: int
) -> None:
    os.chmod(queue.path, mode)
    join()
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


# A note


@pytest.mark.parametrize(
    ("noted", "running"),
    [([], 0), ([7], 7), ([7, 0], 0), ([2**63 - 1], 2**63 - 1), ([2**62, 5], 5)],
)
def test_the_last_note_of_the_dead_is_what_they_were_running(
    presence: Presence, join: Callable[..., Registration], noted: list[int], running: int
) -> None:
    registration = join()
    for job_id in noted:
        registration.prefetch_log.clear()
        if job_id:
            registration.prefetch_log.begin([job_id])
    registration.close()
    assert rescues(presence, registration.worker) == [Snapshot(running)]


def test_a_worker_with_jobs_in_hand_leaves_them_to_whoever_buries_it(
    presence: Presence, join: Callable[..., Registration]
) -> None:
    registration = join()
    registration.prefetch_log.begin([7, 8, 9])
    registration.prefetch_log.finish('"told"')
    registration.prefetch_log.start()
    assert not registration.leave()
    assert rescues(presence, registration.worker) == [Snapshot(8, {7: '"told"'}, (9,))]


def test_where_a_job_hung_is_part_of_the_note(
    presence: Presence, join: Callable[..., Registration]
) -> None:
    registration = join()
    registration.prefetch_log.begin([7])
    os.write(registration.fileno(), b"  File x, line 1")
    registration.close()
    assert rescues(presence, registration.worker) == [Snapshot(7, stuck_at="  File x, line 1")]


# A burial


def test_the_living_are_not_buried(presence: Presence, join: Callable[..., Registration]) -> None:
    registration = join()
    assert rescues(presence, registration.worker) == [None]
    assert ids(presence.alive()) == [registration.worker]
    assert registration.still_held()


def test_after_a_burial_nothing_of_the_dead_is_left(
    presence: Presence, join: Callable[..., Registration]
) -> None:
    registration, other = join(), join()
    registration.close()
    assert rescues(presence, registration.worker) == [Snapshot(0)]
    assert ids(presence.workers()) == [other.worker]
    assert not lock_file(presence, registration.worker).exists()
    assert not hand_file(presence, registration.worker).exists()


def test_one_rescuer_only_buries_a_worker(
    presence: Presence, join: Callable[..., Registration], make_queue: Callable[..., Queue]
) -> None:
    rival = make_queue().store.presence
    registration = join()
    registration.prefetch_log.begin([7])
    registration.close()
    with presence.rescue(registration.worker) as note:
        assert note == Snapshot(7)
        assert rescues(rival, registration.worker) == [None]
        assert ids(rival.workers()) == [registration.worker]
    assert rival.workers() == []


def test_a_burial_that_fails_is_left_to_the_next(
    presence: Presence, join: Callable[..., Registration]
) -> None:
    registration = join()
    registration.prefetch_log.begin([7])
    registration.close()
    with pytest.raises(ZeroDivisionError), presence.rescue(registration.worker):
        raise ZeroDivisionError
    assert ids(presence.workers()) == [registration.worker]
    assert rescues(presence, registration.worker) == [Snapshot(7)]


def test_a_dead_worker_without_a_file_is_buried_all_the_same(
    presence: Presence, join: Callable[..., Registration]
) -> None:
    registration = join()
    registration.leave()
    assert presence.alive() == []
    assert rescues(presence, registration.worker) == [Snapshot(None)]
    assert presence.workers() == []


def test_a_running_job_of_nobody_we_know_has_a_dead_worker(
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
    presence: Presence, join: Callable[..., Registration]
) -> None:
    # As in two containers, which may give their processes equal numbers.
    ended, alive = join(), join()
    assert presence.set_cause(ended.worker, "signal 9")
    causes = {row.id: row.cause for row in presence.workers()}
    assert causes == {ended.worker: "signal 9", alive.worker: None}
    assert not presence.set_cause(ended.worker + alive.worker, "signal 9")


# A removed file


def test_a_worker_sees_that_its_lock_file_was_replaced_and_leaves_the_new_one(
    presence: Presence, join: Callable[..., Registration]
) -> None:
    registration = join()
    path = lock_file(presence, registration.worker)
    path.unlink()
    path.touch()
    assert not registration.still_held()
    registration.leave()
    assert path.exists()


def test_a_worker_that_lost_its_folder_can_join_again(
    presence: Presence, join: Callable[..., Registration]
) -> None:
    registration = join()
    lock_file(presence, registration.worker).unlink()
    hand_file(presence, registration.worker).unlink()
    presence.folder.rmdir()
    registration.leave()
    assert join().still_held()


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


def test_a_rescuer_who_comes_as_another_has_finished_buries_nobody(
    presence: Presence,
    join: Callable[..., Registration],
    make_queue: Callable[..., Queue],
    just_before_locking: Callable[..., None],
) -> None:
    rival = make_queue().store.presence
    registration = join()
    registration.prefetch_log.begin([7])
    registration.close()
    buried: list[Snapshot | None] = []
    just_before_locking(lambda: buried.extend(rescues(rival, registration.worker)))
    assert rescues(presence, registration.worker) == [None]
    assert buried == [Snapshot(7)]
