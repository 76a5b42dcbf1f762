"""The queue: what producers and operators call.

A queue stores specs and returns rows of text and numbers. It needs no job class: jobs can
be pushed and managed in a process that cannot import their code.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, overload

from litequeue.durations import Duration, checked_seconds, unbounded_seconds
from litequeue.engine import schema
from litequeue.engine.database import BUSY_SECONDS, Connection, Database, Synchronous
from litequeue.errors import DamagedRow, JobFailed, NoResult, NoSuchJob, OptionError, WaitTimeout
from litequeue.messages import show
from litequeue.options import Options
from litequeue.records import JobRow, State
from litequeue.store.insert import Pushable, Pushed
from litequeue.store.lookup import Selection, matching
from litequeue.store.store import Store

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from litequeue.store.batch_insert import BatchJobs
    from litequeue.store.batches import BatchRow

# What dir() shows.
PUBLIC_NAMES = (
    "backup", "batch", "cancel", "cancel_batch", "chain", "check", "close", "counts", "find",
    "forget", "get", "path", "pause", "paused", "prune", "push", "push_many", "result", "resume",
    "retry", "wait",
)  # fmt: skip

FIRST_WAIT_SECONDS = 0.001
LONGEST_WAIT_SECONDS = 0.05


class Queue:
    """A queue of jobs in one SQLite file. Threads may share it, and so may a forked child."""

    def __init__(
        self,
        path: str | bytes | os.PathLike[str],
        *,
        synchronous: Synchronous = "normal",
        create: bool = True,
        max_payload: int | None = None,
        busy_timeout: Duration = BUSY_SECONDS,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open the queue at ``path``, and create the file and its tables if they are missing.

        ``synchronous="full"`` syncs each commit to the disk, so that a power failure loses
        nothing. With "normal" a power failure can lose the last commits; a killed process
        loses nothing in either mode. With ``create=False`` a missing file is an error. A
        push of a payload of more than ``max_payload`` bytes is refused. While another
        transaction has the write lock, each call waits up to ``busy_timeout``, a duration,
        and then raises DatabaseBusy. ``clock`` returns seconds since the epoch, and ``sleep``
        waits for seconds; a ``sleep`` that does not wait must advance ``clock``. Raises
        OptionError, WrongArgument and DatabaseError.
        """
        _check_max_payload(max_payload)
        _check_path(path)
        # The wall clock may be set back. A custom sleep comes with a custom clock.
        self._monotonic = time.monotonic if sleep is time.sleep else clock
        database = Database(
            path,
            synchronous=synchronous,
            create=create,
            busy_timeout=checked_seconds(busy_timeout, "Queue", "busy_timeout"),
            sleep=sleep,
            clock=self._monotonic,
        )
        schema.upgrade(database)
        self.store = Store(database, clock, sleep, max_payload=max_payload)
        self._sleep = sleep

    @property
    def path(self) -> str:
        """The absolute path of the database file."""
        return self.store.database.path

    # Pushing

    def push(
        self,
        job: Pushable | str,
        payload: Mapping[str, object] | None = None,
        /,
        *,
        after: Sequence[int | Pushable] = (),
        connection: Connection | None = None,
        **options: Unpack[Options],
    ) -> int:
        """Store a job, or a job's name and its payload, and return the id.

        When this returns, the job is on disk. The job runs only after all jobs in ``after``
        have succeeded; these are ids, or jobs to be pushed together with it. With
        ``connection``, the push joins the transaction that the caller has open on it, and is
        undone if that is rolled back. The options are those of options.Options, and override
        the job's own. Raises PayloadError, OptionError, WhenError, NoSuchJob,
        WrongState and DatabaseError.
        """
        return self.store.inserts.push(job, payload, after, connection, options)

    def push_many(
        self,
        jobs: Iterable[Pushed],
        *,
        connection: Connection | None = None,
        **options: Unpack[Options],
    ) -> list[int]:
        """Store jobs in one transaction and return their ids in order.

        ``jobs`` may hold jobs and (name, payload) pairs; the options apply to each of them.
        Raises what push() raises; then none of them is stored.
        """
        return self.store.inserts.push_many(jobs, connection, options)

    def chain(
        self,
        *jobs: Pushable,
        connection: Connection | None = None,
        **options: Unpack[Options],
    ) -> list[int]:
        """Store jobs in one transaction and return their ids in order. Each job runs after the
        one before it has succeeded. Raises what push() raises; then none is stored."""
        return self.store.inserts.chain(jobs, connection, options)

    @overload
    def batch(self, id: int, /) -> BatchRow: ...
    @overload
    def batch(
        self, /, *, then: Pushable, **options: Unpack[Options]
    ) -> AbstractContextManager[BatchJobs]: ...
    def batch(
        self,
        id: int | None = None,
        /,
        *,
        then: Pushable | None = None,
        **options: Unpack[Options],
    ) -> BatchRow | AbstractContextManager[BatchJobs]:
        """Return the record of a batch by its id; or, with ``then``, collect the jobs of a new
        batch in a ``with`` block, and run ``then`` once when all of them have ended.

            with queue.batch(then=Report(month=7)) as batch:
                batch.push(Part(1))

        The jobs are stored at the end of the block; an exception in it stores none. Raises
        NoSuchJob for an unknown id, and OptionError.
        """
        if then is not None:
            return self.store.batch_inserts.batch_then(then, options)
        if id is None:
            raise OptionError(owner="batch", problem="give the id of a batch, or then=JOB")
        return self.store.batches.get(id, self.store.now())

    # Reading

    def get(self, id: int) -> JobRow:
        """Return the row of a job. Raises NoSuchJob for an unknown id, and for a job that has
        succeeded and was not kept."""
        return self.store.lookups.get(id)

    def find(
        self,
        *,
        state: State | str | None = None,
        queue: str | None = None,
        name: str | None = None,
        limit: int = 100,
    ) -> list[JobRow]:
        """Return the newest rows that match all given filters, at most ``limit``.

        A name matches in any of its spellings (SendMail, send_mail, send-mail). Unreadable
        rows are skipped. Raises OptionError for an unknown state.
        """
        found = self.store.lookups.find(matching(state, queue, name), limit)
        return [row for row in found if isinstance(row, JobRow)]

    def counts(self) -> dict[str, dict[State, int]]:
        """Return the number of jobs by queue and state; states without jobs are left out."""
        return self.store.lookups.counts()

    # Waiting

    def wait(self, id: int, timeout: Duration | None = None) -> JobRow | None:
        """Wait until a job has finished, at most ``timeout``, a duration, and return its
        row.

        Returns None where the row is gone, because the job succeeded and was not kept, or
        was deleted. Raises WaitTimeout, and NoSuchJob for an id that was never used.
        """
        longest = None if timeout is None else unbounded_seconds(timeout, "wait", "timeout")
        started, pause = self._monotonic(), FIRST_WAIT_SECONDS
        while True:
            row = self._row_or_none(id)
            if row is None or row.state.finished:
                return row
            if longest is not None and self._monotonic() - started >= longest:
                raise WaitTimeout(id=id, state=row.state, timeout=longest)
            self._sleep(pause)
            pause = min(2 * pause, LONGEST_WAIT_SECONDS)

    def result(self, id: int, timeout: Duration | None = None) -> object:
        """Wait as wait() does, and return the job's result as plain JSON values.

        Raises WaitTimeout, NoSuchJob, JobFailed where the job failed or was cancelled, and
        NoResult where the result is not kept. NoResult is raised at once where this is known
        in advance: for ``keep=0``, and for a class that this queue has pushed without
        ``keep``. Otherwise it is raised when the job has finished.
        """
        row = self._row_or_none(id)
        if row is not None and not row.state.finished and self._keeps_nothing(row):
            raise NoResult(id=id, problem="will leave no result, since keep is not set")
        row = self.wait(id, timeout)
        if row is None:
            raise NoResult(id=id, problem="has finished, and its result was not kept")
        if row.state != State.DONE:
            raise JobFailed(id=id, name=row.name, state=row.state, reason=row.reason)
        return None if row.result is None else _decoded_result(row)

    def _keeps_nothing(self, row: JobRow) -> bool:
        """Whether it is already known that an unfinished job's result will not be kept."""
        if "keep" in row.options:
            return not row.options["keep"]
        declared = self.store.inserts.declared.get(row.name)
        # The class of a job that was pushed by name may set keep.
        return declared is not None and not declared.get("keep") and not self.store.presence.keeps()

    def _row_or_none(self, id: int) -> JobRow | None:
        """Return the row of a job, or None if it was deleted; raises NoSuchJob for an id that
        was never used."""
        try:
            return self.get(id)
        except NoSuchJob:
            if 1 <= id <= self.store.dependencies.highest_id():
                return None
            raise

    # Changing

    def retry(
        self,
        *ids: int,
        force: bool = False,
        all: bool = False,
        state: State | str | None = None,
        queue: str | None = None,
        name: str | None = None,
    ) -> int:
        """Make scheduled, failed or cancelled jobs ready now, and return how many.

        Give ids, or filters, or ``all=True``. Failed and cancelled jobs get all their
        attempts again. With ``force``, a running job is also taken from its worker: nothing that
        the old run reports is stored. Use this only for a job that hangs: its old run may
        still have effects outside the database when the job starts again. Raises NoSuchJob,
        WrongState, KeyTaken and OptionError; then nothing was changed.
        """
        return self.store.admin.retry(Selection(ids, all, state, queue, name), force=force)

    def cancel(
        self,
        *ids: int,
        all: bool = False,
        state: State | str | None = None,
        queue: str | None = None,
        name: str | None = None,
    ) -> int:
        """Cancel unfinished jobs, and return how many.

        Give ids, or filters, or ``all=True``. A running job is asked to stop: its
        ``current().cancelled`` becomes true, and if it does not succeed, it does not run
        again. Raises NoSuchJob, WrongState and OptionError; then nothing was changed.
        """
        return self.store.admin.cancel(Selection(ids, all, state, queue, name))

    def cancel_batch(self, id: int) -> int:
        """Cancel the unfinished jobs of a batch and the job that follows them, and return how
        many. Running jobs are asked to stop. Raises NoSuchJob."""
        return self.store.admin.cancel_batch(id)

    def forget(
        self,
        *ids: int,
        all: bool = False,
        state: State | str | None = None,
        queue: str | None = None,
        name: str | None = None,
    ) -> int:
        """Delete jobs that are not running, finished or not, and return how many.

        Give ids, or filters, or ``all=True``. Raises NoSuchJob, WrongState and OptionError;
        then nothing was changed.
        """
        return self.store.admin.forget(Selection(ids, all, state, queue, name))

    def prune(self, older: Duration) -> int:
        """Delete the jobs that finished longer than ``older`` ago, including failed and
        cancelled ones, and return how many. Raises OptionError."""
        return self.store.admin.prune(older)

    def pause(self, queue: str) -> bool:
        """Start no more jobs of ``queue`` until it is resumed; return False if it was already
        paused."""
        return self.store.admin.pause(queue)

    def resume(self, queue: str) -> bool:
        """Start the jobs of ``queue`` again; return False if it was not paused."""
        return self.store.admin.resume(queue)

    def paused(self) -> list[str]:
        """Return the names of the paused queues."""
        return self.store.admin.paused()

    def check(self) -> list[str]:
        """Return a sentence for each violated invariant of the file; a sound file has none."""
        from litequeue.store.invariants import violations  # loaded only when used

        return violations(self.store.database)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the queue to a new file while workers go on using it. Jobs that are running
        here are ready in the copy, with the attempt not used. Raises CannotOpen."""
        self.store.database.backup(path, _release_all)

    def close(self) -> None:
        """Close the connections of this process; a later call opens new ones."""
        self.store.close()

    def __dir__(self) -> list[str]:
        return [*PUBLIC_NAMES, *(name for name in super().__dir__() if name.startswith("__"))]

    def __enter__(self) -> Queue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _release_all(path: str) -> None:
    """Release all runs in a copy: no worker of the original works on the copy, and the files
    beside the original do not describe it."""
    with Queue(path, create=False) as copy:
        copy.store.reclaimer.release_everything()


def _check_path(path: object) -> None:
    if not isinstance(path, str | bytes | os.PathLike):
        from litequeue.mistakes import no_path

        raise no_path(path)


def _check_max_payload(max_payload: object) -> None:
    whole = isinstance(max_payload, int) and not isinstance(max_payload, bool)
    if max_payload is not None and not (whole and max_payload > 0):  # type: ignore[operator]
        problem = f"max_payload must be a whole number of bytes or None, not {max_payload!r}"
        raise OptionError(owner="Queue", problem=problem)


def _decoded_result(row: JobRow) -> object:
    try:
        return json.loads(row.result or "null")
    except (ValueError, RecursionError) as error:
        what = f"its result is {show(row.result)}"
        raise DamagedRow(thing=f"job {row.id}", what=what) from error
