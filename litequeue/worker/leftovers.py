"""Detects write transactions that a job has left open on the queue's own file.

Such a transaction blocks the worker and every other process that writes to the file.

A connection that a job has opened stays open while something refers to it: the frames of
the job's exception, its result, or the job itself. When a write has to wait, the worker
drops these references, which usually closes the connection. If it stays open,
JobLeftTransaction is raised, since the worker cannot close it safely.
"""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from litequeue.engine.database import Database
from litequeue.engine.presence import LEFT_TRANSACTION, Registration
from litequeue.errors import JobLeftTransaction
from litequeue.worker.executor import Execution

# How long a write waits before the first check whether this process blocks it. The time
# doubles with each check.
FIRST_SEARCH_SECONDS = 0.3
# How long a thread that a job has started may keep its own transaction open.
OTHER_THREAD_SECONDS = 5.0
MOST_NAMED = 5


class Leftovers:
    """Handles a worker's write that has to wait; one object for each PrefetchRunner."""

    def __init__(
        self,
        database: Database,
        registration: Registration,
        runs: Callable[[], Sequence[Execution]],
        *,
        owns_process: bool,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """``runs`` returns what has run and is not in the table yet. With ``owns_process``, every
        other thread of this process belongs to a job. While other jobs are ``busy``, a transaction
        may be theirs."""
        self._database = database
        self._registration = registration
        self._runs = runs
        self._owns_process = owns_process
        self._busy = busy
        self._before: list[str] = []
        self._look_at = 0.0
        self._in_job = False
        self._found: JobLeftTransaction | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """While jobs run in this thread, leave them alone if they wait for a transaction of
        their own: they get an error. After that, it is the worker that waits."""
        self._in_job = True
        try:
            yield
        finally:
            self._in_job = False
            self._look_at = 0.0

    def written(self, executions: Sequence[Execution]) -> None:
        """The ends of these runs, and of all before, are in the table."""
        self._before = _names(executions)

    def held_up(self, waited: float) -> None:
        """Check what blocks a write that has waited for ``waited`` seconds.

        Raises JobLeftTransaction if this process blocks itself.
        """
        if self._in_job:
            return
        if self._found is not None:
            raise self._found
        if not self._look_at:
            for execution in self._runs():
                drop(execution)
            gc.collect()
            self._look_at = FIRST_SEARCH_SECONDS
        elif waited > self._look_at:
            self._look_at *= 2
            if self._is_ours(waited):
                self._found = self._error()
                # For the worker that rescues the claimed jobs.
                with suppress(OSError):
                    os.write(self._registration.fileno(), LEFT_TRANSACTION.encode())
                raise self._found

    def _is_ours(self, waited: float) -> bool:
        if self._database.held_by_this_thread():
            return True
        late = self._owns_process and waited > OTHER_THREAD_SECONDS and not self._busy()
        return late and self._database.held_by_this_process()

    def _error(self) -> JobLeftTransaction:
        names = _names(self._runs()) or self._before
        if self._database.has_other_connections():
            # In this case each end is written before the next run starts.
            names = names[-1:]
        jobs = f"Job {names[0]}" if len(names) == 1 else f"One of the jobs {', '.join(names)}"
        return JobLeftTransaction(job=jobs, path=self._database.path)


def _names(executions: Sequence[Execution]) -> list[str]:
    return [f"{each.row.id} ({each.row.name})" for each in executions[-MOST_NAMED:]]


def drop(execution: Execution) -> None:
    """Drop the references of a run, except those that the job's hooks will receive."""
    for error in _with_causes(execution.error):
        with suppress(Exception):
            traceback.clear_frames(error.__traceback__)
    if not execution.has_hook:
        execution.job = execution.result = None


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its causes and contexts, and the members of exception groups."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        error = waiting.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            yield error
            waiting += [error.__cause__, error.__context__]
            waiting += getattr(error, "exceptions", ())
