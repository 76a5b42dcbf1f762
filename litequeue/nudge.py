"""Waking idle workers at once: a FIFO for each distinct list of queues.

An idle worker sleeps on its FIFO; a push writes a byte to each one whose workers serve
the queue. Where there is no FIFO (Windows, a folder that cannot be written) the
worker's poll finds the job: a nudge saves time, and nothing depends on it.
"""

from __future__ import annotations

import math
import os
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from litequeue import forks

ANY = "wake-any"
LISTED = "wake-for-"
# A list too long for a file name; whoever pushes rings it for every queue.
HASHED = "wake-hash-"
LONGEST_NAME = 200
# How long those who ring go by what they last found in the folder. A single stat of it at
# each push would take a tenth of the push.
LOOK_SECONDS = 0.005

# A name and its inode: a FIFO that was removed and made anew is another.
Place = tuple[str, int]


class Bell:
    """The end of the FIFO that workers of one list of queues sleep on."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        queues: Sequence[str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._descriptor: int | None = None
        with suppress(OSError, AttributeError):
            path = os.path.join(folder, _name(queues))
            with suppress(FileExistsError):
                os.mkfifo(path)
                os.chmod(path, os.stat(folder).st_mode & 0o666)
            if not stat.S_ISFIFO(os.stat(path).st_mode):
                return
            # For reading alone, select() would report the last writer's leaving.
            self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
            # Whoever looked just before does not know of it. What they push till they
            # look again, the worker finds: its first look at the queue comes after this.
            sleep(LOOK_SECONDS)

    def descriptors(self) -> list[int]:
        """What to hand to select(); empty where there is no FIFO."""
        return [] if self._descriptor is None else [self._descriptor]

    def take(self) -> bool:
        """Read one byte, so that one worker wakes for it; False if another was first."""
        return self._read(1)

    def drain(self) -> bool:
        """Read all bytes that came while nobody slept; False if there were none."""
        return self._read(65536)

    def ring(self) -> None:
        """Wake one more worker of the same list."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.write(self._descriptor, b"\n")

    def close(self) -> None:
        """Sleep here no more."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _read(self, most: int) -> bool:
        if self._descriptor is None:
            return False
        try:
            return bool(os.read(self._descriptor, most))
        except BlockingIOError:
            return False


class Nudge:
    """The side that rings, in every process that pushes; it keeps the FIFOs open."""

    def __init__(
        self, folder: str | os.PathLike[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._found = _NOTHING
        # A child may close all descriptors, as daemons do, and the next file that it
        # opens would then have the number that a byte is written to.
        forks.tell_child(self)

    def ring(self, queue: str) -> None:
        """Wake a worker that serves ``queue``, if one sleeps."""
        until, doors = self._found
        if self._clock() >= until:
            doors = self._look()
        for door in doors:
            if door.queues is None or queue in door.queues:
                door.ring()

    def ring_all(self) -> None:
        """Wake a worker of each list: one has died, and left something to bring back."""
        for door in self._look():
            door.ring()

    def close(self) -> None:
        """Close the FIFOs; a later ring opens them anew."""
        self._found = _NOTHING

    forked = close

    def _look(self) -> Sequence[_Door]:
        now = self._clock()
        known = {door.place: door for door in self._found[1] if door.open}
        try:
            with os.scandir(self._folder) as entries:
                places = [(each.name, each.inode()) for each in entries]
        except OSError:
            places = []
        doors = [
            known.get(place) or _Door(self._folder, place)
            for place in places
            if place[0].startswith("wake-")
        ]
        # One that is not among them closes as soon as no other thread rings it.
        self._found = (now + LOOK_SECONDS, doors)
        return doors


class _Door:
    """A FIFO that is open for as long as anyone holds this."""

    _descriptor: int | None = None

    def __init__(self, folder: str | os.PathLike[str], place: Place) -> None:
        self.place = place
        self.queues = _served(place[0])
        path = os.path.join(folder, place[0])
        # One of another user, or one that has gone meanwhile: then no one needs a byte.
        with suppress(OSError):
            if stat.S_ISFIFO(os.stat(path).st_mode):
                # For writing alone it would not open without a reader, and once the last
                # has left, a byte would end a process that has SIGPIPE as shells have it.
                self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    @property
    def open(self) -> bool:
        """Whether a byte can go in."""
        return self._descriptor is not None

    def ring(self) -> None:
        """Put a byte in, unless it is full."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.write(self._descriptor, b"\n")

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self._descriptor is not None:
            close(self._descriptor)


_NOTHING: tuple[float, Sequence[_Door]] = (-math.inf, ())


def _name(queues: Sequence[str]) -> str:
    if not queues:
        return ANY
    from urllib.parse import quote  # a worker of all queues needs no quoting

    name = LISTED + ",".join(quote(queue, safe="") for queue in queues)
    if len(name) <= LONGEST_NAME:
        return name
    import hashlib  # 4 MB that only a very long list needs

    return HASHED + hashlib.sha256(name.encode()).hexdigest()


def _served(name: str) -> frozenset[str] | None:
    """The queues of a FIFO, by its name; None where it is to be rung for every queue."""
    if not name.startswith(LISTED):
        return None
    from urllib.parse import unquote  # where all workers serve all queues, none is listed

    return frozenset(map(unquote, name[len(LISTED) :].split(",")))
