"""Deadlines: cancelling the jobs that were not started within their ``expires``."""

from __future__ import annotations

from collections.abc import Callable

from litequeue.durations import in_short
from litequeue.engine.database import Database
from litequeue.records import NOBODY, NOT_WAITING, JobRow, State, reason_of
from litequeue.store.batches import Batches
from litequeue.store.rates import Rates
from litequeue.store.unblock import Unblocker

CANCEL_AT_ONCE = 100
# How the exception of a job begins that was cancelled here.
EXPIRED = "it expired: "


class Deadlines:
    """Cancels the jobs of one database whose deadline has passed."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], int],
        unblocker: Unblocker,
        batches: Batches,
        rates: Rates,
        yield_lock: Callable[[], None],
    ) -> None:
        self._database = database
        self._now = now
        self._unblocker = unblocker
        self._batches = batches
        self._rates = rates
        self._yield_lock = yield_lock

    def has_passed(self, row: JobRow) -> bool:
        """Whether it is too late to start a job."""
        return row.deadline_at is not None and row.deadline_at.timestamp() * 1000 <= self._now()

    CANCEL_CLAIMED = f"""
    update litequeue_jobs
    set state = 8, attempts = attempts - 1, worker = {NOBODY}, slot = null,
        cancelled_at = :now, finished_at = :now, exception = :exception
    where id = :id and state = 5"""

    def cancel_claimed(self, row: JobRow) -> None:
        """Cancel a row that was just claimed, its attempt not used, as part of the caller's
        transaction."""
        assert row.deadline_at is not None
        seconds = (row.deadline_at - row.created_at).total_seconds()
        values = {"id": row.id, "now": self._now(), "exception": _in_words(seconds, row.exception)}
        if self._database.change(self.CANCEL_CLAIMED, values):
            self._cancelled(row.id, row.overlap_key, row.batch)

    ANY = """
    select 1
    from litequeue_jobs
    where deadline_at <= :now and state in (2, 3, 4, 9)
    limit 1"""

    PASSED = f"""
    select id, state, deadline_at - created_at, exception, overlap_key, batch,
      case when rate_since > {NOT_WAITING} then rate_key end
    from litequeue_jobs
    where deadline_at <= :now and state in (2, 3, 4, 9)
    order by deadline_at
    limit {CANCEL_AT_ONCE}"""

    CANCEL = """
    update litequeue_jobs
    set state = 8, cancelled_at = :now, finished_at = :now, exception = :exception
    where id = :id and state in (2, 3, 4, 9)"""

    def cancel_passed(self) -> int:
        """Cancel all jobs whose deadline has passed before they were started; returns how
        many."""
        cancelled, found = 0, CANCEL_AT_ONCE
        while found == CANCEL_AT_ONCE and self._database.rows(self.ANY, {"now": self._now()}):
            if cancelled:
                self._yield_lock()
            with self._database.transaction():
                rows = self._database.rows(self.PASSED, {"now": self._now()})
                found = len(rows)
                cancelled += sum(self._cancel(*row) for row in rows)
        return cancelled

    def _cancel(
        self,
        id: int,
        state: object,
        milliseconds: object,
        exception: object,
        key: str | None,
        batch: int | None,
        rate_key: str | None,
    ) -> int:
        seconds = milliseconds / 1000 if isinstance(milliseconds, int | float) else 0
        values = {"id": id, "now": self._now(), "exception": _in_words(seconds, exception)}
        if not self._database.change(self.CANCEL, values):
            # An earlier one of these was its parent.
            return 0
        self._cancelled(id, key if state == State.READY.code else None, batch)
        if rate_key is not None and state == State.SCHEDULED.code:
            self._rates.stop_waiting(rate_key)
        return 1

    def _cancelled(self, id: int, key: str | None, batch: int | None) -> None:
        self._unblocker.job_ended(key, batch, State.CANCELLED)
        if self._batches.is_open(id):
            # Nothing will finish it now.
            self._batches.cancel(id, self._now())
        self._unblocker.cancel_dependents(id)


def _in_words(seconds: float, exception: object) -> str:
    """Why the job was cancelled, and on another line how its last attempt failed."""
    words = f"{EXPIRED}not started within {in_short(seconds)} of its push\n"
    before = reason_of(str(exception or ""))
    return f"{words}The attempt before it failed: {before}\n" if before else words
