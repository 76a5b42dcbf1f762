"""How the jobs of a batch come in: all at once, or chunk by chunk as they are planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import TYPE_CHECKING

from litequeue.errors import NoSuchJob, OptionError, RunLost
from litequeue.options import Options, checked
from litequeue.pushing import NOTHING_GIVEN, Alike, Pushable, Pushed, Pushing
from litequeue.record import FINISH, NOBODY, PLAN, JobRow, State
from litequeue.upkeep import Upkeep

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Members:
    """The jobs of a batch that is being put together; they are pushed at the end."""

    def __init__(self) -> None:
        self.id: int | None = None
        self.ids: list[int] = []
        self._jobs: list[tuple[Pushed, Options]] = []

    def push(
        self,
        job: Pushable | str,
        payload: Mapping[str, object] | None = None,
        /,
        **options: Unpack[Options],
    ) -> None:
        """Add a job, as Queue.push does; its id is in ``ids`` after the block."""
        fits = isinstance(job, str | tuple) or hasattr(job, "__litequeue_spec__")
        if not fits or isinstance(job, type):
            from litequeue.mistakes import no_job

            # Here, and not at the block's end, where no line says which push it was.
            raise no_job("batch.push", job)
        given = checked(options, "push") if options else NOTHING_GIVEN
        self._jobs.append(((job, payload or {}) if isinstance(job, str) else job, given))

    def pushed(self) -> Iterator[tuple[Pushed, Options]]:
        """The jobs and their options, in order."""
        yield from self._jobs


class Membership(Pushing):
    """The verbs that store the jobs of batches."""

    @contextmanager
    def batch_then(self, then: Pushable, **options: Unpack[Options]) -> Iterator[Members]:
        """Collect jobs in the block, and push them in one transaction at its end, with
        ``then`` to run once when all of them have ended; an exception in the block
        pushes nothing."""
        members = Members()
        follower = self._row(then, checked(options, "batch"), "batch(then=)")
        if follower["step"] or follower["unique_key"]:
            problem = "then= takes a job that is no batch, and not unique"
            raise OptionError(owner="batch", problem=problem)
        yield members
        many = self._rows(members.pushed())
        with self.database.transaction():
            members.id = self._push({**follower, "state": State.WAITING.code})
            now = self.now()
            self.batches.open(members.id, str(follower["name"]), now)
            members.ids, count = self._push_members(members.id, many)
            self.batches.grow(members.id, count, None, last=True, now=now)
            self.close_batch(members.id)

    BEGIN = f"""
    update litequeue_jobs
    set step = '{PLAN}'
    {Upkeep.THIS_RUN}"""

    def begin_batch(self, row: JobRow) -> None:
        """Open the batch that a run plans, where it was pushed by name, by someone who did
        not know that it is one. Raises RunLost."""
        with self.database.transaction():
            self._end(self.BEGIN, row)
            self.batches.open(row.id, row.name, self.now())

    FOLLOW = f"""
    update litequeue_jobs
    set state = 2, step = '{FINISH}', attempts = 0, worker = {NOBODY}
    {Upkeep.THIS_RUN}"""

    def plan(self, row: JobRow, jobs: Sequence[Pushed], cursor: object) -> None:
        """Add a chunk of jobs to the batch that the run of ``row`` plans, with the cursor
        behind it, in one transaction; after the last, when ``cursor`` is None, the run is
        over and the row waits for its members. Raises RunLost."""
        many = self._rows(zip(jobs, repeat(NOTHING_GIVEN)))
        last, now = cursor is None, self.now()
        with self.database.transaction():
            if not self.wanted(row):
                raise RunLost(id=row.id, attempt=row.attempts)
            if last:
                self._end(self.FOLLOW, row)
                self.admit(row.overlap_key)
            _, count = self._push_members(row.id, many)
            self.batches.grow(row.id, count, cursor, last=last, now=now)
            self.close_batch(row.id)

    def _push_members(self, batch: int, many: list[Alike]) -> tuple[list[int], int]:
        """Push the members of a batch; returns their ids, and how many were stored: one
        that is unique, and was there before, is none of its members."""
        highest = self.flows.highest_id()
        members = [Alike({**each.values, "batch": batch}, each.payloads) for each in many]
        ids = self._push_many(members)
        return ids, len({id for id in ids if id > highest})

    def cancel_batch(self, id: int) -> int:
        """Cancel the unfinished members of a batch and what follows them; returns how
        many jobs that were. Those that run are asked to stop. Raises NoSuchJob."""
        if not self.batches.is_there(id):
            raise NoSuchJob(id=id)
        with self.database.transaction():
            self.batches.cancel(id, self.now())
            before = self._before(id)
            ended = 0 if before is None or self._change_one(self.CANCEL, before) is None else 1
        where = {"batch": id}
        members = self._sweep("cancel", self.MEMBERS, self.CANCEL, where, running=True)
        return ended + members.total()

    MEMBERS = """
    select id
    from litequeue_jobs
    where batch = :batch and state in (2, 3, 4, 5, 9) and id > :after
    order by id
    limit :at_once"""
