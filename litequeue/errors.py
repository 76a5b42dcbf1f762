"""Every error that litequeue raises, as one tree.

The docstring of an error is its message: it says what happened, names the thing and the
value, and ends with the remedy.

    LitequeueError
    ├── PayloadError        a payload cannot be written as JSON, or read back
    ├── OptionError         an option has an invalid value
    │   └── WrongArgument   an argument has the wrong type
    ├── WhenError           a delay or a time is not valid
    ├── ScheduleError       a cron expression or a period is not valid
    ├── JobError            a class or function cannot be a job
    ├── DuplicateJob        two jobs have the same name
    ├── NoJobsFound         no jobs were found for a worker to run
    ├── ImportsFailed       a module failed to import, and the worker is strict
    ├── UnknownJob          no job has this name
    ├── NoSuchJob           no row has this id
    ├── WrongState          a command does not apply to a row in this state
    ├── NoSuchSchedule      no periodic job has this name
    ├── KeyBusy             a job cannot run now: its concurrency limit is reached
    ├── RateLimitReached    a job cannot run now: its rate limit is reached
    ├── KeyTaken            another unfinished job has the same unique key
    ├── JobFailed           the job whose result was requested has failed
    ├── NoResult            a finished job's result was not kept
    ├── WaitTimeout         a job did not finish before the timeout of wait()
    ├── NoCurrentJob        current() was called outside a running job
    ├── NotBound            dispatch() does not know where to push
    ├── JobTimeout          a job ran longer than its timeout
    ├── DatabaseMoved       the path leads to another file than the worker opened
    ├── JobLeftTransaction  a job left a write transaction open on the queue's file
    ├── WorkerRunning       a Worker object was started twice at the same time
    ├── RunLost             a run no longer belongs to its worker
    ├── WorkerDied          the process that ran a job died
    └── DatabaseError       an error of the database file
        ├── CannotOpen      the database cannot be opened or created
        ├── NotADatabase    the file is not an SQLite database
        ├── ForeignTables   the file has a litequeue_ table that litequeue did not make
        ├── SchemaNewer     the file was written by a newer litequeue
        ├── SqliteTooOld    this Python is linked to an SQLite that is too old
        ├── OtherDatabase   the caller's connection is to another database
        ├── DatabaseBusy    the write lock was not free in time
        │   ├── LockedByOther     another process has it
        │   ├── LockedByUs        another connection of this process has it
        │   ├── LockedByAwait     another async job of this worker has it
        │   └── StaleTransaction  the caller's transaction can no longer write
        ├── DatabaseFull    there is no space left to write
        └── DatabaseRefused any other error from SQLite
            └── DamagedRow  a row was edited by hand and cannot be read

``Retry``, ``Snooze`` and ``Fail`` are not errors of litequeue: a job raises them
to say how its own run ends.
"""

from __future__ import annotations

from datetime import timedelta


class LitequeueError(Exception):
    """{problem}"""

    exit_code = 2

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        text = type(self).__doc__ or f"{type(self).__name__}: {facts}"
        super().__init__(" ".join(text.split()).format_map(facts))

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only facts do not survive the default pickling by ``args``,
        # and an error may cross to another process.
        return _remake, (type(self), self.facts)


def _remake(kind: type[LitequeueError], facts: dict[str, object]) -> LitequeueError:
    return kind(**facts)


class PayloadError(LitequeueError):
    """{job}: {problem}"""


class OptionError(LitequeueError, ValueError):
    """{owner}: {problem}"""


class WrongArgument(OptionError, TypeError):
    """{owner} {takes} {wanted}, not {given}: {remedy}."""


class WhenError(LitequeueError, ValueError):
    """{value} is not a valid time: {problem}. Write "30s", "+1 hour 30 minutes",
    "tomorrow 10:00", "next monday", "2030-01-01 10:00:00", "@1893456000", or for delay= a
    number of seconds (30)."""


class ScheduleError(LitequeueError, ValueError):
    """{value} is not a valid schedule: {problem}. Write the five fields of crontab(5), as in
    cron="0 2 * * *", a word such as cron="@daily", or a period, as in
    every="15m"."""


class JobError(LitequeueError, TypeError):
    """{job} cannot be a job: {problem}"""


class DuplicateJob(LitequeueError):
    """Two jobs have the name {name!r}: {first} and {second}. Rename one, or
    give it another name with name="..."."""


class NoJobsFound(LitequeueError):
    """No jobs found: {problem}. Name the package of the jobs with --jobs PACKAGE or
    LITEQUEUE_JOBS, or start in the folder that contains it."""


class ImportsFailed(LitequeueError):
    """{count} of the jobs' modules failed to import, and --strict requires all. Fix
    them, or start without --strict."""


class UnknownJob(LitequeueError):
    """Job ({name}) not found!"""

    exit_code = 1


class NoSuchJob(LitequeueError, LookupError):
    """There is no job {id}: it was never pushed here, or it has finished and was
    not kept."""

    exit_code = 1


class WrongState(LitequeueError):
    """Job {id} is {state}, but {verb} applies only to a job that is {allowed}."""

    exit_code = 1


class NoSuchSchedule(LitequeueError, LookupError):
    """There is no periodic job {name!r}. A worker stores its periodic jobs when it starts:
    check the name, or start the worker that has this one."""

    exit_code = 1


class KeyBusy(LitequeueError):
    """Job {id} cannot run now: the concurrency limit of its key {key!r} is reached. A worker
    runs it when one of the running jobs has ended."""

    exit_code = 1


