"""Decides how a run ends, from what it raised. This module changes nothing itself."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from litequeue.durations import clipped, seconds_of
from litequeue.errors import Fail, JobTimeout, PayloadError, Retry, Snooze, UnknownJob, WorkerDied
from litequeue.options import DEFAULTS, Backoff, Options
from litequeue.records import JobRow, reason_of
from litequeue.times.backoff import pause
from litequeue.worker.interrupt import run_job

OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
LONGEST_EXCEPTION = 20_000
LONGEST_HEADLINE = 500
OUR_ERRORS = "litequeue.errors."
SNOOZE_SECONDS = 60.0
# A job without a class in this worker is tried again after a pause, which doubles up to the
# longest. UNKNOWN_SECONDS after the first try it fails permanently.
UNKNOWN_PAUSE_SECONDS = 10.0
LONGEST_UNKNOWN_PAUSE_SECONDS = 300.0
UNKNOWN_SECONDS = 24 * 3600.0


class Verb(str, Enum):
    """The ways in which a run can end."""

    COMPLETE = "complete"
    RETRY_LATER = "retry_later"
    RELEASE = "release"
    PUT_BACK = "put_back"
    FAIL = "fail"


class Policy(NamedTuple):
    """The options that decide how a failed run ends, resolved for one job."""

    max_attempts: int
    backoff: Backoff | None
    timeout: float | None
    keep: float
    on_failure: str


class Outcome(NamedTuple):
    """How to end a run: the verb, the seconds until the job runs again, and the error,
    as one line and in full."""

    verb: Verb
    after: float = 0
    reason: str = ""
    exception: str = ""


def policy(row: JobRow, declared: Options, flags: Options) -> Policy:
    """Return the policy for a row.

    Its own options come first, then those of the class, of the worker, and DEFAULTS.
    """
    own: Options = {**row.options}
    if row.max_attempts is not None:
        own["max_attempts"] = row.max_attempts
    said: Options = {**DEFAULTS, **flags, **declared, **own}
    timeout = said.get("timeout")
    return Policy(
        max_attempts=said["max_attempts"],
        backoff=said.get("backoff"),
        timeout=None if timeout is None else seconds_of(timeout),
        keep=seconds_of(said["keep"]),
        on_failure=said["on_failure"],
    )


def classify(
    error: BaseException | None,
    row: JobRow,
    policy: Policy,
    random: Callable[[], float],
    now: float,
) -> Outcome:
    """Decide how the run of ``row`` ends, which raised ``error`` (None for a success).

    ``now`` is in seconds since the epoch.
    """
    if error is None:
        return Outcome(Verb.COMPLETE)
    if isinstance(error, Snooze):
        return Outcome(Verb.RELEASE, after=_snooze(error), reason=describe(error))
    if isinstance(error, UnknownJob):
        after = _unknown_pause(row, now)
        if after > 0:
            return Outcome(Verb.PUT_BACK, after=after, reason=describe(error))
    reason, exception = describe(error), full(error)
    if isinstance(error, Fail | PayloadError | UnknownJob):
        return Outcome(Verb.FAIL, reason=reason, exception=exception)
    if row.attempts >= policy.max_attempts:
        if isinstance(error, WorkerDied):
            last = "This was the last attempt: its worker died each time."
            exception = f"{exception.rstrip()} {last}\n"
        return Outcome(Verb.FAIL, reason=reason, exception=exception)
    after = _pause(error, row, policy, random)
    return Outcome(Verb.RETRY_LATER, after=after, reason=reason, exception=exception)


def describe(error: BaseException) -> str:
    """Return one line for an error: the first of its message, or its type if that is empty."""
    kind = type(error).__name__
    try:
        words = _first_line(str(error))
    except BaseException as broken:
        return f"{kind} (its str() raises {type(broken).__name__})"
    if not words:
        return kind
    # The message of a KeyError is only the key, that of a SystemExit only the status.
    return f"{kind}: {words}" if isinstance(error, KeyError | SystemExit) else words


def _first_line(message: str) -> str:
    lines = message.strip().splitlines()
    return " ".join(lines[0].split()) if lines else ""


def full(error: BaseException) -> str:
    """Return the traceback of an error, from the first frame that is not litequeue's.

    Only the end of a long one is returned. If records.reason_of would not find the reason in
    the text, the reason is put before it.
    """
    text = _formatted(error).encode("utf-8", "backslashreplace").decode()
    reason = headline(error)
    if len(text) > LONGEST_EXCEPTION:
        return f"{reason}\n...\n{text[-LONGEST_EXCEPTION:]}"
    # Python adds a suggestion ("Did you mean ...") to some messages.
    found = " ".join(reason_of(text).split())
    return text if found.startswith(reason.removeprefix(OUR_ERRORS)) else f"{reason}\n{text}"


def headline(error: BaseException) -> str:
    """Return the type of an error, as in a traceback, and the first line of its message."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("__main__", "builtins"):
        name = f"{kind.__module__}.{name}"
    try:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        words = _first_line(str(message))
    except BaseException:
        # The traceback shows that str() failed.
        words = ""
    line = f"{name}: {words}" if words else name
    line = line if len(line) <= LONGEST_HEADLINE else line[: LONGEST_HEADLINE - 1] + "…"
    return line.encode("utf-8", "backslashreplace").decode()


def _formatted(error: BaseException) -> str:
    if isinstance(error, JobTimeout) and error.stuck_at:
        return _users_frames(error.stuck_at) + f"{type(error).__name__}: {describe(error)}\n"
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(OURS):
        trace = trace.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except BaseException:
        # An error in a method of the exception must not keep the run from ending.
        return describe(error) + "\n"


def _users_frames(hung: str) -> str:
    """Return faulthandler's text, innermost frame first, without litequeue's own frames."""
    # Of several threads, the one that ran the job.
    threads = hung.split("\n\n")
    hung = next((thread for thread in threads if f"in {run_job.__name__}\n" in thread), threads[0])
    lines = hung.splitlines(keepends=True)
    ours = next((at for at, line in enumerate(lines) if OURS in line), len(lines))
    return "".join(lines[:ours])


def _snooze(error: Snooze) -> float:
    # A job can pass any value; an invalid one must not cause a busy loop.
    after = clipped(error.after)
    return SNOOZE_SECONDS if after is None else after


def _unknown_pause(row: JobRow, now: float) -> float:
    """Return the seconds until a job without a class is tried again; 0 if it is to fail.

    Each pause is as long as the time since the first try, plus UNKNOWN_PAUSE_SECONDS, so that
    the pauses double.
    """
    since = now if row.unknown_since is None else row.unknown_since.timestamp()
    waited = max(0.0, now - since)
    pause = min(waited + UNKNOWN_PAUSE_SECONDS, LONGEST_UNKNOWN_PAUSE_SECONDS)
    return max(0.0, min(pause, UNKNOWN_SECONDS - waited))


def _pause(error: BaseException, row: JobRow, policy: Policy, random: Callable[[], float]) -> float:
    if isinstance(error, WorkerDied):
        return 0
    asked = clipped(error.after) if isinstance(error, Retry) else None
    if asked is not None:
        return asked
    try:
        return pause(policy.backoff, row.attempts, random)
    except Exception:
        # An error in the backoff must not hide the job's own error.
        return pause(None, row.attempts, random)
