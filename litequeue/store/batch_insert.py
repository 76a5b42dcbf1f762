"""Storing the jobs of a batch: all at once, or chunk by chunk as they are planned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import TYPE_CHECKING

from litequeue.engine.database import Database
from litequeue.errors import OptionError, RunLost
from litequeue.options import Options, checked
from litequeue.records import JobRow, State
from litequeue.store.batches import Batches
from litequeue.store.dependencies import Dependencies
from litequeue.store.finish import Executions
from litequeue.store.insert import NO_OPTIONS, Inserts, Pushable, Pushed, RowGroup
from litequeue.store.unblock import Unblocker

if TYPE_CHECKING:
    from typing_extensions import Unpack


class BatchJobs:
    """Collects the jobs of a new batch, which are pushed at the end of the block."""

    def __init__(self) -> None:
        self.id: int | None = None
        self.ids: list[int] = []
        self._jobs: list[tuple[Pushed, Options]] = []

    def push(
        self,
        job: Pushable | str,
        payload: Mapping[str, object] | None = None,
        /,
        **options: Unpack[Options],
    ) -> None:
        """Add a job, as Queue.push does; its id is in ``ids`` after the block."""
        fits = isinstance(job, str | tuple) or hasattr(job, "__litequeue_spec__")
        if not fits or isinstance(job, type):
            from litequeue.mistakes import no_job

            # Raised here, so that the traceback shows which push it was.
            raise no_job("batch.push", job)
        given = checked(options, "push") if options else NO_OPTIONS
        self._jobs.append(((job, payload or {}) if isinstance(job, str) else job, given))

    def added(self) -> Iterator[tuple[Pushed, Options]]:
        """The jobs and their options, in order."""
        yield from self._jobs


class BatchInserts:
    """Stores the jobs of batches."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], int],
        inserts: Inserts,
        executions: Executions,
        unblocker: Unblocker,
        dependencies: Dependencies,
        batches: Batches,
    ) -> None:
        self._database = database
        self._now = now
        self._inserts = inserts
        self._executions = executions
        self._unblocker = unblocker
        self._dependencies = dependencies
        self._batches = batches

    @contextmanager
    def batch_then(self, then: Pushable, options: Options) -> Iterator[BatchJobs]:
        """Collect jobs in the block, and push them in one transaction at its end, with
        ``then`` to run once when all of them have ended; if the block raises,
        nothing is pushed. Raises OptionError."""
        jobs = BatchJobs()
        follower = self._inserts.row(then, checked(options, "batch"), "batch(then=)")
        if follower["step"] or follower["unique_key"]:
            problem = "then= takes a job that is no batch, and not unique"
            raise OptionError(owner="batch", problem=problem)
        yield jobs
        many = self._inserts.rows(jobs.added())
        with self._database.transaction():
            jobs.id = self._inserts.insert({**follower, "state": State.WAITING.code})
            now = self._now()
            self._batches.open(jobs.id, str(follower["name"]), now)
            jobs.ids, count = self._insert_jobs(jobs.id, many)
            self._batches.add(jobs.id, count, None, last=True, now=now)
            self._unblocker.close_batch(jobs.id)

    def begin_batch(self, row: JobRow) -> None:
        """Open the batch that a run plans, if its job was pushed by name alone, so that push
        did not open it. Raises RunLost."""
        with self._database.transaction():
            self._executions.plan_batch(row)
            self._batches.open(row.id, row.name, self._now())

    def plan(self, row: JobRow, jobs: Sequence[Pushed], cursor: object) -> None:
        """Add a chunk of jobs to the batch that the run of ``row`` plans, and store the cursor
        after it, in one transaction. After the last chunk, when ``cursor`` is None, the run
        ends and the row waits for the jobs. Raises RunLost."""
        many = self._inserts.rows(zip(jobs, repeat(NO_OPTIONS)))
        last, now = cursor is None, self._now()
        with self._database.transaction():
            if not self._executions.wanted(row):
                raise RunLost(id=row.id, attempt=row.attempts)
            if last:
                self._executions.follow_batch(row)
            _, count = self._insert_jobs(row.id, many)
            self._batches.add(row.id, count, cursor, last=last, now=now)
            self._unblocker.close_batch(row.id)

    def _insert_jobs(self, batch: int, many: list[RowGroup]) -> tuple[list[int], int]:
        """Store the jobs of a batch; returns their ids, and how many were stored: a unique
        job that existed before is not part of the batch."""
        highest = self._dependencies.highest_id()
        jobs = [RowGroup({**each.values, "batch": batch}, each.payloads) for each in many]
        ids = self._inserts.insert_many(jobs)
        return ids, len({id for id in ids if id > highest})
