"""How a run ends, once, by the worker whose run it is and nobody else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

import pytest
from waiting import Clock
from worker_side import WorkerSide, claim_one, claimed

from litequeue.errors import NoSuchJob, RunLost
from litequeue.queue import Queue
from litequeue.records import NOBODY, JobRow, State

WORKER, RIVAL = NOBODY + 1, NOBODY + 2
Table = Callable[[], list[tuple[object, ...]]]
Act = Callable[[Queue, JobRow], object]

ENDINGS: dict[str, Act] = {
    "complete": lambda queue, row: WorkerSide(queue).complete(row),
    "complete and keep": lambda queue, row: WorkerSide(queue).complete(row, result="1", keep=60),
    "fail": lambda queue, row: WorkerSide(queue).fail(row, "boom"),
    "fail and delete": lambda queue, row: WorkerSide(queue).fail(row, "boom", delete=True),
    "retry now": lambda queue, row: WorkerSide(queue).retry_later(row, "boom", after=0),
    "retry later": lambda queue, row: WorkerSide(queue).retry_later(row, "boom", after=5),
    "release": lambda queue, row: WorkerSide(queue).release(row),
    "release for later": lambda queue, row: WorkerSide(queue).release(row, after=5),
    "put back": lambda queue, row: WorkerSide(queue).put_back(row, after=5),
    "progress": lambda queue, row: WorkerSide(queue).progress(row, 1, 2),
}


def _taken(queue: Queue, worker: int) -> None:
    assert claim_one(queue, worker) is not None


# How a run is lost: what others do to the row before its worker comes to end it.
LOSSES: dict[str, Callable[[Queue, JobRow], object]] = {
    "rescued, and run by another": lambda queue, row: (
        WorkerSide(queue).release(row),
        _taken(queue, RIVAL),
    ),
    "retried, and run by the same worker again": lambda queue, row: (
        WorkerSide(queue).retry_later(row, "boom", after=0),
        _taken(queue, WORKER),
    ),
    "rescued, and ready": lambda queue, row: WorkerSide(queue).retry_later(row, "boom", after=0),
    "rescued, and scheduled": lambda queue, row: WorkerSide(queue).release(row, after=60),
    "failed": lambda queue, row: WorkerSide(queue).fail(row, "boom"),
    "done": lambda queue, row: WorkerSide(queue).complete(row, result="1", keep=60),
    "cancelled": lambda queue, row: (queue.cancel(row.id), WorkerSide(queue).fail(row, "boom")),
    "deleted": lambda queue, row: WorkerSide(queue).complete(row),
    "forgotten": lambda queue, row: (WorkerSide(queue).fail(row, "boom"), queue.forget(row.id)),
}

every_ending = pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS.keys())


@pytest.fixture
def row(queue: Queue) -> JobRow:
    """A job in its first run."""
    queue.push("a")
    return claimed(queue, WORKER)


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


@every_ending
@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES.keys())
def test_a_stale_worker_cannot_end_a_run_that_was_lost(
    queue: Queue, row: JobRow, table: Table, lose: Act, end: Act
) -> None:
    lose(queue, row)
    before = table()
    with pytest.raises(RunLost, match=f"Attempt 1 of job {row.id}"):
        end(queue, row)
    assert table() == before
    assert not WorkerSide(queue).wanted(row)


@every_ending
def test_a_lost_run_is_not_missed_when_its_write_brings_on_a_checkpoint(
    make_queue: Callable[..., Queue], monkeypatch: pytest.MonkeyPatch, end: Act
) -> None:
    monkeypatch.setattr("litequeue.engine.checkpoint.CHECKPOINT_BYTES", 0)
    queue = make_queue()
    queue.push("a")
    row = claimed(queue, WORKER)
    WorkerSide(queue).retry_later(row, "boom", after=0)
    monkeypatch.setattr("litequeue.engine.database.WAL_CHECK_STATEMENTS", 1)
    with pytest.raises(RunLost):
        end(queue, row)


@every_ending
def test_an_end_leaves_every_other_job_alone(queue: Queue, row: JobRow, end: Act) -> None:
    queue.push_many([("b", {}), ("c", {})])
    _taken(queue, WORKER)
    others = [queue.get(2), queue.get(3)]
    end(queue, row)
    assert [queue.get(2), queue.get(3)] == others


def test_a_completed_job_is_gone(queue: Queue, row: JobRow, table: Table) -> None:
    WorkerSide(queue).complete(row)
    assert table() == []
    with pytest.raises(NoSuchJob):
        queue.get(row.id)


def test_a_kept_job_stays_with_its_result(queue: Queue, row: JobRow, clock: Clock) -> None:
    clock.advance(3)
    WorkerSide(queue).complete(row, result='{"sum": 3}', keep=60)
    done = queue.get(row.id)
    assert (done.state, done.result, done.attempts) == (State.DONE, '{"sum": 3}', 1)
    assert done.finished_at == at(clock.now)
    assert claim_one(queue, WORKER) is None


def test_a_kept_job_goes_when_its_time_is_over_and_not_before(
    queue: Queue, row: JobRow, clock: Clock
) -> None:
    WorkerSide(queue).complete(row, keep=60)
    clock.advance(59.999)
    assert WorkerSide(queue).expire() == 0
    assert queue.get(row.id).state is State.DONE
    clock.advance(0.001)
    assert WorkerSide(queue).expire() == 1
    assert queue.find() == []


def test_expiry_takes_a_bounded_number_at_a_time_and_all_in_the_end(
    queue: Queue, clock: Clock
) -> None:
    queue.push_many([("a", {})] * 250)
    for seconds in range(250):
        row = claimed(queue, WORKER)
        WorkerSide(queue).complete(row, keep=1 + seconds % 2)
    clock.advance(2)
    assert [WorkerSide(queue).expire() for _ in range(4)] == [100, 100, 50, 0]


def test_a_failed_job_stays_with_its_exception(queue: Queue, row: JobRow, clock: Clock) -> None:
    clock.advance(3)
    assert WorkerSide(queue).fail(row, "Traceback\nValueError: no\n") is State.FAILED
    failed = queue.get(row.id)
    assert (failed.state, failed.exception) == (State.FAILED, "Traceback\nValueError: no\n")
    assert failed.reason == "ValueError: no"
    assert (failed.failed_at, failed.finished_at) == (at(clock.now), at(clock.now))
    assert failed.attempts == 1
    assert claim_one(queue, WORKER) is None


def test_a_failed_job_can_be_deleted_instead(queue: Queue, row: JobRow, table: Table) -> None:
    assert WorkerSide(queue).fail(row, "boom", delete=True) is State.FAILED
    assert table() == []


@pytest.mark.parametrize(("after", "state"), [(0, State.READY), (5, State.SCHEDULED)])
def test_a_job_to_be_retried_has_used_an_attempt(
    queue: Queue, row: JobRow, clock: Clock, after: float, state: State
) -> None:
    assert WorkerSide(queue).retry_later(row, "boom", after=after) is state
    waiting = queue.get(row.id)
    assert (waiting.state, waiting.attempts, waiting.worker) == (state, 1, NOBODY)
    assert (waiting.exception, waiting.failed_at) == ("boom", at(clock.now))
    assert (waiting.available_at, waiting.finished_at) == (at(clock.now + after), None)
    clock.advance(after)
    again = claimed(queue, RIVAL)
    assert (again.id, again.attempts, again.worker) == (row.id, 2, RIVAL)


@pytest.mark.parametrize(("after", "state"), [(0, State.READY), (5, State.SCHEDULED)])
def test_a_released_job_has_used_no_attempt(
    queue: Queue, row: JobRow, clock: Clock, after: float, state: State
) -> None:
    assert WorkerSide(queue).release(row, after=after) is state
    waiting = queue.get(row.id)
    assert (waiting.state, waiting.attempts, waiting.worker) == (state, 0, NOBODY)
    assert (waiting.exception, waiting.available_at) == (None, at(clock.now + after))
    clock.advance(after)
    again = claimed(queue, RIVAL)
    assert (again.id, again.attempts) == (row.id, 1)


def test_a_release_keeps_what_went_wrong_before(queue: Queue, row: JobRow) -> None:
    WorkerSide(queue).retry_later(row, "boom", after=0)
    again = claimed(queue, WORKER)
    WorkerSide(queue).release(again)
    assert (queue.get(row.id).exception, queue.get(row.id).attempts) == ("boom", 1)


def test_progress_is_written_on_the_running_row(queue: Queue, row: JobRow) -> None:
    assert queue.get(row.id).progress is None
    WorkerSide(queue).progress(row, 3, 10)
    assert queue.get(row.id).progress == (3, 10)
    WorkerSide(queue).progress(row, 10, 10)
    assert queue.get(row.id).progress == (10, 10)


def test_a_cancelled_run_goes_on_running(queue: Queue, row: JobRow, clock: Clock) -> None:
    clock.advance(2)
    assert queue.cancel(row.id) == 1
    asked = queue.get(row.id)
    assert (asked.state, asked.cancelled_at) == (State.RUNNING, at(clock.now))
    assert asked.finished_at is None
    assert WorkerSide(queue).running(WORKER) == [asked]
    assert queue.check() == []


STOPPING = {name: end for name, end in ENDINGS.items() if name[:3] in ("fai", "ret", "rel")}


@pytest.mark.parametrize("end", STOPPING.values(), ids=STOPPING.keys())
def test_a_cancelled_run_that_does_not_succeed_ends_cancelled(
    queue: Queue, row: JobRow, clock: Clock, end: Act
) -> None:
    queue.cancel(row.id)
    assert end(queue, row) is State.CANCELLED
    for left in queue.find():
        assert (left.state, left.finished_at) == (State.CANCELLED, at(clock.now))
    clock.advance(60)
    assert claim_one(queue, WORKER) is None
    assert queue.check() == []


def test_a_cancelled_run_that_succeeds_has_succeeded(queue: Queue, row: JobRow) -> None:
    queue.cancel(row.id)
    WorkerSide(queue).complete(row, result="1", keep=60)
    assert queue.get(row.id).state is State.DONE
    assert queue.check() == []


@pytest.mark.parametrize("word", ["fail", "retry later"])
def test_a_cancelled_run_keeps_the_exception_that_it_ended_with(
    queue: Queue, row: JobRow, word: str
) -> None:
    queue.cancel(row.id)
    ENDINGS[word](queue, row)
    assert queue.get(row.id).exception == "boom"
