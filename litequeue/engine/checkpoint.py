"""Checkpoints: when the WAL is copied into the database, and by which process.

SQLite up to 3.51.2 can lose commits when automatic checkpoints run in several processes
(https://sqlite.org/wal.html#walresetbug): a checkpoint that finds nothing left to copy does
not notice that a writer restarts the WAL at the same time. So automatic checkpoints are
off, one process at a time runs a checkpoint, and only when no writer can restart the WAL:
while there is something left to copy, or under the write lock.

The modes that wait (FULL, RESTART, TRUNCATE) hold the write lock while they wait for
readers, and every push would wait with them. PASSIVE never waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress

from litequeue.errors import DatabaseBusy, DatabaseError, DatabaseFull

CHECKPOINT_BYTES = 4 * 1024 * 1024
# The limit for an idle process. A shorter WAL takes less time to recover after a crash.
IDLE_BYTES = CHECKPOINT_BYTES // 16
# A connection checks the size of the WAL once in so many statements.
WAL_CHECK_STATEMENTS = 64
# A reader may keep the WAL from being emptied for hours, and each attempt adds a page.
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0

Execute = Callable[[str], Sequence[tuple[object, ...]]]
Connect = Callable[[], AbstractContextManager[Execute]]


class Checkpoints:
    """Runs the checkpoints of one database."""

    def __init__(
        self, path: str, connect: Connect, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``connect`` opens a connection for a block, and yields a function that runs a
        statement on it; the connection must not wait for locks or checkpoint by itself."""
        self._path = path
        self._wal = f"{path}-wal"
        self._lock = f"{path}-checkpoint"
        self._connect = connect
        self._clock = clock
        self._pause = FIRST_RETRY_SECONDS
        self._again_at = 0.0

    def due(self) -> bool:
        """Whether the WAL has grown so long that a writer should checkpoint it."""
        return self._size() > CHECKPOINT_BYTES and self._clock() >= self._again_at

    def due_while_idle(self) -> bool:
        """Whether the WAL is long enough for an idle process to checkpoint it."""
        return self._size() > IDLE_BYTES and self._clock() >= self._again_at

    def run(self) -> bool:
        """Copy the WAL into the database, and return whether all of it was copied. It is not
        if another process runs a checkpoint, a writer comes in between, or a reader still
        needs the WAL. Never raises: commits are safe in the WAL too."""
        if not self._size():
            return True
        from litequeue.engine import locks  # most producers end before the WAL is long

        try:
            with locks.tried(self._lock, os.stat(self._path).st_mode & 0o666) as ours:
                emptied = ours and self._emptied()
        except DatabaseBusy:
            return False
        except (OSError, DatabaseError):
            ours, emptied = True, False
        if emptied:
            self._pause, self._again_at = FIRST_RETRY_SECONDS, 0.0
        elif ours:
            self._again_at = self._clock() + self._pause
            self._pause = min(2 * self._pause, LONGEST_RETRY_SECONDS)
        return emptied

    def _emptied(self) -> bool:
        with self._connect() as write, self._connect() as copy:
            # Until this commit is copied, no writer can restart the WAL, so most of it is
            # copied while others write. A full disk may have no room for this commit, but
            # the copy overwrites old pages and may still succeed.
            with suppress(DatabaseFull):
                _commit(write)
                _copied(copy)
            write("begin immediate")
            emptied = _copied(copy)
            write("commit")
            if emptied:
                # The next commit restarts the WAL and truncates its file.
                _commit(write)
        return emptied

    def _size(self) -> int:
        try:
            return os.stat(self._wal).st_size
        except OSError:
            return 0


def _commit(write: Execute) -> None:
    """Commit a page without changing anything in it."""
    write("begin immediate")
    write(f"pragma user_version = {write('pragma user_version')[0][0]}")
    write("commit")


def _copied(copy: Execute) -> bool:
    """Copy as much as readers allow; returns whether that was all."""
    busy, pages, copied = copy("pragma wal_checkpoint(passive)")[0]
    return not busy and pages == copied
