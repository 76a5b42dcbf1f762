"""The command status: the counts of the queues, and the live workers."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import closing
from datetime import datetime

from litequeue.cli.json import (
    batch_as_json,
    line_as_json,
    parent_as_json,
    row_as_json,
    utc,
)
from litequeue.cli.parser import (
    Commands,
    as_json,
    database,
    seconds,
)
from litequeue.cli.terminal import say, say_json, say_table
from litequeue.errors import CannotOpen
from litequeue.messages import printable
from litequeue.monitor.status import (
    active_workers,
    batch_in_words,
    jobs_counted,
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
from litequeue.records import JobRow, State, WorkerRow
from litequeue.worker.shutdown import Shutdown

EXAMPLE = """\
examples:
  litequeue status jobs.db              queue counts and live workers
  litequeue status jobs.db --watch      the same, refreshed every two seconds until Ctrl-C
  litequeue status jobs.db --json       for a program
"""

WATCH_SECONDS = 2.0
SHORTEST_WATCH_SECONDS = 0.1
# Columns that the status table shows even if all their counts are 0.
USUAL = (State.READY, State.SCHEDULED, State.RUNNING, State.FAILED)
CLEAR = "\x1b[H\x1b[2J"


def add(commands: Commands) -> None:
    """Add the command of this file."""
    status = commands.add("status", "show queue counts and live workers", status_command, EXAMPLE)
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


def status_command(args: argparse.Namespace) -> int:
    """Print the state of the queue, once or repeatedly."""
    with Queue(args.database, create=False) as queue:
        if args.watch is None:
            _status(queue, args)
        else:
            _watch(queue, args)
    return 0


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
        say(f"Left behind by a dead worker: {jobs_counted(left_behind)}, for any worker to rescue.")


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
