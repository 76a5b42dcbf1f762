"""The queue: what a producer and an operator do with jobs, verb by verb.

A queue stores specs and returns rows of text and numbers. It never sees a class, and
needs none: jobs can be pushed and looked after where their code is not.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, overload

from litequeue import schema
from litequeue.database import (
    BUSY_SECONDS,
    LONGEST_PAUSE_SECONDS,
    Database,
    Parameters,
    Synchronous,
)
from litequeue.errors import DamagedRow, JobFailed, NoResult, NoSuchJob, OptionError, WaitTimeout
from litequeue.members import Members, Membership
from litequeue.messages import show
from litequeue.nudge import Nudge
from litequeue.options import Options, is_seconds
from litequeue.pushing import Pushable
from litequeue.record import (
    COLUMNS,
    JobRow,
    State,
    UnreadableRow,
    is_id,
    read_or_explain,
    read_row,
    read_state,
    workers_folder,
)
from litequeue.upkeep import MATCHING, matching

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from litequeue.batches import BatchRow
    from litequeue.roster import Roster

# What dir() shows: what there is to call. The rest is for workers.
VERBS = (
    "backup", "batch", "cancel", "cancel_batch", "chain", "check", "close", "counts", "find",
    "forget", "get", "path", "pause", "paused", "prune", "push", "push_many", "result", "resume",
    "retry", "wait",
)  # fmt: skip

FIRST_LOOK_SECONDS = 0.001
LONGEST_LOOK_SECONDS = 0.05


class Queue(Membership):
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
        super().__init__(database, clock, max_payload)
        self._sleep = sleep
        schema.upgrade(self.database)
        self._nudge = Nudge(workers_folder(self.path))

    @property
    def path(self) -> str:
        """The absolute path of the file."""
        return self.database.path

    @cached_property
    def roster(self) -> Roster:
        """Who works on the queue."""
        from litequeue.roster import Roster  # who only pushes asks for nobody

        return Roster(self.database, self.clock)

    def recall(self, worker: int | None = None, rested: float = 0) -> int:
        """Have back what this worker, or each, has fetched and not started, and complete
        what it has finished, unless it has started a job within the last ``rested``
        seconds; returns how many jobs that was about."""
        ended = 0
        with self.database.transaction():
            workers = [row.id for row in self.roster.listed()] if worker is None else [worker]
            for each in workers:
                note = self.roster.recall(each, rested)
                ended += 0 if note is None else self.take_back(each, note)
        return ended

    # Looking

    GET = f"""
    select {COLUMNS}
    from litequeue_jobs
    where id = :id"""

    def get(self, id: int) -> JobRow:
        """Return the row of a job. Raises NoSuchJob, also for one that has succeeded and
        was not kept."""
        rows = self.database.rows(self.GET, {"id": id}) if is_id(id) else []
        if not rows:
            raise NoSuchJob(id=id)
        return read_row(rows[0])

    FIND = f"""
    select {COLUMNS}
    from litequeue_jobs
    where {MATCHING}
    order by id desc
    limit :limit"""

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
        where = matching(state, queue, name)
        return [row for row in self.find_any(where, limit) if isinstance(row, JobRow)]

    def find_any(self, where: Parameters, limit: int) -> list[JobRow | UnreadableRow]:
        """Return the newest rows that match MATCHING, those that cannot be read as such."""
        rows = self.database.rows(self.FIND, {**where, "limit": limit})
        return [read_or_explain(row) for row in rows]

    # Each by its index, which is some times as quick as a walk over the rows; in one
    # statement, so that a job that moves is counted once.
    COUNTS = """
    select queue, 3, count(*)
    from litequeue_jobs
    where state = 3
    group by queue
    union all
    select queue, 5, count(*)
    from litequeue_jobs
    where state = 5
    group by queue
    union all
    select queue, state, count(*)
    from litequeue_jobs
    where state <> 3 and state <> 5
    group by state, queue"""

    def counts(self) -> dict[str, dict[State, int]]:
        """Return how many jobs each queue has in each state that occurs in it."""
        found: dict[str, dict[State, int]] = {}
        for queue, code, count in self.database.rows(self.COUNTS):
            states = found.setdefault(queue, {})
            try:
                state = read_state(code)
            except DamagedRow:
                continue  # in no state at all
            states[state] = states.get(state, 0) + count
        return found

    @overload
    def batch(self, id: int, /) -> BatchRow: ...
    @overload
    def batch(
        self, /, *, then: Pushable, **options: Unpack[Options]
    ) -> AbstractContextManager[Members]: ...
    def batch(
        self,
        id: int | None = None,
        /,
        *,
        then: Pushable | None = None,
        **options: Unpack[Options],
    ) -> BatchRow | AbstractContextManager[Members]:
        """Return the record of a batch; or, with ``then``, make one of the jobs that are
        pushed to what this gives, and run ``then`` once when all of them have ended.

            with queue.batch(then=Report(month=7)) as batch:
                batch.push(Part(1))

        An exception in the block pushes nothing. Raises NoSuchJob, OptionError.
        """
        if then is not None:
            return self.batch_then(then, **options)
        if id is None:
            raise OptionError(owner="batch", problem="give the id of a batch, or then=JOB")
        return self.batches.get(id, self.now())

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
        declared = self._declared.get(row.name)
        # A job that was pushed by name alone may be of a class that says keep.
        return declared is not None and not declared.get("keep") and not self.roster.keeps()

    def _unless_gone(self, id: int) -> JobRow | None:
        try:
            return self.get(id)
        except NoSuchJob:
            if 1 <= id <= self.flows.highest_id():
                return None
            raise

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a copy of the queue to a new file while others work on it. In the copy
        nothing runs: what does here is ready there, its attempt unspent. Raises
        CannotOpen."""
        self.database.backup(path, _release_all)

    def pushed(self, queue: str) -> None:
        """Wake a worker that serves ``queue``, as soon as it can see what was written."""
        self.database.after_commit(self._nudge.ring, queue)

    def let_others_in(self) -> None:
        """Give every writer that waits the time to take the lock."""
        if not self.database.in_transaction():
            self._sleep(LONGEST_PAUSE_SECONDS)

    def close(self) -> None:
        """Close the connections that this process has; a later use opens new ones."""
        self._nudge.close()
        self.database.close()

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
    with Queue(path, create=False) as copy, copy.database.transaction():
        for worker in copy.roster.listed():
            for row in copy.running(worker.id):
                copy.release(row)
            copy.roster.dismiss(worker.id)


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
