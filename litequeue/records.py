"""What the queue stores and returns, as immutable values, without job classes or SQL."""

# No "from __future__ import annotations": NamedTuple would compile the types of its fields from
# text at each import.

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from litequeue.errors import DamagedRow
from litequeue.messages import show
from litequeue.options import Options, Terms, stored_options

# A row as SQLite returns it, without static types; read_row checks its values.
Row = tuple[Any, ...]


class State(str, Enum):
    """The state of a job, by the word that commands and the documentation use."""

    WAITING = "waiting"  # for other jobs
    READY = "ready"  # due now
    SCHEDULED = "scheduled"  # due later
    RUNNING = "running"
    DONE = "done"  # only while its result is kept
    FAILED = "failed"
    CANCELLED = "cancelled"

    def __str__(self) -> str:
        return self.value

    @property
    def code(self) -> int:
        """The number that the table has for this state."""
        return _CODES[self]

    @property
    def finished(self) -> bool:
        """Whether a job in this state will not run again by itself."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


# From 2 on: SQLite stores 0 and 1 in no bytes, and if a column changes its width, the whole
# row must be moved.
_CODES = {state: code for code, state in enumerate(State, start=2)}
# Ready, but blocked: the concurrency limit of its key is reached.
BLOCKED = 9
_STATES = {code: state for state, code in _CODES.items()} | {BLOCKED: State.READY}

# The worker id of a row without a worker; as wide as other worker ids.
NOBODY = 1 << 40

# The rate_since of a job that does not wait for its rate limit; as wide as an instant.
NOT_WAITING = 1 << 40

# What the row of a batch does when it runs: plan the jobs, or finish.
PLAN, FINISH = "plan", "finish"


class Spec(NamedTuple):
    """A job to be pushed: its name, its payload as JSON text, and its options.

    ``terms`` and ``encode`` are set if other jobs of the class differ only in their payloads:
    ``terms`` are the resolved options, and ``encode`` returns a payload as JSON text. A
    tuple, since each push makes one: a frozen dataclass takes four times as long.
    """

    name: str
    payload: str
    options: Options = Options()  # never changed
    step: str | None = None
    terms: Terms | None = None
    encode: Callable[[Any], str] | None = None


LONGEST_REMARK = 80
# A claim adds one, and SQLite would turn a larger number into a float.
MOST_ATTEMPTS = 2**62
# What reading a value raises that litequeue has never written; OSError if the C library
# cannot convert an instant.
UNREADABLE = (TypeError, ValueError, ArithmeticError, RecursionError, OSError)

TEXT, NUMBER = (str,), (int,)
MAYBE_TEXT, MAYBE_NUMBER = (str, type(None)), (int, type(None))

# The columns of a row, in the order in which they are read, and the types of their values.
KINDS: dict[str, tuple[type, ...]] = {
    "id": NUMBER,
    "name": TEXT,
    "queue": TEXT,
    "priority": NUMBER,
    "state": NUMBER,
    "attempts": NUMBER,
    "max_attempts": MAYBE_NUMBER,
    "worker": NUMBER,
    "available_at": NUMBER,
    "reserved_at": NUMBER,
    "created_at": NUMBER,
    "cancelled_at": MAYBE_NUMBER,
    "finished_at": MAYBE_NUMBER,
    "failed_at": MAYBE_NUMBER,
    "progress_done": MAYBE_NUMBER,
    "progress_total": MAYBE_NUMBER,
    "batch": MAYBE_NUMBER,
    "step": MAYBE_TEXT,
    "unique_key": MAYBE_TEXT,
    "overlap_key": MAYBE_TEXT,
    "overlap_limit": MAYBE_NUMBER,
    "options": MAYBE_TEXT,
    "exception": MAYBE_TEXT,
    "result": MAYBE_TEXT,
    "unknown_since": MAYBE_NUMBER,
    "deadline_at": MAYBE_NUMBER,
    "rate_key": MAYBE_TEXT,
    "rate_since": MAYBE_NUMBER,
    "payload": TEXT,
}
COLUMNS = ", ".join(KINDS)
# The columns from here to the payload are null in a row that was only pushed.
_FIRST_NULL = list(KINDS).index("cancelled_at")
_NULLS = (None,) * (len(KINDS) - 1 - _FIRST_NULL)

# The columns that are needed to run a fresh row: one that was never run, is not a step of a
# batch, and has neither a concurrency key nor a rate limit. For a fresh row the last one is
# null.
FRESH_COLUMNS = """id, name, queue, priority, attempts, max_attempts, available_at, created_at,
      batch, unique_key, options, deadline_at, payload,
      coalesce(step, overlap_key, rate_key, exception, progress_total, cancelled_at, failed_at,
               unknown_since)"""


# The exception of a job that was running when its worker died, while others were running too: it
# is not known which of them was to blame, so each runs by itself next.
RUNS_ALONE = "The worker died while it ran several jobs; this one runs by itself next.\n"


class JobRow(NamedTuple):
    """One job as it was in the database when it was read.

    Instants are aware datetimes in UTC. ``max_attempts`` is None if neither the push nor the
    job's class set it; then the worker's default applies.
    """

    id: int
    name: str
    queue: str
    priority: int
    state: State
    attempts: int
    max_attempts: int | None
    worker: int
    available_at: datetime
    reserved_at: datetime | None
    created_at: datetime
    cancelled_at: datetime | None
    finished_at: datetime | None
    failed_at: datetime | None
    progress: tuple[int, int] | None
    options: Options
    exception: str | None
    result: str | None
    payload: str
    batch: int | None = None
    step: str | None = None
    unique_key: str | None = None
    overlap_key: str | None = None
    overlap_limit: int | None = None
    unknown_since: datetime | None = None
    """Since when workers have had no class of the job's name."""
    deadline_at: datetime | None = None
    """By when the job has to be started; None if it does not expire."""
    rate_key: str | None = None
    rate_since: datetime | None = None
    """Since when the job has waited because its rate limit is reached."""

    @property
    def reason(self) -> str:
        """The error in one line: the type of the exception and the first line of its
        message."""
        return reason_of(self.exception or "")

    @property
    def runs_alone(self) -> bool:
        """Whether the job may have killed its worker, and has to run without others beside it."""
        return self.exception == RUNS_ALONE


