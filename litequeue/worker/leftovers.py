"""What a job has left open on the queue's own file: a write transaction, which would keep
the worker waiting for itself, and everybody else for the worker.

A connection that a job has opened lives as long as something refers to it: the frames of
what the job raised, its result, the job itself. Where a write has to wait, these are
dropped, and the connection goes with them. One that is still there is nobody's to close.
"""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Iterator
from contextlib import suppress

from litequeue.engine.database import Database
from litequeue.engine.presence import LEFT_TRANSACTION, Registration
from litequeue.errors import JobLeftTransaction
from litequeue.worker.executor import Execution

# How long a write has waited when it is first asked who keeps it waiting; then each time
# twice as long.
FIRST_SEARCH_SECONDS = 0.3
# How long a thread that a job has started may have a transaction of its own open.
OTHER_THREAD_SECONDS = 5.0
MOST_NAMED = 5


class Leftovers:
    """Sees to a write of a worker that has to wait; one for each turn of jobs."""

    def __init__(
        self, database: Database, registration: Registration, *, owns_process: bool
    ) -> None:
        """With ``owns_process``, all threads of this process but its own are a job's."""
        self._database = database
        self._registration = registration
        self._owns_process = owns_process
        self.runs: list[Execution] = []
        """What has run, and is not known to be written down."""
        self._before: list[str] = []
        self._look_at = 0.0
        self._in_job = False
        self._found: JobLeftTransaction | None = None

    def begin_job(self) -> None:
        """Leave a job alone that waits for a transaction of its own: it gets an error."""
        self._in_job = True

    def end_job(self) -> None:
        """From here on, who waits is the worker."""
        self._in_job = False
        self._look_at = 0.0

    def written(self) -> None:
        """The ends of all runs so far are in the table."""
        self._before = self._names()
        self.runs.clear()

    def held_up(self, waited: float) -> None:
        """Called while a write of this worker waits, after so many seconds; raises
        JobLeftTransaction where it would wait for itself."""
        if self._in_job:
            return
        if self._found is not None:
            raise self._found
        if not self._look_at:
            for execution in self.runs:
                drop(execution)
            gc.collect()
            self._look_at = FIRST_SEARCH_SECONDS
        elif waited > self._look_at:
            self._look_at *= 2
            if self._is_ours(waited):
                self._found = self._error()
                # For the rescuer of what this worker has claimed.
                with suppress(OSError):
                    os.write(self._registration.fileno(), LEFT_TRANSACTION.encode())
                raise self._found

    def _is_ours(self, waited: float) -> bool:
        if self._database.held_by_this_thread():
            return True
        late = self._owns_process and waited > OTHER_THREAD_SECONDS
        return late and self._database.held_by_this_process()

    def _error(self) -> JobLeftTransaction:
        names = self._names() or self._before
        if self._database.has_other_connections():
            # Then each run is written down before the next one begins.
            names = names[-1:]
        jobs = f"Job {names[0]}" if len(names) == 1 else f"One of the jobs {', '.join(names)}"
        return JobLeftTransaction(job=jobs, path=self._database.path)

    def _names(self) -> list[str]:
        return [f"{each.row.id} ({each.row.name})" for each in self.runs[-MOST_NAMED:]]


def drop(execution: Execution) -> None:
    """Drop what a run has left, except for what the job's own hooks are to be given."""
    for error in _with_causes(execution.error):
        with suppress(Exception):
            traceback.clear_frames(error.__traceback__)
    if not execution.has_hook:
        execution.job = execution.result = None


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it was raised from or in."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        error = waiting.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            yield error
            waiting += [error.__cause__, error.__context__]
            waiting += getattr(error, "exceptions", ())
