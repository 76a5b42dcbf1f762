"""Locks of the kernel on files: held for as long as a process wants, and freed by its
death, however sudden.

flock and not lockf: a POSIX record lock is lost as soon as any descriptor of the file
closes in the process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from litequeue import forks

if sys.platform == "win32":
    import msvcrt

    # The byte that is locked lies far behind what is written in the file: Windows
    # forbids others to read a locked byte.
    LOCKED_BYTE = 1 << 30

    def lock(descriptor: int) -> bool:
        """Take the lock without waiting; False where another holds it."""
        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def lock(descriptor: int) -> bool:
        """Take the lock without waiting; False where another holds it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def acquire(path: str | os.PathLike[str], mode: int | None = None) -> int | None:
    """Open and lock the file at ``path``, making it if need be, with exactly this
    ``mode`` if one is given, and return the descriptor that holds the lock; None where
    another holds it. Close it to let go."""
    while True:
        descriptor = _opened(path, mode)
        if not lock(descriptor):
            os.close(descriptor)
            return None
        if leads_to(path, descriptor):
            return descriptor
        # Whoever held it before has unlinked the file: this lock is on a dead one.
        os.close(descriptor)


def _opened(path: str | os.PathLike[str], mode: int | None) -> int:
    try:
        return os.open(path, os.O_RDWR)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    if mode is not None:
        # Another user may have made it between the two: then the mode is his to set.
        with suppress(OSError):
            os.chmod(path, mode)
    return descriptor


def leads_to(path: str | os.PathLike[str], descriptor: int) -> bool:
    """Whether ``path`` still names the file that ``descriptor`` has open."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def tried(path: str | os.PathLike[str], mode: int | None = None) -> Iterator[bool]:
    """Hold the lock of ``path`` for a block, or say False where another has it."""
    descriptor = acquire(path, mode)
    if descriptor is None:
        yield False
        return
    with kept(descriptor):
        yield True


@contextmanager
def kept(descriptor: int) -> Iterator[None]:
    """Close the descriptor of a lock after a block, and at once in each child that is
    forked meanwhile: a lock is free when the last process that has it open closes it."""
    lock = _Kept(descriptor)
    try:
        yield
    finally:
        lock.close()


class _Kept:
    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        forks.tell_child(self)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    forked = close
