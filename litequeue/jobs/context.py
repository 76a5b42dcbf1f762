"""The run that is going on: what a job can know of itself, and say, while it runs."""

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

# Progress is written down at most this often; the last step always.
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
    """The same, or None outside of a run."""
    return _current.get(None)


class Run:
    """One attempt of one job, as the job sees it."""

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
        """The logger "litequeue.job", whose lines here begin with this job."""
        from litequeue.jobs.log import JobLog  # a producer has no run that could log

        return JobLog(self._row)

    @property
    def cancelled(self) -> bool:
        """Whether the job was cancelled, or taken from this worker, since it started; a
        long job looks here between its steps and returns or raises."""
        return not self.pushes_to.store.executions.wanted(self._row)

    def progress(self, done: int, total: int) -> None:
        """Say how far the job has come; ``status`` and ``show`` tell it. May be called
        at every step: it is written at most five times a second."""
        now = self.pushes_to.store.clock()
        # A clock that was set back must not silence it.
        if done < total and 0 <= now - self._reported_at < PROGRESS_SECONDS:
            return
        self._reported_at = now
        try:
            self.pushes_to.store.executions.progress(self._row, done, total)
        except RunLost:
            # The job learns it from ``cancelled``, and the worker says it at the end.
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
        """What the jobs that this one came after have returned, as plain JSON values in
        the order of ``after=``; None for one that returned nothing. Raises DamagedRow for
        a result that was edited."""
        found = self.pushes_to.store.dependencies.results(self.id)
        try:
            return [None if text is None else json.loads(text) for text in found]
        except UNREADABLE as error:
            what = f"what it comes after has left it {error}"
            raise DamagedRow(thing=f"job {self.id}", what=what) from error

    @property
    def batch(self) -> BatchRow | None:
        """The batch that this job plans, follows or belongs to; None if there is none."""
        with suppress(NoSuchJob):
            return self.pushes_to.batch(self.id if self._row.step else self._row.batch or self.id)
        return None

    @property
    def finishing(self) -> bool:
        """Whether this run is the one that follows the batch that the job has planned."""
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

        Gives a connection to the file that the queue is in, with a write transaction
        begun; the end of the block commits, an exception rolls back, and a kill at any
        moment leaves both or neither. What is pushed inside belongs to it too. The
        result of a job that is completed so is not kept. Raises RunLost, and then
        nothing of the block was written.
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
