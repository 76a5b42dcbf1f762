"""What the queue stores and returns, as frozen values: no class of a job, no SQL."""

# No "from __future__ import annotations": as texts, the types of the fields would be compiled
# when this is imported.

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from litequeue.errors import DamagedRow
from litequeue.messages import show
from litequeue.options import Options, Terms, stored_options

# What SQLite gives back carries no static type; it gets one in read_row.
Row = tuple[Any, ...]


class State(str, Enum):
    """Where a job is in its life, by the word that tables, commands and pages use."""

    WAITING = "waiting"  # for other jobs
    READY = "ready"  # due now
    SCHEDULED = "scheduled"  # due later, or to be retried
    RUNNING = "running"
    DONE = "done"  # only while it is kept
    FAILED = "failed"
    CANCELLED = "cancelled"

    def __str__(self) -> str:
        return self.value

    @property
    def code(self) -> int:
        """The number that the table holds for this state."""
        return _CODES[self]

    @property
    def finished(self) -> bool:
        """Whether a job in this state will not run again by itself."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


# From 2 on: SQLite stores 0 and 1 in no bytes at all, and a column that changes its
# width makes the whole row move.
_CODES = {state: code for code, state in enumerate(State, start=2)}
# Ready, but blocked: the concurrency limit of its key is reached.
BLOCKED = 9
_STATES = {code: state for state, code in _CODES.items()} | {BLOCKED: State.READY}

# The worker of a row that no worker has; as wide as the id of any.
NOBODY = 1 << 40

# What a row of a batch is to do when it runs: plan the members, or finish.
PLAN, FINISH = "plan", "finish"


class Spec(NamedTuple):
    """A job to be pushed: its name, its payload as JSON text, and its options.

    And where others of its kind differ from it in their payloads alone: what their options
    come to, and how their payloads are written. A tuple, since each push makes one: a
    frozen dataclass takes four times as long.
    """

    name: str
    payload: str
    options: Options = Options()  # nobody writes to it
    step: str | None = None
    terms: Terms | None = None
    encode: Callable[[Any], str] | None = None


LONGEST_REMARK = 80
# A claim adds one, and SQLite makes a real number of what no longer fits.
MOST_ATTEMPTS = 2**62
# What reading a value raises that no verb has written; OSError where the C library cannot
# work out an instant.
UNREADABLE = (TypeError, ValueError, ArithmeticError, RecursionError, OSError)

TEXT, NUMBER = (str,), (int,)
MAYBE_TEXT, MAYBE_NUMBER = (str, type(None)), (int, type(None))

# The columns of a row, in the order in which rows are read, and what each may hold.
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
    "payload": TEXT,
}
COLUMNS = ", ".join(KINDS)
# The columns before the payload that are null in a row that nothing has happened to.
_FIRST_NULL = list(KINDS).index("cancelled_at")
_NULLS = (None,) * (len(KINDS) - 1 - _FIRST_NULL)

# What is to be known of a ready row to run it. The last is null for one that nothing has
# happened to, that is no step of a batch and has no key.
FRESH_COLUMNS = """id, name, queue, priority, attempts, max_attempts, available_at, created_at,
      batch, unique_key, options, payload,
      coalesce(step, overlap_key, exception, progress_total, cancelled_at, failed_at,
               unknown_since)"""


class JobRow(NamedTuple):
    """One job as the database has it, at the moment when it was read.

    Instants are aware datetimes in UTC; ``max_attempts`` is None where neither the push
    nor the job's class gave one and the worker decides.
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
    """Since when no worker that has looked at it has a class of its name."""

    @property
    def reason(self) -> str:
        """What went wrong, in one line: the type of the exception, and the first line of
        its message."""
        return reason_of(self.exception or "")


# What stands between an exception and the one before it.
CHAINED = (
    "\nThe above exception was the direct cause of the following exception:\n\n",
    "\nDuring handling of the above exception, another exception occurred:\n\n",
)
# Before frames, as traceback and as faulthandler write it.
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
    """The type of an exception and the first line of its message, by its traceback."""
    text = exception
    for sentence in CHAINED:
        text = text.rpartition(sentence)[2]
    if text.startswith(CUT):
        # What follows begins in the midst of a line.
        text = text[len(CUT) :].partition("\n")[2] or text[len(CUT) :]
    lines = text.splitlines(keepends=True)
    if text.startswith(GROUP):
        lines = [line.removeprefix(MARGIN) for line in lines[1:]]
    while lines and (lines[0][:1].isspace() or lines[0].startswith(FRAMES)):
        # The frames are indented, and so is the code that a SyntaxError is about.
        del lines[0]
    if not lines:
        return exception.strip().partition("\n")[0]
    found = lines[0].strip().removeprefix("litequeue.errors.")
    if not found.endswith(":") or not found[:-1].replace(".", "_").isidentifier():
        return found
    # The message begins with an empty line, or has nothing else.
    message = next((line.strip() for line in lines[1:] if line.strip()), "")
    return f"{found} {message}" if message else found[:-1]


class UnreadableRow(NamedTuple):
    """A job whose row was edited into something that no verb writes."""

    id: int
    values: dict[str, object]
    """Its columns as the database has them."""
    faults: dict[str, str]
    """Why each of those cannot be read that cannot be read."""

    @property
    def reason(self) -> str:
        """What is wrong with it, in one line."""
        return f"it cannot be read: {'; '.join(self.faults.values())}"

    def text(self, column: str) -> str | None:
        """The value of a column that can be read, None for one that cannot."""
        value = self.values[column]
        return value if isinstance(value, str) and column not in self.faults else None


