"""The current run: what a job can learn about itself, and report, while it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING

from litequeue.engine.database import Connection
from litequeue.errors import DamagedRow, DatabaseRefused, NoCurrentJob, NoSuchJob, RunLost
from litequeue.options import Options
from litequeue.queue import Queue
from litequeue.records import FINISH, UNREADABLE, JobRow
from litequeue.store.insert import Pushable, Pushed

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from litequeue.jobs.log import JobLog
    from litequeue.store.batches import BatchRow

# Progress is written at most this often; the last step is always written.
PROGRESS_SECONDS = 0.2

_current: ContextVar[Run] = ContextVar("litequeue_run")


def current() -> Run:
    """Return the run of the job that calls this; raises NoCurrentJob outside of one, and
    in a thread that the job has started itself."""
    try:
        return _current.get()
    except LookupError:
        raise NoCurrentJob from None


def running() -> Run | None:
    """Return the current run, or None outside of one."""
    return _current.get(None)


class Run:
    """One attempt of a job, as its own code sees it."""

    completed = planned = False
    _reported_at = float("-inf")

    def __init__(self, queue: Queue, row: JobRow) -> None:
        self.id = row.id
        self.attempt = row.attempts
        self.queue = row.queue
        self.pushes_to = queue
        self._row = row

    @cached_property
    def log(self) -> JobLog:
        """The logger "litequeue.job"; each message begins with the id and name of this job."""
        from litequeue.jobs.log import JobLog  # a producer never logs from a run

        return JobLog(self._row)

    @property
    def cancelled(self) -> bool:
        """Whether the job was cancelled, or reclaimed from this worker, since it started.

        A long job checks this between its steps, and returns or raises.
        """
        return not self.pushes_to.store.executions.wanted(self._row)

    def progress(self, done: int, total: int) -> None:
        """Report the progress of the job, which ``status`` and ``show`` print.

        May be called at every step: it is written at most five times a second.
        """
        now = self.pushes_to.store.clock()
        # A clock that was set back must not stop the reports.
        if done < total and 0 <= now - self._reported_at < PROGRESS_SECONDS:
            return
        self._reported_at = now
        try:
            self.pushes_to.store.executions.progress(self._row, done, total)
        except RunLost:
            # The job sees it in ``cancelled``, and the worker reports it at the end.
            return

    def push(
        self,
        job: Pushable | str,
        payload: Mapping[str, object] | None = None,
        /,
        *,
        after: Sequence[int | Pushable] = (),
        **options: Unpack[Options],
    ) -> int:
        """Push to the queue that this job came from, as Queue.push does."""
        return self.pushes_to.push(job, payload, after=after, **options)

    @property
    def results(self) -> list[object]:
        """The results of the jobs that this one depends on, as plain JSON values in the order
        of ``after=``; None for a job that returned nothing. Raises DamagedRow for a result
        that cannot be read."""
        found = self.pushes_to.store.dependencies.results(self.id)
        try:
            return [None if text is None else json.loads(text) for text in found]
        except UNREADABLE as error:
            what = f"the result of a job that it depends on: {error}"
            raise DamagedRow(thing=f"job {self.id}", what=what) from error

    @property
    def batch(self) -> BatchRow | None:
        """The batch that this job plans, finishes or belongs to; None if there is none."""
        with suppress(NoSuchJob):
            return self.pushes_to.batch(self.id if self._row.step else self._row.batch or self.id)
        return None

    @property
    def finishing(self) -> bool:
        """Whether this run finishes the batch that the job has planned."""
        return self._row.step == FINISH

    def begin_batch(self) -> None:
        """Open the batch that this job plans, unless it was pushed as one. Raises
        RunLost."""
        if self._row.step is None:
            self.pushes_to.store.batch_inserts.begin_batch(self._row)

    def plan(self, jobs: Sequence[Pushed], cursor: object) -> None:
        """Add a chunk to the batch that this job plans; see Batch. Raises RunLost."""
        self.pushes_to.store.batch_inserts.plan(self._row, jobs, cursor)
        self.completed = self.planned = cursor is None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commit what the block writes and the completion of this job together.

        Yields a connection to the queue's file, with a write transaction begun. The end of
        the block commits, an exception rolls back, and a kill at any moment leaves both or
        neither. Jobs pushed inside are part of the transaction. The result of a job that is
        completed this way is not kept. Raises RunLost; then nothing of the block was
        written.
        """
        with self.pushes_to.store.database.transaction() as connection:
            yield connection
            if not connection.in_transaction:
                raise DatabaseRefused(
                    path=self.pushes_to.path,
                    problem="the transaction was ended inside its block; leave commit and "
                    "rollback to current().transaction()",
                )
            self.pushes_to.store.executions.complete(self._row)
        self.completed = True

    def __enter__(self) -> Run:
        """Make this the current run."""
        self._token = _current.set(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _current.reset(self._token)
