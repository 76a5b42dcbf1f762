"""One file and many users of it: locks, threads, forks, backups, and whoever replaces it."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from waiting import Child, Clock
from worker_side import claim_one

from litequeue.engine import locks
from litequeue.errors import (
    CannotOpen,
    DatabaseBusy,
    LockedByOther,
    LockedByUs,
    StaleTransaction,
    WaitTimeout,
)
from litequeue.queue import Queue
from litequeue.records import NOBODY, State

WORKER = NOBODY + 1
HOUR_SECONDS = 3600
MakeQueue = Callable[..., Queue]


def in_threads(*actions: Callable[[], object]) -> None:
    """Call each in a thread of its own; what one raises is raised here."""
    errors: list[BaseException] = []

    def run(action: Callable[[], object]) -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    if errors:
        raise errors[0]


# A file that is locked


def test_a_push_waits_for_the_lock_and_then_succeeds(make_queue: MakeQueue) -> None:
    waiting, released = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        waiting.set()
        assert released.wait(10)

    queue = make_queue(sleep=sleep)
    pushed: list[int] = []
    pusher = threading.Thread(target=lambda: pushed.append(queue.push("a")))
    with closing(sqlite3.connect(queue.path, isolation_level=None)) as holder:
        holder.execute("begin immediate")
        pusher.start()
        assert waiting.wait(10)
        assert pushed == []
        holder.execute("rollback")
    released.set()
    pusher.join(10)
    assert pushed == [1]
    assert queue.get(1).name == "a"


@pytest.mark.parametrize("verb", ["push", "push_many", "transaction"])
def test_a_lock_that_is_not_released_is_an_error_after_half_a_minute(
    make_queue: MakeQueue, clock: Clock, verb: str
) -> None:
    queue = make_queue()
    ways: dict[str, Callable[[], object]] = {
        "push": lambda: queue.push("a"),
        "push_many": lambda: queue.push_many([("a", {})]),
        "transaction": lambda: queue.store.database.transaction().__enter__(),
    }
    with closing(sqlite3.connect(queue.path, isolation_level=None)) as holder:
        holder.execute("begin immediate")
        started = clock.now
        with pytest.raises(DatabaseBusy, match="stayed locked for 30 s"):
            ways[verb]()
        assert 30 <= clock.now - started < 31
        holder.execute("rollback")
    assert queue.push("a") == 1


HOLDER = """
import os, sqlite3, sys
holder = sqlite3.connect(sys.argv[1], isolation_level=None)
holder.execute("begin immediate")
print(os.getpid(), flush=True)
input()
holder.execute("rollback")
"""
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc/locks")


@on_linux
def test_who_waited_in_vain_is_told_which_process_has_the_lock(
    make_queue: MakeQueue, start: Callable[..., Child]
) -> None:
    queue = make_queue()
    holder = start(HOLDER, queue.path)
    pid = holder.line()
    with pytest.raises(LockedByOther, match=rf"another process \({pid}\) for 30 s"):
        queue.push("a")
    holder.say()
    assert holder.finish() == ""
    assert locks.writer(queue.path) is None


@on_linux
@pytest.mark.parametrize("many", [False, True])
def test_who_waits_for_a_transaction_of_their_own_is_told_to_push_with_it(
    make_queue: MakeQueue, many: bool
) -> None:
    queue = make_queue()
    with closing(sqlite3.connect(queue.path)) as connection:
        connection.execute("create table orders (id)")
        connection.execute("insert into orders values (1)")
        with pytest.raises(LockedByUs, match=r"this process has\s+open.*Push with connection="):
            queue.push_many([("a", {})]) if many else queue.push("a")
        assert queue.push("a", connection=connection) == 1
        connection.commit()
    assert len(queue.find()) == 1


def test_where_the_system_does_not_say_who_has_the_lock_ones_own_transaction_comes_first(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "writer", lambda path: None)
    queue = make_queue()
    with closing(sqlite3.connect(queue.path, isolation_level=None)) as holder:
        holder.execute("begin immediate")
        with pytest.raises(DatabaseBusy, match=r"If this program has .* push with connection="):
            queue.push("a")


@pytest.mark.parametrize("seconds", [0, 0.2, 45])
def test_a_queue_waits_as_long_as_it_is_told(
    make_queue: MakeQueue, clock: Clock, seconds: float
) -> None:
    queue = make_queue(busy_timeout=seconds)
    with closing(sqlite3.connect(queue.path, isolation_level=None)) as holder:
        holder.execute("begin immediate")
        started = clock.now
        with pytest.raises(DatabaseBusy, match=f"for {seconds} s"):
            queue.push("a")
        assert seconds <= clock.now - started <= seconds + 0.01


@pytest.mark.parametrize("how", [{"isolation_level": None}, {}])
def test_a_callers_connection_that_waits_by_itself_is_tried_no_longer_than_the_queue_waits(
    make_queue: MakeQueue, how: dict[str, Any]
) -> None:
    queue = make_queue(clock=time.time, sleep=time.sleep, busy_timeout=0.3)
    with (
        closing(sqlite3.connect(queue.path, isolation_level=None)) as holder,
        closing(sqlite3.connect(queue.path, timeout=0.1, **how)) as mine,
    ):
        holder.execute("begin immediate")
        started = time.monotonic()
        with pytest.raises(DatabaseBusy, match="stayed locked"):
            queue.push("a", connection=mine)
        assert 0.3 <= time.monotonic() - started < 10
        holder.execute("rollback")
        assert queue.push("a", connection=mine) == 1


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("timeout", [5, 0.2])
def test_a_transaction_that_has_read_before_another_wrote_is_told_so_at_once(
    make_queue: MakeQueue, timeout: float, written: bool
) -> None:
    queue = make_queue()
    with (
        closing(sqlite3.connect(queue.path, isolation_level=None)) as other,
        closing(sqlite3.connect(queue.path, timeout=timeout, isolation_level=None)) as mine,
    ):
        mine.execute("begin")
        mine.execute("select count(*) from litequeue_jobs").fetchall()
        other.execute("begin immediate")
        other.execute("delete from litequeue_jobs")
        if written:
            other.execute("commit")
        with pytest.raises(StaleTransaction, match="BEGIN IMMEDIATE"):
            queue.push("a", connection=mine)
        mine.execute("rollback")
        if not written:
            other.execute("commit")
        mine.execute("begin immediate")
        assert queue.push("a", connection=mine) == 1
        mine.execute("commit")


def test_a_transaction_that_has_not_read_waits_as_long_as_its_connection_does(
    make_queue: MakeQueue,
) -> None:
    queue = make_queue()
    with (
        closing(sqlite3.connect(queue.path, isolation_level=None)) as other,
        closing(sqlite3.connect(queue.path, timeout=0.2, isolation_level=None)) as mine,
    ):
        mine.execute("begin")
        other.execute("begin immediate")
        with pytest.raises(DatabaseBusy, match=r"stayed locked for 0\.\d+ s"):
            queue.push("a", connection=mine)


def test_a_wait_ends_in_time_though_the_clock_is_set_back(make_queue: MakeQueue) -> None:
    ahead = iter([HOUR_SECONDS, *[0] * 1_000_000])
    queue = make_queue(clock=lambda: time.time() + next(ahead), sleep=time.sleep)
    queue.push("a")
    started = time.monotonic()
    ahead = iter([HOUR_SECONDS, *[0] * 1_000_000])
    with pytest.raises(WaitTimeout):
        queue.wait(1, timeout=0.1)
    assert time.monotonic() - started < 10


def test_reading_waits_for_nobody(make_queue: MakeQueue) -> None:
    def sleep(seconds: float) -> None:
        raise AssertionError("it waited")

    queue = make_queue(sleep=sleep)
    queue.push("a")
    with closing(sqlite3.connect(queue.path, isolation_level=None)) as holder:
        holder.execute("begin immediate")
        assert (len(queue.find()), len(queue.counts())) == (1, 1)
        assert queue.store.claims.has_ready()


def test_an_empty_queue_is_polled_without_the_write_lock(make_queue: MakeQueue) -> None:
    def sleep(seconds: float) -> None:
        raise AssertionError("it waited")

    queue = make_queue(sleep=sleep)
    queue.push("later", {}, delay=60)
    with closing(sqlite3.connect(queue.path, isolation_level=None)) as holder:
        holder.execute("begin immediate")
        assert claim_one(queue, WORKER) is None
        assert queue.store.admin.expire() == 0


# Threads


def test_threads_share_a_queue(make_queue: MakeQueue) -> None:
    queue = make_queue(clock=time.time, sleep=time.sleep)
    ids: list[int] = []

    def push() -> None:
        for _ in range(50):
            ids.append(queue.push("a"))

    in_threads(*[push] * 8)
    assert sorted(ids) == list(range(1, 401))
    assert queue.counts() == {"default": {State.READY: 400}}


def test_threads_never_get_the_same_job(make_queue: MakeQueue) -> None:
    queue = make_queue(clock=time.time, sleep=time.sleep)
    queue.push_many([("a", {})] * 200)
    had: list[int] = []

    def work(worker: int) -> None:
        while (row := claim_one(queue, worker)) is not None:
            had.append(row.id)
            queue.store.executions.complete(row)

    in_threads(*[lambda worker=worker: work(worker) for worker in range(WORKER, WORKER + 6)])
    assert sorted(had) == list(range(1, 201))
    assert queue.find() == []


def test_a_transaction_belongs_to_its_thread(make_queue: MakeQueue) -> None:
    queue = make_queue()
    seen: list[object] = []
    with queue.store.database.transaction():
        queue.push("a")
        in_threads(lambda: seen.extend([queue.find(), queue.store.database.in_transaction()]))
    assert seen == [[], False]


def test_closing_closes_the_connections_of_all_threads_and_they_may_go_on(
    make_queue: MakeQueue,
) -> None:
    queue = make_queue()
    used, closed = threading.Event(), threading.Event()

    def other() -> None:
        queue.push("before")
        used.set()
        assert closed.wait(10)
        queue.push("after")

    thread = threading.Thread(target=other)
    thread.start()
    assert used.wait(10)
    queue.close()
    assert not Path(f"{queue.path}-wal").exists()
    closed.set()
    thread.join(10)
    assert [row.name for row in queue.find()] == ["after", "before"]


THREADS_THAT_END = """
import gc, sys, threading
from litequeue.queue import Queue
queue = Queue(sys.argv[1])
for _ in range(5):
    thread = threading.Thread(target=queue.push, args=("a",))
    thread.start()
    thread.join()
