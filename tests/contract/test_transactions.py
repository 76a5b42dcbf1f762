"""What is written inside database.transaction(), and who hears of it when."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from worker_side import WorkerSide, claimed

from litequeue.engine.notifier import Listener
from litequeue.errors import DatabaseError
from litequeue.queue import Queue
from litequeue.records import NOBODY, State

WORKER = NOBODY + 1


@pytest.fixture
def other(queue: Queue, make_queue: Callable[..., Queue]) -> Queue:
    """The same file as another process sees it."""
    return make_queue()


@pytest.fixture
def listener(queue: Queue) -> Iterator[Listener]:
    """What an idle worker sleeps on."""
    with closing(WorkerSide(queue).listen()) as listener:
        yield listener


@contextmanager
def rolled_back(queue: Queue) -> Iterator[None]:
    """A transaction that an exception ends after the block."""
    with suppress(ZeroDivisionError), WorkerSide(queue).transaction():
        yield
        raise ZeroDivisionError


def test_a_push_inside_a_transaction_is_seen_when_it_commits(queue: Queue, other: Queue) -> None:
    with WorkerSide(queue).transaction():
        ids = [queue.push("a"), *queue.push_many([("b", {}), ("c", {})])]
        assert other.find() == []
        assert len(queue.find()) == 3
    assert sorted(row.id for row in other.find()) == ids


def test_a_push_inside_a_transaction_rolls_back_with_it(queue: Queue, other: Queue) -> None:
    with rolled_back(queue):
        queue.push("a")
        queue.push_many([("b", {}), ("c", {})])
    assert queue.find() == other.find() == []
    assert not WorkerSide(queue).in_transaction()


def test_every_verb_can_be_part_of_one_transaction(queue: Queue, other: Queue) -> None:
    first, second, third = queue.push_many([("a", {})] * 3)
    before = other.find()
    with rolled_back(queue):
        row = claimed(queue, WORKER)
        WorkerSide(queue).complete(row, keep=60)
        queue.cancel(second)
        queue.forget(third)
        queue.retry(all=True)
        queue.pause("default")
        queue.prune(0)
        assert other.find() == before
    assert queue.find() == other.find() == before
    assert queue.paused() == []
    assert queue.get(first).state is State.READY


def test_an_inner_transaction_is_part_of_the_outer_one(queue: Queue, other: Queue) -> None:
    with WorkerSide(queue).transaction():
        with WorkerSide(queue).transaction():
            queue.push("a")
        assert WorkerSide(queue).in_transaction()
        assert other.find() == []
    assert [row.name for row in other.find()] == ["a"]


def test_an_error_that_leaves_both_blocks_rolls_back_both(queue: Queue) -> None:
    def write() -> None:
        with WorkerSide(queue).transaction():
            queue.push("outer")
            with WorkerSide(queue).transaction():
                queue.push("inner")
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert queue.find() == []


def test_a_transaction_that_was_ended_by_hand_is_an_error(queue: Queue) -> None:
    def write() -> None:
        with WorkerSide(queue).transaction() as connection:
            queue.push("a")
            connection.execute("commit")

    with pytest.raises(DatabaseError):
        write()
    assert not WorkerSide(queue).in_transaction()
    queue.push("b")
    assert [row.name for row in queue.find()] == ["b", "a"]


def test_a_transaction_holds_the_write_lock_from_its_beginning(
    queue: Queue, make_queue: Callable[..., Queue]
) -> None:
    class Waits(Exception):
        pass

    def waits(seconds: float) -> None:
        raise Waits

    other = make_queue(sleep=waits)
    with WorkerSide(queue).transaction(), pytest.raises(Waits):
        other.push("a")
    assert other.find() == []
    assert other.push("a") == 1


# Who is woken


@pytest.mark.parametrize("many", [False, True])
def test_a_push_wakes_a_worker(queue: Queue, listener: Listener, many: bool) -> None:
    queue.push_many([("a", {})]) if many else queue.push("a")
    assert listener.take()


def test_a_worker_is_woken_after_the_commit_and_once_for_a_queue(
    queue: Queue, listener: Listener
) -> None:
    with WorkerSide(queue).transaction():
        queue.push("a")
        queue.push("b")
        queue.push_many([("c", {}), ("d", {})])
        assert not listener.take()
    assert listener.take()
    assert not listener.take()


def test_a_rolled_back_push_wakes_nobody_ever(queue: Queue, listener: Listener) -> None:
    with rolled_back(queue):
        queue.push("a")
    with WorkerSide(queue).transaction():
        queue.pause("elsewhere")
    assert not listener.take()


def test_a_retried_and_a_resumed_job_wake_a_worker(queue: Queue, listener: Listener) -> None:
    job_id = queue.push("a", {}, delay=60)
    listener.drain()
    queue.retry(job_id)
    assert listener.take()
    queue.resume("default")
    assert listener.take()


def test_a_released_run_wakes_a_worker(queue: Queue, listener: Listener) -> None:
    queue.push("a")
    row = claimed(queue, WORKER)
    listener.drain()
    WorkerSide(queue).release(row)
    assert listener.take()


def test_a_push_on_the_callers_connection_wakes_nobody_who_could_not_see_it(
    queue: Queue, listener: Listener
) -> None:
    with closing(sqlite3.connect(queue.path, isolation_level=None)) as connection:
        connection.execute("begin")
        queue.push("a", {}, connection=connection)
        queue.push_many([("a", {})], connection=connection)
        assert not listener.take()
        connection.execute("commit")
        queue.push("a", {}, connection=connection)
        assert listener.take()
        queue.push_many([("a", {})], connection=connection)
        assert listener.take()
