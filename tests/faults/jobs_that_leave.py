"""Jobs that leave a write transaction open on the queue's own file, each in its own way."""

from __future__ import annotations

import sqlite3
import threading
from typing import NoReturn

from litequeue import Job, current

kept: list[object] = []


def writing() -> sqlite3.Connection:
    """A connection of the job's own, in a transaction that has written."""
    connection = sqlite3.connect(current().pushes_to.path, timeout=20)
    connection.execute("insert into effects values (?)", (current().id,))
    return connection


class Raises(Job, max_attempts=2, backoff=0):
    def handle(self) -> NoReturn:
        connection = writing()
        raise ValueError(f"with {connection} in a local variable")


class Returns(Job, max_attempts=2, backoff=0):
    def handle(self) -> None:
        # In a cycle, as what a framework makes often is.
        cycle: list[object] = [writing()]
        cycle.append(cycle)


class ReturnsIt(Job, max_attempts=2, backoff=0):
    def handle(self) -> object:
        return writing().cursor()


class KeepsIt(Job, max_attempts=2, backoff=0):
    def handle(self) -> None:
        self.connection = writing()


class IsModuleLevel(Job, max_attempts=2, backoff=0):
    def handle(self) -> None:
        kept.append(writing())


class IsAsync(Job, max_attempts=2, backoff=0):
    async def handle(self) -> NoReturn:
        connection = writing()
        raise ValueError(f"with {connection} in a local variable")


class TimesOut(Job, max_attempts=2, backoff=0, timeout=0.2):
    def handle(self) -> None:
        connection = writing()
        threading.Event().wait()
        connection.commit()


class IsInAThread(Job, max_attempts=2, backoff=0):
    """In a thread that is over; its connection is not."""

    def handle(self) -> None:
        thread = threading.Thread(
            target=lambda path: kept.append(opened(path)), args=(current().pushes_to.path,)
        )
        thread.start()
        thread.join()


def opened(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=20)
    connection.execute("insert into effects values (0)")
    return connection


class EntersOurs(Job, max_attempts=2, backoff=0):
    """Begins the transaction that completes the job, and does not leave its block."""

    def handle(self) -> None:
        kept.append(current().transaction())
        kept[-1].__enter__().execute("insert into effects values (1)")  # type: ignore[attr-defined]


class BeginsOnOurs(Job, max_attempts=2, backoff=0):
    """Begins another one on the connection of the queue, which it has kept."""

    def handle(self) -> None:
        database = current().pushes_to.store.database
        with database.transaction() as connection:
            pass
        connection.execute("begin immediate")


class Plain(Job):
    def handle(self) -> None:
        pass
