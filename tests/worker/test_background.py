"""A worker in a thread of an application: it says when it has died, can be used again, and
ends with the program."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest
from waiting import Child, wait_until

from litequeue import Job, Queue, Worker
from litequeue.errors import DatabaseMoved, WorkerRunning
from litequeue.records import State
from litequeue.worker.worker import Limits

Start = Callable[..., Child]


class Snapshot(Job, name="note"):
    text: str = ""

    def handle(self) -> None:
        notes.append(self.text)


class Stays(Job, name="stays"):
    def handle(self) -> None:
        begun.set()
        go_on.wait(20)


notes: list[str] = []
begun, go_on = Event(), Event()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    notes.clear()
    begun.clear()
    go_on.clear()
    with Queue(tmp_path / "jobs.db") as queue:
        yield queue


@pytest.fixture
def worker(queue: Queue) -> Worker:
    return Worker(queue, [Snapshot, Stays])


def test_it_is_alive_for_as_long_as_the_block_lasts(worker: Worker) -> None:
    assert not worker.alive
    with worker.in_background() as entered:
        assert entered is worker
        assert worker.alive
    assert not worker.alive
    assert worker.error is None


def test_an_error_that_ends_it_is_logged_at_once_and_raised_at_the_blocks_end(
    queue: Queue, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DatabaseMoved), worker.in_background():
        wait_until(queue.store.presence.alive, within=20)
        os.unlink(queue.path)
        wait_until(lambda: not worker.alive, within=20)
        assert isinstance(worker.error, DatabaseMoved)
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert "has died, and runs no more jobs of" in record.getMessage()
        assert str(worker.error) in record.getMessage()


def test_an_error_that_is_none_of_ours_is_logged_with_its_traceback(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("as if")

    monkeypatch.setattr(worker.queue.store.claims, "claim", breaks)
    with pytest.raises(ZeroDivisionError), worker.in_background():
        wait_until(lambda: not worker.alive, within=20)
    assert caplog.records[-1].exc_info


def test_what_the_block_raises_goes_before(queue: Queue, worker: Worker) -> None:
    with pytest.raises(KeyError), worker.in_background():
        wait_until(queue.store.presence.alive, within=20)
        os.unlink(queue.path)
        wait_until(lambda: not worker.alive, within=20)
        raise KeyError("of the block")
    assert isinstance(worker.error, DatabaseMoved)


def test_used_again_it_works(queue: Queue, worker: Worker) -> None:
    for text in ("one", "two"):
        with worker.in_background():
            queue.push(Snapshot(text))
            wait_until(lambda text=text: text in notes, within=20)
    queue.push(Snapshot("three"))
    with ExitStack() as stack:
        stack.enter_context(worker.in_background())
        wait_until(lambda: "three" in notes, within=20)
    assert notes == ["one", "two", "three"]


def test_used_again_its_limits_count_anew(queue: Queue) -> None:
    worker = Worker(queue, [Snapshot], limits=Limits(jobs=1))
    for text in ("one", "two"):
        queue.push(Snapshot(text))
        with worker.in_background():
            wait_until(lambda text=text: text in notes, within=20)
    assert notes == ["one", "two"]


def test_used_again_it_has_no_error_of_before(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("as if")

    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        broken.setattr(worker.queue.store.claims, "claim", breaks)
        with worker.in_background():
            wait_until(lambda: not worker.alive, within=20)
    with worker.in_background():
        assert worker.error is None


def test_entered_while_it_is_at_work_it_is_refused(queue: Queue, worker: Worker) -> None:
    queue.push(Snapshot("before"))
    with worker.in_background():
        for enter in (worker.in_background().__enter__, worker.run):
            with pytest.raises(WorkerRunning, match="already running"):
                enter()
        queue.push(Snapshot("after"))
        wait_until(lambda: "after" in notes, within=20)
    assert worker.error is None


def test_its_end_waits_for_the_running_job(queue: Queue, worker: Worker) -> None:
    id = queue.push(Stays(), keep=60)
    with worker.in_background():
        assert begun.wait(20)
        go_on.set()
    assert queue.get(id).state is State.DONE


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_in_a_forked_child_it_is_not_alive(worker: Worker) -> None:
    with worker.in_background():
        child = os.fork()
        if child == 0:
            os._exit(1 if worker.alive else 0)
        assert os.waitpid(child, 0)[1] == 0


LEAKED = """
import sys, time
from contextlib import ExitStack
from litequeue import Job, Queue, Worker

class Naps(Job):
    seconds: float = 0

    def handle(self):
        print("begun", flush=True)
        time.sleep(self.seconds)
        print("done", flush=True)

queue = Queue(sys.argv[1])
worker = Worker(queue, [Naps], grace=float(sys.argv[2]))
stack = ExitStack()
stack.enter_context(worker.in_background())
sys.stdin.readline()
"""


def test_never_left_it_ends_with_the_program(tmp_path: Path, start: Start) -> None:
    with Queue(tmp_path / "jobs.db") as queue:
        child = start(LEAKED, queue.path, 10)
        wait_until(queue.store.presence.alive, within=20)
        child.say()
        assert child.finish() == ""


def test_never_left_it_lets_the_running_job_end(tmp_path: Path, start: Start) -> None:
    with Queue(tmp_path / "jobs.db") as queue:
        queue.push("naps", {"seconds": 0.5})
        child = start(LEAKED, queue.path, 20)
        assert child.line() == "begun"
        child.say()
        assert child.finish() == "done"
        assert queue.find() == []


def test_a_job_that_outlives_the_program_goes_back_with_its_attempt_not_used(
    tmp_path: Path, start: Start
) -> None:
    with Queue(tmp_path / "jobs.db") as queue:
        id = queue.push("naps", {"seconds": 600}, max_attempts=1)
        child = start(LEAKED, queue.path, 0.1)
        assert child.line() == "begun"
        child.say()
        assert child.finish() == ""
        Worker(queue, [Snapshot], limits=Limits(drain=True), queues=["other"]).run()
        row = queue.get(id)
        assert (row.state, row.attempts) == (State.READY, 0)


def test_a_block_that_nobody_keeps_does_not_end_it(tmp_path: Path, start: Start) -> None:
    script = LEAKED.replace(
        "stack.enter_context(worker.in_background())", "worker.in_background().__enter__()"
    )
    with Queue(tmp_path / "jobs.db") as queue:
        child = start(script, queue.path, 10)
        queue.push("naps")
        assert child.line() == "begun"
        child.say()
        child.finish()
