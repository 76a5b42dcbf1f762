"""File locks: a process holds one for as long as it wants, and the kernel releases it when
the process dies, however suddenly.

They are flock locks, because a process loses a POSIX record lock (lockf) as soon as it
closes any descriptor of the file.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from litequeue.engine import forks

if sys.platform == "win32":
    import msvcrt

    # The locked byte lies far beyond the content of the file: Windows does not let others
    # read a locked byte.
    LOCKED_BYTE = 1 << 30

    def lock(descriptor: int) -> bool:
        """Take the lock without waiting; False if another process holds it."""
        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def lock(descriptor: int) -> bool:
        """Take the lock without waiting; False if another process holds it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def share(descriptor: int) -> bool:
        """Take the lock as a shared one; False if another process holds it exclusively."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


# A user who can put a link at the path of a lock must not choose which file is opened or
# created.
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def acquire(path: str | os.PathLike[str], mode: int | None = None) -> int | None:
    """Open and lock the file at ``path``, creating it if needed, and return the descriptor
    that holds the lock; None if another process holds it. Close it to release the lock.

    ``mode`` is the mode of the file that the lock guards, by default the lock file's own:
    only users who may write that file may take the lock.
    """
    while True:
        descriptor = _opened(path, mode)
        if not lock(descriptor):
            os.close(descriptor)
            return None
        if leads_to(path, descriptor):
            return descriptor
        # The previous holder has unlinked the file, so this lock guards nothing.
        os.close(descriptor)


def writers(mode: int) -> int:
    """The mode of a lock on a file of this ``mode``: users who may only read get no access,
    since any user who can open a file can hold its lock."""
    write = mode & 0o222
    return write | write << 1


def _opened(path: str | os.PathLike[str], mode: int | None) -> int:
    try:
        descriptor, made = os.open(path, os.O_RDWR | NO_FOLLOW), False
    except FileNotFoundError:
        first = 0o666 if mode is None else 0o600
        descriptor, made = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, first), True
    except OSError as error:
        if error.errno == errno.ELOOP:
            problem = "it is a symbolic link, and must be a file: remove it"
            raise OSError(error.errno, problem) from error
        raise
    if hasattr(os, "fchmod"):
        found = os.fstat(descriptor).st_mode & 0o666
        wanted = writers(found if mode is None else mode)
        # An existing file gets no permission that its owner has removed.
        wanted = wanted if made else found & wanted
        if wanted != found:
            # Another user may have created it in between: then only that user may set its mode.
            with suppress(OSError):
                os.fchmod(descriptor, wanted)
    return descriptor


def leads_to(path: str | os.PathLike[str], descriptor: int) -> bool:
    """Whether ``path`` still names the file that ``descriptor`` has open."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def tried(path: str | os.PathLike[str], mode: int | None = None) -> Iterator[bool]:
    """Hold the lock of ``path`` for a block and yield True; yield False if another process
    holds it."""
    descriptor = acquire(path, mode)
    if descriptor is None:
        yield False
        return
    with kept(descriptor):
        yield True


@contextmanager
def kept(descriptor: int) -> Iterator[None]:
    """Close the descriptor of a lock after a block, and at once in each child that is
    forked meanwhile: the lock is free only when every process has closed it."""
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


# SQLite's write lock in WAL mode: a byte of the -shm file.
WRITE_LOCK_BYTE = 120


def writer(path: str | os.PathLike[str]) -> int | None:
    """The id of the process that holds SQLite's write lock on the database ``path``; None
    if no process does, or if the system does not tell (only Linux does)."""
    try:
        inode = os.stat(f"{os.fspath(path)}-shm").st_ino
        with open("/proc/locks", encoding="ascii") as lines:
            pids = [_writer_by(line.split(), inode) for line in lines]
    except (OSError, ValueError):
        return None
    # A process in another pid namespace is shown with the id 0.
    return next(filter(None, pids), None)


def _writer_by(words: list[str], inode: int) -> int:
    """The process id whose write lock a line of /proc/locks describes, or 0."""
    if "->" in words:  # a waiting process
        return 0
    kind, _, mode, pid, place, first, last = words[1:]
    if (kind, mode, int(place.rpartition(":")[2])) != ("POSIX", "WRITE", inode):
        return 0
    over = int(first) <= WRITE_LOCK_BYTE and (last == "EOF" or int(last) >= WRITE_LOCK_BYTE)
    return int(pid) if over else 0