class RateLimitReached(LitequeueError):
    """Job {id} cannot run now: its rate limit of {limit} is reached. A worker runs it when its
    turn comes, in {wait}."""

    exit_code = 1


class KeyTaken(LitequeueError):
    """Job {id} cannot be retried: job {other} has its unique key {key!r} and is not
    finished. Wait until that one finishes, or cancel it."""

    exit_code = 1


class JobFailed(LitequeueError):
    """Job {id} ({name}) is {state}: {reason}"""

    exit_code = 1


class NoResult(LitequeueError, LookupError):
    """Job {id} {problem}. Push it with keep=SECONDS to keep its result for that long."""

    exit_code = 1


class WaitTimeout(LitequeueError, TimeoutError):
    """Job {id} is still {state} after {timeout:g} s. Wait longer, or
    run litequeue show to see whether a worker serves its queue."""

    exit_code = 1


class NoCurrentJob(LitequeueError):
    """No job is running here. Call current() only inside a job's handle()."""


class NotBound(LitequeueError):
    """dispatch() does not know which queue to push to. Call
    litequeue.bind(queue) when the application starts, or set LITEQUEUE_DB to the
    path of the database, or use queue.push(job)."""


class JobTimeout(LitequeueError, TimeoutError):
    """The job did not end within its timeout{detail}. Set a longer timeout=, or split the job
    into shorter ones."""

    # Python creates one without arguments when it raises it in another thread.
    def __init__(self, *, detail: str = "", stuck_at: str = "") -> None:
        """``stuck_at`` is the traceback of a job whose process had to be killed, or ""."""
        LitequeueError.__init__(self, detail=detail, stuck_at=stuck_at)
        self.stuck_at = stuck_at


class DatabaseMoved(LitequeueError):
    """{path} is no longer the file that this worker has open: it was deleted or replaced, or
    a link on its path was changed. No other process would see what this worker writes. Start
    the worker again."""


class WorkerRunning(LitequeueError, RuntimeError):
    """This worker is already running. Create another Worker for another thread, or start
    this one again when it has ended."""


class JobLeftTransaction(LitequeueError):
    """{job} left a write transaction open on {path}, so no other connection can write to
    the file. Commit or roll back, and close the connection, before the job ends."""

    exit_code = 1


class RunLost(LitequeueError):
    """Attempt {attempt} of job {id} no longer belongs to this worker: the job was retried,
    rescued or deleted while it ran. Nothing of this run was written, so let it end; queue.get()
    or litequeue show tells what became of the job."""


class WorkerDied(LitequeueError):
    """Worker {worker} died ({cause}) while it ran attempt {attempt} of {max_attempts}. Look for
    the cause in the log of the worker or the system; signal 9 often means that memory ran
    out."""


class DatabaseError(LitequeueError):
    """{path}: {problem}"""


class CannotOpen(DatabaseError):
    """{path} cannot be opened: {problem}."""


class NotADatabase(DatabaseError):
    """{path} is not an SQLite database, or is damaged ({problem}). Use another file, or
    restore this one from a backup."""


class ForeignTables(DatabaseError):
    """{path} has a table {table} that litequeue did not make. Use another file, or
    rename that table."""


class SchemaNewer(DatabaseError):
    """{path} was written by a newer litequeue (schema {found}, but this version
    supports up to {known}). Update litequeue here."""


class SqliteTooOld(DatabaseError):
    """litequeue needs SQLite {needed} or newer, and this Python has {found}. Use a
    newer Python, or one that is linked to a newer SQLite."""


class OtherDatabase(DatabaseError):
    """The connection passed to push is to {found}, but the queue is {path}. Open
    it on the same file."""


class DatabaseBusy(DatabaseError):
    """{path} stayed locked for {waited:.3g} s. If this program has a transaction open on
    it, push with connection=, or commit it first. Otherwise find the program that has a
    write transaction open, end it and try again."""


class LockedByOther(DatabaseBusy):
    """{path} stayed locked by another process ({pid}) for {waited:.3g} s. It has a write
    transaction open: end it, and try again."""


class LockedByUs(DatabaseBusy):
    """{path} stayed locked for {waited:.3g} s by a write transaction that this process has
    open on another connection. Push with connection= to join it, or commit it first."""


class LockedByAwait(DatabaseBusy):
    """{path} is locked by another async job of this worker, which has awaited something inside a
    transaction; it could not go on while this one waits. Do not await inside
    current().transaction()."""


class StaleTransaction(DatabaseBusy):
    """{path}: the given connection has read, in a transaction or by an unfinished query, and
    another connection has written since or is writing now. Begin the
    transaction with BEGIN IMMEDIATE, or end it and try again."""


class DatabaseFull(DatabaseError):
    """{path} cannot grow ({problem}): nothing was written. Free some space and try
    again."""


class DatabaseRefused(DatabaseError):
    """{path}: SQLite reports: {problem}."""


class DamagedRow(DatabaseRefused):
    """{thing} was edited into something unreadable ({what}). Repair it with SQL, or
    forget it."""


class Retry(Exception):
    """Raised by a job to run again ``after`` a duration (default: the job's backoff), if
    attempts are left."""

    def __init__(self, reason: str = "", *, after: float | timedelta | str | None = None) -> None:
        super().__init__(reason or "the job asked to be retried")
        self.after = after


class Snooze(Exception):
    """Raised by a job to run again ``after`` a duration, without using an attempt."""

    def __init__(self, reason: str = "", *, after: float | timedelta | str) -> None:
        super().__init__(reason or "the job asked to be run later")
        self.after = after


class Fail(Exception):
    """Raised by a job to fail permanently now, even if attempts are left."""
