"""What a worker process and its supervisor learn from each other, by a pair of sockets.

The end of the supervisor is an end of file for the worker. The worker says in words what
its exit status cannot say, since any job can end the process with any status: under which
id it has registered, and that it has ended by itself.
"""

from __future__ import annotations

import os
from contextlib import suppress

# How a worker ends by itself: when its work is done, when it has reached --max-jobs or
# --memory-limit and is to be replaced, and when it was started in a way that cannot work.
FINISHED = "finished"
RECYCLED = "recycled"
WRONG_USE = "wrong use"
REGISTERED = "registered"


class ParentPipe:
    """The worker's end."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._has_registered = False

    def registered(self, worker: int) -> None:
        """Say under which id this process works from now on."""
        self._has_registered = True
        self._report(f"{REGISTERED} {worker}")

    def over(self, how: str) -> None:
        """Say how the work has ended, once nothing of it is left to be done. What a worker
        finds wrong when it has registered is no wrong use: another one may do better."""
        if how != WRONG_USE or not self._has_registered:
            self._report(how)

    def _report(self, line: str) -> None:
        # A job may have closed it, and the supervisor may be dead.
        with suppress(OSError):
            os.write(self.descriptor, f"{line}\n".encode())


class Reports:
    """The supervisor's end: what one worker has said so far."""

    worker: int | None = None
    """The id under which it has registered last."""
    ended: str | None = None
    """How it has ended, by its own account."""

    def __init__(self, descriptor: int) -> None:
        """Read from ``descriptor``, which never waits."""
        self._descriptor: int | None = descriptor
        self._begun = b""

    def descriptors(self) -> list[int]:
        """The descriptors for select()."""
        return [] if self._descriptor is None else [self._descriptor]

    def read(self) -> Reports:
        """Take in what was said since, and return this."""
        while self._descriptor is not None:
            try:
                text = os.read(self._descriptor, 4096)
            except BlockingIOError:
                break
            except OSError:
                text = b""
            if not text:
                self.close()
            *lines, self._begun = (self._begun + text).split(b"\n")
            for line in lines:
                self._take(line.decode("ascii", "replace"))
        return self

    def close(self) -> None:
        """Let the worker know, if it lives, that nobody supervises it any more."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _take(self, line: str) -> None:
        word, _, number = line.partition(" ")
        if word == REGISTERED and number.isdecimal():
            self.worker = int(number)
        elif line in (FINISHED, RECYCLED, WRONG_USE):
            self.ended = line