for number in range(3):
    Queue(sys.argv[1]).push("dropped")
gc.collect()
print(len(queue.find()))
queue.close()
"""


def test_threads_that_end_and_queues_that_are_dropped_leave_nothing_open(
    start: Callable[..., Child], tmp_path: Path
) -> None:
    child = start(THREADS_THAT_END, tmp_path / "jobs.db", flags=("-X", "dev", "-W", "error"))
    assert child.finish() == "8"
    assert not (tmp_path / "jobs.db-wal").exists()


# Forks


FORK_IN_A_TRANSACTION = """
import os, sys
from litequeue.queue import Queue
queue = Queue(sys.argv[1])
with queue.store.database.transaction():
    queue.push("parent")
    child = os.fork()
    if not child:
        os._exit(10 + len(queue.find()) + queue.store.database.in_transaction())
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    queue.push("parent")
print(status, len(queue.find()))
queue.close()
"""


def test_a_forked_child_has_no_part_in_its_parents_transaction(
    start: Callable[..., Child], tmp_path: Path
) -> None:
    assert start(FORK_IN_A_TRANSACTION, tmp_path / "jobs.db").finish() == "10 2"


FORK_AND_LEAVE = """
import os, sys
from litequeue.queue import Queue
queue = Queue(sys.argv[1])
queue.push("before")
child = os.fork()
if not child:
    if sys.argv[2] == "close":
        queue.close()
    if sys.argv[2] == "use and close":
        queue.push("in-child")
        queue.close()
    sys.exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
