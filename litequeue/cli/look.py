"""The commands that only look: status, list and show."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from contextlib import closing
from datetime import datetime

from litequeue.cli.parser import Commands, as_json, database, positive, seconds
from litequeue.cli.terminal import say, say_json, say_table
from litequeue.errors import CannotOpen
from litequeue.overview import (
    allowed_attempts,
    at_work,
    jobs_counted,
    next_scheduled,
    oldest_waits,
    span,
    why_not_running,
    worker_of,
)
from litequeue.queue import Queue
from litequeue.record import NOBODY, JobRow, State, WorkerRow, worker_name
from litequeue.stop import Stop

STATUS_EXAMPLE = """\
examples:
  litequeue status jobs.db              what waits, what runs, and who works on it
  litequeue status jobs.db --watch      the same, again every two seconds, until Ctrl-C
  litequeue status jobs.db --json       for a program
"""

LIST_EXAMPLE = """\
examples:
  litequeue list jobs.db                               the newest 20 jobs
  litequeue list jobs.db --state failed --limit 100    the newest failed ones, and why
  litequeue list jobs.db --queue emails --json         for a program
"""

SHOW_EXAMPLE = """\
examples:
  litequeue show jobs.db 42           all of job 42, and why it is not running
  litequeue show jobs.db 42 --json    for a program
"""

WATCH_SECONDS = 2.0
SHORTEST_WATCH_SECONDS = 0.1
LISTED = 20
MOST_LISTED = 1_000_000
REASON_WIDTH = 60
# Columns of the status table that are there even where all their counts are 0.
USUAL = (State.READY, State.SCHEDULED, State.RUNNING, State.FAILED)
CLEAR = "\x1b[H\x1b[2J"


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    status = commands.add(
        "status", "tell what waits, what runs, and who works on it", status_command, STATUS_EXAMPLE
    )
    database(status)
    status.add_argument(
        "--watch",
        metavar="S",
        nargs="?",
        type=seconds,
        const=WATCH_SECONDS,
        help=f"look again every S seconds (default: {WATCH_SECONDS:g}), until Ctrl-C",
    )
    as_json(status)

    listing = commands.add("list", "list jobs, the newest first", list_command, LIST_EXAMPLE)
    database(listing)
    filters(listing)
    listing.add_argument(
        "--limit",
        metavar="N",
        type=positive,
        default=LISTED,
        help=f"at most N jobs (default: {LISTED})",
    )
    as_json(listing)

    show = commands.add(
        "show", "show all of one job, and why it is not running", show_command, SHOW_EXAMPLE
    )
    database(show)
    show.add_argument("id", metavar="ID", type=positive, help="the number that push printed")
    as_json(show)


def filters(parser: argparse.ArgumentParser) -> None:
    """Let a command take what jobs must match."""
    states = ", ".join(state.value for state in State)
    parser.add_argument("--state", metavar="STATE", help=f"only jobs that are {states}")
    parser.add_argument("--queue", metavar="QUEUE", type=name, help="only jobs of this queue")
    parser.add_argument(
        "--name", metavar="NAME", type=name, help="only jobs of this name, in any spelling"
    )


def name(text: str) -> str:
    """A name that the database can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # What the shell handed over was not UTF-8, and SQLite takes nothing else.
        raise argparse.ArgumentTypeError(f"{text!a} is not readable as UTF-8") from error
    return text


def status_command(args: argparse.Namespace) -> int:
    """Print the state of the queue, once or again and again."""
    with Queue(args.database, create=False) as queue:
        if args.watch is None:
            _status(queue, args)
        else:
            _watch(queue, args)
    return 0


def list_command(args: argparse.Namespace) -> int:
    """Print the newest jobs that match."""
    limit = min(args.limit, MOST_LISTED)
    with Queue(args.database, create=False) as queue:
        # One more than is shown tells whether there are more.
        rows = queue.find(state=args.state, queue=args.queue, name=args.name, limit=limit + 1)
    if args.json:
        say_json([_row_as_json(row) for row in rows[:limit]])
    elif not rows:
        filtered = any(word is not None for word in (args.state, args.queue, args.name))
        say("No job matches." if filtered else "The queue is empty.")
    else:
        heads = ("id", "state", "queue", "name", "attempts", "when", "reason")
        say_table(heads, [_cells(row) for row in rows[:limit]])
        if len(rows) > limit:
            say(f"… and older ones; --limit N lists more than {limit}.")
    return 0


