"""The lock of a worker that is killed while a child of it lives on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from test_presence import ids, rescues
from waiting import Child

from litequeue.engine.prefetch_log import Snapshot
from litequeue.engine.presence import Presence
from litequeue.queue import Queue

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture
def presence(queue: Queue) -> Presence:
    return queue.store.presence


WORKER = """
import os, subprocess, sys
from litequeue.queue import Queue
queue = Queue(sys.argv[1])
registration = queue.store.presence.register(["high", "low"])
registration.prefetch_log.begin([7])
registration.prefetch_log.start()
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
print(registration.worker, child, flush=True)
input()
"""


def numbers(line: str) -> list[int]:
    return [int(word) for word in line.split()]


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
