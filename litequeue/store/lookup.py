"""Reading jobs: one by its id, those that match conditions, and counts."""

from __future__ import annotations

from typing import NamedTuple

from litequeue.engine.database import Database, Parameters
from litequeue.errors import DamagedRow, NoSuchJob, OptionError
from litequeue.messages import did_you_mean, show
from litequeue.records import (
    COLUMNS,
    JobRow,
    State,
    UnreadableRow,
    is_id,
    read_or_explain,
    read_row,
    read_state,
)

# Names are compared in folded form: SendMail, send_mail and send-mail are the same.
MATCHING = """(:state is null or state = :state or (:state = 3 and state = 9))
      and (:queue is null or queue = :queue)
      and (:name is null
           or lower(replace(replace(name, '-', ''), '_', ''))
            = lower(replace(replace(:name, '-', ''), '_', '')))"""


def matching(state: State | str | None, queue: str | None, name: str | None) -> dict[str, object]:
    """The parameters of MATCHING; raises OptionError for an unknown state."""
    try:
        code = None if state is None else State(state).code
    except ValueError as error:
        words = ", ".join(State)
        problem = f"{show(state)} is none of {words}{did_you_mean(str(state), State)}"
        raise OptionError(owner="state", problem=problem) from error
    return {"state": code, "queue": queue, "name": name}


class Selection(NamedTuple):
    """Which jobs a command selects: those with these ids, those that match, or all."""

    ids: tuple[int, ...] = ()
    all: bool = False
    state: State | str | None = None
    queue: str | None = None
    name: str | None = None

    def parameters(self, verb: str) -> dict[str, object]:
        """Return the parameters of MATCHING; raises OptionError unless exactly one kind of
        selection is given."""
        where = matching(self.state, self.queue, self.name)
        given = [bool(self.ids), self.all, any(value is not None for value in where.values())]
        if sum(given) != 1:
            problem = "say which jobs: ids, or what they match (state, queue, name), or all of them"
            raise OptionError(owner=verb, problem=problem)
        return where


class Lookups:
    """Reads the jobs of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    GET = f"""
    select {COLUMNS}
    from litequeue_jobs
    where id = :id"""

    def get(self, id: int) -> JobRow:
        """Return the row of a job. Raises NoSuchJob, also for a job that has succeeded
        and was not kept."""
        rows = self._database.rows(self.GET, {"id": id}) if is_id(id) else []
        if not rows:
            raise NoSuchJob(id=id)
        return read_row(rows[0])

    FIND = f"""
    select {COLUMNS}
    from litequeue_jobs
    where {MATCHING}
    order by id desc
    limit :limit"""

    def find(self, where: Parameters, limit: int) -> list[JobRow | UnreadableRow]:
        """Return the newest rows that match MATCHING, at most ``limit``, including rows
        that cannot be read."""
        rows = self._database.rows(self.FIND, {**where, "limit": limit})
        return [read_or_explain(row) for row in rows]

    # Each part reads its own index, which is several times faster than scanning the rows; one
    # statement counts a job that changes state only once.
    COUNTS = """
    select queue, 3, count(*)
    from litequeue_jobs
    where state = 3
    group by queue
    union all
    select queue, 5, count(*)
    from litequeue_jobs
    where state = 5
    group by queue
    union all
    select queue, state, count(*)
    from litequeue_jobs
    where state <> 3 and state <> 5
    group by state, queue"""

    def counts(self) -> dict[str, dict[State, int]]:
        """Return how many jobs each queue has in each state; states without jobs are left out."""
        found: dict[str, dict[State, int]] = {}
        for queue, code, count in self._database.rows(self.COUNTS):
            states = found.setdefault(queue, {})
            try:
                state = read_state(code)
            except DamagedRow:
                continue  # not a valid state
            states[state] = states.get(state, 0) + count
        return found

    CONFLICTING = """
    select id
    from litequeue_jobs
    where unique_key = :key and state in (2, 3, 4, 5, 9)"""

    def conflicting(self, key: str) -> int | None:
        """Return the id of the unfinished job with this unique key, or None."""
        rows = self._database.rows(self.CONFLICTING, {"key": key})
        return int(rows[0][0]) if rows else None
