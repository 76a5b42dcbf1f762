"""The socket pair between a worker process and its supervisor.

When the supervisor dies, the worker reads an end of file. The worker reports the id under
which it has registered, and how it ended. Its exit status cannot say this, because a job
can end the process with any status.
"""

from __future__ import annotations

import os
from contextlib import suppress

# How a worker ends: its work is done; it has reached --max-jobs or --memory-limit and is to be
# replaced; or it was started with options that cannot work.
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
        """Report the id under which this process has registered."""
        self._has_registered = True
        self._report(f"{REGISTERED} {worker}")

    def over(self, how: str) -> None:
        """Report how the work has ended, after its last step.

        After the registration, WRONG_USE is not reported: a replacement may succeed.
        """
        if how != WRONG_USE or not self._has_registered:
            self._report(how)

    def _report(self, line: str) -> None:
        # A job may have closed it, and the supervisor may be dead.
        with suppress(OSError):
            os.write(self.descriptor, f"{line}\n".encode())


class Reports:
    """The supervisor's end: what one worker has reported so far."""

    worker: int | None = None
    """The id of its latest registration."""
    ended: str | None = None
    """How it ended, as it reported."""

    def __init__(self, descriptor: int) -> None:
        """Read from ``descriptor``, which is non-blocking."""
        self._descriptor: int | None = descriptor
        self._begun = b""

    def descriptors(self) -> list[int]:
        """Return the descriptors for select()."""
        return [] if self._descriptor is None else [self._descriptor]

    def read(self) -> Reports:
        """Read the new reports, and return this object."""
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
        """Close this end; a worker that is still alive then ends after its job."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _take(self, line: str) -> None:
        word, _, number = line.partition(" ")
        if word == REGISTERED and number.isdecimal():
            self.worker = int(number)
        elif line in (FINISHED, RECYCLED, WRONG_USE):
            self.ended = line
