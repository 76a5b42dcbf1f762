"""Who is alive among real processes: killed, stopped, and forked ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from test_presence import ids, rescues
from waiting import Child, wait_until

from litequeue.engine.prefetch_log import Snapshot
from litequeue.engine.presence import Presence
from litequeue.queue import Queue

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Queue:
    return make_queue()


@pytest.fixture
def presence(queue: Queue) -> Presence:
    return queue.store.presence


WORKER = """
import os, subprocess, sys
from litequeue.queue import Queue
queue = Queue(sys.argv[1])
seat = queue.store.presence.register(["high", "low"])
seat.prefetch_log.begin([7])
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
    queue: Queue, presence: Presence, start: Callable[..., Child]
) -> None:
    child = start(WORKER, queue.path, "alone")
    worker, _ = numbers(child.line())
    assert [(row.id, row.pid, row.queues) for row in presence.alive()] == [
        (worker, child.pid, ("high", "low"))
    ]
    child.kill()
    assert presence.alive() == []
    assert rescues(presence, worker) == [Snapshot(7)]
    assert presence.workers() == []


@posix
def test_a_stopped_worker_is_alive(
    queue: Queue, presence: Presence, start: Callable[..., Child]
) -> None:
    child = start(WORKER, queue.path, "alone")
    worker, _ = numbers(child.line())
    os.kill(child.pid, signal.SIGSTOP)
    wait_until(lambda: os.waitpid(child.pid, os.WUNTRACED | os.WNOHANG)[0])
    assert ids(presence.alive()) == [worker]
    assert rescues(presence, worker) == [None]
    os.kill(child.pid, signal.SIGCONT)
    child.say()
    assert child.finish() == ""


@posix
@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_the_child_of_a_killed_worker_does_not_keep_its_lock(
    queue: Queue, presence: Presence, start: Callable[..., Child], way: str
) -> None:
    parent = start(WORKER, queue.path, way)
    worker, child = numbers(parent.line())
    assert ids(presence.alive()) == [worker]
    parent.process.kill()
    parent.process.wait()
    try:
        os.kill(child, 0)
        assert presence.alive() == []
        assert rescues(presence, worker) == [Snapshot(7)]
    finally:
        os.kill(child, signal.SIGKILL)


@posix
def test_the_child_of_a_living_worker_can_end_and_the_worker_lives_on(
    queue: Queue, presence: Presence, start: Callable[..., Child]
) -> None:
    parent = start(WORKER, queue.path, "fork")
    worker, child = numbers(parent.line())
    os.kill(child, signal.SIGKILL)
    assert parent.line() == "over"
    assert ids(presence.alive()) == [worker]
    parent.say()
    assert parent.finish() == ""
