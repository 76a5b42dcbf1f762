"""Changes from outside a run: of one row with everything that depends on it, or of many
rows in batches.

A bulk change may cover a million rows. It holds the write lock for some milliseconds at a
time, and lets others write in between.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from litequeue.engine.database import Database, Parameters
from litequeue.errors import KeyTaken, NoSuchJob, WrongState
from litequeue.records import NOT_WAITING, PLAN, State, is_id, read_state
from litequeue.store.batches import Batches
from litequeue.store.dependencies import Dependencies
from litequeue.store.lookup import Lookups
from litequeue.store.rates import Rates
from litequeue.store.reclaim import Reclaimer
from litequeue.store.unblock import Unblocker

# One transaction of a bulk change ends after this many rows, or with the group in which this
# many seconds have passed.
AT_ONCE = 1000
HOLD_SECONDS = 0.01
# One statement changes a group of rows. A row of a megabyte takes milliseconds, so a group
# starts with one row and grows only while the changes are quick.
TOGETHER = 40
QUICK_SECONDS = 0.002

FINISHED_CODES = [state.code for state in State if state.finished]

# The values of {which} in a change: one row, or those rows of a group that no other row
# depends on, so that changing them needs no further step.
ONE = "where id = :id"
INDEPENDENT = f"""where id in (select value from json_each(:ids))
      and step is null
      and batch is null
      and unique_key is null
      and overlap_key is null
      and coalesce(rate_since, 0) <= {NOT_WAITING}
      and not exists (select 1 from litequeue_edges where child = litequeue_jobs.id)
      and not exists (
        select 1 from litequeue_edges where parent = litequeue_jobs.id and met_at is null
      )
      and not exists (select 1 from litequeue_batches where id = litequeue_jobs.id)"""


class Bulk:
    """Changes rows for the commands of an operator, each of which passes its own statement."""

    def __init__(
        self,
        database: Database,
        lookups: Lookups,
        clock: Callable[[], float],
        unblocker: Unblocker,
        dependencies: Dependencies,
        batches: Batches,
        rates: Rates,
        reclaimer: Reclaimer,
        yield_lock: Callable[[], None],
    ) -> None:
        self._database = database
        self._lookups = lookups
        self._clock = clock
        self._unblocker = unblocker
        self._dependencies = dependencies
        self._batches = batches
        self._rates = rates
        self._reclaimer = reclaimer
        self._yield_lock = yield_lock

    def change_one(self, verb: str, change: str, leaves: Sequence[State], id: int) -> str:
        """Change one row and everything that depends on it, and return its queue. Raises NoSuchJob,
        KeyTaken and WrongState."""
        before = self._before(id)
        if before is None:
            raise NoSuchJob(id=id)
        conflicting = self._conflicting(verb, before)
        if conflicting is not None:
            raise KeyTaken(id=id, other=conflicting, key=before.unique_key)
        queue = self._change_row(change, before)
        if queue is None:
            allowed = " or ".join(leaves)
            raise WrongState(id=id, state=before.state, verb=verb, allowed=allowed)
        return queue

    def change_if_there(self, change: str, id: int) -> bool:
        """Change one row if it is in a state that the change accepts; returns whether it
        was."""
        before = self._before(id)
        return before is not None and self._change_row(change, before) is not None

    def change_matching(
        self, verb: str, select: str, change: str, where: Parameters, *, running: bool = False
    ) -> Counter[str]:
        """Change the rows that ``select`` finds, running ones too if ``running``; returns how
        many were changed in each queue."""
        changed: Counter[str] = Counter()
        self.in_batches(
            select,
            where,
            lambda ids: changed.update(self._change_group(verb, change, ids)),
            reclaim=running,
        )
        return changed

    def in_batches(
        self,
        select: str,
        where: Parameters,
        change: Callable[[Sequence[int]], object],
        *,
        reclaim: bool = False,
    ) -> None:
        """Call ``change`` with the ids that ``select`` finds, in batches. ``select`` reads
        without the write lock, so the change must check the state itself."""
        after, size = 0, 1
        while True:
            rows = self._database.rows(select, {**where, "after": after, "at_once": AT_ONCE})
            found = [int(id) for (id,) in rows]
            if not found:
                return
            with self._database.transaction():
                if reclaim:
                    # Workers may have claimed more jobs since the last transaction.
                    self._reclaimer.reclaim()
                until, done = self._clock() + HOLD_SECONDS, 0
                while done < len(found) and (not done or self._clock() < until):
                    group, begun = found[done : done + size], self._clock()
                    change(group)
                    done += len(group)
                    quick = self._clock() - begun < QUICK_SECONDS
                    size = min(2 * size, TOGETHER) if quick else 1
            if done == len(found) < AT_ONCE:
                return
            after = found[done - 1]
            self._yield_lock()

    def _change_group(self, verb: str, change: str, ids: Sequence[int]) -> Iterator[str]:
        """Change the independent rows together and the others one by one; yields the queue
        of each changed row."""
        values = {"ids": json.dumps(ids), "now": self._now()}
        rows = self._database.rows(change.format(which=INDEPENDENT), values)
        yield from (str(queue) for _, queue, _ in rows)
        changed = {id for id, _, _ in rows}
        for id in (id for id in ids if id not in changed):
            before = self._before(id)
            if before is not None and self._conflicting(verb, before) is None:
                queue = self._change_row(change, before)
                if queue is not None:
                    yield queue

    def _now(self) -> int:
        return int(self._clock() * 1000)

    BEFORE = f"""
    select id, state, step, batch, unique_key, overlap_key,
      case when state = 4 and rate_since > {NOT_WAITING} then rate_key end
    from litequeue_jobs
    where id = :id"""

    def _before(self, id: int) -> _Before | None:
        rows = self._database.rows(self.BEFORE, {"id": id}) if is_id(id) else []
        return _Before(*rows[0]) if rows else None

    def _conflicting(self, verb: str, before: _Before) -> int | None:
        """The unfinished job with the same unique key as a job that is to be retried."""
        if verb != "retry" or before.unique_key is None or not before.finished:
            return None
        return self._lookups.conflicting(before.unique_key)

    def _change_row(self, change: str, before: _Before) -> str | None:
        """Change a row and everything that depends on it; returns its queue, or None if the
        change does not accept its state."""
        rows = self._database.rows(change.format(which=ONE), {"id": before.id, "now": self._now()})
        if not rows:
            return None
        _, queue, left = rows[0]
        if change.lstrip().startswith("delete"):
            self._row_deleted(before)
        elif left == State.CANCELLED.code:
            self._job_cancelled(before)
        elif left == State.READY.code:
            self._made_ready(before)
        return str(queue)

    def _row_deleted(self, before: _Before) -> None:
        """Handle a deleted row: to its dependents this is a cancellation, unless the job had
        succeeded."""
        self._dependencies.remove([before.id])
        if not before.finished:
            self._job_cancelled(before)
        elif before.code != State.DONE.code:
            self._cancel_own_batch(before.id)
            self._unblocker.cancel_dependents(before.id)

    def _job_cancelled(self, before: _Before) -> None:
        """Handle the cancellation of an unfinished job."""
        if before.overlap_key is not None and before.code == State.READY.code:
            self._unblocker.unblock_next(before.overlap_key)
        self._stopped_waiting(before)
        if before.batch is not None:
            self._unblocker.count_in_batch(before.batch, State.CANCELLED)
        self._cancel_own_batch(before.id)
        self._unblocker.cancel_dependents(before.id)

    def _stopped_waiting(self, before: _Before) -> None:
        """Give the turn of a job that waited for its rate limit to the next one."""
        if before.waits_for_rate is not None:
            self._rates.stop_waiting(before.waits_for_rate)

    def _cancel_own_batch(self, id: int) -> None:
        """Cancel the batch that this row follows, since nothing will finish it now."""
        if self._batches.is_open(id):
            self._batches.cancel(id, self._now())

    WAIT_AGAIN = """
    update litequeue_jobs
    set state = 2
    where id = :id and state = 3"""

    def _made_ready(self, before: _Before) -> None:
        """Handle a job that was made ready again: it may still have to wait for others, and
        its batch has one more unfinished job."""
        self._dependencies.remove_lost(before.id)
        self._stopped_waiting(before)
        follows = before.step != PLAN and self._batches.is_open(before.id)
        if follows or self._dependencies.is_waiting(before.id):
            self._database.change(self.WAIT_AGAIN, {"id": before.id})
        if before.batch is not None and before.finished:
            self._batches.count(before.batch, before.state, by=-1)
        if before.overlap_key is not None and before.code == State.RUNNING.code:
            self._unblocker.unblock_next(before.overlap_key)


class _Before(NamedTuple):
    """The columns of a row that a change needs, as they were before it."""

    id: int
    code: int
    step: str | None
    batch: int | None
    unique_key: str | None
    overlap_key: str | None
    waits_for_rate: str | None
    """The key of the rate limit that the job waits for."""

    @property
    def state(self) -> State:
        return read_state(self.code, self.id)

    @property
    def finished(self) -> bool:
        return self.code in FINISHED_CODES
