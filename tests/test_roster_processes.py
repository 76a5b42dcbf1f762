"""Who is alive among real processes: killed, stopped, and forked ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from test_roster import burials, ids
from waiting import Child, wait_until

from litequeue.hand import Note
from litequeue.queue import Queue
from litequeue.roster import Roster

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Queue:
    return make_queue()


@pytest.fixture
def roster(queue: Queue) -> Roster:
    return queue.roster


WORKER = """
import os, subprocess, sys
from litequeue.queue import Queue
queue = Queue(sys.argv[1])
seat = queue.roster.join(["high", "low"])
seat.hand.deal([7])
child = 0
if sys.argv[2] == "fork":
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, b"!")
        input()
        os._exit(0)
    os.read(reader, 1)
if sys.argv[2] == "spawn":
    child = subprocess.Popen([sys.executable, "-c", "input()"], close_fds=False).pid
print(seat.worker, child, flush=True)
if child:
    os.waitpid(child, 0)
    print("over", flush=True)
input()
seat.leave()
"""


def numbers(line: str) -> list[int]:
    return [int(word) for word in line.split()]


def test_a_killed_worker_is_dead_and_its_note_is_left(
    queue: Queue, roster: Roster, start: Callable[..., Child]
) -> None:
    child = start(WORKER, queue.path, "alone")
    worker, _ = numbers(child.line())
    assert [(row.id, row.pid, row.queues) for row in roster.alive()] == [
        (worker, child.pid, ("high", "low"))
    ]
    child.kill()
    assert roster.alive() == []
    assert burials(roster, worker) == [Note(7)]
    assert roster.listed() == []


@posix
def test_a_stopped_worker_is_alive(
    queue: Queue, roster: Roster, start: Callable[..., Child]
) -> None:
    child = start(WORKER, queue.path, "alone")
    worker, _ = numbers(child.line())
    os.kill(child.pid, signal.SIGSTOP)
    wait_until(lambda: os.waitpid(child.pid, os.WUNTRACED | os.WNOHANG)[0])
    assert ids(roster.alive()) == [worker]
    assert burials(roster, worker) == [None]
    os.kill(child.pid, signal.SIGCONT)
    child.say()
    assert child.finish() == ""


@posix
@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_the_child_of_a_killed_worker_does_not_keep_its_lock(
    queue: Queue, roster: Roster, start: Callable[..., Child], way: str
) -> None:
    parent = start(WORKER, queue.path, way)
    worker, child = numbers(parent.line())
    assert ids(roster.alive()) == [worker]
    parent.process.kill()
    parent.process.wait()
    try:
        os.kill(child, 0)
        assert roster.alive() == []
        assert burials(roster, worker) == [Note(7)]
    finally:
        os.kill(child, signal.SIGKILL)


@posix
def test_the_child_of_a_living_worker_can_end_and_the_worker_lives_on(
    queue: Queue, roster: Roster, start: Callable[..., Child]
) -> None:
    parent = start(WORKER, queue.path, "fork")
    worker, child = numbers(parent.line())
    os.kill(child, signal.SIGKILL)
    assert parent.line() == "over"
    assert ids(roster.alive()) == [worker]
    parent.say()
    assert parent.finish() == ""
