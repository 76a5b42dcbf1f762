"""Filling a file with rows in any state, by one statement: a million in seconds."""

from __future__ import annotations

from litequeue import Queue, State

# As if each had been pushed an hour ago, and run where that is a part of its state.
FILL = """
insert into litequeue_jobs (
  name, queue, priority, state, attempts, worker, available_at, reserved_at, created_at,
  finished_at, failed_at, expires_at, exception, payload
)
with recursive numbers (n) as (
  select 1 union all select n + 1 from numbers where n < :count
)
select
  'Nothing', :queue, :priority, :state, :attempts, 1 << 40, :due, :then, :then,
  case when :finished then :then end,
  case when :failed then :then end,
  case when :state = 6 then :due end,
  case when :failed then 'ValueError: it failed' end,
  '{"number": ' || n || '}'
from numbers"""

WAIT = """
insert into litequeue_edges (child, position, parent)
select id, 0, :parent
from litequeue_jobs
where state = 2"""

HOUR_MS = 3_600_000


def fill(
    queue: Queue, count: int, state: State, *, name: str = "default", priority: int = 0
) -> None:
    """Add ``count`` jobs in a state: scheduled ones are due in an hour, done ones kept for
    one; waiting ones wait for a job that is due in an hour."""
    now = int(queue.store.clock() * 1000)
    later = state in (State.SCHEDULED, State.DONE)
    values = {
        "count": count,
        "queue": name,
        "priority": priority,
        "state": state.code,
        "attempts": 1 if state.finished else 0,
        "due": now + HOUR_MS if later else now - HOUR_MS,
        "then": now - HOUR_MS,
        "finished": state.finished,
        "failed": state is State.FAILED,
    }
    with queue.store.database.transaction():
        queue.store.database.rows(FILL, values)
        if state is State.WAITING:
            parent = queue.push("Nothing", {"number": 0}, delay=3600)
            queue.store.database.rows(WAIT, {"parent": parent})
    queue.store.database.checkpoint()