# The sentences between chained exceptions in a traceback.
CHAINED = (
    "\nThe above exception was the direct cause of the following exception:\n\n",
    "\nDuring handling of the above exception, another exception occurred:\n\n",
)
# How the line before the frames begins, as written by traceback and by faulthandler.
FRAMES = (
    "Traceback (most recent call last):",
    "Traceback\n",
    "Current thread 0x",
    "Thread 0x",
    "Timeout (",
)
GROUP = "  + Exception Group Traceback"
MARGIN = "  | "
CUT = "...\n"


def reason_of(exception: str) -> str:
    """The type of an exception and the first line of its message, from its traceback."""
    text = exception
    for sentence in CHAINED:
        text = text.rpartition(sentence)[2]
    if text.startswith(CUT):
        # The first line is incomplete.
        text = text[len(CUT) :].partition("\n")[2] or text[len(CUT) :]
    lines = text.splitlines(keepends=True)
    if text.startswith(GROUP):
        lines = [line.removeprefix(MARGIN) for line in lines[1:]]
    while lines and (lines[0][:1].isspace() or lines[0].startswith(FRAMES)):
        # The frames are indented, and so is the source line of a SyntaxError.
        del lines[0]
    if not lines:
        return exception.strip().partition("\n")[0]
    found = lines[0].strip().removeprefix("litequeue.errors.")
    if not found.endswith(":") or not found[:-1].replace(".", "_").isidentifier():
        return found
    # The message begins with an empty line, or is empty.
    message = next((line.strip() for line in lines[1:] if line.strip()), "")
    return f"{found} {message}" if message else found[:-1]


