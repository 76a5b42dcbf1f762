"""Batches: groups of jobs that are counted together; a batch is closed when its last job has
ended.

A batch has the id of the row that follows it: the job that plans it, or the job to run
after it. That row waits until the batch is closed, which happens once, in the
transaction that ends the last job of the batch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from litequeue.engine.database import Database
from litequeue.errors import DamagedRow, NoSuchJob
from litequeue.records import (
    MAYBE_NUMBER,
    MAYBE_TEXT,
    NUMBER,
    TEXT,
    UNREADABLE,
    Row,
    State,
    faults_in,
    instant,
    is_id,
    maybe_instant,
)

# The columns of a record and their valid values.
BATCH_KINDS = {
    "id": NUMBER,
    "name": TEXT,
    "cursor": MAYBE_TEXT,
    "planned": NUMBER,
    "done": NUMBER,
    "failed": NUMBER,
    "cancelled": NUMBER,
    "created_at": NUMBER,
    "planned_at": MAYBE_NUMBER,
    "closed_at": MAYBE_NUMBER,
    "cancelled_at": MAYBE_NUMBER,
}

_COUNTERS = {State.DONE: "done", State.FAILED: "failed", State.CANCELLED: "cancelled"}


class BatchRow(NamedTuple):
    """One batch as it was in the database when it was read."""

    id: int
    name: str
    cursor: object
    planned: int
    done: int
    failed: int
    cancelled: int
    created_at: datetime
    planned_at: datetime | None
    closed_at: datetime | None
    cancelled_at: datetime | None
    seconds: float

    @property
    def ended(self) -> int:
        """How many jobs of the batch have ended, in any state."""
        return self.done + self.failed + self.cancelled

    @property
    def percent(self) -> float:
        """How many of the jobs planned so far have ended, in percent from 0 to 100."""
        if not self.planned:
            return 0.0 if self.planned_at is None else 100.0
        return 100.0 * self.ended / self.planned

    @property
    def rate(self) -> float:
        """How many jobs have ended per second since the batch was pushed."""
        return self.ended / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the remaining planned jobs will take at this rate, in seconds; None if
        that is unknown."""
        left = self.planned - self.ended
        if not left:
            return None if self.planned_at is None else 0.0
        return left / self.rate if self.rate else None


class Batches:
    """The batches of one database. Methods that write are part of a transaction that the
    caller has open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    OPEN = """
    insert into litequeue_batches (
      id, name, planned, done, failed, cancelled, created_at
    ) values (:id, :name, 0, 0, 0, 0, :now)"""

    def open(self, id: int, name: str, now: int) -> None:
        """Begin the batch that the row ``id`` follows."""
        self._database.change(self.OPEN, {"id": id, "name": name, "now": now})

    ADD = """
    update litequeue_batches
    set planned = planned + :count, cursor = :cursor,
        planned_at = case when :last then :now else planned_at end
    where id = :id and planned_at is null"""

    def add(self, id: int, count: int, cursor: object, *, last: bool, now: int) -> bool:
        """Count jobs that were added, and store the planner's cursor; False if the planning
        was over."""
        values = {
            "id": id,
            "count": count,
            "cursor": json.dumps(cursor),
            "last": last,
            "now": now,
        }
        return self._database.change(self.ADD, values) > 0

    # Ignored if the table's checks reject it: a batch whose counts were edited must not keep
    # its jobs from ending.
    COUNT = """
    update or ignore litequeue_batches
    set done = done + :done, failed = failed + :failed, cancelled = cancelled + :cancelled
    where id = :id"""

    def count(self, id: int, state: State, by: int = 1) -> None:
        """Count a job that has ended in ``state``; ``by=-1`` undoes it."""
        counts = {word: by if state is each else 0 for each, word in _COUNTERS.items()}
        self._database.change(self.COUNT, {"id": id, **counts})

    CLOSE = """
    update litequeue_batches
    set closed_at = :now
    where id = :id and closed_at is null and planned_at is not null
      and done + failed + cancelled = planned"""

    def close(self, id: int, now: int) -> bool:
        """Close the batch if its last job has ended; returns whether it was closed now."""
        return self._database.change(self.CLOSE, {"id": id, "now": now}) > 0

    CANCEL = """
    update litequeue_batches
    set cancelled_at = :now
    where id = :id and cancelled_at is null"""

    def cancel(self, id: int, now: int) -> None:
        """Record that the whole batch was cancelled."""
        self._database.change(self.CANCEL, {"id": id, "now": now})

    GET = f"""
    select {", ".join(BATCH_KINDS)}
    from litequeue_batches
    where id = :id"""

    def get(self, id: int, now: int) -> BatchRow:
        """The record of a batch; raises NoSuchJob, and DamagedRow for one that was edited
        into something unreadable."""
        rows = self._database.rows(self.GET, {"id": id}) if is_id(id) else []
        if not rows:
            raise NoSuchJob(id=id)
        return _read(rows[0], now)

    IS_THERE = """
    select 1
    from litequeue_batches
    where id = :id"""

    def is_there(self, id: int) -> bool:
        """Whether a batch has a record, readable or not."""
        return is_id(id) and bool(self._database.rows(self.IS_THERE, {"id": id}))

    IS_OPEN = """
    select 1
    from litequeue_batches
    where id = :id and closed_at is null"""

    def is_open(self, id: int) -> bool:
        """Whether the row ``id`` follows a batch that has not been closed."""
        return bool(self._database.rows(self.IS_OPEN, {"id": id}))

    IS_OVER = """coalesce(closed_at, created_at) <= :before
      and not exists (select 1 from litequeue_jobs where id = litequeue_batches.id)
      and not exists (select 1 from litequeue_jobs where batch = litequeue_batches.id)"""

    OVER = f"""
    select id
    from litequeue_batches
    where id > :after and {IS_OVER}
    order by id
    limit :at_once"""

    FORGET = f"""
    delete from litequeue_batches
    where id = :id and {IS_OVER}"""

    def forget(self, ids: Sequence[int], before: int) -> None:
        """Delete the records of those batches that were over at ``before`` (milliseconds)
        and have no jobs left."""
        for id in ids:
            self._database.change(self.FORGET, {"id": id, "before": before})


def _read(values: Row, now: int) -> BatchRow:
    (id, name, cursor, planned, done, failed, cancelled,
     created_at, planned_at, closed_at, cancelled_at) = values  # fmt: skip
    faults = faults_in(BATCH_KINDS, values)
    try:
        if faults:
            raise TypeError("; ".join(faults.values()))
        until = closed_at or cancelled_at or now
        return BatchRow(
            id=id,
            name=name,
            cursor=None if cursor is None else json.loads(cursor),
            planned=planned,
            done=done,
            failed=failed,
            cancelled=cancelled,
            created_at=instant(created_at),
            planned_at=maybe_instant(planned_at),
            closed_at=maybe_instant(closed_at),
            cancelled_at=maybe_instant(cancelled_at),
            seconds=(until - created_at) / 1000,
        )
    except UNREADABLE as error:
        raise DamagedRow(thing=f"batch {id}", what=str(error)) from error
