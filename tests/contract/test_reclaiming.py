"""Jobs that were claimed together: completed as each of them would be alone, and reclaimed
from a worker that does not come to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from test_claiming_several import OTHER, WORKER, anything, fetched, states
from waiting import Clock
from worker_side import WorkerSide

from litequeue.engine.prefetch_log import Snapshot, Success
from litequeue.engine.presence import Registration
from litequeue.errors import NoSuchJob, RunLost
from litequeue.queue import Queue
from litequeue.records import JobRow
from litequeue.records import Spec as Given
from litequeue.store.bulk import AT_ONCE


class Spec:
    """What a batch runs at its end."""

    def __litequeue_spec__(self) -> object:
        return Given("follower", "{}", {})


# Completing together


def test_a_run_that_was_lost_is_named_and_the_others_are_completed(queue: Queue) -> None:
    ids = [queue.push("a") for _ in range(4)]
    rows = WorkerSide(queue).claim(WORKER, (), 9, anything)
    queue.retry(ids[0], force=True)
    queue.retry(ids[1], force=True)
    assert fetched(queue, 1, worker=OTHER) == ids[:1]
    lost = WorkerSide(queue).complete_all([(row, None, 0) for row in rows])
    assert [row.id for row in lost] == ids[:2]
    assert states(queue, ids) == ["running", "ready", "gone", "gone"]


def test_runs_of_different_attempts_are_completed_together(queue: Queue) -> None:
    ids = [queue.push("a") for _ in range(3)]
    WorkerSide(queue).rows(f"update litequeue_jobs set attempts = 2 where id = {ids[1]}")
    rows = WorkerSide(queue).claim(WORKER, (), 9, anything)
    assert [row.attempts for row in rows] == [1, 3, 1]
    assert WorkerSide(queue).complete_all([(row, None, 0) for row in rows]) == []
    assert states(queue, ids) == ["gone"] * 3


def test_of_those_completed_together_some_are_kept(queue: Queue) -> None:
    ids = [queue.push("a") for _ in range(3)]
    rows = WorkerSide(queue).claim(WORKER, (), 9, anything)
    finished = [(rows[0], '"1"', 60), (rows[1], None, 0), (rows[2], None, 60)]
    assert WorkerSide(queue).complete_all(finished) == []
    assert states(queue, ids) == ["done", "gone", "done"]
    assert [queue.result(ids[0]), queue.result(ids[2])] == ["1", None]
    assert WorkerSide(queue).complete_all(finished) == rows
    assert queue.check() == []


def test_dependents_get_the_results_and_run_after_the_last_parent(queue: Queue) -> None:
    one, two, late = (queue.push("parent") for _ in range(3))
    both = queue.push("child", after=[one, two])
    waits = queue.push("child", after=[two, late])
    rows = {row.id: row for row in WorkerSide(queue).claim(WORKER, (), 3, anything)}
    assert WorkerSide(queue).complete_all([(rows[one], '"1"', 0), (rows[two], None, 0)]) == []
    assert states(queue, [both, waits]) == ["ready", "waiting"]
    assert WorkerSide(queue).results(both) == ['"1"', None]
    WorkerSide(queue).complete(rows[late], result='"3"')
    assert states(queue, [both, waits]) == ["ready", "ready"]
    assert queue.check() == []


def test_the_dependencies_of_a_completed_job_are_deleted(queue: Queue) -> None:
    parent = queue.push("parent")
    children = [queue.push("child", after=[parent]) for _ in range(3)]
    for expected in ([parent], children):
        rows = WorkerSide(queue).claim(WORKER, (), 9, anything)
        assert [row.id for row in rows] == expected
        WorkerSide(queue).complete_all([(row, None, 0) for row in rows])
    assert WorkerSide(queue).rows("select * from litequeue_edges") == []
    assert queue.check() == []


def test_a_batch_counts_each_member_once_and_is_closed_by_the_last(queue: Queue) -> None:
    with queue.batch(then=Spec()) as batch:
        for _ in range(4):
            batch.push("member")
    rows = WorkerSide(queue).claim(WORKER, (), 9, anything)
    queue.retry(rows[3].id, force=True)
    assert WorkerSide(queue).complete_all([(row, None, 0) for row in rows]) == [rows[3]]
    assert queue.batch(batch.id).done == 3
    assert states(queue, [batch.id]) == ["waiting"]
    again = WorkerSide(queue).claim(WORKER, (), 9, anything)
    assert (
        WorkerSide(queue).complete_all([(row, None, 0) for row in [*rows[:3], *again]]) == rows[:3]
    )
    assert queue.batch(batch.id).done == 4
    assert states(queue, [batch.id]) == ["ready"]
    assert queue.check() == []


# Reclaiming


@pytest.fixture
def registration(queue: Queue) -> Iterator[Registration]:
    taken = WorkerSide(queue).register(())
    yield taken
    taken.prefetch_log.clear()
    taken.leave()


def begin(registration: Registration, rows: list[JobRow]) -> None:
    reserved_at = rows[0].reserved_at
    assert reserved_at is not None
    registration.prefetch_log.begin([row.id for row in rows], reserved_at.timestamp())
    registration.prefetch_log.start()


def claimed_by(queue: Queue, registration: Registration, count: int = 5) -> list[JobRow]:
    """Jobs that a worker has claimed: the first two have succeeded, and the third is running."""
    for _ in range(count):
        queue.push("job")
    rows = WorkerSide(queue).claim(registration.worker, (), count, anything)
    begin(registration, rows)
    for result in ('"1"', None):
        registration.prefetch_log.finish(result)
        assert registration.prefetch_log.start()
    return rows


def test_reclaiming_completes_the_finished_jobs_and_releases_the_unstarted_ones(
    queue: Queue, registration: Registration
) -> None:
    ids = [row.id for row in claimed_by(queue, registration)]
    child = queue.push("child", after=[ids[0]])
    assert WorkerSide(queue).reclaim() == 4
    assert states(queue, ids) == ["gone", "gone", "running", "ready", "ready"]
    assert {queue.get(id).attempts for id in ids[3:]} == {0}
    assert WorkerSide(queue).results(child) == ['"1"']
    assert not registration.prefetch_log.start()
    assert queue.check() == []


def test_jobs_are_reclaimed_from_one_worker_or_from_all(
    queue: Queue, registration: Registration
) -> None:
    other = WorkerSide(queue).register(())
    mine, theirs = (claimed_by(queue, each) for each in (registration, other))
    assert WorkerSide(queue).reclaim(other.worker) == 4
    assert states(queue, [row.id for row in mine]) == ["running"] * 5
    assert states(queue, [row.id for row in theirs])[3:] == ["ready", "ready"]
    assert WorkerSide(queue).reclaim() == 4
    other.prefetch_log.clear()
    other.leave()


def test_nothing_is_reclaimed_from_a_worker_that_has_just_started_a_job(
    queue: Queue, registration: Registration
) -> None:
    ids = [row.id for row in claimed_by(queue, registration)]
    assert WorkerSide(queue).reclaim(busy_seconds=3600) == 0
    assert states(queue, ids) == ["running"] * 5
    assert registration.prefetch_log.settled == []


def test_reclaiming_can_be_repeated_after_its_transaction_failed(
    queue: Queue, registration: Registration
) -> None:
    ids = [row.id for row in claimed_by(queue, registration)]
    with pytest.raises(NoSuchJob):
        queue.cancel(ids[4], 10**6)
    assert states(queue, ids) == ["running"] * 5
    assert not registration.prefetch_log.start()
    assert WorkerSide(queue).reclaim() == 4
    assert states(queue, ids) == ["gone", "gone", "running", "ready", "ready"]
    assert WorkerSide(queue).reclaim() == 0


def test_reclaiming_changes_nothing_about_a_run_that_has_ended(
    queue: Queue, registration: Registration
) -> None:
    rows = claimed_by(queue, registration)
    registration.prefetch_log.end()
    WorkerSide(queue).retry_later(rows[2], "boom", after=0)
    assert WorkerSide(queue).complete_all([(rows[0], '"1"', 0), (rows[1], None, 0)]) == []
    assert WorkerSide(queue).reclaim() == 2
    assert states(queue, [row.id for row in rows]) == ["gone", "gone", "ready", "ready", "ready"]
    assert queue.check() == []


def test_a_worker_cannot_end_the_runs_that_were_reclaimed_from_it(
    queue: Queue, registration: Registration
) -> None:
    rows = claimed_by(queue, registration)
    WorkerSide(queue).reclaim()
    assert WorkerSide(queue).complete_all([(row, None, 0) for row in rows]) == [
        *rows[:2],
        *rows[3:],
    ]
    with pytest.raises(RunLost):
        WorkerSide(queue).release(rows[4])
    assert states(queue, [row.id for row in rows]) == ["gone"] * 3 + ["ready"] * 2


def test_a_job_of_a_batch_that_was_reclaimed_is_counted_once(
    queue: Queue, registration: Registration
) -> None:
    with queue.batch(then=Spec()) as batch:
        for _ in range(3):
            batch.push("member")
    rows = WorkerSide(queue).claim(registration.worker, (), 9, anything)
    begin(registration, rows)
    registration.prefetch_log.finish()
    assert registration.prefetch_log.start()
    assert WorkerSide(queue).reclaim() == 2
    assert queue.batch(batch.id).done == 1
    assert WorkerSide(queue).complete_all([(row, None, 0) for row in rows[:2]]) == rows[:1]
    assert queue.batch(batch.id).done == 2
    assert queue.check() == []


def test_a_claimed_job_that_was_asked_to_cancel_is_cancelled_when_it_is_reclaimed(
    queue: Queue, registration: Registration
) -> None:
    ids = [row.id for row in claimed_by(queue, registration)]
    sql = f"update litequeue_jobs set cancelled_at = 1 where id = {ids[4]}"
    WorkerSide(queue).rows(sql)
    WorkerSide(queue).reclaim()
    assert states(queue, ids)[3:] == ["ready", "cancelled"]


VERBS: dict[str, tuple[Callable[[Queue, int], object], str]] = {
    "cancel": (lambda queue, id: queue.cancel(id), "cancelled"),
    "cancel by name": (lambda queue, id: queue.cancel(name="job"), "cancelled"),
    "forget": (lambda queue, id: queue.forget(id), "gone"),
    "forget all": (lambda queue, id: queue.forget(all=True), "gone"),
    "pause": (lambda queue, id: queue.pause("default"), "ready"),
    "retry all by force": (lambda queue, id: queue.retry(all=True, force=True), "ready"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_for_a_command_a_job_that_is_claimed_but_not_started_is_not_running(
    verb: str, queue: Queue, registration: Registration
) -> None:
    rows = claimed_by(queue, registration)
    change, left = VERBS[verb]
    change(queue, rows[4].id)
    assert states(queue, [rows[0].id, rows[4].id]) == ["gone", left]
    assert not registration.prefetch_log.start()
    assert queue.check() == []


@pytest.mark.parametrize("verb", ["retry", "cancel"])
def test_jobs_claimed_between_two_steps_of_a_bulk_command_are_not_running_for_it(
    verb: str, queue: Queue, registration: Registration, clock: Clock
) -> None:
    queue.push_many([("job", {})] * AT_ONCE, delay=60)
    ids = [queue.push("job", queue="now") for _ in range(3)]

    def fetch() -> None:
        if not registration.prefetch_log.count:
            rows = WorkerSide(queue).claim(registration.worker, ["now"], 3, anything)
            assert [row.id for row in rows] == ids
            begin(registration, rows)

    clock.after(0.0001, fetch)  # a bulk verb sleeps between two steps
    if verb == "retry":
        queue.retry(all=True, force=True)
        expected = ["ready"] * 3
    else:
        queue.cancel(all=True)
        expected = ["running", "cancelled", "cancelled"]
    assert states(queue, ids) == expected
    assert registration.prefetch_log.count == 3
    assert not registration.prefetch_log.start()


def test_settling_leaves_the_jobs_that_the_prefetch_log_does_not_name(queue: Queue) -> None:
    ids = [queue.push("a") for _ in range(4)]
    reserved_at = WorkerSide(queue).claim(WORKER, (), 9, anything)[0].reserved_at
    assert reserved_at is not None
    note = Snapshot(ids[1], {ids[0]: Success()}, (ids[2],), claimed_at=reserved_at.timestamp())
    assert WorkerSide(queue).settle(WORKER, Snapshot(None)) == 0
    assert WorkerSide(queue).settle(WORKER, note._replace(claimed_at=note.claimed_at - 1)) == 0
    assert WorkerSide(queue).settle(WORKER, note) == 2
    assert states(queue, ids) == ["gone", "running", "ready", "running"]
