"""Waking idle workers at once: a FIFO for each distinct list of queues.

An idle worker sleeps on its FIFO; a push writes a byte to each one whose workers serve
the queue. Where there is no FIFO (Windows, a folder that cannot be written) the
worker's poll finds the job: a nudge saves time, and nothing depends on it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress

ANY = "wake-any"
LISTED = "wake-for-"
# A list too long for a file name; whoever pushes rings it for every queue.
HASHED = "wake-hash-"
LONGEST_NAME = 200


class Bell:
    """The end of the FIFO that workers of one list of queues sleep on."""

    def __init__(self, folder: str | os.PathLike[str], queues: Sequence[str]) -> None:
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
    """The side that rings, in every process that pushes."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = folder

    def ring(self, queue: str) -> None:
        """Wake a worker that serves ``queue``, if one sleeps."""
        for name in self._names():
            if _serves(name, queue):
                self._write(name)

    def ring_all(self) -> None:
        """Wake a worker of each list: one has died, and left something to bring back."""
        for name in self._names():
            self._write(name)

    def _names(self) -> list[str]:
        try:
            return [name for name in os.listdir(self._folder) if name.startswith("wake-")]
        except OSError:
            return []

    def _write(self, name: str) -> None:
        # No reader, a full FIFO, one of another user: then no one needs this byte.
        with suppress(OSError):
            descriptor = os.open(os.path.join(self._folder, name), os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(descriptor, b"\n")
            finally:
                os.close(descriptor)


def _name(queues: Sequence[str]) -> str:
    if not queues:
        return ANY
    from urllib.parse import quote  # a worker of all queues needs no quoting

    name = LISTED + ",".join(quote(queue, safe="") for queue in queues)
    if len(name) <= LONGEST_NAME:
        return name
    import hashlib  # 4 MB that only a very long list needs

    return HASHED + hashlib.sha256(name.encode()).hexdigest()


def _serves(name: str, queue: str) -> bool:
    if not name.startswith(LISTED):
        return True
    from urllib.parse import unquote  # where all workers serve all queues, none is listed

    return queue in map(unquote, name[len(LISTED) :].split(","))
