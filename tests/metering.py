"""Fills files with jobs, and counts the steps that SQLite takes for what is done in them."""

from __future__ import annotations

from collections.abc import Callable

from worker_side import claim_one

from litequeue.queue import Queue
from litequeue.records import NOBODY, State

WORKER = NOBODY + 1

FILL = """
insert into litequeue_jobs (
  name, queue, priority, state, attempts, worker,
  available_at, reserved_at, created_at, finished_at, payload
)
with recursive numbers (n) as (
  select 1 union all select n + 1 from numbers where n < :count
)
select 'a', 'default', :priority, :state, 0, :worker, :due, :due, :due, :finished, '{}'
from numbers"""

CLAIM_FROM, CLAIM_ANY, IDLE, COMPLETE, NEXT = "claim from", "claim any", "idle", "complete", "next"


class Meter:
    """Fills a file, and counts what the verbs cost in it."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.costs: dict[str, dict[str, int]] = {}

    def fill(self, count: int, state: State, *, due: float = 0, priority: int = 0) -> None:
        now = self.queue.store.now()
        values = {
            "count": count,
            "state": state.code,
            "priority": priority,
            "worker": NOBODY,
            "due": now + int(due * 1000),
            "finished": now if state.finished else None,
        }
        self.queue.store.database.rows(FILL, values)
        # Else it comes in the middle of an act, and is counted with it.
        self.queue.store.database.checkpoint()

    def measure(self, scene: str) -> None:
        """Note what each act costs in the file as it is now."""
        queue = self.queue
        rows = []
        self.costs[scene] = {
            CLAIM_FROM: self.steps(lambda: rows.append(claim_one(queue, WORKER, ["default"]))),
            CLAIM_ANY: self.steps(lambda: rows.append(claim_one(queue, WORKER))),
            IDLE: self.steps(lambda: claim_one(queue, WORKER, ["nobody-pushes-here"])),
            NEXT: self.steps(queue.store.claims.next_due),
        }
        first, second = rows
        assert first is not None
        assert second is not None
        self.costs[scene][COMPLETE] = self.steps(lambda: queue.store.executions.complete(first))
        queue.store.executions.complete(second)

    def steps(self, act: Callable[[], object]) -> int:
        count = 0

        def tick() -> int:
            nonlocal count
            count += 1
            return 0

        with self.queue.store.database.transaction() as connection:
            pass
        connection.set_progress_handler(tick, 1)
        try:
            act()
        finally:
            connection.set_progress_handler(None, 1)
        return count
