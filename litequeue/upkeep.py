"""What an operator does: retry, cancel, forget, prune, pause, resume, and look whether the
file is sound."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from litequeue.batches import PLAN
from litequeue.check import broken_laws
from litequeue.errors import KeyTaken, NoSuchJob, OptionError, WrongState
from litequeue.record import HELD, NOBODY, State, is_id, read_state
from litequeue.runs import Runs

# The most rows that a bulk verb changes before it lets other writers in.
AT_ONCE = 500
FINISHED_CODES = [state.code for state in State if state.finished]

# Names are compared as jobs answer to them: SendMail is send_mail is send-mail.
MATCHING = """(:state is null or state = :state or (:state = 3 and state = 9))
      and (:queue is null or queue = :queue)
      and (:name is null
           or lower(replace(replace(name, '-', ''), '_', ''))
            = lower(replace(replace(:name, '-', ''), '_', '')))"""


def matching(state: State | str | None, queue: str | None, name: str | None) -> dict[str, object]:
    """The parameters of MATCHING; raises OptionError for a state that there is not."""
    try:
        code = None if state is None else State(state).code
    except ValueError as error:
        words = ", ".join(State)
        raise OptionError(owner="state", problem=f"{state!r} is none of {words}") from error
    return {"state": code, "queue": queue, "name": name}


class Upkeep(Runs):
    """The verbs that change jobs from outside a run.

    The first three take either ids, each of which must be in a state that the verb
    leaves, or what the jobs must match, or ``all=True``. They return how many jobs they
    changed, and raise NoSuchJob, WrongState and OptionError; then nothing was changed.
    """

    START_OVER = f"""
    update litequeue_jobs
    set state = 3, available_at = :now, worker = {NOBODY},
        attempts = case state when 4 then attempts else 0 end,
        cancelled_at = null, finished_at = null"""

    RETRY = f"""
    {START_OVER}
    where id = :id and state in (4, 7, 8)
    returning queue, state"""

    RETRY_BY_FORCE = f"""
    {START_OVER}
    where id = :id and state in (4, 5, 7, 8)
    returning queue, state"""

    def retry(
        self,
        *ids: int,
        force: bool = False,
        all: bool = False,
        state: State | str | None = None,
        queue: str | None = None,
        name: str | None = None,
    ) -> int:
        """Make jobs ready now that are scheduled, failed or cancelled; those that were
        finished have all their attempts anew.

        With ``force``, a running job too is taken from its worker, which can then write
        nothing more for it: for one that is known to hang. What it does outside the
        database it may still be doing when the job starts again.
        """
        leaves: tuple[State, ...] = (State.SCHEDULED, State.FAILED, State.CANCELLED)
        if force:
            leaves = (*leaves, State.RUNNING)
        where = _which("retry", ids, all, matching(state, queue, name))
        change = self.RETRY_BY_FORCE if force else self.RETRY
        queues = self._alter("retry", change, leaves, ids, where)
        for changed in set(queues):
            self.pushed(changed)
        return len(queues)

    CANCEL = """
    update litequeue_jobs
    set state = case state when 5 then 5 else 8 end,
        finished_at = case state when 5 then null else :now end,
        cancelled_at = :now
    where id = :id and state in (2, 3, 4, 5, 9)
    returning queue, state"""

    def cancel(
        self,
        *ids: int,
        all: bool = False,
        state: State | str | None = None,
        queue: str | None = None,
        name: str | None = None,
    ) -> int:
        """Cancel jobs that are not finished. One that is running is asked to stop: its
        ``current().cancelled`` turns true, and if it does not succeed, it will not run
        again."""
        leaves = (State.WAITING, State.READY, State.SCHEDULED, State.RUNNING)
        where = _which("cancel", ids, all, matching(state, queue, name))
        return len(self._alter("cancel", self.CANCEL, leaves, ids, where))

    FORGET = """
    delete from litequeue_jobs
    where id = :id and state <> 5
    returning queue, state"""

    def forget(
        self,
        *ids: int,
        all: bool = False,
        state: State | str | None = None,
        queue: str | None = None,
        name: str | None = None,
    ) -> int:
        """Delete jobs that are not running, whether they have run or not."""
        leaves = tuple(state for state in State if state is not State.RUNNING)
        where = _which("forget", ids, all, matching(state, queue, name))
        return len(self._alter("forget", self.FORGET, leaves, ids, where))

    PRUNE = """
    delete from litequeue_jobs
    where id = :id and state in (6, 7, 8)
    returning queue, state"""

    FINISHED_BEFORE = """
    select id
    from litequeue_jobs
    where state in (6, 7, 8) and finished_at <= :before and id > :after
    order by id
    limit :at_once"""

    def prune(self, older: float) -> int:
        """Delete the jobs that finished more than ``older`` seconds ago, failed and
        cancelled ones too; returns how many."""
        before = self.now() - int(older * 1000)
        pruned = self._sweep("prune", self.FINISHED_BEFORE, self.PRUNE, {"before": before})
        self.batches.prune(before)
        return len(pruned)

    PAUSE = """
    insert or ignore into litequeue_paused (queue, paused_at)
    values (:queue, :now)"""

    def pause(self, queue: str) -> bool:
        """Let no job of ``queue`` start until it is resumed; False if it was paused."""
        return self.database.change(self.PAUSE, {"queue": queue, "now": self.now()}) > 0

    RESUME = """
    delete from litequeue_paused
    where queue = :queue"""

    def resume(self, queue: str) -> bool:
        """Let the jobs of ``queue`` start again; False if it was not paused."""
        changed = self.database.change(self.RESUME, {"queue": queue}) > 0
        self.pushed(queue)
        return changed

    PAUSED = """
    select queue
    from litequeue_paused
    order by queue"""

    def paused(self) -> list[str]:
        """Return the names of the queues that are paused."""
        return [str(name) for (name,) in self.database.rows(self.PAUSED)]

    def check(self) -> list[str]:
        """Return a sentence for each law of the file that is broken: none in a sound one."""
        return broken_laws(self.database)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a copy of the queue to a new file while others work on it."""
        self.database.backup(path)

    def _alter(
        self,
        verb: str,
        change: str,
        leaves: Sequence[State],
        ids: Sequence[int],
        where: dict[str, object],
    ) -> list[str]:
        if ids:
            with self.database.transaction():
                # The latest first: a job comes after older ones, and goes with them.
                order = sorted(ids, reverse=True) if verb == "cancel" else ids
                return [self._alter_one(verb, change, leaves, id) for id in order]
        codes = [state.code for state in leaves] + [HELD] * (State.READY in leaves)
        select = self.MATCHING_IDS.format(codes=", ".join(map(str, codes)))
        return self._sweep(verb, select, change, where)

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

    MATCHING_IDS = f"""
    select id
    from litequeue_jobs
    where {MATCHING} and state in ({{codes}}) and id > :after
    order by id
    limit :at_once"""

    def _sweep(self, verb: str, select: str, change: str, where: dict[str, object]) -> list[str]:
        """Change the rows that ``select`` finds, some at a time: it reads without the
        write lock, and the change names the state that it leaves."""
        changed: list[str] = []
        after = 0
        while True:
            found = self.database.rows(select, {**where, "after": after, "at_once": AT_ONCE})
            with self.database.transaction():
                for (id,) in found:
                    before = self._before(id)
                    if before is not None and self._rival(verb, before) is None:
                        queue = self._change_one(change, before)
                        changed += [] if queue is None else [queue]
            if len(found) < AT_ONCE:
                return changed
            after = found[-1][0]

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
        rows = self.database.rows(change, {"id": before.id, "now": self.now()})
        if not rows:
            return None
        queue, left = rows[0]
        if change.lstrip().startswith("delete"):
            self._gone(before)
        elif left == State.CANCELLED.code:
            self._over(before)
        elif left == State.READY.code:
            self._back(before)
        return str(queue)

    def _gone(self, before: _Before) -> None:
        """A row was deleted: to others, that is a cancellation if it had not succeeded."""
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


@dataclass(frozen=True, slots=True)
class _Before:
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


def _which(verb: str, ids: Sequence[int], all: bool, where: dict[str, object]) -> dict[str, object]:
    """What the jobs must match; raises OptionError where nothing, or too much, is said."""
    said = [bool(ids), all, any(value is not None for value in where.values())]
    if sum(said) != 1:
        problem = "say which jobs: ids, or what they match (state, queue, name), or all of them"
        raise OptionError(owner=verb, problem=problem)
    return where
