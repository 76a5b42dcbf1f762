"""Who is alive: seats, locks, notes, and the burial of the dead."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import Clock

from litequeue import locks
from litequeue.errors import CannotOpen
from litequeue.hand import SIZE, Note
from litequeue.queue import Queue
from litequeue.record import NOBODY
from litequeue.roster import Roster, Seat


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Queue:
    return make_queue()


@pytest.fixture
def roster(queue: Queue) -> Roster:
    return queue.roster


@pytest.fixture
def join(roster: Roster) -> Iterator[Callable[..., Seat]]:
    """Takes seats for workers of this process; they leave after the test."""
    seats: list[Seat] = []

    def join(*queues: str) -> Seat:
        seats.append(roster.join(queues))
        return seats[-1]

    yield join
    for seat in seats:
        seat.leave()


def ids(rows: object) -> list[int]:
    return [row.id for row in rows]  # type: ignore[attr-defined]


def lock_file(roster: Roster, worker: int) -> Path:
    return roster.folder / f"{worker:012x}"


def hand_file(roster: Roster, worker: int) -> Path:
    return roster.folder / f"{worker:012x}.hand"


def burials(roster: Roster, worker: int) -> list[Note | None]:
    """What a burial of the worker gives; as a list, for comparing."""
    with roster.burial(worker) as note:
        return [note]


# A seat


def test_a_worker_that_joins_is_listed_with_what_it_serves(
    roster: Roster, join: Callable[..., Seat], clock: Clock
) -> None:
    every, some = join(), join("high", "low")
    rows = {row.id: row for row in roster.listed()}
    assert rows.keys() == {every.worker, some.worker}
    assert (rows[every.worker].queues, rows[some.worker].queues) == ((), ("high", "low"))
    assert {row.pid for row in rows.values()} == {os.getpid()}
    assert {row.started_at.timestamp() for row in rows.values()} == {clock.now}
    assert {row.cause for row in rows.values()} == {None}
    assert ids(roster.alive()) == ids(roster.listed())


def test_a_workers_id_is_its_own_and_six_bytes_wide(join: Callable[..., Seat]) -> None:
    workers = {join().worker for _ in range(20)}
    assert len(workers) == 20
    assert all(NOBODY < worker < 1 << 47 for worker in workers)


def test_a_worker_is_named_by_the_name_of_its_file(
    roster: Roster, join: Callable[..., Seat]
) -> None:
    seat = join()
    name = roster.listed()[0].name
    assert sorted(path.name for path in roster.folder.iterdir()) == [name, f"{name}.hand"]
    assert lock_file(roster, seat.worker).exists()
    assert seat.still_held()


def test_a_worker_that_leaves_leaves_no_file(roster: Roster, join: Callable[..., Seat]) -> None:
    seat, other = join(), join()
    seat.leave()
    roster.dismiss(seat.worker)
    assert ids(roster.listed()) == ids(roster.alive()) == [other.worker]
    assert not lock_file(roster, seat.worker).exists()
    assert not seat.still_held()
    assert other.still_held()


def test_a_worker_may_leave_twice(join: Callable[..., Seat]) -> None:
    seat = join()
    seat.leave()
    seat.leave()
    assert not seat.still_held()


def test_a_lock_that_was_let_go_of_is_a_death(roster: Roster, join: Callable[..., Seat]) -> None:
    seat = join()
    seat.let_go()
    assert roster.alive() == []
    assert ids(roster.listed()) == [seat.worker]


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o644, 0o666])
def test_who_may_use_the_database_may_work_on_it(
    queue: Queue, join: Callable[..., Seat], mode: int
) -> None:
    os.chmod(queue.path, mode)
    join()
    folder = stat.S_IMODE(os.stat(queue.roster.folder).st_mode)
    assert folder == mode | (mode & 0o444) >> 2


def test_a_folder_that_cannot_be_made_is_told_with_its_path(queue: Queue, roster: Roster) -> None:
    roster.folder.write_text("in the way")
    with pytest.raises(CannotOpen, match="workers keep their locks there") as told:
        roster.join([])
    assert str(roster.folder) in str(told.value)
    assert roster.listed() == []
    assert queue.push("a") == 1


def test_a_worker_that_cannot_be_listed_leaves_no_lock_behind(queue: Queue, roster: Roster) -> None:
    queue.database.rows(
        "create trigger refuse before insert on litequeue_workers "
        "begin select raise(abort, 'no workers here'); end"
    )
    with pytest.raises(Exception, match="no workers here"):
        roster.join([])
    assert list(roster.folder.iterdir()) == []


# A note


@pytest.mark.parametrize(
    ("noted", "running"),
    [([], 0), ([7], 7), ([7, 0], 0), ([2**63 - 1], 2**63 - 1), ([2**62, 5], 5)],
)
def test_the_last_note_of_the_dead_is_what_they_were_running(
    roster: Roster, join: Callable[..., Seat], noted: list[int], running: int
) -> None:
    seat = join()
    for job_id in noted:
        seat.hand.clear()
        if job_id:
            seat.hand.deal([job_id])
    seat.let_go()
    assert burials(roster, seat.worker) == [Note(running)]


@pytest.mark.parametrize("left", [b"", bytes(100), bytes(SIZE), b"not a note at all" * 2000])
def test_a_note_that_was_lost_with_the_machine_is_not_known(
    roster: Roster, join: Callable[..., Seat], left: bytes
) -> None:
    seat = join()
    seat.let_go()
    hand_file(roster, seat.worker).write_bytes(left)
    assert burials(roster, seat.worker) == [Note(None)]


def test_a_worker_with_jobs_in_hand_leaves_them_to_whoever_buries_it(
    roster: Roster, join: Callable[..., Seat]
) -> None:
    seat = join()
    seat.hand.deal([7, 8, 9])
    seat.hand.finish('"told"')
    seat.hand.start()
    assert not seat.leave()
    assert burials(roster, seat.worker) == [Note(8, {7: '"told"'}, (9,))]


def test_where_a_job_hung_is_part_of_the_note(roster: Roster, join: Callable[..., Seat]) -> None:
    seat = join()
    seat.hand.deal([7])
    os.write(seat.fileno(), b"  File x, line 1")
    seat.let_go()
    assert burials(roster, seat.worker) == [Note(7, hung="  File x, line 1")]


# A burial


def test_the_living_are_not_buried(roster: Roster, join: Callable[..., Seat]) -> None:
    seat = join()
    assert burials(roster, seat.worker) == [None]
    assert ids(roster.alive()) == [seat.worker]
    assert seat.still_held()


def test_after_a_burial_nothing_of_the_dead_is_left(
    roster: Roster, join: Callable[..., Seat]
) -> None:
    seat, other = join(), join()
    seat.let_go()
    assert burials(roster, seat.worker) == [Note(0)]
    assert ids(roster.listed()) == [other.worker]
    assert not lock_file(roster, seat.worker).exists()
    assert not hand_file(roster, seat.worker).exists()


def test_one_rescuer_only_buries_a_worker(
    roster: Roster, join: Callable[..., Seat], make_queue: Callable[..., Queue]
) -> None:
    rival = make_queue().roster
    seat = join()
    seat.hand.deal([7])
    seat.let_go()
    with roster.burial(seat.worker) as note:
        assert note == Note(7)
        assert burials(rival, seat.worker) == [None]
        assert ids(rival.listed()) == [seat.worker]
    assert rival.listed() == []


def test_a_burial_that_fails_is_left_to_the_next(roster: Roster, join: Callable[..., Seat]) -> None:
    seat = join()
    seat.hand.deal([7])
    seat.let_go()
    with pytest.raises(ZeroDivisionError), roster.burial(seat.worker):
        raise ZeroDivisionError
    assert ids(roster.listed()) == [seat.worker]
    assert burials(roster, seat.worker) == [Note(7)]


def test_a_dead_worker_without_a_file_is_buried_all_the_same(
    roster: Roster, join: Callable[..., Seat]
) -> None:
    seat = join()
    seat.leave()
    assert roster.alive() == []
    assert burials(roster, seat.worker) == [Note(None)]
    assert roster.listed() == []


def test_a_running_job_of_nobody_we_know_has_a_dead_worker(queue: Queue, roster: Roster) -> None:
    stranger = NOBODY + 5
    queue.push_many([("a", {}), ("b", {})])
    queue.reserve(stranger)
    queue.reserve(stranger)
    assert ids(roster.listed()) == [stranger]
    assert roster.alive() == []
    assert burials(roster, stranger) == [Note(None)]


def test_the_cause_of_a_death_is_written_for_one_worker_of_several_with_one_pid(
    roster: Roster, join: Callable[..., Seat]
) -> None:
    # As in two containers, which may give their processes equal numbers.
    ended, alive = join(), join()
    assert roster.explain(ended.worker, "signal 9")
    causes = {row.id: row.cause for row in roster.listed()}
    assert causes == {ended.worker: "signal 9", alive.worker: None}
    assert not roster.explain(ended.worker + alive.worker, "signal 9")


# A removed file


def test_a_worker_sees_that_its_lock_file_was_removed(
    roster: Roster, join: Callable[..., Seat]
) -> None:
    seat = join()
    lock_file(roster, seat.worker).unlink()
    assert not seat.still_held()


def test_a_worker_sees_that_its_lock_file_was_replaced_and_leaves_the_new_one(
    roster: Roster, join: Callable[..., Seat]
) -> None:
    seat = join()
    path = lock_file(roster, seat.worker)
    path.unlink()
    path.touch()
    assert not seat.still_held()
    seat.leave()
    assert path.exists()


def test_a_worker_that_lost_its_folder_can_join_again(
    roster: Roster, join: Callable[..., Seat]
) -> None:
    seat = join()
    lock_file(roster, seat.worker).unlink()
    hand_file(roster, seat.worker).unlink()
    roster.folder.rmdir()
    seat.leave()
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
    roster: Roster,
    join: Callable[..., Seat],
    make_queue: Callable[..., Queue],
    just_before_locking: Callable[..., None],
) -> None:
    rival = make_queue().roster
    seat = join()
    seat.hand.deal([7])
    seat.let_go()
    buried: list[Note | None] = []
    just_before_locking(lambda: buried.extend(burials(rival, seat.worker)))
    assert burials(roster, seat.worker) == [None]
    assert buried == [Note(7)]
