"""Waking idle workers at once: a FIFO for each queue that workers serve.

An idle worker sleeps on the FIFOs of its queues, or on the one of those that serve all; a
push writes a byte to the FIFO of its queue and to that one. Both are found by their names,
however many others there are. The last worker that leaves a FIFO removes it.

Where there is none (Windows, a folder that cannot be written) the worker's poll finds the
job: a wake-up saves time, and nothing depends on it.
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

ANY = "wake-any"
LISTED = "wake-for-"
# For a queue whose name is too long for a file.
HASHED = "wake-hash-"
LONGEST_NAME = 200
# How long a producer trusts what it last found in the folder. A single stat of it at
# each push would take a tenth of the push.
FIFO_TRUST_SECONDS = 0.005
# Of the queues behind these a worker is not woken: it finds their jobs by its poll.
MOST_LISTENED = 64
# A producer of more queues than this closes the FIFO that it has looked at least lately.
MOST_KEPT = 32

# How often a worker tries to join those who sleep on a FIFO while another removes it.
TRIES = 50

UNQUOTED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")
OPENED = os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


class Listener:
    """The ends of the FIFOs that a worker sleeps on."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        queues: Sequence[str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # By descriptor, the path of each.
        self._paths: dict[int, str] = {}
        for name in _names(queues):
            with suppress(OSError, AttributeError):
                path = os.path.join(folder, name)
                self._paths[_joined(path, os.stat(folder).st_mode)] = path
        # A child that is forked would keep them from being removed.
        forks.tell_child(self)
        if self._paths:
            # Whoever looked just before does not know of it. What they push till they
            # look again, the worker finds: its first look at the queue comes after this.
            sleep(FIFO_TRUST_SECONDS)

    def descriptors(self) -> list[int]:
        """The descriptors for select(); empty where there is no FIFO."""
        return list(self._paths)

    def take(self) -> bool:
        """Read one byte, so that one worker wakes for it; False if another was first."""
        return any(_read(descriptor, 1) for descriptor in self._paths)

    def drain(self) -> bool:
        """Read all bytes that came while nobody slept; False if there were none."""
        drained = [_read(descriptor, 65536) for descriptor in self._paths]
        return any(drained)

    def notify(self) -> None:
        """Wake one more worker of each of these queues."""
        for descriptor in self._paths:
            _write(descriptor)

    def close(self) -> None:
        """Sleep here no more, and remove the FIFOs that nobody else sleeps on."""
        paths, self._paths = self._paths, {}
        for descriptor, path in paths.items():
            with suppress(OSError):  # a job may have closed it
                _remove_unless_shared(path, descriptor)
                os.close(descriptor)

    def forked(self) -> None:
        """Close them in a child, whose parent sleeps on."""
        paths, self._paths = self._paths, {}
        for descriptor in paths:
            os.close(descriptor)


def _joined(path: str, mode: int) -> int:
    """Open a FIFO, made if need be for those who may write a folder of this ``mode``, and
    hold a shared lock on it for as long as it is open. Raises OSError where there can be
    none."""
    from litequeue.engine import locks  # a producer takes no locks

    for _ in range(TRIES):
        made = True
        try:
            os.mkfifo(path, 0o600)
        except FileExistsError:
            made = False
        # Removed between the two, by the last of those before: then it is made anew.
        with suppress(FileNotFoundError):
            descriptor = _opened(path)
            if made:
                with suppress(OSError):
                    os.fchmod(descriptor, locks.writers(mode))
            # A process that removes it holds the lock exclusively until it is gone.
            if _shared(descriptor) and locks.leads_to(path, descriptor):
                return descriptor
            os.close(descriptor)
        time.sleep(0.001)
    # Another process was stopped while removing it.
    raise BlockingIOError(path)


def _shared(descriptor: int) -> bool:
    from litequeue.engine import locks  # a producer takes no locks

    try:
        return locks.share(descriptor)
    except OSError:
        # This system cannot lock FIFOs: no process knows whether it is the last, so the FIFO stays.
        return True


def _opened(path: str) -> int:
    """Open a FIFO; raises OSError for anything else, and a symbolic link."""
    # For reading alone, select() would report the last writer's leaving. For writing alone
    # it would not open without a reader, and once the last has left, a byte would end a
    # process that has SIGPIPE as shells have it.
    if not stat.S_ISFIFO(os.lstat(path).st_mode):
        raise FileExistsError(path)
    descriptor = os.open(path, OPENED)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileExistsError(path)
    return descriptor


def _remove_unless_shared(path: str, descriptor: int) -> None:
    from litequeue.engine import locks  # a producer takes no locks

    with suppress(OSError):
        if locks.lock(descriptor) and locks.leads_to(path, descriptor):
            os.unlink(path)


