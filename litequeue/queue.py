"""The queue: what a producer and an operator do with jobs, verb by verb.

A queue stores specs and returns rows of text and numbers. It never sees a class, and
needs none: jobs can be pushed and looked after where their code is not.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from litequeue import schema
from litequeue.database import Connection, Database, Synchronous
from litequeue.errors import DamagedRow, JobFailed, NoResult, NoSuchJob, OptionError, WaitTimeout
from litequeue.nudge import Nudge
from litequeue.options import DEFAULTS, STORED, Options, checked, merged
from litequeue.payload import encode_plain
from litequeue.record import COLUMNS, NOBODY, JobRow, Spec, State, is_id, read_row, read_state
from litequeue.roster import Roster
from litequeue.upkeep import MATCHING, Upkeep, matching
from litequeue.when import due

if TYPE_CHECKING:
    from typing_extensions import Unpack

FIRST_LOOK_SECONDS = 0.001
LONGEST_LOOK_SECONDS = 0.05


class Pushable(Protocol):
    """What push takes: a job, or whatever else can say what is to be stored."""

    def __litequeue_spec__(self) -> Spec: ...


class Queue(Upkeep):
    """Jobs on one SQLite file. Threads may share a queue; a forked child may go on
    using it."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "normal",
        create: bool = True,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open the queue at ``path``, making the file and its tables if need be.

        ``synchronous="full"`` syncs each commit to the disk, so that a power failure
        takes nothing back; with "normal" it can take back the last commits, and a
        process that is killed never does. Without ``create``, a file that there is not
        is an error. ``clock`` gives seconds since the epoch,
        ``sleep`` waits for seconds. Raises DatabaseError.
        """
        super().__init__(Database(path, synchronous=synchronous, create=create, sleep=sleep), clock)
        self._sleep = sleep
        schema.upgrade(self.database)
        self.roster = Roster(self.database, clock)
        self._nudge = Nudge(self.roster.folder)

    @property
    def path(self) -> str:
        """The absolute path of the file."""
        return str(self.database.path)

    # Pushing

    PUSH = f"""
    insert into litequeue_jobs (
      name, queue, priority, state, attempts, max_attempts, worker,
      available_at, reserved_at, created_at, options, payload
    ) values (
      :name, :queue, :priority, :state, 0, :max_attempts, {NOBODY},
      :available_at, :now, :now, :options, :payload
    )"""

    def push(
        self,
        job: Pushable | str,
        payload: Mapping[str, object] | None = None,
        /,
        *,
        connection: Connection | None = None,
        **options: Unpack[Options],
    ) -> int:
        """Store a job, or a name with its payload, and return its id.

        When this returns, the job is on disk. With ``connection``, it is part of the
        transaction that the caller has open there: rolled back means never pushed.
        The options are those of options.Options, and win over the job's own. Raises
        PayloadError, OptionError, WhenError, DatabaseError.
        """
        values = self._values(_spec(job, payload), checked(options, "push"), self.clock())
        if connection is not None:
            with self.database.joined(connection):
                return self._push(values)
        return self._push(values)

    def _push(self, values: Mapping[str, object]) -> int:
        id = self.database.insert(self.PUSH, values)
        self.pushed(str(values["queue"]))
        return id

    def push_many(
        self,
        jobs: Iterable[Pushable | tuple[str, Mapping[str, object]]],
        *,
        connection: Connection | None = None,
        **options: Unpack[Options],
    ) -> list[int]:
        """Store all the jobs in one transaction and return their ids in order.

        Takes jobs, and (name, payload) pairs; the options hold for each. Raises what
        push raises, and then none of them is pushed.
        """
        given, now = checked(options, "push_many"), self.clock()
        specs = (_spec(*job) if isinstance(job, tuple) else _spec(job) for job in jobs)
        many = [self._values(spec, given, now) for spec in specs]
        if connection is not None:
            with self.database.joined(connection):
                return self._push_many(many)
        return self._push_many(many)

    def _push_many(self, many: list[dict[str, object]]) -> list[int]:
        ids = self.database.insert_many(self.PUSH, many)
        for queue in {str(values["queue"]) for values in many}:
            self.pushed(queue)
        return list(ids)

    def pushed(self, queue: str) -> None:
        """Wake a worker that serves ``queue``, as soon as it can see what was written."""
        self.database.after_commit(self._nudge.ring, queue)

    def _values(self, spec: Spec, given: Options, now: float) -> dict[str, object]:
        options = merged(spec.options, given)
        at = due(options.get("at", options.get("delay", 0)), now)
        stored = {
            word: value for word, value in options.items() if word in STORED and not callable(value)
        }
        return {
            "name": spec.name,
            "queue": options.get("queue", DEFAULTS["queue"]),
            "priority": options.get("priority", DEFAULTS["priority"]),
            "state": (State.SCHEDULED if at > now else State.READY).code,
            "max_attempts": options.get("max_attempts"),
            "available_at": int(at * 1000),
            "now": int(now * 1000),
            "options": json.dumps(stored) if stored else None,
            "payload": spec.payload,
        }

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

        A name is matched in any of its spellings. Raises OptionError for a state that
        there is not.
        """
        where = {**matching(state, queue, name), "limit": limit}
        return [read_row(row) for row in self.database.rows(self.FIND, where)]

    COUNTS = """
    select queue, state, count(*)
    from litequeue_jobs
    group by queue, state"""

    def counts(self) -> dict[str, dict[State, int]]:
        """Return how many jobs each queue has in each state that occurs in it."""
        found: dict[str, dict[State, int]] = {}
        for queue, code, count in self.database.rows(self.COUNTS):
            found.setdefault(queue, {})[read_state(code)] = count
        return found

    # Waiting

    def wait(self, id: int, timeout: float | None = None) -> JobRow | None:
        """Wait until a job is over, at most ``timeout`` seconds, and return its row, or
        None where the row is gone: it succeeded and was not kept, or was forgotten.

        Raises WaitTimeout, and NoSuchJob for an id that was never given.
        """
        started, pause = self.clock(), FIRST_LOOK_SECONDS
        while True:
            row = self._unless_gone(id)
            if row is None or row.state.finished:
                return row
            if timeout is not None and self.clock() - started >= timeout:
                raise WaitTimeout(id=id, state=row.state, timeout=timeout)
            self._sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK_SECONDS)

    def result(self, id: int, timeout: float | None = None) -> object:
        """Wait as wait() does, and return what the job returned, as plain JSON values.

        Raises WaitTimeout, JobFailed where it failed or was cancelled, NoResult where
        it was pushed without ``keep``, NoSuchJob.
        """
        row = self.wait(id, timeout)
        if row is None:
            raise NoResult(id=id)
        if row.state != State.DONE:
            raise JobFailed(id=id, name=row.name, state=row.state, reason=row.reason)
        return None if row.result is None else _parsed(row)

    HIGHEST_ID = """
    select seq
    from sqlite_sequence
    where name = 'litequeue_jobs'"""

    def _unless_gone(self, id: int) -> JobRow | None:
        try:
            return self.get(id)
        except NoSuchJob:
            highest = self.database.rows(self.HIGHEST_ID)
            if highest and 1 <= id <= highest[0][0]:
                return None
            raise

    def close(self) -> None:
        """Close the connections that this process has; a later use opens new ones."""
        self.database.close()

    def __enter__(self) -> Queue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _parsed(row: JobRow) -> object:
    try:
        return json.loads(row.result or "null")
    except ValueError as error:
        raise DamagedRow(id=row.id, what=f"its result is {row.result!r:.50}") from error


def _spec(job: Pushable | str, payload: Mapping[str, object] | None = None) -> Spec:
    if not isinstance(job, str):
        if payload is not None:
            raise OptionError(owner="push", problem="a job has its payload in it; give a name")
        return job.__litequeue_spec__()
    if not job.strip():
        raise OptionError(owner="push", problem="the name of the job is empty")
    return Spec(job, encode_plain({} if payload is None else payload, job))
