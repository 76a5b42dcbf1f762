"""The commands that show the whole queue: status and list."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import closing
from datetime import datetime

from litequeue.cli.json import (
    any_row_as_json,
    batch_as_json,
    line_as_json,
    local,
    parent_as_json,
    row_as_json,
    utc,
)
from litequeue.cli.parser import (
    Commands,
    add_filters,
    as_json,
    database,
    filters,
    positive,
    seconds,
)
from litequeue.cli.terminal import say, say_json, say_table
from litequeue.errors import CannotOpen
from litequeue.messages import did_you_mean, printable
from litequeue.monitor.status import (
    active_workers,
    allowed_attempts,
    batch_in_words,
    jobs_counted,
    listed,
    next_periodic,
    next_scheduled,
    oldest_waits,
    open_batches,
    parent_in_words,
    span,
    stuck,
    unknown_jobs,
)
from litequeue.queue import Queue
from litequeue.records import JobRow, State, UnreadableRow, WorkerRow, key
from litequeue.worker.shutdown import Shutdown

STATUS_EXAMPLE = """\
examples:
  litequeue status jobs.db              queue counts and live workers
  litequeue status jobs.db --watch      the same, refreshed every two seconds until Ctrl-C
  litequeue status jobs.db --json       for a program
"""

LIST_EXAMPLE = """\
examples:
  litequeue list jobs.db                               the newest 20 jobs
  litequeue list jobs.db --state failed --limit 100    the newest failed jobs, each with its reason
  litequeue list jobs.db --queue emails --json         for a program
