"""Processes that fork with a queue open: after connecting, in a thread, in a job."""

from __future__ import annotations

import os
import signal
import threading
import warnings

import pytest

from litequeue import Queue

from .harness import LONG, World
from .jobs_for_faults import Scripted
from .journal import OK, START

# Python 3.12 warns of a fork in a process that has threads; that is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

PUSHES = 50


def pushing_in_a_fork(queue: Queue) -> int:
    """Fork a child that pushes many jobs with the queue that it came by; its process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.alarm(int(LONG))
        for _ in range(PUSHES):
            queue.push(Scripted())
        status = 0
    finally:
        os._exit(status)


def reaped(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_fork_after_connecting_pushes_beside_its_parent(world: World) -> None:
    world.push()
    children = [pushing_in_a_fork(world.queue) for _ in range(3)]
    for _ in range(PUSHES):
        world.push()
    assert [reaped(child) for child in children] == [0, 0, 0]
    assert sum(world.queue.counts()["default"].values()) == 1 + 4 * PUSHES
    assert integrity(world.queue) == "ok"


def test_a_fork_in_a_thread_pushes_beside_the_other_threads(world: World) -> None:
    # The others rest while it forks: a child gets the mutexes of SQLite as they are.
    begun, forked = threading.Barrier(3), threading.Barrier(3)
    statuses: list[int] = []

    def push(fork: bool) -> None:
        world.push()
        begun.wait(LONG)
        child = pushing_in_a_fork(world.queue) if fork else 0
        forked.wait(LONG)
        for _ in range(PUSHES):
            world.push()
        if fork:
            statuses.append(reaped(child))

    threads = [threading.Thread(target=push, args=(fork,)) for fork in (True, False, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0]
    assert sum(world.queue.counts()["default"].values()) == 3 + 4 * PUSHES
    assert integrity(world.queue) == "ok"


def test_a_job_that_forks_is_completed_once_and_its_child_has_pushed(world: World) -> None:
    id = world.push("fork")
    worker = world.work()
    world.gone(id, id + 1)
    assert world.journal.names(id) == [START, OK]
    after = world.push()
    assert world.started(after).pid == worker.pid
    world.gone(after)


def integrity(queue: Queue) -> str:
    return str(queue.store.database.rows("pragma integrity_check")[0][0])
