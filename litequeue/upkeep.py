"""What an operator does: retry, cancel, forget, prune, pause, resume, and look whether the
file is sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from litequeue.changes import Changes
from litequeue.errors import OptionError
from litequeue.messages import did_you_mean, show
from litequeue.options import checked, is_seconds
from litequeue.record import HELD, NOBODY, State

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
        problem = f"{show(state)} is none of {words}{did_you_mean(str(state), State)}"
        raise OptionError(owner="state", problem=problem) from error
    return {"state": code, "queue": queue, "name": name}


class Upkeep(Changes):
    """The verbs that change jobs from outside a run.

    The first three take either ids, each of which must be in a state that the verb
    leaves, or what the jobs must match, or ``all=True``. They return how many jobs they
    changed, and raise NoSuchJob, WrongState and OptionError; then nothing was changed.
    """

    START_OVER = f"""
    update litequeue_jobs
    set state = 3, available_at = :now, worker = {NOBODY},
        attempts = case
          when state = 4 and typeof(attempts) = 'integer' and attempts > 0 then attempts
          else 0
        end,
        cancelled_at = null, finished_at = null, unknown_since = null"""

    RETRY = f"""
    {START_OVER}
    {{which}} and state in (4, 7, 8)
    returning id, queue, state"""

    RETRY_BY_FORCE = f"""
    {START_OVER}
    {{which}} and state in (4, 5, 7, 8)
    returning id, queue, state"""

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
        for changed in queues:
            self.pushed(changed)
        return queues.total()

    CANCEL = """
    update litequeue_jobs
    set state = case state when 5 then 5 else 8 end,
        finished_at = case state when 5 then null else :now end,
        cancelled_at = :now
    {which} and state in (2, 3, 4, 5, 9)
    returning id, queue, state"""

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
        return self._alter("cancel", self.CANCEL, leaves, ids, where).total()

    FORGET = """
    delete from litequeue_jobs
    {which} and state <> 5
    returning id, queue, state"""

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
        return self._alter("forget", self.FORGET, leaves, ids, where).total()

    PRUNE = """
    delete from litequeue_jobs
    {which} and state in (6, 7, 8)
    returning id, queue, state"""

    FINISHED_BEFORE = """
    select id
    from litequeue_jobs
    where state in (6, 7, 8) and finished_at <= :before and id > :after
    order by id
    limit :at_once"""

    def prune(self, older: float) -> int:
        """Delete the jobs that finished more than ``older`` seconds ago, failed and
        cancelled ones too; returns how many."""
        if not is_seconds(older):
            raise OptionError(owner="prune", problem=f"older is in seconds, not {show(older)}")
        before = self.now() - int(older * 1000)
        pruned = self._sweep("prune", self.FINISHED_BEFORE, self.PRUNE, {"before": before})
        self._by_steps(
            self.batches.OVER, {"before": before}, lambda ids: self.batches.forget(ids, before)
        )
        return pruned.total()

    PAUSE = """
    insert or ignore into litequeue_paused (queue, paused_at)
    values (:queue, :now)"""

    def pause(self, queue: str) -> bool:
        """Let no job of ``queue`` start until it is resumed; False if it was paused."""
        checked({"queue": queue}, "pause")
        with self.database.transaction():
            self.recall()
            return self.database.change(self.PAUSE, {"queue": queue, "now": self.now()}) > 0

    RESUME = """
    delete from litequeue_paused
    where queue = :queue"""

    def resume(self, queue: str) -> bool:
        """Let the jobs of ``queue`` start again; False if it was not paused."""
        checked({"queue": queue}, "resume")
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
        from litequeue.check import broken_laws  # the laws are for who asks

        return broken_laws(self.database)

    MATCHING_IDS = f"""
    select id
    from litequeue_jobs
    where {MATCHING} and state in ({{codes}}) and id > :after
    order by id
    limit :at_once"""

    def _alter(
        self,
        verb: str,
        change: str,
        leaves: Sequence[State],
        ids: Sequence[int],
        where: dict[str, object],
    ) -> Counter[str]:
        if ids:
            with self.database.transaction():
                # What a worker has only fetched is not running.
                self.recall()
                # The latest first: a job comes after older ones, and goes with them.
                order = sorted(ids, reverse=True) if verb == "cancel" else ids
                return Counter(self._alter_one(verb, change, leaves, id) for id in order)
        with self.database.transaction():
            self.recall()
        codes = [state.code for state in leaves] + [HELD] * (State.READY in leaves)
        select = self.MATCHING_IDS.format(codes=", ".join(map(str, codes)))
        return self._sweep(verb, select, change, where, running=State.RUNNING in leaves)


def _which(verb: str, ids: Sequence[int], all: bool, where: dict[str, object]) -> dict[str, object]:
    """What the jobs must match; raises OptionError where nothing, or too much, is said."""
    said = [bool(ids), all, any(value is not None for value in where.values())]
    if sum(said) != 1:
        problem = "say which jobs: ids, or what they match (state, queue, name), or all of them"
        raise OptionError(owner=verb, problem=problem)
    return where