"""

WATCH_SECONDS = 2.0
SHORTEST_WATCH_SECONDS = 0.1
LISTED = 20
MOST_LISTED = 1_000_000
REASON_WIDTH = 60
# Columns that the status table shows even if all their counts are 0.
USUAL = (State.READY, State.SCHEDULED, State.RUNNING, State.FAILED)
CLEAR = "\x1b[H\x1b[2J"


def add(commands: Commands) -> None:
    """Add the commands of this file."""
    status = commands.add(
        "status", "show queue counts and live workers", status_command, STATUS_EXAMPLE
    )
    database(status)
    status.add_argument(
        "--watch",
        metavar="S",
        nargs="?",
        type=seconds,
        const=WATCH_SECONDS,
        help=f"refresh every S seconds (default: {WATCH_SECONDS:g}) until Ctrl-C",
    )
    as_json(status)

    listing = commands.add("list", "list jobs, the newest first", list_command, LIST_EXAMPLE)
    database(listing)
    add_filters(listing)
    listing.add_argument(
        "--limit",
        metavar="N",
        type=positive,
        default=LISTED,
        help=f"at most N jobs (default: {LISTED})",
    )
    as_json(listing)


def status_command(args: argparse.Namespace) -> int:
    """Print the state of the queue, once or repeatedly."""
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
        # One row more than is shown: it tells whether there are more.
        rows = listed(queue.store, **filters(args), limit=limit + 1)
        meant = "" if rows else misspelt(queue, args.queue, args.name)
    if args.json:
        say_json([any_row_as_json(row) for row in rows[:limit]])
    elif not rows:
        filtered = any(value is not None for value in filters(args).values())
        say(f"No job matches{meant}." if filtered else "The queue is empty.")
    else:
        heads = ("id", "state", "queue", "name", "attempts", "when", "reason")
        say_table(heads, [_cells(row) for row in rows[:limit]])
        if len(rows) > limit:
            say(f"… and older ones; --limit N lists more than {limit}.")
    return 0


def misspelt(queue: Queue, queue_name: str | None, name: str | None = None) -> str:
    """Return `` (did you mean emails?)`` for an unknown queue or job name that resembles a
    known one, else an empty text."""
    queues = {str(each) for each in (*queue.counts(), *queue.paused())}
    if queue_name is not None and queue_name not in queues:
        return printable(did_you_mean(queue_name, queues))
    names = {row.name for row in queue.find(limit=MOST_LISTED)} if name is not None else set()
    if name is not None and key(name) not in map(key, names):
        return printable(did_you_mean(name, names))
    return ""


# status


def _watch(queue: Queue, args: argparse.Namespace) -> None:
    with closing(Shutdown()) as stop, stop.on_signals():
        while not stop.requested:
            if queue.store.database.moved():
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
    say(queue.path)
    say("")
    _say_queues(queue)
    say("")
    _say_workers(queue, shlex.quote(args.database))
    _say_dependencies(queue, shlex.quote(args.database))
    _say_unknown(queue)
    _say_next(queue)


def _say_queues(queue: Queue) -> None:
    counts, paused, waits = _counts(queue), queue.paused(), oldest_waits(queue.store)
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
    # A queue name that was edited in the database may be bytes, which do not sort with text.
    return {str(name): states for name, states in queue.counts().items()}


def _say_workers(queue: Queue, database: str) -> None:
    workers, left_behind = active_workers(queue.store)
    for worker, rows in workers:
        serves = ", ".join(map(printable, worker.queues)) or "all queues"
        runs = ", ".join(_run_in_words(queue, row) for row in rows) or "is idle"
        say(f"Worker {worker.pid} ({serves}) {runs}")
    if not workers:
        say(f"No worker is alive. Start one with `litequeue work {database}`.")
    if left_behind:
        say(
            f"Left behind by a dead worker: {jobs_counted(left_behind)}, for any worker to reclaim."
        )


def _say_dependencies(queue: Queue, database: str) -> None:
    for batch in open_batches(queue.store):
        say(f"Batch {batch.id} ({printable(batch.name)}): {batch_in_words(batch)}")
    for parent, count in stuck(queue.store):
        wait = "1 job waits" if count == 1 else f"{count} jobs wait"
        say(f"{wait} for {printable(parent_in_words(parent, database))}")


def _say_unknown(queue: Queue) -> None:
    waiting = [
        f"{printable(name)} ({jobs_counted(count)})" for name, count in unknown_jobs(queue.store)
    ]
    if waiting:
        names = ", ".join(waiting)
        say(f"Unknown to a worker: {names}. Start a worker whose jobs package has them.")


def _say_next(queue: Queue) -> None:
    following, periodic = next_scheduled(queue.store), next_periodic(queue.store)
    if following is not None:
        due = _due(queue, following.available_at)
        say(f"Next scheduled: {following.id} ({printable(following.name)}) {due}")
    if periodic is not None:
        due = _due(queue, periodic.next_at)
        say(f"Next periodic: {printable(periodic.name)} ({printable(periodic.words)}) {due}")


def _due(queue: Queue, at: datetime | None) -> str:
    if at is None:
        return "at a time that was edited"
    left = at.timestamp() - queue.store.clock()
    return f"in {span(left)}" if left > 0 else "now"


def _run_in_words(queue: Queue, row: JobRow) -> str:
    how_long = (
        span(queue.store.clock() - row.reserved_at.timestamp()) if row.reserved_at else "a while"
    )
    progress = f", {row.progress[0]}/{row.progress[1]} done" if row.progress else ""
    return f"has run {row.id} ({printable(row.name)}) for {how_long}{progress}"


def _status_as_json(queue: Queue) -> dict[str, object]:
    workers, left_behind = active_workers(queue.store)
    following, periodic = next_scheduled(queue.store), next_periodic(queue.store)
    return {
        "path": queue.path,
        "queues": _queues_as_json(queue),
        "workers": [_worker_as_json(worker, rows) for worker, rows in workers],
        "left_behind": left_behind,
        "batches": [batch_as_json(batch) for batch in open_batches(queue.store)],
        "stuck": [
            {**parent_as_json(parent), "waiting": count} for parent, count in stuck(queue.store)
        ],
        "unknown": [{"name": name, "jobs": count} for name, count in unknown_jobs(queue.store)],
        "next_scheduled": None if following is None else row_as_json(following),
        "next_periodic": None if periodic is None else line_as_json(periodic),
    }


def _queues_as_json(queue: Queue) -> list[dict[str, object]]:
    counts, paused, waits = _counts(queue), queue.paused(), oldest_waits(queue.store)
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
        "started_at": utc(worker.started_at),
        "running": [row_as_json(row) for row in rows],
    }


# list


def _cells(row: JobRow | UnreadableRow) -> list[object]:
    reason = printable(row.reason)
    if len(reason) > REASON_WIDTH:
        reason = reason[: REASON_WIDTH - 1] + "…"
    if isinstance(row, UnreadableRow):
        texts = [printable(row.text(column) or "-") for column in ("queue", "name")]
        return [row.id, "unreadable", *texts, "-", "-", reason]
    name, queue = printable(row.name), printable(row.queue)
    when = local(_when(row))
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
    """Return when the job finished or, if it has not, when it started or is due."""
    if row.state is State.RUNNING and row.reserved_at:
        return row.reserved_at
    return row.finished_at or row.available_at