ids = [queue.push("after") for _ in range(3)]
print(status, os.path.exists(sys.argv[1] + "-wal"), len(ids), flush=True)
input()
"""


@pytest.mark.parametrize("way", ["exit", "close", "use and close"])
def test_a_child_that_ends_takes_nothing_from_its_parent(
    start: Callable[..., Child], make_queue: MakeQueue, tmp_path: Path, way: str
) -> None:
    child = start(FORK_AND_LEAVE, tmp_path / "jobs.db", way)
    assert child.line() == "0 True 3"
    # Another process sees what the parent has written since, and writes beside it.
    queue = make_queue()
    assert [row.name for row in queue.find()][:3] == ["after"] * 3
    queue.push("theirs")
    queue.close()
    child.say()
    assert child.finish() == ""
    assert len(make_queue().find()) == 5 + (way == "use and close")


# Backups


def test_a_backup_is_a_copy_that_works(make_queue: MakeQueue, tmp_path: Path) -> None:
    queue = make_queue()
    ids = queue.push_many([("a", {"n": 1}), ("b", {})])
    queue.backup(tmp_path / "copy.db")
    queue.push("later")
    copy = make_queue("copy.db")
    assert [copy.get(id) for id in ids] == [queue.get(id) for id in ids]
    assert copy.push("c") == ids[-1] + 1
    assert copy.check() == []


def test_a_backup_is_made_while_another_process_writes(
    make_queue: MakeQueue, tmp_path: Path
) -> None:
    queue = make_queue()
    queue.push("a")
    with closing(sqlite3.connect(queue.path, isolation_level=None)) as writer:
        writer.execute("begin immediate")
        writer.execute("delete from litequeue_jobs")
        queue.backup(tmp_path / "copy.db")
        writer.execute("rollback")
    assert [row.name for row in make_queue("copy.db").find()] == ["a"]


@pytest.mark.parametrize("name", ["other.db", "jobs.db"])
def test_a_backup_overwrites_nothing(make_queue: MakeQueue, tmp_path: Path, name: str) -> None:
    queue = make_queue()
    queue.push("a")
    (tmp_path / "other.db").write_text("mine")
    with pytest.raises(CannotOpen, match=f"{name}.* not written over another file"):
        queue.backup(tmp_path / name)
    assert (tmp_path / "other.db").read_text() == "mine"
    assert len(queue.find()) == 1


# The file under you


@pytest.mark.parametrize("way", ["untouched", "replaced", "renamed", "deleted"])
def test_a_file_that_was_replaced_under_the_queue_is_noticed(
    make_queue: MakeQueue, tmp_path: Path, way: str
) -> None:
    queue, other = make_queue(), make_queue("other.db")
    other.close()
    assert queue.push("a") == 1
    assert not queue.store.database.moved()
    if way == "replaced":
        os.replace(tmp_path / "other.db", queue.path)
    elif way == "renamed":
        os.rename(queue.path, tmp_path / "elsewhere.db")
    elif way == "deleted":
        os.unlink(queue.path)
    assert queue.store.database.moved() is (way != "untouched")


def test_a_queue_that_is_opened_anew_has_the_new_file(
    make_queue: MakeQueue, tmp_path: Path
) -> None:
    queue, other = make_queue(), make_queue("other.db")
    other.push("theirs")
    other.store.database.checkpoint()
    other.close()
    queue.close()
    os.replace(tmp_path / "other.db", queue.path)
    assert [row.name for row in queue.find()] == ["theirs"]
    assert not queue.store.database.moved()
