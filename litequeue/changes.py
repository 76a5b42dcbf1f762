"""Changes from outside a run: of one row with all that hangs on it, or of many rows, some
at a time.

A bulk verb may change a million rows. It holds the write lock for some milliseconds at a
time, and lets others write in between.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from litequeue.database import Parameters
from litequeue.errors import KeyTaken, NoSuchJob, WrongState
from litequeue.record import PLAN, State, is_id, read_state
from litequeue.runs import Runs

# A step of a bulk verb ends after so many rows, or at the first group after so long.
AT_ONCE = 1000
HOLD_SECONDS = 0.01
# The rows of a group are changed by one statement. One row of a megabyte takes
# milliseconds, so a group is of one row until such have been quick.
TOGETHER = 40
QUICK_SECONDS = 0.002

FINISHED_CODES = [state.code for state in State if state.finished]

# Where a change says {which}: this row, or those of a group that have no tie to any other
# row, so that to change them is all there is to do.
ONE = "where id = :id"
UNTIED = """where id in (select value from json_each(:ids))
      and step is null
      and batch is null
      and unique_key is null
      and overlap_key is null
      and not exists (select 1 from litequeue_edges where child = litequeue_jobs.id)
      and not exists (
        select 1 from litequeue_edges where parent = litequeue_jobs.id and met_at is null
      )
      and not exists (select 1 from litequeue_batches where id = litequeue_jobs.id)"""


class Changes(Runs):
    """How the verbs of an operator change rows; each gives the statement of its change."""

    def _alter_one(self, verb: str, change: str, leaves: Sequence[State], id: int) -> str:
        before = self._before(id)
        if before is None:
            raise NoSuchJob(id=id)
        rival = self._rival(verb, before)
        if rival is not None:
            raise KeyTaken(id=id, other=rival, key=before.unique_key)
        queue = self._change_one(change, before)
        if queue is None:
            allowed = " or ".join(leaves)
            raise WrongState(id=id, state=before.state, verb=verb, allowed=allowed)
        return queue

    def _sweep(
        self, verb: str, select: str, change: str, where: Parameters, *, running: bool = False
    ) -> Counter[str]:
        """Change the rows that ``select`` finds, those too that run if that is said; returns
        how many that were in each queue."""
        changed: Counter[str] = Counter()
        self._by_steps(
            select,
            where,
            lambda ids: changed.update(self._change_group(verb, change, ids)),
            recall=running,
        )
        return changed

    def _by_steps(
        self,
        select: str,
        where: Parameters,
        change: Callable[[Sequence[int]], object],
        *,
        recall: bool = False,
    ) -> None:
        """Let ``change`` have the ids that ``select`` finds, some at a time: it reads without
        the write lock, so the change names the state that it leaves."""
        after, size = 0, 1
        while True:
            rows = self.database.rows(select, {**where, "after": after, "at_once": AT_ONCE})
            found = [int(id) for (id,) in rows]
            if not found:
                return
            with self.database.transaction():
                if recall:
                    # Workers have fetched others since the last step.
                    self.recall()
                until, done = self.clock() + HOLD_SECONDS, 0
                while done < len(found) and (not done or self.clock() < until):
                    group, begun = found[done : done + size], self.clock()
                    change(group)
                    done += len(group)
                    quick = self.clock() - begun < QUICK_SECONDS
                    size = min(2 * size, TOGETHER) if quick else 1
            if done == len(found) < AT_ONCE:
                return
            after = found[done - 1]
            self.let_others_in()

    def let_others_in(self) -> None:
        """Called between two steps of a bulk verb; a queue sleeps here."""

    def _change_group(self, verb: str, change: str, ids: Sequence[int]) -> Iterator[str]:
        """Change the rows without ties at once, and each other one by itself; gives the
        queue of each that was changed."""
        values = {"ids": json.dumps(ids), "now": self.now()}
        rows = self.database.rows(change.format(which=UNTIED), values)
        yield from (str(queue) for _, queue, _ in rows)
        changed = {id for id, _, _ in rows}
        for id in (id for id in ids if id not in changed):
            before = self._before(id)
            if before is not None and self._rival(verb, before) is None:
                queue = self._change_one(change, before)
                if queue is not None:
                    yield queue

    BEFORE = """
    select id, state, step, batch, unique_key, overlap_key
    from litequeue_jobs
    where id = :id"""

    def _before(self, id: int) -> _Before | None:
        rows = self.database.rows(self.BEFORE, {"id": id}) if is_id(id) else []
        return _Before(*rows[0]) if rows else None

    RIVAL = """
    select id
    from litequeue_jobs
    where unique_key = :key and state in (2, 3, 4, 5, 9)"""

    def _rival(self, verb: str, before: _Before) -> int | None:
        """The unfinished job that has the unique key of one that is to be retried."""
        if verb != "retry" or before.unique_key is None or not before.finished:
            return None
        rows = self.database.rows(self.RIVAL, {"key": before.unique_key})
        return int(rows[0][0]) if rows else None

    def _change_one(self, change: str, before: _Before) -> str | None:
        """Change a row, and what hangs on it; returns its queue, None if it is in no
        state that the change leaves."""
        rows = self.database.rows(change.format(which=ONE), {"id": before.id, "now": self.now()})
        if not rows:
            return None
        _, queue, left = rows[0]
        if change.lstrip().startswith("delete"):
            self._gone(before)
        elif left == State.CANCELLED.code:
            self._over(before)
        elif left == State.READY.code:
            self._back(before)
        return str(queue)

    def _gone(self, before: _Before) -> None:
        """A row was deleted: to others, that is a cancellation if it had not succeeded."""
        self.flows.untie([before.id])
        if not before.finished:
            self._over(before)
        elif before.code != State.DONE.code:
            self._end_batch(before.id)
            self.cancel_dependents(before.id)

    def _over(self, before: _Before) -> None:
        """A job that had not run to its end was cancelled."""
        if before.overlap_key is not None and before.code == State.READY.code:
            self.admit(before.overlap_key)
        if before.batch is not None:
            self.count_in_batch(before.batch, State.CANCELLED)
        self._end_batch(before.id)
        self.cancel_dependents(before.id)

    def _end_batch(self, id: int) -> None:
        """A batch whose own row is over will not be finished."""
        if self.batches.is_open(id):
            self.batches.cancel(id, self.now())

    WAIT_AGAIN = """
    update litequeue_jobs
    set state = 2
    where id = :id and state = 3"""

    def _back(self, before: _Before) -> None:
        """A job was made ready again: it may still have to wait, and its batch has one
        more to come."""
        self.flows.cut_lost(before.id)
        follows = before.step != PLAN and self.batches.is_open(before.id)
        if follows or self.flows.waits(before.id):
            self.database.change(self.WAIT_AGAIN, {"id": before.id})
        if before.batch is not None and before.finished:
            self.batches.count(before.batch, before.state, by=-1)
        if before.overlap_key is not None and before.code == State.RUNNING.code:
            self.admit(before.overlap_key)


class _Before(NamedTuple):
    """What is to be known of a row before it is changed."""

    id: int
    code: int
    step: str | None
    batch: int | None
    unique_key: str | None
    overlap_key: str | None

    @property
    def state(self) -> State:
        return read_state(self.code, self.id)

    @property
    def finished(self) -> bool:
        return self.code in FINISHED_CODES
