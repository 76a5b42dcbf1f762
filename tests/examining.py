"""Asking the doctor in tests, and bringing a queue into the state that it is to find."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from litequeue.monitor.doctor import examine
from litequeue.monitor.environment import Finding
from litequeue.queue import Queue

MEGABYTE = 1024 * 1024


def diagnosed(queue: Queue, examined: str | None = None) -> list[Finding]:
    """What the doctor says of a queue, all of it or of one thing."""
    found = list(examine(queue.path, clock=queue.store.clock))
    return [each for each in found if examined in (None, each.examined)]


def one(found: list[Finding]) -> Finding:
    """The only finding that there must be."""
    assert len(found) == 1, found
    return found[0]


def by_hand(queue: Queue, *statements: str) -> list[tuple[object, ...]]:
    """Run SQL as somebody with another program would; returns the rows of the last."""
    connection = sqlite3.connect(queue.path, isolation_level=None)
    try:
        rows: list[tuple[object, ...]] = []
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        return rows
    finally:
        connection.close()


def come_and_go(queue: Queue) -> Path:
    """Have a worker come and leave; returns the folder that it has made."""
    registration = queue.store.presence.register(())
    registration.leave()
    queue.store.presence.deregister(registration.worker)
    return queue.store.presence.folder
