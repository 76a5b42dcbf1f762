"""The command that shows one job: show."""

from __future__ import annotations

import argparse
import json
import math
import shlex
from collections.abc import Iterator

from litequeue.cli.json import any_row_as_json, batch_as_json, local, parent_as_json, row_as_json
from litequeue.cli.parser import Commands, add_word, as_json, database, positive
from litequeue.cli.terminal import say, say_json
from litequeue.errors import DamagedRow
from litequeue.messages import printable
from litequeue.messages import show as value_shown
from litequeue.monitor.status import (
    LINES,
    Parent,
    allowed_attempts,
    batch_in_words,
    batch_of,
    children,
    looked_up,
    parent_in_words,
    parents,
    why_not_running,
    worker_of,
)
from litequeue.queue import Queue
from litequeue.records import JobRow, UnreadableRow, WorkerRow

EXAMPLE = """\
examples:
  litequeue show jobs.db 42           job 42 in full, and why it is not running
  litequeue show jobs.db 42 --json    for a program
"""

Detail = tuple[str, object]


def add(commands: Commands) -> None:
    """Add the command of this file."""
    show = commands.add("show", "show one job, and why it is not running", show_command, EXAMPLE)
    database(show)
    add_word(show, "id", metavar="ID", type=positive, help="the number that push printed")
    as_json(show)


def show_command(args: argparse.Namespace) -> int:
    """Print one job in full."""
    file = shlex.quote(args.database)
    with Queue(args.database, create=False) as queue:
        row = looked_up(queue.store, args.id)
        if isinstance(row, UnreadableRow):
            return _show_unreadable(row, file, args)
        worker = worker_of(queue.store, row)
        why = why_not_running(queue.store, row, file)
        if args.json:
            say_json(_as_json(queue, row, worker, why))
            return 0
        related = [*_related(queue, row, file)]
    for label, value in [*_details(row, worker), *related]:
        say(f"{label:<9} {value}")
    if row.exception:
        say("exception")
        for line in row.exception.rstrip().splitlines():
            say(f"  {printable(line)}")
    if why:
        say(f"Why it is not running: {printable(why)}.")
    return 0


def _show_unreadable(row: UnreadableRow, file: str, args: argparse.Namespace) -> int:
    """Print the columns of an edited row, and mark those that cannot be read."""
    if args.json:
        columns = {column: _plain(value) for column, value in row.values.items()}
        say_json({**any_row_as_json(row), "columns": columns, "unreadable": row.faults})
        return 0
    say(f"Job {row.id} was edited into something unreadable:")
    for column, value in row.values.items():
        mark = " (unreadable)" if column in row.faults else ""
        if value is not None:
            say(f"{column:<14} {printable(value_shown(value))}{mark}")
    say(f"Repair it with SQL, or delete it: `litequeue forget {file} {row.id}`.")
    return 0


def _plain(value: object) -> object:
    """Return a value that JSON can represent."""
    finite = not isinstance(value, float) or math.isfinite(value)
    return value if isinstance(value, str | int | float | None) and finite else repr(value)


def _as_json(
    queue: Queue, row: JobRow, worker: WorkerRow | None, why: str | None
) -> dict[str, object]:
    try:
        batch = batch_of(queue.store, row)
    except DamagedRow:
        batch = None
    return {
        **row_as_json(row),
        "pid": worker.pid if worker else None,
        "progress_of_batch": None if batch is None else batch_as_json(batch),
        "parents": [parent_as_json(parent) for parent in parents(queue.store, row)],
        "children": [{"id": id, "name": name} for id, name in children(queue.store, row)],
        "why_not_running": why,
    }


def _details(row: JobRow, worker: WorkerRow | None) -> list[Detail]:
    instants = (
        ("created", row.created_at),
        ("due", row.available_at),
        ("expires", row.deadline_at),
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
        *((label, local(at)) for label, at in instants if at is not None),
        ("worker", f"process {worker.pid}" if worker else None),
        ("progress", f"{row.progress[0]}/{row.progress[1]}" if row.progress else None),
        ("options", json.dumps(row.options) if row.options else None),
        ("payload", printable(row.payload)),
        ("result", None if row.result is None else printable(row.result)),
    ]
    return [(label, value) for label, value in details if value is not None]


def _related(queue: Queue, row: JobRow, database: str) -> Iterator[Detail]:
    """Yield how the job relates to others: keys, batch, dependencies and dependents."""
    if row.unique_key is not None:
        yield "unique", printable(row.unique_key)
    if row.overlap_key is not None:
        yield "overlap", f"{printable(row.overlap_key)}, {row.overlap_limit or 1} at once"
    if row.rate_key is not None:
        yield "rate", f"{printable(row.rate_key)}, {row.options.get('rate_limit', 'no limit')}"
    try:
        batch = batch_of(queue.store, row)
        if batch is not None:
            yield "batch", f"{batch.id} ({printable(batch.name)}): {batch_in_words(batch)}"
    except DamagedRow as error:
        yield "batch", printable(error)
    before = [_parent_in_words(parent, database) for parent in parents(queue.store, row)]
    behind = [f"{id} ({printable(name)}), which waits" for id, name in children(queue.store, row)]
    yield from _lines("after", before)
    yield from _lines("before", behind)


def _parent_in_words(parent: Parent, database: str) -> str:
    return printable(parent_in_words(parent, database))


def _lines(label: str, texts: list[str]) -> Iterator[Detail]:
    for index, text in enumerate(texts[:LINES]):
        yield "" if index else label, text
    if len(texts) > LINES:
        yield "", f"and {len(texts) - LINES} more"
