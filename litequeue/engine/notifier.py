"""Wakes idle workers at once: a FIFO for each queue that workers serve.

An idle worker sleeps on the FIFOs of its queues, or, if it serves all queues, on one FIFO
for these workers. A push writes a byte to the FIFO of its queue and to that one. Both are
found by their names, however many other FIFOs exist. The last worker that closes a FIFO
removes it.

Where there are no FIFOs (Windows, a folder that cannot be written), workers find jobs by
polling: a wake-up saves time, and nothing depends on it.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from litequeue.engine import forks

# The name of the FIFO for workers that serve all queues, and the beginnings of the others.
ALL_QUEUES = "wake-any"
ONE_QUEUE = "wake-for-"
# For a queue whose name is too long for a file name.
HASHED_QUEUE = "wake-hash-"
LONGEST_FIFO_NAME = 200
# How long a producer relies on what it last found in the folder. A stat at each push would
# take a tenth of the push.
FIFO_TRUST_SECONDS = 0.005
# A worker listens for its first queues only; it finds the jobs of the others by polling.
MOST_LISTENED = 64
# A producer that pushes to more queues closes the FIFO that it checked the longest ago.
MOST_OPEN = 32
# How often a worker tries to open a FIFO that another process is removing.
OPEN_ATTEMPTS = 50

UNQUOTED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")
OPEN_FLAGS = os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


class Listener:
    """The open FIFOs that a worker sleeps on."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        queues: Sequence[str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # The path of each FIFO, by its descriptor.
        self._paths: dict[int, str] = {}
        for name in _names(queues):
            with suppress(OSError, AttributeError):
                path = os.path.join(folder, name)
                self._paths[_join(path, os.stat(folder).st_mode)] = path
        # A forked child would keep the lock on them, and they would never be removed.
        forks.tell_child(self)
        if self._paths:
            # A producer that checked the folder just before does not know of a new FIFO. The
            # worker reads the queue after this pause, and finds what was pushed until then.
            sleep(FIFO_TRUST_SECONDS)

    def descriptors(self) -> list[int]:
        """The descriptors for select(); empty if there is no FIFO."""
        return list(self._paths)

    def take(self) -> bool:
        """Read one byte, so that one worker wakes for it; False if another worker read it."""
        return any(_read(descriptor, 1) for descriptor in self._paths)

    def drain(self) -> bool:
        """Read all bytes that were written while this worker ran; False if there were none."""
        drained = [_read(descriptor, 65536) for descriptor in self._paths]
        return any(drained)

    def notify(self) -> None:
        """Wake one more worker of each of these queues."""
        for descriptor in self._paths:
            _write(descriptor)

    def close(self) -> None:
        """Close the FIFOs, and remove those that no other worker listens on."""
        paths, self._paths = self._paths, {}
        for descriptor, path in paths.items():
            with suppress(OSError):  # a job may have closed it
                _remove_unless_shared(path, descriptor)
                os.close(descriptor)

    def forked(self) -> None:
        """Close the FIFOs in a child without removing them: the parent still listens."""
        paths, self._paths = self._paths, {}
        for descriptor in paths:
            os.close(descriptor)


def _join(path: str, mode: int) -> int:
    """Open a FIFO with a shared lock on it, creating it if needed for the users who may write
    a folder of this ``mode``. Raises OSError if there can be none."""
    from litequeue.engine import locks  # a producer takes no locks

    for _ in range(OPEN_ATTEMPTS):
        created = True
        try:
            os.mkfifo(path, 0o600)
        except FileExistsError:
            created = False
        # The last worker may have removed it in between: then create it again.
        with suppress(FileNotFoundError):
            descriptor = _open(path)
            if created:
                with suppress(OSError):
                    os.fchmod(descriptor, locks.writers(mode))
            # A process that removes it holds an exclusive lock until it is gone.
            if _share(descriptor) and locks.leads_to(path, descriptor):
                return descriptor
            os.close(descriptor)
        time.sleep(0.001)
    # Another process was stopped while removing it.
    raise BlockingIOError(path)


def _share(descriptor: int) -> bool:
    from litequeue.engine import locks  # a producer takes no locks

    try:
        return locks.share(descriptor)
    except OSError:
        # This system cannot lock FIFOs, so no process knows that it is the last: the FIFO stays.
        return True


def _open(path: str) -> int:
    """Open a FIFO; raises OSError for anything else, including a symbolic link."""
    # For reading and writing. Opened only for reading, select() would return when the last
    # writer closes it. Opened only for writing, it would need a reader, and after the last
    # reader has closed it, a write would raise SIGPIPE.
    if not stat.S_ISFIFO(os.lstat(path).st_mode):
        raise FileExistsError(path)
    descriptor = os.open(path, OPEN_FLAGS)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileExistsError(path)
    return descriptor


def _remove_unless_shared(path: str, descriptor: int) -> None:
    from litequeue.engine import locks  # a producer takes no locks

    with suppress(OSError):
        if locks.lock(descriptor) and locks.leads_to(path, descriptor):
            os.unlink(path)


