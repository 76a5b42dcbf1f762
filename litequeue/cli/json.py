"""Jobs, batches and times as the commands print them, in JSON and for people."""

from __future__ import annotations

import json
import math
from datetime import datetime

from litequeue.monitor.status import Parent
from litequeue.records import NOBODY, JobRow, UnreadableRow, worker_name
from litequeue.store.batches import BatchRow
from litequeue.worker.periodic import ScheduleEntry

# A value with more brackets may be nested too deeply for json.dumps.
DEEPEST = 100


def local(at: datetime) -> str:
    """Return an instant in local time, for people."""
    try:
        return at.astimezone().replace(tzinfo=None).isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        # Near the ends of the calendar an instant may have no local time.
        return utc(at)


# The keys of a job, also for one whose row cannot be read.
ROW_KEYS = (
    "id", "name", "queue", "state", "priority", "attempts", "max_attempts", "worker",
    "created_at", "available_at", "reserved_at", "cancelled_at", "finished_at", "failed_at",
    "unknown_since", "deadline_at", "rate_since", "batch", "unique_key", "overlap_key",
    "overlap_limit", "rate_key", "progress",
    "options", "payload", "result", "reason", "exception",
)  # fmt: skip


def utc(at: datetime) -> str:
    """Return an instant in UTC, for programs."""
    return at.isoformat(timespec="milliseconds")


def row_as_json(row: JobRow) -> dict[str, object]:
    """Return all columns of a job."""
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
        "batch": row.batch,
        "unique_key": row.unique_key,
        "overlap_key": row.overlap_key,
        "overlap_limit": row.overlap_limit,
        "rate_key": row.rate_key,
        "progress": None if row.progress is None else {"done": done, "total": total},
        "options": row.options,
        "payload": _value(row.payload),
        "result": None if row.result is None else _value(row.result),
        "reason": row.reason,
        "exception": row.exception,
    }


def any_row_as_json(row: JobRow | UnreadableRow) -> dict[str, object]:
    """Return the columns of a job; if its row cannot be read, ``state`` is ``unreadable`` and
    unknown values are null."""
    if isinstance(row, JobRow):
        return row_as_json(row)
    return {
        **dict.fromkeys(ROW_KEYS),
        "id": row.id,
        "name": row.text("name"),
        "queue": row.text("queue"),
        "state": "unreadable",
        "reason": row.reason,
    }


def line_as_json(line: ScheduleEntry) -> dict[str, object]:
    """Return a schedule entry."""
    return {
        "name": line.name,
        "expression": line.text,
        "zone": line.zone,
        "next_at": utc(line.next_at),
    }


def batch_as_json(batch: BatchRow) -> dict[str, object]:
    """Return the progress of a batch."""
    return {
        "id": batch.id,
        "name": batch.name,
        "planning": batch.planned_at is None,
        "planned": batch.planned,
        "done": batch.done,
        "failed": batch.failed,
        "cancelled": batch.cancelled,
        "percent": batch.percent,
        "rate": batch.rate,
        "seconds_left": batch.seconds_left,
    }


def parent_as_json(parent: Parent) -> dict[str, object]:
    """Return the state of a dependency."""
    return {
        "id": parent.id,
        "name": parent.name,
        "state": parent.state.value,
        "reason": parent.reason,
    }


def _instants_as_json(row: JobRow) -> dict[str, object]:
    instants = {
        "created_at": row.created_at,
        "available_at": row.available_at,
        "reserved_at": row.reserved_at,
        "cancelled_at": row.cancelled_at,
        "finished_at": row.finished_at,
        "failed_at": row.failed_at,
        "unknown_since": row.unknown_since,
        "deadline_at": row.deadline_at,
        "rate_since": row.rate_since,
    }
    return {word: None if at is None else utc(at) for word, at in instants.items()}


def _value(text: str) -> object:
    """The JSON value of a text, or the text itself where it is none."""
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
        if text.count("[") + text.count("{") > DEEPEST:
            # What can be read is not yet what can be written with indents.
            json.dumps(value, indent=2)
        return value
    except (ValueError, TypeError, RecursionError):
        return str(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