def remove_unheard(folder: str | os.PathLike[str], queues: Sequence[str]) -> None:
    """Remove the FIFOs of a worker of these queues that has died, unless others that live
    sleep on them."""
    for name in _names(queues):
        with suppress(OSError, AttributeError):
            path = os.path.join(folder, name)
            descriptor = _opened(path)
            with suppress(OSError):  # a job may have closed it
                _remove_unless_shared(path, descriptor)
                os.close(descriptor)


def unheard(folder: str | os.PathLike[str]) -> list[str]:
    """The names of the FIFOs that no process has open."""
    found = []
    for name in _wakers(folder):
        try:
            os.close(os.open(os.path.join(folder, name), OPENED & ~os.O_RDWR | os.O_WRONLY))
        except OSError as error:
            if error.errno == errno.ENXIO:
                found.append(name)
    return sorted(found)


class Notifier:
    """Wakes workers, in every process that pushes; it keeps some FIFOs open."""

    def __init__(
        self, folder: str | os.PathLike[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._clock = clock
        # By queue, None for all: until when to go by it, and the FIFO, if there is one. It
        # is replaced and never changed, for other threads read it.
        self._fifos: Mapping[str | None, tuple[float, _Fifo | None]] = {}
        # A child may close all descriptors, as daemons do, and the next file that it
        # opens would then have the number that a byte is written to.
        forks.tell_child(self)

    def notify(self, queue: str) -> None:
        """Wake a worker that serves ``queue``, if one sleeps, and one that serves all."""
        now, fifos = self._clock(), self._fifos
        for key in (None, queue):
            until, fifo = fifos.get(key, _NOTHING)
            if now >= until:
                fifo = self._look(key, now)
            if fifo is not None:
                fifo.notify()

    def notify_all(self) -> None:
        """Wake workers of each queue: one has died, and left something to bring back."""
        for name in _wakers(self._folder):
            with suppress(OSError):
                _Fifo(os.path.join(self._folder, name)).notify()

    def close(self) -> None:
        """Close the FIFOs; a later notify opens them anew."""
        self._fifos = {}

    forked = close

    def _look(self, key: str | None, now: float) -> _Fifo | None:
        path = os.path.join(self._folder, ANY if key is None else _name(key))
        fifo = self._fifos.get(key, _NOTHING)[1]
        if fifo is None or not fifo.stands():
            try:
                fifo = _Fifo(path)
            except OSError:
                # One of another user, or too many are open: the poll finds the job.
                fifo = None
        # The latest comes last. One that is left out closes when no thread writes to it.
        fifos = {each: found for each, found in self._fifos.items() if each != key}
        for each in list(fifos)[: max(0, len(fifos) + 1 - MOST_KEPT)]:
            del fifos[each]
        fifos[key] = (now + FIFO_TRUST_SECONDS, fifo)
        self._fifos = fifos
        return fifo


class _Fifo:
    """A FIFO that is open for as long as anyone holds this."""

    _descriptor: int | None = None

    def __init__(self, path: str) -> None:
        """Open it; raises OSError."""
        self._path = path
        self._descriptor = _opened(path)
        self._place = os.fstat(self._descriptor)

    def stands(self) -> bool:
        """Whether it was neither removed nor made anew."""
        try:
            return os.path.samestat(os.lstat(self._path), self._place)
        except OSError:
            return False

    def notify(self) -> None:
        """Put a byte in, unless it is full."""
        if self._descriptor is not None:
            _write(self._descriptor)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self._descriptor is not None:
            with suppress(OSError):  # a job may have closed it
                close(self._descriptor)


_NOTHING: tuple[float, _Fifo | None] = (-math.inf, None)


def _read(descriptor: int, most: int) -> bool:
    try:
        return bool(os.read(descriptor, most))
    except BlockingIOError:
        return False


def _write(descriptor: int) -> None:
    with suppress(OSError):
        os.write(descriptor, b"\n")


def _wakers(folder: str | os.PathLike[str]) -> Iterator[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name.startswith("wake-"):
            yield name


def _names(queues: Sequence[str]) -> list[str]:
    return [_name(queue) for queue in queues[:MOST_LISTENED]] if queues else [ANY]


def _name(queue: str) -> str:
    # As urllib.parse.quote does, which takes a producer longer to load than all this.
    name = LISTED + "".join(
        chr(byte) if byte in UNQUOTED else f"%{byte:02X}" for byte in queue.encode()
    )
    if len(name) <= LONGEST_NAME:
        return name
    import hashlib  # 4 MB that only a very long name needs

    return HASHED + hashlib.sha256(name.encode()).hexdigest()
