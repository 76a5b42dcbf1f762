"""The command list: jobs, the newest first."""

from __future__ import annotations

import argparse
from datetime import datetime

from litequeue.cli.json import (
    any_row_as_json,
    local,
)
from litequeue.cli.parser import (
    Commands,
    add_filters,
    as_json,
    database,
    filters,
    positive,
)
from litequeue.cli.spelling import MOST_LISTED, misspelt
from litequeue.cli.terminal import say, say_json, say_table
from litequeue.messages import printable
from litequeue.monitor.status import (
    allowed_attempts,
    listed,
)
from litequeue.queue import Queue
from litequeue.records import JobRow, State, UnreadableRow

EXAMPLE = """\
examples:
  litequeue list jobs.db                               the newest 20 jobs
  litequeue list jobs.db --state failed --limit 100    the newest failed jobs, each with its reason
  litequeue list jobs.db --queue emails --json         for a program
"""

LISTED = 20
REASON_WIDTH = 60


def add(commands: Commands) -> None:
    """Add the command of this file."""
    listing = commands.add("list", "list jobs, the newest first", list_command, EXAMPLE)
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
