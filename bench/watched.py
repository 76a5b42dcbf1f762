"""Watching SQLite from outside: how long each statement took, and the write lock was held.

``sqlite3.connect`` is replaced for the length of a block, so that what is measured is the
product as it is, whatever its own modules are called.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from unittest import mock

WRITES = ("insert", "update", "delete", "replace")


@dataclass(slots=True)
class PrefetchWatch:
    """What the connections that were opened in its block have done."""

    seconds: dict[str, float] = field(default_factory=dict)
    """For each statement's text, the time in SQLite."""
    calls: dict[str, int] = field(default_factory=dict)
    """For each statement's text, how often it ran."""
    holds: list[float] = field(default_factory=list)
    """How long the write lock was held, each time, in seconds."""
    checkpoints: list[float] = field(default_factory=list)
    """How long each checkpoint took, which holds it too, in seconds."""

    def clear(self) -> None:
        """Forget what was seen so far."""
        self.seconds.clear()
        self.calls.clear()
        self.holds.clear()
        self.checkpoints.clear()

    def saw(self, sql: str, started: float, ended: float) -> None:
        """Note one call."""
        self.seconds[sql] = self.seconds.get(sql, 0.0) + ended - started
        self.calls[sql] = self.calls.get(sql, 0) + 1


class _Cursor(sqlite3.Cursor):
    watch: PrefetchWatch
    sql = ""

    def execute(self, sql: str, parameters: object = ()) -> _Cursor:
        connection = self.connection
        assert isinstance(connection, _Connection)
        self.sql = sql
        started = time.perf_counter()
        super().execute(sql, parameters)  # type: ignore[arg-type]
        ended = time.perf_counter()
        connection.watch.saw(sql, started, ended)
        connection.follow(sql, started, ended)
        return self

    def executemany(self, sql: str, many: Iterable[object]) -> _Cursor:
        connection = self.connection
        assert isinstance(connection, _Connection)
        started = time.perf_counter()
        super().executemany(sql, many)  # type: ignore[arg-type]
        connection.watch.saw(sql, started, time.perf_counter())
        return self

    def fetchall(self) -> list[object]:
        connection = self.connection
        assert isinstance(connection, _Connection)
        started = time.perf_counter()
        rows = super().fetchall()
        ended = time.perf_counter()
        connection.watch.seconds[self.sql] += ended - started
        return rows


class _Connection(sqlite3.Connection):
    watch: PrefetchWatch
    held_since: float | None = None

    def cursor(self, factory: object = None) -> _Cursor:  # type: ignore[override]
        return super().cursor(_Cursor)

    def execute(self, sql: str, parameters: object = ()) -> _Cursor:
        # sqlite3's own makes a cursor past the one above.
        return self.cursor().execute(sql, parameters)

    def follow(self, sql: str, started: float, ended: float) -> None:
        """Note since when, and for how long, this connection has the write lock."""
        words = sql.lstrip()
        if words == "begin immediate":
            self.held_since = ended
        elif self.held_since is not None and not self.in_transaction:
            self.watch.holds.append(ended - self.held_since)
            self.held_since = None
        elif self.held_since is None and words.startswith(WRITES):
            self.watch.holds.append(ended - started)
        elif words.startswith("pragma wal_checkpoint"):
            self.watch.checkpoints.append(ended - started)


@contextmanager
def watched() -> Iterator[PrefetchWatch]:
    """Watch every connection that is opened in the block."""
    watch = PrefetchWatch()
    kind = type("Watched", (_Connection,), {"watch": watch})
    with mock.patch.object(sqlite3, "connect", partial(sqlite3.connect, factory=kind)):
        yield watch
