"""The components that read and change the rows of one database, wired together here."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from litequeue.engine.database import LONGEST_LOCK_RETRY_SECONDS, Database
from litequeue.engine.notifier import Notifier
from litequeue.records import workers_folder
from litequeue.store.insert import Inserts
from litequeue.store.lookup import Lookups

if TYPE_CHECKING:
    from litequeue.engine.presence import Presence
    from litequeue.store.admin import Admin
    from litequeue.store.batch_insert import BatchInserts
    from litequeue.store.batches import Batches
    from litequeue.store.bulk import Bulk
    from litequeue.store.claim import Claims
    from litequeue.store.concurrency import Slots
    from litequeue.store.deadlines import Deadlines
    from litequeue.store.dependencies import Dependencies
    from litequeue.store.finish import Executions
    from litequeue.store.rates import Rates
    from litequeue.store.reclaim import Reclaimer
    from litequeue.store.unblock import Unblocker


class Store:
    """Builds each component on first use and passes it the components that it needs. A
    producer loads only what inserts jobs."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        *,
        max_payload: int | None = None,
    ) -> None:
        self.database = database
        self.clock = clock
        self._sleep = sleep
        self.notifier = Notifier(workers_folder(database.path))
        self.lookups = Lookups(database)
        self.inserts = Inserts(
            database,
            clock,
            self.lookups,
            self.notify,
            lambda: self.dependencies,
            lambda: self.batches,
            max_payload,
        )

    def now(self) -> int:
        """The current time as rows store it, in milliseconds since the epoch."""
        return int(self.clock() * 1000)

    def notify(self, queue: str) -> None:
        """Wake a worker that serves ``queue`` once it can see what was written."""
        self.database.after_commit(self.notifier.notify, queue)

    def yield_lock(self) -> None:
        """Pause long enough for a waiting writer to take the write lock."""
        if not self.database.in_transaction():
            self._sleep(LONGEST_LOCK_RETRY_SECONDS)

    def close(self) -> None:
        """Close everything that this process has open; a later use opens it again."""
        self.notifier.close()
        self.database.close()

    @cached_property
    def dependencies(self) -> Dependencies:
        """The dependencies between jobs."""
        from litequeue.store.dependencies import Dependencies

        return Dependencies(self.database)

    @cached_property
    def batches(self) -> Batches:
        """The records of batches."""
        from litequeue.store.batches import Batches

        return Batches(self.database)

    @cached_property
    def slots(self) -> Slots:
        """The concurrency slots of the keys."""
        from litequeue.store.concurrency import Slots

        return Slots(self.database)

    @cached_property
    def rates(self) -> Rates:
        """The rate limits of the keys."""
        from litequeue.store.rates import START_MILLISECONDS, Rates

        # A test's clock stands still while a job starts.
        start = START_MILLISECONDS if self.clock is time.time else 0
        return Rates(self.database, self.now, self.notify, start)

    @cached_property
    def deadlines(self) -> Deadlines:
        """Cancels the jobs that were not started in time."""
        from litequeue.store.deadlines import Deadlines

        return Deadlines(
            self.database, self.now, self.unblocker, self.batches, self.rates, self.yield_lock
        )

    @cached_property
    def unblocker(self) -> Unblocker:
        """Unblocks other jobs when a job ends."""
        from litequeue.store.unblock import Unblocker

        return Unblocker(
            self.database, self.now, self.slots, self.dependencies, self.batches, self.notify
        )

    @cached_property
    def claims(self) -> Claims:
        """Claims jobs for workers."""
        from litequeue.store.claim import Claims

        return Claims(
            self.database, self.now, self.slots, self.rates, self.deadlines, self.unblocker
        )

    @cached_property
    def executions(self) -> Executions:
        """Ends runs: completes, fails and releases them."""
        from litequeue.store.finish import Executions

        return Executions(self.database, self.now, self.unblocker, self.dependencies, self.notify)

    @cached_property
    def presence(self) -> Presence:
        """The registered workers, and which of them are alive."""
        from litequeue.engine.presence import Presence

        return Presence(self.database, self.clock)

    @cached_property
    def reclaimer(self) -> Reclaimer:
        """Reclaims the jobs that workers have claimed but not started."""
        from litequeue.store.reclaim import Reclaimer

        return Reclaimer(self.database, self.presence, self.claims, self.executions)

    @cached_property
    def batch_inserts(self) -> BatchInserts:
        """Stores the jobs of batches."""
        from litequeue.store.batch_insert import BatchInserts

        return BatchInserts(
            self.database,
            self.now,
            self.inserts,
            self.executions,
            self.unblocker,
            self.dependencies,
            self.batches,
        )

    @cached_property
    def bulk(self) -> Bulk:
        """Changes rows from outside a run, many rows in batches."""
        from litequeue.store.bulk import Bulk

        return Bulk(
            self.database,
            self.lookups,
            self.clock,
            self.unblocker,
            self.dependencies,
            self.batches,
            self.rates,
            self.reclaimer,
            self.yield_lock,
        )

    @cached_property
    def admin(self) -> Admin:
        """The commands of an operator."""
        from litequeue.store.admin import Admin

        return Admin(
            self.database,
            self.now,
            self.bulk,
            self.dependencies,
            self.batches,
            self.reclaimer,
            self.notify,
        )
