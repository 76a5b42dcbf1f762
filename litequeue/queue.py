"""The queue: what a producer and an operator do with jobs, verb by verb.

A queue stores specs and returns rows of text and numbers. It never sees a class, and
needs none: jobs can be pushed and looked after where their code is not.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, overload

from litequeue.engine import schema
from litequeue.engine.database import BUSY_SECONDS, Connection, Database, Synchronous
from litequeue.errors import DamagedRow, JobFailed, NoResult, NoSuchJob, OptionError, WaitTimeout
from litequeue.messages import show
from litequeue.options import Options, is_seconds
from litequeue.records import JobRow, State
from litequeue.store.insert import Pushable, Pushed
from litequeue.store.lookup import Selection, matching
from litequeue.store.store import Store

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from litequeue.store.batch_insert import BatchJobs
    from litequeue.store.batches import BatchRow

# What dir() shows: what there is to call. The rest is for workers.
VERBS = (
    "backup", "batch", "cancel", "cancel_batch", "chain", "check", "close", "counts", "find",
    "forget", "get", "path", "pause", "paused", "prune", "push", "push_many", "result", "resume",
    "retry", "wait",
)  # fmt: skip

FIRST_LOOK_SECONDS = 0.001
LONGEST_LOOK_SECONDS = 0.05


class Queue:
    """Jobs on one SQLite file. Threads may share a queue; a forked child may go on
    using it."""

    def __init__(
        self,
        path: str | bytes | os.PathLike[str],
        *,
        synchronous: Synchronous = "normal",
        create: bool = True,
        max_payload: int | None = None,
        busy_timeout: float = BUSY_SECONDS,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open the queue at ``path``, making the file and its tables if need be.

        ``synchronous="full"`` syncs each commit to the disk, so that a power failure
        takes nothing back; with "normal" it can take back the last commits, and a
        process that is killed never does. Without ``create``, a file that there is not
        is an error. A payload of more than ``max_payload`` bytes is refused when it is
        pushed. While another transaction has the write lock, each call waits for
        ``busy_timeout`` seconds, and then raises DatabaseBusy. ``clock`` gives seconds
        since the epoch, ``sleep`` waits for seconds; one that does not has to move
        ``clock``. Raises OptionError, DatabaseError.
        """
        _check_most(max_payload)
        _check_path(path)
        _check_busy_timeout(busy_timeout)
        # The wall clock may be set back; who sleeps otherwise has one that goes with it.
        self._steady = time.monotonic if sleep is time.sleep else clock
        database = Database(
            path,
            synchronous=synchronous,
            create=create,
            busy_timeout=busy_timeout,
            sleep=sleep,
            clock=self._steady,
        )
        schema.upgrade(database)
        self.store = Store(database, clock, sleep, max_payload=max_payload)
        self._sleep = sleep

    @property
    def path(self) -> str:
        """The absolute path of the file."""
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
        """Store a job, or a name with its payload, and return its id.

        When this returns, the job is on disk. It waits until the jobs ``after`` have
        succeeded, given by their ids, or as jobs that are pushed with it. With
        ``connection``, it is part of the transaction that the caller has open there:
        rolled back means never pushed. The options are those of options.Options, and
        win over the job's own. Raises PayloadError, OptionError, WhenError, NoSuchJob,
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
        """Store all the jobs in one transaction and return their ids in order.

        Takes jobs, and (name, payload) pairs; the options hold for each. Raises what
        push raises, and then none of them is pushed.
        """
        return self.store.inserts.push_many(jobs, connection, options)

    def chain(
        self,
        *jobs: Pushable,
        connection: Connection | None = None,
        **options: Unpack[Options],
    ) -> list[int]:
        """Push the jobs in one transaction, each to run after the one before has
        succeeded, and return their ids in order. Raises what push raises."""
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
        """Return the record of a batch; or, with ``then``, make one of the jobs that are
        pushed to what this gives, and run ``then`` once when all of them have ended.

            with queue.batch(then=Report(month=7)) as batch:
                batch.push(Part(1))

        An exception in the block pushes nothing. Raises NoSuchJob, OptionError.
        """
        if then is not None:
            return self.store.batch_inserts.batch_then(then, options)
        if id is None:
            raise OptionError(owner="batch", problem="give the id of a batch, or then=JOB")
        return self.store.batches.get(id, self.store.now())

    # Looking

    def get(self, id: int) -> JobRow:
        """Return the row of a job. Raises NoSuchJob, also for one that has succeeded and
        was not kept."""
        return self.store.lookups.get(id)

    def find(
        self,
        *,
        state: State | str | None = None,
        queue: str | None = None,
        name: str | None = None,
        limit: int = 100,
    ) -> list[JobRow]:
        """Return the newest rows that match all that is given, at most ``limit``.

        A name is matched in any of its spellings. A row that was edited into something
        unreadable is passed over. Raises OptionError for a state that there is not.
        """
        found = self.store.lookups.find(matching(state, queue, name), limit)
        return [row for row in found if isinstance(row, JobRow)]

    def counts(self) -> dict[str, dict[State, int]]:
        """Return how many jobs each queue has in each state that occurs in it."""
        return self.store.lookups.counts()

    # Waiting

    def wait(self, id: int, timeout: float | None = None) -> JobRow | None:
        """Wait until a job is over, at most ``timeout`` seconds, and return its row, or
        None where the row is gone: it succeeded and was not kept, or was forgotten.

        Raises WaitTimeout, and NoSuchJob for an id that was never given.
        """
        started, pause = self._steady(), FIRST_LOOK_SECONDS
        while True:
            row = self._unless_gone(id)
            if row is None or row.state.finished:
                return row
            if timeout is not None and self._steady() - started >= timeout:
                raise WaitTimeout(id=id, state=row.state, timeout=timeout)
            self._sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK_SECONDS)

    def result(self, id: int, timeout: float | None = None) -> object:
        """Wait as wait() does, and return what the job returned, as plain JSON values.

        Raises WaitTimeout, JobFailed where it failed or was cancelled, NoSuchJob, and
        NoResult where its result is not kept: at once where that is known beforehand, for
        ``keep=0`` and for a class that this queue has pushed without ``keep``; at its end
        where only the worker's class or its flags could say.
        """
        row = self._unless_gone(id)
        if row is not None and not row.state.finished and self._keeps_nothing(row):
            raise NoResult(id=id, problem="will leave no result, since it does not say keep")
        row = self.wait(id, timeout)
        if row is None:
            raise NoResult(id=id, problem="is over and its result was not kept")
        if row.state != State.DONE:
            raise JobFailed(id=id, name=row.name, state=row.state, reason=row.reason)
        return None if row.result is None else _parsed(row)

    def _keeps_nothing(self, row: JobRow) -> bool:
        """Whether it is known of a job that is not over that its result will not be kept."""
        if "keep" in row.options:
            return not row.options["keep"]
        declared = self.store.inserts.declared.get(row.name)
        # A job that was pushed by name alone may be of a class that says keep.
        return declared is not None and not declared.get("keep") and not self.store.presence.keeps()

    def _unless_gone(self, id: int) -> JobRow | None:
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
        """Make jobs ready now that are scheduled, failed or cancelled, by ids, by what they
        match, or all of them, and return how many. Those that were finished have all their
        attempts again.

        With ``force``, a running job too is taken from its worker, which can then write
        nothing more for it: for one that is known to hang. What it does outside the
        database it may still be doing when the job starts again. Raises NoSuchJob,
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
        """Cancel jobs that are not finished, by ids, by what they match, or all of them, and
        return how many. One that is running is asked to stop: its ``current().cancelled``
        turns true, and if it does not succeed, it will not run again. Raises NoSuchJob,
        WrongState and OptionError; then nothing was changed."""
        return self.store.admin.cancel(Selection(ids, all, state, queue, name))

    def cancel_batch(self, id: int) -> int:
        """Cancel the unfinished jobs of a batch and what follows them; returns how many jobs
        that were. Those that run are asked to stop. Raises NoSuchJob."""
        return self.store.admin.cancel_batch(id)

    def forget(
        self,
        *ids: int,
        all: bool = False,
        state: State | str | None = None,
        queue: str | None = None,
        name: str | None = None,
    ) -> int:
        """Delete jobs that are not running, whether they have run or not, by ids, by what
        they match, or all of them, and return how many. Raises NoSuchJob, WrongState and
        OptionError; then nothing was changed."""
        return self.store.admin.forget(Selection(ids, all, state, queue, name))

    def prune(self, older: float) -> int:
        """Delete the jobs that finished more than ``older`` seconds ago, failed and
        cancelled ones too; returns how many."""
        return self.store.admin.prune(older)

    def pause(self, queue: str) -> bool:
        """Let no job of ``queue`` start until it is resumed; False if it was paused."""
        return self.store.admin.pause(queue)

    def resume(self, queue: str) -> bool:
        """Let the jobs of ``queue`` start again; False if it was not paused."""
        return self.store.admin.resume(queue)

    def paused(self) -> list[str]:
        """Return the names of the queues that are paused."""
        return self.store.admin.paused()

    def check(self) -> list[str]:
        """Return a sentence for each law of the file that is broken: none in a sound one."""
        from litequeue.store.invariants import violations  # the laws are for who asks

        return violations(self.store.database)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a copy of the queue to a new file while others work on it. In the copy
        nothing runs: what does here is ready there, its attempt not used. Raises
        CannotOpen."""
        self.store.database.backup(path, _release_all)

    def close(self) -> None:
        """Close the connections that this process has; a later use opens new ones."""
        self.store.close()

    def __dir__(self) -> list[str]:
        return [*VERBS, *(name for name in super().__dir__() if name.startswith("__"))]

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
    """Release all runs in a copy: its workers are none of the original's, and what lies
    beside the original says nothing about the copy."""
    with Queue(path, create=False) as copy:
        copy.store.reclaimer.release_everything()


def _check_path(path: object) -> None:
    if not isinstance(path, str | bytes | os.PathLike):
        from litequeue.mistakes import no_path

        raise no_path(path)


def _check_most(max_payload: object) -> None:
    whole = isinstance(max_payload, int) and not isinstance(max_payload, bool)
    if max_payload is not None and not (whole and max_payload > 0):  # type: ignore[operator]
        problem = f"max_payload must be a whole number of bytes or None, not {max_payload!r}"
        raise OptionError(owner="Queue", problem=problem)


def _check_busy_timeout(seconds: object) -> None:
    if not is_seconds(seconds):
        problem = f"busy_timeout must be seconds, 0 or more, not {show(seconds)}"
        raise OptionError(owner="Queue", problem=problem)


def _parsed(row: JobRow) -> object:
    try:
        return json.loads(row.result or "null")
    except (ValueError, RecursionError) as error:
        what = f"its result is {show(row.result)}"
        raise DamagedRow(thing=f"job {row.id}", what=what) from error
