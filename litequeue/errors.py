"""Every error that litequeue raises, as one tree.

The docstring of an error is its message: what happened, with the thing and the
value named, and last what to do about it.

    LitequeueError
    ├── PayloadError        a payload cannot be written as JSON, or read back
    ├── OptionError         an option has a value that it cannot have
    │   └── WrongArgument   an argument is of the wrong kind
    ├── WhenError           a delay or an instant cannot be read
    ├── ScheduleError       a cron expression or a period cannot be read
    ├── JobError            a class or function cannot be a job
    ├── DuplicateJob        two jobs answer to one name
    ├── NoJobsFound         there is nothing for a worker to run
    ├── ImportsFailed       a module failed to import, and the worker is strict
    ├── UnknownJob          no job answers to a name
    ├── NoSuchJob           no row has an id
    ├── WrongState          a row is in a state that a verb does not leave
    ├── NoSuchSchedule      no periodic job has a name
    ├── KeyBusy             as many jobs of a key run as may
    ├── KeyTaken            a job cannot run while another has its unique key
    ├── JobFailed           the job whose result was asked for has failed
    ├── NoResult            a finished job's result was not kept
    ├── WaitTimeout         a job did not finish in the time given
    ├── NoCurrentJob        current() was called outside a run
    ├── NotBound            dispatch() does not know where to push
    ├── JobTimeout          a job ran longer than it may
    ├── DatabaseMoved       the path of a worker's file leads elsewhere now
    ├── JobLeftTransaction  a job left a write transaction open on the queue's file
    ├── RunLost             a run is no longer its worker's to end
    ├── WorkerDied          the process that ran a job ended under it
    └── DatabaseError       the file itself
        ├── CannotOpen      there is no database there, and none can be made
        ├── NotADatabase    the file is something else
        ├── ForeignTables   the file has tables of ours that we did not make
        ├── SchemaNewer     the file was written by a newer litequeue
        ├── SqliteTooOld    this Python has an SQLite that we cannot use
        ├── OtherDatabase   the caller's connection is to another file
        ├── DatabaseBusy    somebody kept the write lock too long
        │   ├── LockedByOther     another process
        │   ├── LockedByUs        another connection of this process
        │   └── StaleTransaction  the caller's transaction can no longer write
        ├── DatabaseFull    there is no room left to write
        └── DatabaseRefused whatever else SQLite said
            └── DamagedRow  a row was edited into what no verb writes

``Retry``, ``Snooze`` and ``Fail`` are not errors of litequeue: a job raises them
to say how its own run ends.
"""

from __future__ import annotations


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
    """{value} is no time that litequeue can read: {problem}. Write "30s",
    "+1 hour 30 minutes", "tomorrow 10:00", "next monday", "2030-01-01 10:00:00",
    "@1893456000", or under delay= seconds (30)."""


class ScheduleError(LitequeueError, ValueError):
    """{value} is no schedule that litequeue can read: {problem}. Write five fields of
    crontab(5), as in cron="0 2 * * *", a word such as cron="@daily", or a period, as in
    every="15m"."""


class JobError(LitequeueError, TypeError):
    """{job} cannot be a job: {problem}"""


class DuplicateJob(LitequeueError):
    """Two jobs answer to the name {name!r}: {first} and {second}. Rename one, or
    give it another name with name="..."."""


class NoJobsFound(LitequeueError):
    """No jobs found: {problem}. Name the package that holds them with --jobs
    PACKAGE or LITEQUEUE_JOBS, or start in the folder that holds it."""


class ImportsFailed(LitequeueError):
    """{count} of the jobs' modules failed to import, and --strict asks for all. Fix
    them, or start without --strict."""


class UnknownJob(LitequeueError):
    """Job ({name}) not found!"""

    exit_code = 1


class NoSuchJob(LitequeueError, LookupError):
    """There is no job {id}: it was never pushed here, or it has finished and was
    not kept."""

    exit_code = 1


class WrongState(LitequeueError):
    """Job {id} is {state}, and {verb} takes only a job that is {allowed}."""

    exit_code = 1


class NoSuchSchedule(LitequeueError, LookupError):
    """There is no periodic job {name!r} on the timetable: a worker puts it there when it
    starts."""

    exit_code = 1


class KeyBusy(LitequeueError):
    """Job {id} cannot run now: as many jobs of its key {key!r} run as may. It runs by
    itself when one of them has ended."""

    exit_code = 1


class KeyTaken(LitequeueError):
    """Job {id} cannot be retried: job {other} has its unique key {key!r} and is not
    finished. Let that one finish, or cancel it."""

    exit_code = 1


