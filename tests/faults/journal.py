"""What jobs did, written outside the database: one line for each event, one write for
each line, so that nothing of it is torn or lost when a process is killed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

# The events of a run: it began, it returned, it was left by an exception.
START, OK, OUT = "start", "ok", "out"


class Event(NamedTuple):
    """One line of the journal; ``at`` is in nanoseconds of the machine's monotonic clock,
    which all its processes share."""

    job: int
    attempt: int
    pid: int
    name: str
    at: int


class Journal:
    """A file that many processes append to."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def note(self, job: int, attempt: int, name: str) -> None:
        """Write one event down."""
        line = f"{job} {attempt} {os.getpid()} {name} {time.monotonic_ns()}\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def events(self) -> list[Event]:
        """All events so far, in the order in which they were written."""
        if not self.path.exists():
            return []
        lines = (line.split() for line in self.path.read_text().splitlines())
        return [Event(int(j), int(a), int(p), name, int(at)) for j, a, p, name, at in lines]

    def of(self, job: int, name: str) -> list[Event]:
        """The events of one name of one job."""
        return [event for event in self.events() if (event.job, event.name) == (job, name)]

    def names(self, job: int) -> list[str]:
        """The names of all events of one job, in order."""
        return [event.name for event in self.events() if event.job == job]
