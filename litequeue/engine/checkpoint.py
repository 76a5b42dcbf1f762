"""Copying the WAL into the database: when, and by whom.

SQLite up to 3.51.2 can lose commits where automatic checkpoints of several processes
meet a writer (https://sqlite.org/wal.html#walresetbug): a checkpoint that finds nothing
left to copy does not notice that a writer starts the WAL over under it. So those are off,
one process at a time checkpoints, and only in the two ways in which no writer can start
the WAL over: while there is something left to copy, and under the write lock.

The kinds of checkpoint that wait (FULL, RESTART, TRUNCATE) hold the write lock while they
wait for readers, and every push waits with them. PASSIVE never waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress

from litequeue.errors import DatabaseBusy, DatabaseError, DatabaseFull

CHECKPOINT_BYTES = 4 * 1024 * 1024
# Where there is nothing else to do, sooner: what reads the WAL after a crash has less to read.
IDLE_BYTES = CHECKPOINT_BYTES // 16
# How many statements pass between two looks at the size of the WAL.
WAL_CHECK_STATEMENTS = 64
# A reader that keeps the WAL from being emptied may stay for hours, and each try adds a page.
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0

Execute = Callable[[str], Sequence[tuple[object, ...]]]
Connect = Callable[[], AbstractContextManager[Execute]]


class Checkpoints:
    """The WAL of one database."""

    def __init__(
        self, path: str, connect: Connect, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``connect`` opens a connection that never waits and never checkpoints by itself,
        for a block, and gives what runs statements on it."""
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
        """The same with a lower limit, for an idle process."""
        return self._size() > IDLE_BYTES and self._clock() >= self._again_at

    def run(self) -> bool:
        """Empty the WAL, and say whether all of it was copied: not where another process
        is at it, a writer comes between, or a reader still needs it. Never raises: what
        was committed is safe in the WAL too."""
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
            # As long as this commit is not copied, no writer can start the WAL over, and
            # all but the last commits are copied while others write. On a full disk there
            # may be no room for it, and yet for what is copied over old pages.
            with suppress(DatabaseFull):
                _commit(write)
                _copied(copy)
            write("begin immediate")
            emptied = _copied(copy)
            write("commit")
            if emptied:
                # The first commit after that starts the WAL over and shortens the file.
                _commit(write)
        return emptied

    def _size(self) -> int:
        try:
            return os.stat(self._wal).st_size
        except OSError:
            return 0


def _commit(write: Execute) -> None:
    """Commit a page, and change nothing."""
    write("begin immediate")
    write(f"pragma user_version = {write('pragma user_version')[0][0]}")
    write("commit")


def _copied(copy: Execute) -> bool:
    """Copy what no reader is in the way of; whether that was all."""
    busy, there, copied = copy("pragma wal_checkpoint(passive)")[0]
    return not busy and there == copied