def show_command(args: argparse.Namespace) -> int:
    """Print all that is known of one job."""
    with Queue(args.database, create=False) as queue:
        row = queue.get(args.id)
        worker = worker_of(queue, row)
        why = why_not_running(queue, row, shlex.quote(args.database))
    if args.json:
        pid = worker.pid if worker else None
        say_json({**_row_as_json(row), "pid": pid, "why_not_running": why})
        return 0
    for label, value in _details(row, worker):
        say(f"{label:<9} {value}")
    if row.exception:
        say("exception")
        for line in row.exception.rstrip().splitlines():
            say(f"  {printable(line)}")
    if why:
        say(f"Why it is not running: {printable(why)}.")
    return 0


def printable(text: object) -> str:
    """A text of the database without what would move a terminal's cursor."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in str(text)
    )


# status


def _watch(queue: Queue, args: argparse.Namespace) -> None:
    with closing(Stop()) as stop, stop.on_signals():
        while not stop.requested:
            if queue.database.moved():
                raise CannotOpen(path=queue.path, problem="it was deleted or replaced")
            if sys.stdout.isatty():
                sys.stdout.write(CLEAR)
            _status(queue, args)
            if not sys.stdout.isatty() and not args.json:
                say("")
            stop.sleep(max(args.watch, SHORTEST_WATCH_SECONDS))


def _status(queue: Queue, args: argparse.Namespace) -> None:
    if args.json:
        say_json(_status_as_json(queue))
        return
    say(f"{queue.path}\n")
    _say_queues(queue)
    say("")
    _say_workers(queue, shlex.quote(args.database))
    following = next_scheduled(queue)
    if following is not None:
        left = following.available_at.timestamp() - queue.clock()
        due = f"in {span(left)}" if left > 0 else "now"
        say(f"Next scheduled: {following.id} ({printable(following.name)}) {due}")


def _say_queues(queue: Queue) -> None:
    counts, paused, waits = _counts(queue), queue.paused(), oldest_waits(queue)
    queues = sorted({*counts, *paused})
    if not queues:
        say("The queue is empty.")
        return
    present = {state for states in counts.values() for state in states}
    shown = [state for state in State if state in USUAL or state in present]
    table = []
    for each in queues:
        marked = printable(each) + (" (paused)" if each in paused else "")
        numbers = [counts.get(each, {}).get(state, 0) for state in shown]
        table.append([marked, *numbers, span(waits[each]) if each in waits else "-"])
    say_table(["queue", *shown, "oldest wait"], table)


def _counts(queue: Queue) -> dict[str, dict[State, int]]:
    # The name of a queue that was edited by hand may be bytes, which do not sort with text.
    return {str(name): states for name, states in queue.counts().items()}


def _say_workers(queue: Queue, database: str) -> None:
    workers, left_behind = at_work(queue)
    for worker, rows in workers:
        serves = ", ".join(map(printable, worker.queues)) or "all queues"
        runs = ", ".join(_run_in_words(queue, row) for row in rows) or "is idle"
        say(f"Worker {worker.pid} ({serves}) {runs}")
    if not workers:
        say(f"No worker is alive. Start one with `litequeue work {database}`.")
    if left_behind:
        say(f"Left behind by a dead worker: {jobs_counted(left_behind)}; any worker takes over.")


def _run_in_words(queue: Queue, row: JobRow) -> str:
    how_long = span(queue.clock() - row.reserved_at.timestamp()) if row.reserved_at else "a while"
    progress = f", {row.progress[0]}/{row.progress[1]} done" if row.progress else ""
    return f"has run {row.id} ({printable(row.name)}) for {how_long}{progress}"


def _status_as_json(queue: Queue) -> dict[str, object]:
    workers, left_behind = at_work(queue)
    following = next_scheduled(queue)
    return {
        "path": queue.path,
        "queues": _queues_as_json(queue),
        "workers": [_worker_as_json(worker, rows) for worker, rows in workers],
        "left_behind": left_behind,
        "next_scheduled": None if following is None else _row_as_json(following),
    }


def _queues_as_json(queue: Queue) -> list[dict[str, object]]:
    counts, paused, waits = _counts(queue), queue.paused(), oldest_waits(queue)
    return [
        {
            "queue": each,
            "paused": each in paused,
            **{state.value: counts.get(each, {}).get(state, 0) for state in State},
            "oldest_wait": waits.get(each),
        }
        for each in sorted({*counts, *paused})
    ]


def _worker_as_json(worker: WorkerRow, rows: list[JobRow]) -> dict[str, object]:
    return {
        "id": worker.name,
        "pid": worker.pid,
        "queues": list(worker.queues),
        "started_at": _utc(worker.started_at),
        "running": [_row_as_json(row) for row in rows],
    }


# list


def _cells(row: JobRow) -> list[object]:
    reason = printable(row.reason)
    if len(reason) > REASON_WIDTH:
        reason = reason[: REASON_WIDTH - 1] + "…"
    name, queue = printable(row.name), printable(row.queue)
    when = _local(_when(row))
    return [
        row.id,
        row.state.value,
        queue,
        name,
        f"{row.attempts}/{allowed_attempts(row)}",
        when,
        reason,
    ]


def _when(row: JobRow) -> datetime:
    """The instant that matters most: the end, the start of the run, or when it is due."""
    if row.state is State.RUNNING and row.reserved_at:
        return row.reserved_at
    return row.finished_at or row.available_at


def _local(at: datetime) -> str:
    try:
        return at.astimezone().replace(tzinfo=None).isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        # Near the ends of the calendar an instant may have no local time.
        return _utc(at)


def _utc(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def _row_as_json(row: JobRow) -> dict[str, object]:
    done, total = row.progress or (None, None)
    return {
        "id": row.id,
        "name": row.name,
        "queue": row.queue,
        "state": row.state.value,
        "priority": row.priority,
        "attempts": row.attempts,
        "max_attempts": row.max_attempts,
        "worker": None if row.worker == NOBODY else worker_name(row.worker),
        **_instants_as_json(row),
        "progress": None if row.progress is None else {"done": done, "total": total},
        "options": row.options,
        "payload": _value(row.payload),
        "result": None if row.result is None else _value(row.result),
        "reason": row.reason,
        "exception": row.exception,
    }


def _instants_as_json(row: JobRow) -> dict[str, object]:
    instants = {
        "created_at": row.created_at,
        "available_at": row.available_at,
        "reserved_at": row.reserved_at,
        "cancelled_at": row.cancelled_at,
        "finished_at": row.finished_at,
        "failed_at": row.failed_at,
    }
    return {word: None if at is None else _utc(at) for word, at in instants.items()}


def _value(text: str) -> object:
    """The JSON value of a text, or the text itself where it is none."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, TypeError, RecursionError):
        return str(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


# show


def _details(row: JobRow, worker: WorkerRow | None) -> list[tuple[str, object]]:
    instants = (
        ("created", row.created_at),
        ("due", row.available_at),
        ("started", row.reserved_at),
        ("failed", row.failed_at),
        ("cancelled", row.cancelled_at),
        ("finished", row.finished_at),
    )
    details = [
        ("id", row.id),
        ("name", printable(row.name)),
        ("state", row.state.value),
        ("queue", printable(row.queue)),
        ("priority", row.priority),
        ("attempts", f"{row.attempts}/{allowed_attempts(row)}"),
        *((label, _local(at)) for label, at in instants if at is not None),
        ("worker", f"process {worker.pid}" if worker else None),
        ("progress", f"{row.progress[0]}/{row.progress[1]}" if row.progress else None),
        ("options", json.dumps(row.options) if row.options else None),
        ("payload", printable(row.payload)),
        ("result", None if row.result is None else printable(row.result)),
    ]
    return [(label, value) for label, value in details if value is not None]
