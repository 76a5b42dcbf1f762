"""Batches as users write them: planned, worked on and finished by real workers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from types import ModuleType

import pytest
from waiting import Child, wait_until

from litequeue import Batch, BatchRow, Fail, Job, Queue, Retry, Worker, current, job
from litequeue.jobs.discovery import jobs_in
from litequeue.store.insert import Pushed
from litequeue.worker.worker import Limits

Chunk = tuple[list[Pushed], object]
CHUNK = 3
# No test here plans so many chunks: a plan that does not advance must not hang them.
ENOUGH = 20
told: list[object] = []
first_ran, go_on = Event(), Event()


@job(keep=3600)
def note(number: int) -> int:
    if number < 0:
        raise Fail("below zero")
    return number


@job(keep=3600)
def see_batch() -> list[int]:
    record = current().batch
    assert record is not None
    return [record.id, record.planned]


class Count(Batch, keep=3600, backoff=0):
    """Plans a member for each number, in chunks."""

    numbers: list[int]

    def plan(self, cursor: object) -> Chunk:
        start = cursor if isinstance(cursor, int) else 0
        told.append(cursor)
        if len(told) > ENOUGH:
            raise Fail("it goes on for ever")
        end = start + CHUNK
        more = end if end < len(self.numbers) else None
        return [note(number) for number in self.numbers[start:end]], more

    def finished(self, counts: BatchRow) -> list[int]:
        return [counts.planned, counts.done, counts.failed, counts.cancelled]


class Meets(Count):
    """Plans its second chunk only after a member of the first has run."""

    def plan(self, cursor: object) -> Chunk:
        if cursor is None:
            return [meet()], 1
        assert first_ran.wait(10)
        return [], None


@job
def meet() -> None:
    first_ran.set()


class Holds(Count):
    """Says when it is in its second chunk, and waits there."""

    def plan(self, cursor: object) -> Chunk:
        if cursor is not None:
            first_ran.set()
            assert go_on.wait(10)
        return super().plan(cursor)


class Dies(Count):
    """Its process ends between two chunks, as long as there is a file of this name."""

    armed: Path = Path()
    how: str = "exit"

    def plan(self, cursor: object) -> Chunk:
        if cursor == CHUNK and self.armed.exists():
            self.armed.unlink()
            if self.how == "exit":
                os._exit(1)
            print("between", flush=True)
            sys.stdin.read()
        return super().plan(cursor)


class Flaky(Count, max_attempts=2):
    """Each of its runs fails once; ``finished`` says which attempt it was."""

    def plan(self, cursor: object) -> Chunk:
        if cursor == CHUNK and current().attempt == 1:
            raise Retry("the second chunk", after=0)
        return super().plan(cursor)

    def finished(self, counts: BatchRow) -> list[int]:
        if current().attempt == 1:
            raise Retry("the end", after=0)
        return [current().attempt, counts.done]

    def succeeded(self, result: object) -> None:
        told.append(("succeeded", result))


class Slow(Count, timeout=0.2, max_attempts=2):
    def finished(self, counts: BatchRow) -> list[int]:
        if current().attempt == 1:
            Event().wait(10)
        return [current().attempt]


class Stays(Batch, max_attempts=1):
    cursor: object

    def plan(self, cursor: object) -> Chunk:
        told.append(cursor)
        if len(told) > ENOUGH:
            raise Fail("it goes on for ever")
        # As a plan may give it: a tuple is an array in JSON, and comes back as a list.
        return [note(1)], tuple(self.cursor) if isinstance(self.cursor, list) else self.cursor


class Unfit(Batch, max_attempts=1):
    def plan(self, cursor: object) -> Chunk:
        return [note(1)], object()


class Sees(Batch, keep=3600):
    def plan(self, cursor: object) -> Chunk:
        record = current().batch
        assert record is not None
        told.append((record.id, record.planned, record.cursor))
        return [see_batch()], None if cursor else 1

    def finished(self, counts: BatchRow) -> bool:
        return current().batch == counts


class Outer(Count):
    """A batch of batches."""

    def plan(self, cursor: object) -> Chunk:
        return [Count([1, 2, 3, 4]), note(5)], None


JOBS = [note, see_batch, meet, Count, Meets, Holds, Dies, Flaky, Slow, Stays, Unfit, Sees, Outer]


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Iterator[Queue]:
    told.clear()
    first_ran.clear()
    go_on.clear()
    queue = make_queue(clock=time.time, sleep=time.sleep)
    yield queue
    assert queue.check() == []


def drain(queue: Queue, **limits: int) -> None:
    Worker(queue, JOBS, limits=Limits(drain=True, **limits)).run()  # type: ignore[arg-type]


def noted(queue: Queue) -> list[object]:
    return sorted(queue.result(row.id) for row in queue.find(name="note", state="done"))  # type: ignore


# Planning and finishing


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9, 10])
def test_a_batch_is_planned_run_and_finished_once(queue: Queue, count: int) -> None:
    id = queue.push(Count(list(range(count))))
    drain(queue)
    assert noted(queue) == list(range(count))
    assert queue.result(id) == [count, count, 0, 0]
    assert told == [None, *range(CHUNK, count, CHUNK)]
    assert queue.counts()["default"] == {"done": count + 1}


def test_members_that_fail_are_counted_and_the_end_still_comes(queue: Queue) -> None:
    id = queue.push(Count([1, -1, 2, -2]))
    drain(queue)
    assert queue.result(id) == [4, 2, 2, 0]
    failed = [row.id for row in queue.find(state="failed")]
    queue.store.database.rows(
        "update litequeue_jobs set payload = '{\"number\": 7}' where state = 7"
    )
    queue.retry(*failed)
    drain(queue)
    record = queue.batch(id)
    assert (record.done, record.failed, record.percent) == (4, 0, 100.0)
    assert queue.result(id) == [4, 2, 2, 0]


def test_members_run_while_later_chunks_are_planned(queue: Queue) -> None:
    id = queue.push(Meets([]))
    with Worker(queue, JOBS).in_background(), Worker(queue, JOBS).in_background():
        assert queue.result(id, timeout=20) == [1, 1, 0, 0]


def test_each_kind_of_job_sees_the_batch_that_it_belongs_to(queue: Queue) -> None:
    id = queue.push(Sees())
    drain(queue)
    assert told == [(id, 0, None), (id, 1, 1)]
    assert queue.result(id) is True
    assert [queue.result(row.id) for row in queue.find(name="see_batch")] == [[id, 2]] * 2
    with queue.batch(then=see_batch()) as batch:
        batch.push(note(1))
    drain(queue)
    assert queue.result(batch.id or 0) == [batch.id, 1]


def test_a_job_of_no_batch_sees_none(queue: Queue) -> None:
    id = queue.push(see_batch(), max_attempts=1)
    drain(queue)
    assert queue.get(id).reason.startswith("AssertionError")


def test_a_batch_of_batches_is_over_when_they_are_finished(queue: Queue) -> None:
    id = queue.push(Outer([]))
    drain(queue)
    (inner,) = [row.id for row in queue.find(name="Count")]
    assert queue.result(inner) == [4, 4, 0, 0]
    assert queue.result(id) == [2, 2, 0, 0]
    assert noted(queue) == [1, 2, 3, 4, 5]


def test_the_finishing_run_has_all_attempts_and_a_batch_succeeds_once(queue: Queue) -> None:
    id = queue.push(Flaky(list(range(5))))
    drain(queue)
    assert queue.result(id) == [2, 5]
    assert noted(queue) == list(range(5))
    assert told == [None, CHUNK, ("succeeded", [2, 5])]


def test_the_finishing_run_has_a_timeout_of_its_own(queue: Queue) -> None:
    id = queue.push(Slow([1]))
    drain(queue)
    assert queue.result(id) == [2]


# What goes wrong


@pytest.mark.parametrize("cursor", [1, "a", [1, 2], {"a": [1]}, 0, ""], ids=str)
def test_a_plan_that_stays_at_its_cursor_fails(queue: Queue, cursor: object) -> None:
    id = queue.push(Stays(cursor))
    drain(queue, jobs=1)
    assert f"plan() returned its cursor {cursor!r} again" in queue.get(id).reason
    assert told == [None, cursor]
    assert queue.batch(id).planned == 1


def test_a_cursor_that_is_no_json_fails_and_plans_nothing(queue: Queue) -> None:
    id = queue.push(Unfit())
    drain(queue)
    assert "JSON" in queue.get(id).reason
    assert queue.batch(id).planned == 0


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_planning_goes_on_where_its_process_was_ended(
    queue: Queue, tmp_path: Path, start: Callable[..., Child], how: str
) -> None:
    armed = tmp_path / "armed"
    armed.touch()
    id = queue.push(Dies(list(range(10)), armed, how))
    child = start(WORK, queue.path, Path(__file__).parent)
    if how == "kill":
        assert child.line() == "between"
        child.kill()
    else:
        wait_until(lambda: child.process.poll() is not None, within=20)
    assert (queue.batch(id).planned, queue.batch(id).cursor) == (CHUNK, CHUNK)
    drain(queue)
    assert noted(queue) == list(range(10))
    assert queue.result(id) == [10, 10, 0, 0]
    assert told == [3, 6, 9]


WORK = """
import sys
sys.path.insert(0, sys.argv[2])
from test_batch import JOBS, Queue, Worker
Worker(Queue(sys.argv[1]), JOBS).run()
"""


# Cancelling


def test_a_planner_that_is_cancelled_in_a_chunk_stores_no_more_of_it(queue: Queue) -> None:
    id = queue.push(Holds(list(range(9))))
    with Worker(queue, JOBS, limits=Limits(jobs=1)).in_background():
        assert first_ran.wait(10)
        assert queue.cancel_batch(id) == 1 + CHUNK
        go_on.set()
        wait_until(lambda: queue.get(id).state.finished)
    drain(queue)
    assert queue.counts()["default"] == {"cancelled": 1 + CHUNK}
    record = queue.batch(id)
    assert (record.planned, record.cancelled) == (CHUNK, CHUNK)


# What a Batch class is


def test_a_batch_class_has_fields_and_options_as_a_job_has(queue: Queue) -> None:
    class Refresh(Batch, queue="low", priority=3, max_attempts=7, name="refresh"):
        shop: int
        days: int = 2

        def plan(self, cursor: object) -> Chunk:
            return [], None

    with pytest.raises(TypeError, match="shop"):
        Refresh()  # type: ignore[call-arg]
    row = queue.get(queue.push(Refresh(1), priority=4))
    assert (row.name, row.queue, row.priority, row.max_attempts) == ("refresh", "low", 4, 7)
    assert row.payload == '{"shop":1,"days":2}'


def test_a_batch_without_a_plan_is_a_base_for_others_and_no_job() -> None:
    class Base(Batch, queue="low"):
        shop: int

        def finished(self, counts: BatchRow) -> None: ...

    class Whole(Base):
        def plan(self, cursor: object) -> Chunk:
            return [], None

    class Further(Whole):
        pass

    module = ModuleType("jobs")
    vars(module).update(Batch=Batch, Job=Job, Base=Base, Whole=Whole, Further=Further)
    assert list(jobs_in(module)) == [Whole, Further]
    assert Further.__litequeue__.options == {"queue": "low"}