class UnreadableRow(NamedTuple):
    """A job whose row has a value that litequeue never writes."""

    id: int
    values: dict[str, object]
    """The columns as they are in the database."""
    faults: dict[str, str]
    """What is wrong, for each column that cannot be read."""

    @property
    def reason(self) -> str:
        """What is wrong with the row, in one line."""
        return f"it cannot be read: {'; '.join(self.faults.values())}"

    def text(self, column: str) -> str | None:
        """The text of a column; None if it cannot be read or is not text."""
        value = self.values[column]
        return value if isinstance(value, str) and column not in self.faults else None


class WorkerRow(NamedTuple):
    """One worker as it is in the database; Presence tells whether it is alive."""

    id: int
    pid: int
    queues: tuple[str, ...]
    started_at: datetime
    cause: str | None

    @property
    def name(self) -> str:
        """The worker's id as in file names and messages."""
        return worker_name(self.id)


def read_row(values: Row) -> JobRow:
    """The row with the values of COLUMNS. Raises DamagedRow if one of them is a value that
    litequeue never writes."""
    # In a job that runs for the first time most columns are null, and need no check.
    if values[_FIRST_NULL:-1] != _NULLS or type(values[-1]) is not str:
        _check_kinds(values)
    try:
        return _row(values)
    except UNREADABLE as error:
        # Find out which column it was.
        raise _damaged(values[0], next(iter(faults_of(values).values()), str(error))) from error


def read_worker(values: Row) -> WorkerRow:
    """The worker with these values: id, pid, queues, start and cause of death. Unreadable ones
    get a default, since only the lock tells whether a worker is alive."""
    id, pid, queues, started_at, cause = values
    try:
        started = instant(started_at)
    except UNREADABLE:
        started = instant(0)
    return WorkerRow(
        id=id,
        pid=pid if isinstance(pid, int) else 0,
        queues=tuple(queues.split("\n")) if queues and isinstance(queues, str) else (),
        started_at=started,
        cause=cause if isinstance(cause, str) else None,
    )


def read_or_explain(values: Row) -> JobRow | UnreadableRow:
    """The row with the values of COLUMNS, or an UnreadableRow that says what is wrong."""
    try:
        return read_row(values)
    except DamagedRow as error:
        faults = faults_of(values) or {"id": str(error)}
        return UnreadableRow(values[0], dict(zip(KINDS, values, strict=True)), faults)


def faults_of(values: Row) -> dict[str, str]:
    """What is wrong, for each of COLUMNS that cannot be read."""
    return faults_in(KINDS, values)


def faults_in(kinds: Mapping[str, tuple[type, ...]], values: Row) -> dict[str, str]:
    """What is wrong, for each of these columns that cannot be read."""
    faults = {}
    for (column, fitting), value in zip(kinds.items(), values, strict=True):
        read: Callable[[Any], object] = (
            maybe_instant if column.endswith(("_at", "_since")) else _READERS.get(column, str)
        )
        try:
            if not isinstance(value, fitting):
                raise TypeError(value)
            read(value)
        except (DamagedRow, *UNREADABLE):
            faults[column] = f"its {column} is {show(value)}"
    return faults


def read_fresh(values: Row, worker: int, reserved_at: datetime) -> JobRow | None:
    """The row with the values of FRESH_COLUMNS as it will be once ``worker`` has claimed it;
    None for a row that has to be claimed alone."""
    (id, name, queue, priority, attempts, max_attempts, available_at, created_at,
     batch, unique_key, options, deadline_at, payload, rest) = values  # fmt: skip
    if (
        rest is not None
        or not type(name) is type(queue) is type(payload) is str
        or not type(priority) is type(attempts) is int
        or not 0 <= attempts < MOST_ATTEMPTS
    ):
        return None
    try:
        created = instant(created_at)
        available = created if available_at == created_at else instant(available_at)
        row = JobRow(
            id, name, queue, priority, State.RUNNING, attempts + 1, max_attempts, worker,
            available, reserved_at, created, None, None, None, None,
            _options(options) if options else {},
            None,
            None,
            payload,
            batch if batch is None else _whole(batch),
            None,
            unique_key if unique_key is None else _text(unique_key),
        )  # fmt: skip
        return row if deadline_at is None else _if_in_time(row, deadline_at)
    except UNREADABLE:
        return None


