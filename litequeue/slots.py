"""How many jobs of one key run at once.

A job with an overlap key takes a slot when it starts. One that finds none is held: it
stays ready, and out of the way of the others, until a job of its key ends.
"""

from __future__ import annotations

from litequeue.database import Database
from litequeue.record import NOBODY, JobRow

# The first slot: SQLite stores 0 and 1 in no bytes, and slots shall be of one width.
FIRST_SLOT = 2
HOLD_AT_ONCE = 100


class Slots:
    """The slots of one database. Every method here is part of a transaction that the
    caller has open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, row: JobRow) -> bool:
        """Give a row that was just claimed a slot of its key; where there is none, put it
        back, and with it others of its key, and say False."""
        slot = self._free_slot(row)
        if slot is None:
            self._hold(row)
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

    PUT_BACK = f"""
    update litequeue_jobs
    set state = case when available_at > reserved_at then 4 else 9 end,
        attempts = attempts - 1, worker = {NOBODY}, slot = null
    where id = :id and state = 5"""

    HOLD = f"""
    update litequeue_jobs
    set state = 9
    where id in (
      select id
      from litequeue_jobs
      where overlap_key = :key and state = 3
      limit {HOLD_AT_ONCE}
    )"""

    def _hold(self, row: JobRow) -> None:
        self._database.rows(self.PUT_BACK, {"id": row.id})
        self._database.rows(self.HOLD, {"key": row.overlap_key})

    # The first of each queue, since not every queue need have a worker; the names of the
    # queues by leaping through the index.
    ADMIT = """
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

    def admit(self, key: str) -> list[str]:
        """Let the next held job of a key be claimed, since one has left; returns the
        queues that have one now."""
        return [str(queue) for (queue,) in self._database.rows(self.ADMIT, {"key": key})]
