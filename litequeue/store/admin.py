"""The commands of an operator: retry, cancel, forget, prune, pause and resume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from litequeue.durations import Duration, checked_seconds
from litequeue.engine.database import Database
from litequeue.errors import NoSuchJob
from litequeue.options import checked
from litequeue.records import BLOCKED, NOBODY, NOT_WAITING, State
from litequeue.store.batches import Batches
from litequeue.store.bulk import Bulk
from litequeue.store.dependencies import Dependencies
from litequeue.store.lookup import MATCHING, Selection
from litequeue.store.reclaim import Reclaimer

EXPIRE_AT_ONCE = 100


class Admin:
    """Changes jobs from outside a run.

    ``retry``, ``cancel`` and ``forget`` select jobs by ids, which must be in a state that the
    command accepts, or by conditions. They return how many jobs they changed. They raise
    NoSuchJob, WrongState and OptionError, and then change nothing.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], int],
        bulk: Bulk,
        dependencies: Dependencies,
        batches: Batches,
        reclaimer: Reclaimer,
        notify: Callable[[str], None],
    ) -> None:
        self._database = database
        self._now = now
        self._bulk = bulk
        self._dependencies = dependencies
        self._batches = batches
        self._reclaimer = reclaimer
        self._notify = notify

    START_OVER = f"""
    update litequeue_jobs
    set state = 3, available_at = :now, worker = {NOBODY},
        attempts = case
          when state = 4 and typeof(attempts) = 'integer' and attempts > 0 then attempts
          else 0
        end,
        cancelled_at = null, finished_at = null, unknown_since = null,
        rate_since = case when rate_since is not null then {NOT_WAITING} end"""

    RETRY = f"""
    {START_OVER}
    {{which}} and state in (4, 7, 8)
    returning id, queue, state"""

    RETRY_BY_FORCE = f"""
    {START_OVER}
    {{which}} and state in (4, 5, 7, 8)
    returning id, queue, state"""

    def retry(self, which: Selection, *, force: bool = False) -> int:
        """Make scheduled, failed or cancelled jobs ready now; jobs that were finished get all
        their attempts again.

        With ``force``, a running job is also taken from its worker, which can then write
        nothing more for it. Use it for a job that is known to hang: the old run may still
        be acting outside the database when the job starts again.
        """
        leaves: tuple[State, ...] = (State.SCHEDULED, State.FAILED, State.CANCELLED)
        if force:
            leaves = (*leaves, State.RUNNING)
        change = self.RETRY_BY_FORCE if force else self.RETRY
        queues = self._change("retry", change, leaves, which)
        for changed in queues:
            self._notify(changed)
        return queues.total()

    CANCEL = """
    update litequeue_jobs
    set state = case state when 5 then 5 else 8 end,
        finished_at = case state when 5 then null else :now end,
        cancelled_at = :now
    {which} and state in (2, 3, 4, 5, 9)
    returning id, queue, state"""

    def cancel(self, which: Selection) -> int:
        """Cancel unfinished jobs. A running job is asked to stop: its
        ``current().cancelled`` becomes true, and if it does not succeed, it is not run
        again."""
        leaves = (State.WAITING, State.READY, State.SCHEDULED, State.RUNNING)
        return self._change("cancel", self.CANCEL, leaves, which).total()

    FORGET = """
    delete from litequeue_jobs
    {which} and state <> 5
    returning id, queue, state"""

    def forget(self, which: Selection) -> int:
        """Delete jobs in any state but running."""
        leaves = tuple(state for state in State if state is not State.RUNNING)
        return self._change("forget", self.FORGET, leaves, which).total()

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

    def prune(self, older: Duration) -> int:
        """Delete the jobs that finished longer than ``older`` ago, including failed and
        cancelled ones; returns how many."""
        before = self._now() - int(checked_seconds(older, "prune", "older") * 1000)
        pruned = self._bulk.change_matching(
            "prune", self.FINISHED_BEFORE, self.PRUNE, {"before": before}
        )
        self._bulk.in_batches(
            self._batches.OVER, {"before": before}, lambda ids: self._batches.forget(ids, before)
        )
        return pruned.total()

    PAUSE = """
    insert or ignore into litequeue_paused (queue, paused_at)
    values (:queue, :now)"""

    def pause(self, queue: str) -> bool:
        """Let no job of ``queue`` start until it is resumed; False if it was already paused."""
        checked({"queue": queue}, "pause")
        with self._database.transaction():
            self._reclaimer.reclaim()
            return self._database.change(self.PAUSE, {"queue": queue, "now": self._now()}) > 0

    RESUME = """
    delete from litequeue_paused
    where queue = :queue"""

    def resume(self, queue: str) -> bool:
        """Let the jobs of ``queue`` start again; False if it was not paused."""
        checked({"queue": queue}, "resume")
        changed = self._database.change(self.RESUME, {"queue": queue}) > 0
        self._notify(queue)
        return changed

    PAUSED = """
    select queue
    from litequeue_paused
    order by queue"""

    def paused(self) -> list[str]:
        """Return the names of the queues that are paused."""
        return [str(name) for (name,) in self._database.rows(self.PAUSED)]

    EXPIRED = """
    select 1
    from litequeue_jobs
    where expires_at <= :now
    limit 1"""

    EXPIRE = f"""
    delete from litequeue_jobs
    where id in (
      select id
      from litequeue_jobs
      where expires_at <= :now
      limit {EXPIRE_AT_ONCE}
    )
    and state = 6
    returning id"""

    def expire(self) -> int:
        """Delete some of the done jobs whose keep time is over; returns how many."""
        if not self._database.rows(self.EXPIRED, {"now": self._now()}):
            return 0
        with self._database.transaction():
            gone = [int(id) for (id,) in self._database.rows(self.EXPIRE, {"now": self._now()})]
            self._dependencies.remove(gone)
        return len(gone)

    def cancel_batch(self, id: int) -> int:
        """Cancel the unfinished jobs of a batch and the jobs that depend on them; returns how
        many. Running jobs are asked to stop. Raises NoSuchJob."""
        if not self._batches.is_there(id):
            raise NoSuchJob(id=id)
        with self._database.transaction():
            self._batches.cancel(id, self._now())
            own = self._bulk.change_if_there(self.CANCEL, id)
        where = {"batch": id}
        jobs = self._bulk.change_matching(
            "cancel", self.BATCH_JOBS, self.CANCEL, where, running=True
        )
        return own + jobs.total()

    BATCH_JOBS = """
    select id
    from litequeue_jobs
    where batch = :batch and state in (2, 3, 4, 5, 9) and id > :after
    order by id
    limit :at_once"""

    MATCHING_IDS = f"""
    select id
    from litequeue_jobs
    where {MATCHING} and state in ({{codes}}) and id > :after
    order by id
    limit :at_once"""

    def _change(
        self, verb: str, change: str, leaves: Sequence[State], which: Selection
    ) -> Counter[str]:
        where = which.parameters(verb)
        with self._database.transaction():
            # A job that a worker has claimed but not started does not count as running.
            self._reclaimer.reclaim()
            if which.ids:
                # The newest first: a job depends on older ones, and would be cancelled with them.
                ids = sorted(which.ids, reverse=True) if verb == "cancel" else which.ids
                return Counter(self._bulk.change_one(verb, change, leaves, id) for id in ids)
        codes = [state.code for state in leaves] + [BLOCKED] * (State.READY in leaves)
        select = self.MATCHING_IDS.format(codes=", ".join(map(str, codes)))
        return self._bulk.change_matching(
            verb, select, change, where, running=State.RUNNING in leaves
        )
