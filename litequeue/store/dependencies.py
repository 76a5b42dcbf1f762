"""Job dependencies: edges from parents to the jobs that come after them.

A dependency is satisfied in the transaction in which its parent succeeds, and then holds
the parent's result for the child. A job with an unsatisfied dependency waits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from litequeue.engine.database import Database
from litequeue.errors import NoSuchJob, WrongState
from litequeue.records import State


class Parent(NamedTuple):
    """A job that another depends on, as it is when the child is pushed."""

    id: int
    satisfied: bool
    result: str | None = None


class Dependencies:
    """The dependencies of one database. Every method is part of a transaction that the
    caller has open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    PARENT = """
    select state, result
    from litequeue_jobs
    where id = :id"""

    HIGHEST_ID = """
    select seq
    from sqlite_sequence
    where name = 'litequeue_jobs'"""

    def parent(self, id: int) -> Parent:
        """Return a job that another is to depend on. It counts as satisfied if it has
        succeeded, however long ago. Raises NoSuchJob for an id that was never assigned, and
        WrongState for a cancelled job."""
        if not 1 <= id <= self.highest_id():
            raise NoSuchJob(id=id)
        found = self._database.rows(self.PARENT, {"id": id})
        if not found:
            return Parent(id, satisfied=True)
        code, result = found[0]
        if code == State.CANCELLED.code:
            raise WrongState(id=id, state=State.CANCELLED, verb="after=", allowed="not cancelled")
        return Parent(id, satisfied=code == State.DONE.code, result=result)

    def highest_id(self) -> int:
        """The highest id that was assigned; 0 if none was."""
        found = self._database.rows(self.HIGHEST_ID)
        return int(found[0][0]) if found else 0

    ADD = """
    insert into litequeue_edges (child, position, parent, met_at, result)
    values (:child, :position, :parent, :met_at, :result)"""

    def add(self, child: int, parents: Sequence[Parent], now: int) -> None:
        """Make ``child`` depend on its parents, in their order."""
        for position, parent in enumerate(parents):
            edge = {
                "child": child,
                "position": position,
                "parent": parent.id,
                "met_at": now if parent.satisfied else None,
                "result": parent.result,
            }
            self._database.rows(self.ADD, edge)

    DEPENDENTS = """
    select child
    from litequeue_edges
    where parent = :parent and met_at is null"""

    def dependents(self, parent: int) -> list[int]:
        """The jobs that wait for ``parent``."""
        found = self._database.rows(self.DEPENDENTS, {"parent": parent})
        return [child for (child,) in found if isinstance(child, int)]

    ANY = """
    select 1
    from litequeue_edges
    limit 1"""

    def exist(self) -> bool:
        """Whether any job depends on another."""
        return bool(self._database.rows(self.ANY))

    SATISFY = """
    update litequeue_edges
    set met_at = :now, result = :result
    where parent = :parent and met_at is null"""

    def satisfy(self, parent: int, result: str | None, now: int) -> None:
        """Satisfy the dependencies on ``parent``, which has succeeded."""
        self._database.rows(self.SATISFY, {"parent": parent, "result": result, "now": now})

    REMOVE_LOST = """
    delete from litequeue_edges
    where child = :child and met_at is null
      and parent not in (select id from litequeue_jobs)"""

    def remove_lost(self, child: int) -> None:
        """Remove the dependencies of ``child`` on deleted jobs."""
        self._database.rows(self.REMOVE_LOST, {"child": child})

    REMOVE = """
    delete from litequeue_edges
    where child in (select value from json_each(:ids))"""

    def remove(self, ids: Sequence[int]) -> None:
        """Remove the dependencies of these jobs, which were deleted."""
        self._database.rows(self.REMOVE, {"ids": json.dumps(ids)})

    WAITING = """
    select 1
    from litequeue_edges
    where child = :child and met_at is null
    limit 1"""

    def is_waiting(self, child: int) -> bool:
        """Whether ``child`` still waits for a parent to succeed."""
        return bool(self._database.rows(self.WAITING, {"child": child}))

    RESULTS = """
    select result
    from litequeue_edges
    where child = :child
    order by position"""

    def results(self, child: int) -> list[str | None]:
        """The results of the parents as JSON text, in the order of ``after=``."""
        return [result for (result,) in self._database.rows(self.RESULTS, {"child": child})]

    UNSATISFIED = """
    select parent
    from litequeue_edges
    where child = :child and met_at is null
    order by position"""

    def unsatisfied(self, child: int) -> list[int]:
        """The parents that ``child`` waits for."""
        found = self._database.rows(self.UNSATISFIED, {"child": child})
        return [parent for (parent,) in found if isinstance(parent, int)]
