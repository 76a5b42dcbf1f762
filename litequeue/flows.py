"""Which job waits for which: edges from parents to the jobs that come after them.

An edge is met when its parent succeeds, in the transaction that ends the parent, and
then holds the parent's result for the child. A job with an edge that is not met waits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from litequeue.database import Database
from litequeue.errors import NoSuchJob, WrongState
from litequeue.record import State


class Parent(NamedTuple):
    """A job to come after, as it stands when the child is pushed."""

    id: int
    met: bool
    result: str | None = None


class Flows:
    """The edges of one database. Every method here is part of a transaction that the
    caller has open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    LOOK = """
    select state, result
    from litequeue_jobs
    where id = :id"""

    HIGHEST_ID = """
    select seq
    from sqlite_sequence
    where name = 'litequeue_jobs'"""

    def look(self, id: int) -> Parent:
        """How a job stands that another is to come after: one that has succeeded counts
        as met, however long ago. Raises NoSuchJob for an id that was never given, and
        WrongState for a job that was cancelled."""
        if not 1 <= id <= self.highest_id():
            raise NoSuchJob(id=id)
        found = self._database.rows(self.LOOK, {"id": id})
        if not found:
            return Parent(id, met=True)
        code, result = found[0]
        if code == State.CANCELLED.code:
            raise WrongState(id=id, state=State.CANCELLED, verb="after=", allowed="not cancelled")
        return Parent(id, met=code == State.DONE.code, result=result)

    def highest_id(self) -> int:
        """The last id that was given, 0 where none was."""
        found = self._database.rows(self.HIGHEST_ID)
        return int(found[0][0]) if found else 0

    TIE = """
    insert into litequeue_edges (child, position, parent, met_at, result)
    values (:child, :position, :parent, :met_at, :result)"""

    def tie(self, child: int, parents: Sequence[Parent], now: int) -> None:
        """Let ``child`` come after its parents, in their order."""
        for position, parent in enumerate(parents):
            edge = {
                "child": child,
                "position": position,
                "parent": parent.id,
                "met_at": now if parent.met else None,
                "result": parent.result,
            }
            self._database.rows(self.TIE, edge)

    DEPENDENTS = """
    select child
    from litequeue_edges
    where parent = :parent and met_at is null"""

    def dependents(self, parent: int) -> list[int]:
        """The jobs that wait for ``parent``."""
        found = self._database.rows(self.DEPENDENTS, {"parent": parent})
        return [child for (child,) in found if isinstance(child, int)]

    ARE_THERE = """
    select 1
    from litequeue_edges
    limit 1"""

    def are_there(self) -> bool:
        """Whether any job comes after another."""
        return bool(self._database.rows(self.ARE_THERE))

    MEET = """
    update litequeue_edges
    set met_at = :now, result = :result
    where parent = :parent and met_at is null"""

    def meet(self, parent: int, result: str | None, now: int) -> None:
        """Note that ``parent`` has succeeded."""
        self._database.rows(self.MEET, {"parent": parent, "result": result, "now": now})

    CUT_LOST = """
    delete from litequeue_edges
    where child = :child and met_at is null
      and parent not in (select id from litequeue_jobs)"""

    def cut_lost(self, child: int) -> None:
        """Let ``child`` wait no more for jobs that were forgotten."""
        self._database.rows(self.CUT_LOST, {"child": child})

    UNTIE = """
    delete from litequeue_edges
    where child in (select value from json_each(:ids))"""

    def untie(self, ids: Sequence[int]) -> None:
        """Let the edges of these jobs go, since the jobs do."""
        self._database.rows(self.UNTIE, {"ids": json.dumps(ids)})

    WAITS = """
    select 1
    from litequeue_edges
    where child = :child and met_at is null
    limit 1"""

    def waits(self, child: int) -> bool:
        """Whether a parent of ``child`` has not succeeded."""
        return bool(self._database.rows(self.WAITS, {"child": child}))

    RESULTS = """
    select result
    from litequeue_edges
    where child = :child
    order by position"""

    def results(self, child: int) -> list[str | None]:
        """The results of the parents as JSON text, in the order of ``after=``."""
        return [result for (result,) in self._database.rows(self.RESULTS, {"child": child})]

    UNMET = """
    select parent
    from litequeue_edges
    where child = :child and met_at is null
    order by position"""

    def unmet(self, child: int) -> list[int]:
        """The parents that ``child`` waits for."""
        found = self._database.rows(self.UNMET, {"child": child})
        return [parent for (parent,) in found if isinstance(parent, int)]