class JobFailed(LitequeueError):
    """Job {id} ({name}) is {state}: {reason}"""

    exit_code = 1


class NoResult(LitequeueError, LookupError):
    """Job {id} {problem}. Push it with keep=SECONDS to have its result for that long."""

    exit_code = 1


class WaitTimeout(LitequeueError, TimeoutError):
    """Job {id} is still {state} after {timeout:g} s. Wait longer, or look with
    show whether a worker serves its queue."""

    exit_code = 1


class NoCurrentJob(LitequeueError):
    """No job is running here: current() answers only inside a job's handle()."""


class NotBound(LitequeueError):
    """dispatch() does not know which queue to push to. Call
    litequeue.bind(queue) when the application starts, or set LITEQUEUE_DB to the
    path of the database, or use queue.push(job)."""


class JobTimeout(LitequeueError, TimeoutError):
    """The job did not end within its timeout{detail}."""

    # Python itself makes one, with no facts, where it is raised in another thread.
    def __init__(self, *, detail: str = "", hung: str = "") -> None:
        """``hung`` is where the job was when its process was ended, if that was so."""
        LitequeueError.__init__(self, detail=detail, hung=hung)
        self.hung = hung


class DatabaseMoved(LitequeueError):
    """{path} is no longer the file that this worker has open: it was deleted or
    replaced, or a link on its path leads elsewhere, and what is written here would be
    seen by nobody. Start the worker again."""


class WorkerRunning(LitequeueError, RuntimeError):
    """This worker is at work already. Make another Worker for another thread; this one can
    be used again when it has ended."""


class JobLeftTransaction(LitequeueError):
    """{job} left a write transaction open on {path}, and nobody can write to it until that
    connection is closed. Commit or roll back, and close the connection, before the job
    ends."""

    exit_code = 1


class RunLost(LitequeueError):
    """Attempt {attempt} of job {id} is no longer this worker's: the row was taken
    from it, and nothing of this run was written."""


class WorkerDied(LitequeueError):
    """Worker {worker} died ({cause}) while it ran attempt {attempt} of
    {max_attempts}."""


class DatabaseError(LitequeueError):
    """{path}: {problem}"""


class CannotOpen(DatabaseError):
    """{path} cannot be opened: {problem}."""


class NotADatabase(DatabaseError):
    """{path} is not an SQLite database, or is damaged ({problem}). Name another
    file, or restore this one from a backup."""


class ForeignTables(DatabaseError):
    """{path} has a table {table} that litequeue did not make. Use another file, or
    rename that table."""


class SchemaNewer(DatabaseError):
    """{path} was written by a newer litequeue (schema {found}, and this one knows
    up to {known}). Update litequeue here."""


class SqliteTooOld(DatabaseError):
    """litequeue needs SQLite {needed} or newer, and this Python has {found}. Use a
    newer Python, or one that is linked to a newer SQLite."""


class OtherDatabase(DatabaseError):
    """The connection handed to push is to {found}, and the queue is {path}. Open
    it on the same file."""


class DatabaseBusy(DatabaseError):
    """{path} stayed locked for {waited:.3g} s. If this program has a transaction open on
    it, push with connection=, or commit it first; if not, find what holds a write
    transaction open, end it and try again."""


class LockedByOther(DatabaseBusy):
    """{path} stayed locked by another process ({pid}) for {waited:.3g} s. It has a write
    transaction open: end that, and try again."""


class LockedByUs(DatabaseBusy):
    """{path} stayed locked for {waited:.3g} s by a write transaction that this process has
    open on another connection. Push with connection= to be a part of it, or commit it
    first."""


class StaleTransaction(DatabaseBusy):
    """{path}: the connection that was handed in has read, in a transaction or by a query
    that is not finished, and another one has written since or is writing now. Begin the
    transaction with BEGIN IMMEDIATE, or end it and try again."""


class DatabaseFull(DatabaseError):
    """{path} cannot grow ({problem}): nothing was written. Free some space and try
    again."""


class DatabaseRefused(DatabaseError):
    """{path}: SQLite says: {problem}."""


class DamagedRow(DatabaseRefused):
    """{thing} was edited into something unreadable ({what}): repair it with SQL, or
    forget it."""


class Retry(Exception):
    """Raised by a job: run again, ``after`` seconds from now (default: by the job's
    backoff), if attempts are left."""

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason or "the job asked to be retried")
        self.after = after


class Snooze(Exception):
    """Raised by a job: run again ``after`` seconds from now, and spend no attempt."""

    def __init__(self, reason: str = "", *, after: float) -> None:
        super().__init__(reason or "the job asked to be run later")
        self.after = after


class Fail(Exception):
    """Raised by a job: fail for good now, whatever attempts are left."""
