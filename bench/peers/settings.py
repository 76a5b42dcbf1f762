"""How durable a commit is, asked of a connection and not of the documentation."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

LEVELS = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}


def pragmas(connection: sqlite3.Connection) -> str:
    """The two settings that decide, in words: WAL, NORMAL."""
    (mode,) = connection.execute("pragma journal_mode").fetchone()
    (level,) = connection.execute("pragma synchronous").fetchone()
    return f"{mode.upper()}, {LEVELS[level]}"


@contextmanager
def remembered(opened: list[sqlite3.Connection]) -> Iterator[None]:
    """Put each connection into ``opened`` that anybody opens in the block."""
    connect = sqlite3.connect

    def remember(*arguments: object, **options: object) -> sqlite3.Connection:
        opened.append(connect(*arguments, **options))  # type: ignore[call-overload]
        return opened[-1]

    with mock.patch.object(sqlite3, "connect", remember):
        yield
