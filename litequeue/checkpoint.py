"""Copying the WAL into the database: when, and by whom.

SQLite up to 3.51.2 can lose commits where automatic checkpoints of several processes
meet a writer (https://sqlite.org/wal.html#walresetbug). So those are off, and one
process at a time runs a TRUNCATE checkpoint, which takes the write lock first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from litequeue.errors import DatabaseError

CHECKPOINT_BYTES = 4 * 1024 * 1024
# Without a real wait for the write lock, SQLite falls back to the unsafe kind.
WAIT_MS = 1000
# How many statements pass between two looks at the size of the WAL.
LOOK_STATEMENTS = 64

Execute = Callable[[str], Sequence[tuple[object, ...]]]


class Checkpoints:
    """The WAL of one database."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._wal = f"{path}-wal"
        self._lock = f"{path}-checkpoint"
        self._due_at = CHECKPOINT_BYTES

    def due(self) -> bool:
        """Whether the WAL has grown so long that a writer should see to it."""
        return self._size() > self._due_at

    def run(self, execute: Execute) -> None:
        """Empty the WAL by statements handed to ``execute``, unless another process is
        at it. Never raises: what was committed is safe in the WAL too."""
        if not self._size():
            return
        from litequeue import locks  # most producers end before the WAL is long

        try:
            with locks.tried(self._lock, os.stat(self._path).st_mode & 0o666) as ours:
                size = self._size()
                if ours and size:
                    # A reader that pins the WAL makes every writer wait for every try.
                    self._due_at = CHECKPOINT_BYTES if self._emptied(execute) else 2 * size
        except (OSError, DatabaseError):
            self._due_at = 2 * self._size()

    def _emptied(self, execute: Execute) -> bool:
        execute(f"pragma busy_timeout = {WAIT_MS}")
        try:
            return execute("pragma wal_checkpoint(truncate)")[0][0] == 0
        finally:
            execute("pragma busy_timeout = 0")

    def _size(self) -> int:
        try:
            return os.stat(self._wal).st_size
        except OSError:
            return 0