def _if_in_time(row: JobRow, deadline_at: object) -> JobRow | None:
    deadline = instant(_whole(deadline_at))
    assert row.reserved_at is not None
    return None if deadline <= row.reserved_at else row._replace(deadline_at=deadline)


def _check_kinds(values: Row) -> None:
    for (name, kinds), value in zip(KINDS.items(), values, strict=True):
        if not isinstance(value, kinds):
            raise _damaged(values[0], f"its {name} is {show(value)}")


def read_state(code: object, id: object = "") -> State:
    """The state that a number in the table means; raises DamagedRow for any other value."""
    state = _STATES.get(code)  # type: ignore[call-overload]
    if not isinstance(state, State):
        raise _damaged(id, f"its state is {show(code)}")
    return state


def _damaged(id: object, what: str) -> DamagedRow:
    return DamagedRow(thing=f"job {id}", what=what[: 2 * LONGEST_REMARK])


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(value)
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError(value)
    return value


def _row(values: Row) -> JobRow:
    (id, name, queue, priority, state, attempts, max_attempts, worker,
     available_at, reserved_at, created_at, cancelled_at, finished_at, failed_at,
     done, total, batch, step, unique_key, overlap_key, overlap_limit,
     options, exception, result, unknown_since,
     deadline_at, rate_key, rate_since, payload) = values  # fmt: skip
    if not (
        type(name) is type(queue) is str
        and type(priority) is type(attempts) is type(worker) is int
        and (max_attempts is None or type(max_attempts) is int)
    ):
        _check_kinds(values)
    return JobRow(
        id, name, queue, priority, read_state(state, id), attempts, max_attempts, worker,
        instant(available_at),
        instant(reserved_at) if attempts else None,
        instant(created_at),
        maybe_instant(cancelled_at),
        maybe_instant(finished_at),
        maybe_instant(failed_at),
        None if total is None else (done, total),
        _options(options) if options else {},
        exception,
        result,
        payload,
        batch,
        step,
        unique_key,
        overlap_key,
        overlap_limit if overlap_limit is None else _limit(overlap_limit),
        maybe_instant(unknown_since),
        maybe_instant(deadline_at),
        rate_key,
        None if rate_since is None or rate_since <= NOT_WAITING else instant(rate_since),
    )  # fmt: skip


def _options(text: str) -> Options:
    return stored_options(json.loads(text))


def _limit(value: int) -> int:
    if value < 1:
        # Such a job could never run.
        raise ValueError(value)
    return value


# Cached, since rows that were pushed or claimed together have the same instants.
@lru_cache(maxsize=64)
def instant(milliseconds: int) -> datetime:
    """The aware UTC datetime of a stored instant."""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def maybe_instant(milliseconds: int | None) -> datetime | None:
    """The aware UTC datetime of a stored instant; None for null."""
    return None if milliseconds is None else instant(milliseconds)


# Further checks of values that have the right type.
_READERS: dict[str, Callable[[Any], object]] = {
    "state": read_state,
    "options": lambda text: None if text is None else _options(text),
    "overlap_limit": lambda limit: None if limit is None else _limit(limit),
}


_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_FOLD = str.maketrans(_LETTERS.upper(), _LETTERS, "-_")


def key(name: str) -> str:
    """The folded name of a job, the same for SendMail, send_mail and send-mail."""
    return name.translate(_FOLD)


def is_id(id: int) -> bool:
    """Whether a number may be the id of a job: SQLite takes no greater numbers. Raises
    WrongArgument if it is not a number."""
    try:
        return 1 <= id < 2**63
    except TypeError:
        from litequeue.mistakes import no_id

        raise no_id(id) from None


def worker_name(worker: int) -> str:
    """A worker's id as in file names and messages."""
    return f"{worker:012x}"


def workers_folder(path: str) -> str:
    """The path of the folder beside a database for the locks and FIFOs of its workers."""
    return f"{path}-workers"