class WorkerRow(NamedTuple):
    """One worker as the database has it; Presence says whether it is alive."""

    id: int
    pid: int
    queues: tuple[str, ...]
    started_at: datetime
    cause: str | None

    @property
    def name(self) -> str:
        """The worker's id as files and messages write it."""
        return worker_name(self.id)


def read_row(values: Row) -> JobRow:
    """Make a row from the values of COLUMNS; raises DamagedRow for one that was
    edited into something that no verb writes."""
    # A job that runs for the first time has nothing yet in most of them; it need not pay
    # for the others.
    if values[_FIRST_NULL:-1] != _NULLS or type(values[-1]) is not str:
        _check_kinds(values)
    try:
        return _row(values)
    except UNREADABLE as error:
        # The columns one by one say which of them it was.
        raise _damaged(values[0], next(iter(faults_of(values).values()), str(error))) from error


def read_worker(values: Row) -> WorkerRow:
    """Make a worker from its id, pid, queues, start and cause of death, as far as these can
    be read: whether it lives is known from its lock alone."""
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
    """Make a row from the values of COLUMNS, or say what is wrong with it."""
    try:
        return read_row(values)
    except DamagedRow as error:
        faults = faults_of(values) or {"id": str(error)}
        return UnreadableRow(values[0], dict(zip(KINDS, values, strict=True)), faults)


def faults_of(values: Row) -> dict[str, str]:
    """Say for each of COLUMNS that cannot be read what it holds."""
    return faults_in(KINDS, values)


def faults_in(kinds: Mapping[str, tuple[type, ...]], values: Row) -> dict[str, str]:
    """Say for each of these columns that cannot be read what it holds."""
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


def read_fresh(values: Row, worker: int, now: int) -> JobRow | None:
    """Make a row from the values of FRESH_COLUMNS as it is once ``worker`` has reserved it,
    at this instant; None for one that is better read, and run, by itself."""
    (id, name, queue, priority, attempts, max_attempts, available_at, created_at,
     batch, unique_key, options, payload, rest) = values  # fmt: skip
    if (
        rest is not None
        or not type(name) is type(queue) is type(payload) is str
        or not type(priority) is type(attempts) is int
        or not 0 <= attempts < MOST_ATTEMPTS
    ):
        return None
    try:
        return JobRow(
            id,
            name,
            queue,
            priority,
            State.RUNNING,
            attempts + 1,
            max_attempts,
            worker,
            instant(available_at),
            instant(now),
            instant(created_at),
            None,
            None,
            None,
            None,
            _options(options) if options else {},
            None,
            None,
            payload,
            batch if batch is None else _whole(batch),
            None,
            unique_key if unique_key is None else _text(unique_key),
        )
    except UNREADABLE:
        return None


def _check_kinds(values: Row) -> None:
    for (name, kinds), value in zip(KINDS.items(), values, strict=True):
        if not isinstance(value, kinds):
            raise _damaged(values[0], f"its {name} is {show(value)}")


def read_state(code: object, id: object = "") -> State:
    """The state that a number in the table stands for; raises DamagedRow."""
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
     options, exception, result, unknown_since, payload) = values  # fmt: skip
    if not (
        type(name) is type(queue) is str
        and type(priority) is type(attempts) is type(worker) is int
        and (max_attempts is None or type(max_attempts) is int)
    ):
        _check_kinds(values)
    return JobRow(
        id,
        name,
        queue,
        priority,
        read_state(state, id),
        attempts,
        max_attempts,
        worker,
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
    )


def _options(text: str) -> Options:
    return stored_options(json.loads(text))


def _limit(value: int) -> int:
    if value < 1:
        # No slot would ever be free.
        raise ValueError(value)
    return value


# Rows that were pushed or reserved together have it in common.
@lru_cache(maxsize=64)
def instant(milliseconds: int) -> datetime:
    """The aware UTC datetime of a stored instant."""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def maybe_instant(milliseconds: int | None) -> datetime | None:
    """The same for a column that may be null."""
    return None if milliseconds is None else instant(milliseconds)


# What a value of the right type must come through, besides.
_READERS: dict[str, Callable[[Any], object]] = {
    "state": read_state,
    "options": lambda text: None if text is None else _options(text),
    "overlap_limit": lambda limit: None if limit is None else _limit(limit),
}


_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_FOLD = str.maketrans(_LETTERS.upper(), _LETTERS, "-_")


def key(name: str) -> str:
    """What the spellings of a job's name have in common: SendMail, send_mail, send-mail."""
    return name.translate(_FOLD)


def is_id(id: int) -> bool:
    """Whether a job could have this id; SQLite takes no greater number at all.
    Raises OptionError for what is no number."""
    try:
        return 1 <= id < 2**63
    except TypeError:
        from litequeue.mistakes import no_id

        raise no_id(id) from None


def worker_name(worker: int) -> str:
    """A worker's id as files and messages write it."""
    return f"{worker:012x}"


def workers_folder(path: str) -> str:
    """The folder beside a database in which its workers have their locks and FIFOs."""
    return f"{path}-workers"