def remove_unused_fifos(folder: str | os.PathLike[str], queues: Sequence[str]) -> None:
    """Remove the FIFOs of a dead worker of these queues, unless other workers listen on
    them."""
    for name in _names(queues):
        with suppress(OSError, AttributeError):
            path = os.path.join(folder, name)
            descriptor = _open(path)
            with suppress(OSError):  # a job may have closed it
                _remove_unless_shared(path, descriptor)
                os.close(descriptor)


def unused_fifos(folder: str | os.PathLike[str]) -> list[str]:
    """The names of the FIFOs that no process has open."""
    found = []
    for name in _existing(folder):
        try:
            os.close(os.open(os.path.join(folder, name), OPEN_FLAGS & ~os.O_RDWR | os.O_WRONLY))
        except OSError as error:
            if error.errno == errno.ENXIO:
                found.append(name)
    return sorted(found)


class Notifier:
    """Wakes workers from a process that pushes; keeps the FIFOs of its last queues open."""

    def __init__(
        self, folder: str | os.PathLike[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._clock = clock
        # By queue, or None for the FIFO of all queues: until when the entry is valid, and the
        # FIFO if there is one. The mapping is replaced, never changed: other threads read it.
        self._fifos: Mapping[str | None, tuple[float, _Fifo | None]] = {}
        # A child may close all descriptors, as daemons do. Its next file would get the number
        # of the FIFO, and notify would write a byte into that file.
        forks.tell_child(self)

    def notify(self, queue: str) -> None:
        """Wake an idle worker that serves ``queue``, and an idle one that serves all queues."""
        now, fifos = self._clock(), self._fifos
        for key in (None, queue):
            until, fifo = fifos.get(key, _UNCHECKED)
            if now >= until:
                fifo = self._check(key, now)
            if fifo is not None:
                fifo.notify()

    def notify_all(self) -> None:
        """Wake a worker of each queue, since a worker has died and its jobs must be rescued."""
        for name in _existing(self._folder):
            with suppress(OSError):
                _Fifo(os.path.join(self._folder, name)).notify()

    def close(self) -> None:
        """Close the FIFOs; a later notify opens them again."""
        self._fifos = {}

    forked = close

    def _check(self, key: str | None, now: float) -> _Fifo | None:
        """Open the FIFO of a queue if it was created or replaced; None if there is none."""
        path = os.path.join(self._folder, ALL_QUEUES if key is None else _name(key))
        fifo = self._fifos.get(key, _UNCHECKED)[1]
        if fifo is None or not fifo.still_there():
            try:
                fifo = _Fifo(path)
            except OSError:
                # Missing, another user's, or too many files are open: polling finds the job.
                fifo = None
        # The last checked comes last. A FIFO that is dropped closes when no thread uses it.
        fifos = {each: found for each, found in self._fifos.items() if each != key}
        for each in list(fifos)[: max(0, len(fifos) + 1 - MOST_OPEN)]:
            del fifos[each]
        fifos[key] = (now + FIFO_TRUST_SECONDS, fifo)
        self._fifos = fifos
        return fifo


class _Fifo:
    """An open FIFO, which is closed when this object is freed."""

    _descriptor: int | None = None

    def __init__(self, path: str) -> None:
        """Open the FIFO at ``path``; raises OSError."""
        self._path = path
        self._descriptor = _open(path)
        self._place = os.fstat(self._descriptor)

    def still_there(self) -> bool:
        """Whether the FIFO was neither removed nor replaced."""
        try:
            return os.path.samestat(os.lstat(self._path), self._place)
        except OSError:
            return False

    def notify(self) -> None:
        """Write a byte, unless the FIFO is full."""
        if self._descriptor is not None:
            _write(self._descriptor)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self._descriptor is not None:
            with suppress(OSError):  # a job may have closed it
                close(self._descriptor)


_UNCHECKED: tuple[float, _Fifo | None] = (-math.inf, None)


def _read(descriptor: int, most: int) -> bool:
    try:
        return bool(os.read(descriptor, most))
    except BlockingIOError:
        return False


def _write(descriptor: int) -> None:
    with suppress(OSError):
        os.write(descriptor, b"\n")


def _existing(folder: str | os.PathLike[str]) -> Iterator[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name.startswith("wake-"):
            yield name


def _names(queues: Sequence[str]) -> list[str]:
    return [_name(queue) for queue in queues[:MOST_LISTENED]] if queues else [ALL_QUEUES]


def _name(queue: str) -> str:
    # The same as urllib.parse.quote, which would take a producer longer to import.
    name = ONE_QUEUE + "".join(
        chr(byte) if byte in UNQUOTED else f"%{byte:02X}" for byte in queue.encode()
    )
    if len(name) <= LONGEST_FIFO_NAME:
        return name
    import hashlib  # 4 MB of memory, needed only for a long name

    return HASHED_QUEUE + hashlib.sha256(name.encode()).hexdigest()
