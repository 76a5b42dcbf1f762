"""Concurrency slots: how many jobs of one key run at once.

A job with a concurrency key takes a slot when it is claimed. If no slot is free, it is
blocked: it counts as ready, but claims skip it until a job of its key ends.
"""

from __future__ import annotations

from litequeue.engine.database import Database
from litequeue.records import NOBODY, JobRow

# SQLite stores 0 and 1 in no bytes; starting at 2 gives all slots the same stored width.
FIRST_SLOT = 2
BLOCK_AT_ONCE = 100


class Slots:
    """The concurrency slots of one database. Every method is part of a transaction that
    the caller has open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, row: JobRow) -> bool:
        """Give a row that was just claimed a slot of its key. If the limit is reached,
        release it, block it and others of its key, and return False."""
        slot = self._free_slot(row)
        if slot is None:
            self._block(row)
            return False
        self._database.rows(self.SET, {"id": row.id, "slot": slot})
        return True

    SET = """
    update litequeue_jobs
    set slot = :slot
    where id = :id and state = 5"""

    TAKEN = """
    select slot
    from litequeue_jobs
    where overlap_key = :key and state = 5 and id <> :id"""

    def _free_slot(self, row: JobRow) -> int | None:
        found = self._database.rows(self.TAKEN, {"key": row.overlap_key, "id": row.id})
        taken = {slot for (slot,) in found}
        limit = row.overlap_limit or 1
        slots = range(FIRST_SLOT, FIRST_SLOT + limit)
        if len(taken) >= limit:
            return None
        return next((slot for slot in slots if slot not in taken), None)

    RELEASE = f"""
    update litequeue_jobs
    set state = case when available_at > reserved_at then 4 else 9 end,
        attempts = attempts - 1, worker = {NOBODY}, slot = null
    where id = :id and state = 5"""

    BLOCK = f"""
    update litequeue_jobs
    set state = 9
    where id in (
      select id
      from litequeue_jobs
      where overlap_key = :key and state = 3
      limit {BLOCK_AT_ONCE}
    )"""

    def _block(self, row: JobRow) -> None:
        self._database.rows(self.RELEASE, {"id": row.id})
        self._database.rows(self.BLOCK, {"key": row.overlap_key})

    # One job in each queue, since a queue may have no worker; the queue names are found by
    # skipping through the index.
    UNBLOCK = """
    update litequeue_jobs
    set state = 3
    where id in (
      with recursive names (queue) as (
        select (
          select min(queue) from litequeue_jobs where overlap_key = :key and state = 9
        )
        union all
        select (
          select min(queue) from litequeue_jobs
          where overlap_key = :key and state = 9 and queue > names.queue
        )
        from names
        where names.queue is not null
      )
      select (
        select id
        from litequeue_jobs
        where overlap_key = :key and state = 9 and queue = names.queue
        order by priority desc, id
        limit 1
      )
      from names
      where names.queue is not null
    )
    returning queue"""

    BLOCKED = """
    select 1
    from litequeue_jobs
    where overlap_key = :key and state = 9
    limit 1"""

    def unblock(self, key: str) -> list[str]:
        """Make the next blocked job of a key ready, in each queue that has one; returns the
        names of these queues."""
        # Mostly there is none, and to find that takes a tenth of the time.
        if not self._database.rows(self.BLOCKED, {"key": key}):
            return []
        return [str(queue) for (queue,) in self._database.rows(self.UNBLOCK, {"key": key})]
