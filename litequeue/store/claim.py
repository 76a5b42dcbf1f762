"""How a worker claims jobs: due jobs are made ready, and one job, or several, are claimed
in one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import takewhile

from litequeue.engine.database import Database, UnreadableText
from litequeue.errors import DamagedRow, DatabaseRefused
from litequeue.records import (
    COLUMNS,
    FRESH_COLUMNS,
    NOT_WAITING,
    JobRow,
    Row,
    State,
    faults_of,
    instant,
    read_fresh,
    read_row,
)
from litequeue.store.concurrency import Slots
from litequeue.store.deadlines import Deadlines
from litequeue.store.rates import Rates
from litequeue.store.unblock import Unblocker

PROMOTE_AT_ONCE = 100
# The limit on the payloads of jobs that are claimed together, in bytes; the last payload may
# exceed it. It keeps a worker's memory small and the transaction short.
CLAIM_BYTES = 1024 * 1024
ADOPT_AT_ONCE = 1000
FAIL_AT_ONCE = 100

# Whether a job can be claimed together with those before it.
Fits = Callable[[JobRow], bool]


def _nothing_fits(row: JobRow) -> bool:
    return False


# Sorts after every value of _order.
EVERYTHING = (float("inf"), 0)


def _order(row: JobRow) -> tuple[float, int]:
    return (-row.priority, row.id)


def _is_no_text(value: object) -> bool:
    try:
        return isinstance(value, bytes) and not isinstance(value.decode(), str)
    except UnicodeDecodeError:
        return True


class Claims:
    """Claims jobs of one database for its workers."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], int],
        slots: Slots,
        rates: Rates,
        deadlines: Deadlines,
        unblocker: Unblocker,
    ) -> None:
        self._database = database
        self._now = now
        self._slots = slots
        self._rates = rates
        self._deadlines = deadlines
        self._unblocker = unblocker

    # A claim that finds nothing would still take the write lock, so check first.
    def claim(
        self, worker: int, queues: Sequence[str] = (), most: int = 1, fits: Fits = _nothing_fits
    ) -> list[JobRow]:
        """Claim the next due job, or several as long as they fit together, at most ``most``;
        returns their rows in running order.

        With ``queues``, the jobs come from the first of them that has a due job; without,
        from all queues that are not paused, by priority, then age. Jobs that are claimed
        together have no concurrency key, are not steps of a batch and have not failed before.
        ``fits`` is called for each in turn, the first included.
        """
        while self.has_ready(queues) or self._has_due():
            with self._database.transaction():
                rows, over = self._claim(worker, queues, most, fits)
            if rows or over:
                return rows
        return []

    def claim_within(
        self, worker: int, queues: Sequence[str] = (), most: int = 1, fits: Fits = _nothing_fits
    ) -> list[JobRow]:
        """Claim as ``claim`` does, inside the caller's transaction; may return nothing although
        there are due jobs."""
        return self._claim(worker, queues, most, fits)[0]

    def _claim(
        self, worker: int, queues: Sequence[str], most: int, fits: Fits
    ) -> tuple[list[JobRow], bool]:
        """The rows that were claimed, and whether the search is over."""
        # The order is known only when every due job is ready.
        if self._has_due() and self._promote() == PROMOTE_AT_ONCE:
            return [], False
        served = queues or self._best_first()
        several = most > 1 and bool(served)
        rows = self._several(worker, served, not queues, most, fits) if several else []
        if rows:
            return rows, True
        row, over = self._first(worker, served)
        return ([], over) if row is None else ([row], True)

    def _first(self, worker: int, served: Sequence[str]) -> tuple[JobRow | None, bool]:
        """Claim the first job; returns it, and whether the search is over. It is not over
        if a job was found that may not run now: the transaction ends before the next try,
        so that others can write."""
        for queue in served:
            row, over = self._claim_first(self.CLAIM_FROM, {"worker": worker, "queue": queue})
            if row is not None or not over:
                return row, over
        return None, True

    CLAIM = (
        """
    update litequeue_jobs
    set state = 5, attempts = attempts + 1, worker = :worker, reserved_at = :now, slot = null
    where {which}
    returning """
        + COLUMNS
    )

    FIRST_FROM = """
      select id
      from litequeue_jobs
      where state = 3 and queue = :queue
        and not exists (select 1 from litequeue_paused where queue = :queue)
      order by priority desc, id
      limit 1"""

    CLAIM_FROM = CLAIM.format(which=f"id = ({FIRST_FROM})")

    NEXT_QUEUE = """
    select min(queue)
    from litequeue_jobs
    where state = 3 and queue > :after"""

    def _ready_queues(self) -> Iterator[str]:
        """The queues that have a ready job, found by skipping from one to the next in the
        index instead of scanning the jobs."""
        after = ""
        while True:
            queue = self._database.rows(self.NEXT_QUEUE, {"after": after})[0][0]
            if queue is None:
                return
            if isinstance(queue, str):
                yield queue
                after = queue
            else:
                self._fail_queue(queue)

    IN_QUEUE = f"""
    select {COLUMNS}
    from litequeue_jobs
    where state = 3 and (queue = :raw or queue = cast(:text as text))
    limit {FAIL_AT_ONCE}"""

    def _fail_queue(self, queue: object) -> None:
        """Fail jobs in a queue whose name is not text: no worker could serve it, and in the
        index it would hide the queues after it."""
        # A blob that is valid text must not also match the queue of that name.
        values = {"raw": queue, "text": queue if _is_no_text(queue) else None}
        with self._database.transaction():
            for row in self._database.rows(self.IN_QUEUE, values):
                self._fail_damaged(row)

    HEAD = """
    select -priority, id
    from litequeue_jobs
    where state = 3 and queue = :queue
      and not exists (select 1 from litequeue_paused where queue = :queue)
    order by priority desc, id
    limit 1"""

    def _best_first(self) -> list[str]:
        """The queues ordered by their first job: by priority, then age."""
        queues = list(self._ready_queues())
        if len(queues) <= 1:
            return queues
        heads = [(self._head(queue), queue) for queue in queues]
        return [queue for _, queue in sorted((head, queue) for head, queue in heads if head)]

    def _head(self, queue: str) -> tuple[float, int] | None:
        rows = self._database.rows(self.HEAD, {"queue": queue})
        return rows[0] if rows else None

    def _several(
        self, worker: int, served: Sequence[str], by_priority: bool, most: int, fits: Fits
    ) -> list[JobRow]:
        """Claim the first jobs together; none if the first one has to be claimed alone."""
        now = self._now()
        in_order = self._by_priority if by_priority else self._by_queue
        rows = in_order(worker, now, served, most)
        rows = list(takewhile(fits, rows)) or rows[:1]
        if rows:
            ids = json.dumps([row.id for row in rows])
            values = {"ids": ids, "worker": worker, "now": now}
            assert self._database.change(self.CLAIM_ALL, values) == len(rows)
        return rows

    CLAIM_ALL = """
    update litequeue_jobs
    set state = 5, attempts = attempts + 1, worker = :worker, reserved_at = :now, slot = null
    where state = 3 and id in (select value from json_each(:ids))"""

    # Both return at most ``most`` ready jobs in running order, and stop before the first
    # that has to be claimed alone. The rows are as they will be once this worker has claimed them.

    def _by_queue(self, worker: int, now: int, queues: Sequence[str], most: int) -> list[JobRow]:
        """The ready jobs, queue by queue."""
        found: list[JobRow] = []
        for queue in queues:
            left = CLAIM_BYTES - sum(len(row.payload) for row in found)
            rows, all_of_it = self._ahead(worker, now, queue, most - len(found), left)
            found += rows
            if not all_of_it:
                break
        return found

    def _by_priority(self, worker: int, now: int, served: Sequence[str], most: int) -> list[JobRow]:
        """The ready jobs of all these queues by priority, then age; the queue with the first job
        comes first."""
        rows, _ = self._ahead(worker, now, served[0], most)
        if len(served) == 1:
            return rows
        others = self._head(served[1])
        found = [row for row in rows if others is None or _order(row) < others]
        if len(found) == len(rows):
            return found
        # The queues interleave. A queue of which only a part was read may have more jobs after
        # the last one read, so the order is known only up to there.
        share = max(2, 2 * most // len(served))
        heads = [self._heads(queue, share) for queue in served]
        end = min((head[-1] for head in heads if len(head) == share), default=EVERYTHING)
        order = sorted(place for head in heads for place in head if place <= end)
        ids = json.dumps([id for _, id in order[:most]])
        return self._fresh(self.THESE, {"ids": ids}, worker, now)[0]

    HEADS = HEAD.replace("limit 1", "limit :most")

    def _heads(self, queue: str, most: int) -> list[tuple[float, int]]:
        """The sort keys of the first ready jobs of a queue, without their payloads."""
        found = self._database.rows(self.HEADS, {"queue": queue, "most": most})
        return [(first, id) for first, id in found]

    # The cross join keeps the order of the ids: sorting would read every row first.
    THESE = f"""
    select {FRESH_COLUMNS}
    from (select value as wanted from json_each(:ids))
    cross join litequeue_jobs
    where id = wanted"""

    AHEAD = f"""
    select {FRESH_COLUMNS}
    from litequeue_jobs
    where state = 3 and queue = :queue
      and not exists (select 1 from litequeue_paused where queue = :queue)
    order by priority desc, id
    limit :most"""

    def _ahead(
        self, worker: int, now: int, queue: str, most: int, left: int = CLAIM_BYTES
    ) -> tuple[list[JobRow], bool]:
        """The first ready rows of a queue, as long as their payloads fit into ``left``
        bytes, and whether these are all of its ready jobs."""
        values = {"queue": queue, "most": most}
        rows, all_of_it = self._fresh(self.AHEAD, values, worker, now, left)
        return rows, all_of_it and len(rows) < most

    def _fresh(
        self,
        sql: str,
        values: dict[str, object],
        worker: int,
        now: int,
        left: int = CLAIM_BYTES,
    ) -> tuple[list[JobRow], bool]:
        """The rows of a statement, up to the one whose payload uses up the ``left`` bytes, or
        before the first that has to be claimed alone; and whether these are all of them."""
        rows: list[JobRow] = []
        reserved_at = instant(now)
        # A text that is no UTF-8 ends them like a row that has to be claimed alone.
        with suppress(UnreadableText), self._database.reading(sql, values) as found:
            for each in found:
                row = read_fresh(each, worker, reserved_at)
                if row is None:
                    return rows, False
                rows.append(row)
                left -= len(row.payload)
                if left <= 0:
                    return rows, False
            return rows, True
        return rows, False

    CLAIM_ONE = CLAIM.format(which="id = :id and state in (3, 4, 9)")

    def claim_job(self, worker: int, id: int) -> JobRow | None:
        """Claim this job for ``worker``, due or not; None if it cannot be claimed."""
        with self._database.transaction():
            return self._claim_first(self.CLAIM_ONE, {"worker": worker, "id": id})[0]

    def _claim_first(self, sql: str, parameters: dict[str, object]) -> tuple[JobRow | None, bool]:
        try:
            rows = self._database.rows(sql, {**parameters, "now": self._now()})
        except DatabaseRefused:
            # The table's checks reject the claim of a row that was edited.
            if not self._fail_refused(parameters):
                raise
            return None, False
        # An unreadable row has been failed.
        for row in self._readable(rows):
            if self._may_start(row):
                return row, True
        return None, not rows

    def _may_start(self, row: JobRow) -> bool:
        """Whether a row that was just claimed may start; otherwise it is released: cancelled
        after its deadline, blocked without a slot, or scheduled for its turn."""
        if row.deadline_at is not None and self._deadlines.has_passed(row):
            self._deadlines.cancel_claimed(row)
            return False
        if row.overlap_key is not None and not self._slots.take(row):
            return False
        if row.rate_key is not None and not self._rates.take(row):
            self._unblocker.unblock_next(row.overlap_key)
            return False
        return True

    TO_CLAIM = f"""
    select {COLUMNS}
    from litequeue_jobs
    where id = :id or id in ({FIRST_FROM})"""

    def _fail_refused(self, parameters: dict[str, object]) -> bool:
        """Fail the job whose claim the table rejected; returns whether there was one."""
        rows = self._database.rows(self.TO_CLAIM, {"id": None, "queue": None, **parameters})
        for row in rows:
            self._fail_damaged(row)
        return bool(rows)

    DUE_NAMED = """
    select id
    from litequeue_jobs
    where (state in (3, 9) or (state = 4 and available_at <= :now))
      and lower(replace(replace(name, '-', ''), '_', '')) = :key
    order by priority desc, id"""

    def due_named(self, key: str) -> list[int]:
        """The ids of the due jobs whose folded name is ``key``, in running order."""
        rows = self._database.rows(self.DUE_NAMED, {"now": self._now(), "key": key})
        return [int(id) for (id,) in rows]

    # Skips from one name to the next in the index, since a name may have many jobs.
    NEXT_UNKNOWN = """
    select min(name)
    from litequeue_jobs
    where unknown_since is not null and name > :after"""

    def unknown_names(self) -> Iterator[str]:
        """The names, as pushed, of jobs that some worker has no class for."""
        after = ""
        while True:
            name = self._database.rows(self.NEXT_UNKNOWN, {"after": after})[0][0]
            if not isinstance(name, str):
                return
            yield name
            after = name

    ADOPT = f"""
    update litequeue_jobs
    set state = case state when 4 then 3 else state end,
        available_at = min(available_at, :now),
        unknown_since = null
    where id in (
      select id
      from litequeue_jobs
      where unknown_since is not null and name = :name and state in (3, 4, 9)
        and coalesce(rate_since, 0) <= {NOT_WAITING}
        and (:queues is null or queue in (select value from json_each(:queues)))
      limit {ADOPT_AT_ONCE}
    )"""

    def adopt(self, known: Callable[[str], bool], queues: Sequence[str] = ()) -> int:
        """Make jobs ready that other workers have released because they have no class for
        them, if the name is ``known`` here; returns how many."""
        adopted = 0
        for name in self.unknown_names():
            values = {"name": name, "queues": json.dumps(queues) if queues else None}
            changed = ADOPT_AT_ONCE if known(name) else 0
            while changed == ADOPT_AT_ONCE:
                changed = self._database.change(self.ADOPT, {**values, "now": self._now()})
                adopted += changed
        return adopted

    PROMOTE = f"""
    update litequeue_jobs
    set state = 3
    where id in (
      select id
      from litequeue_jobs
      where state = 4 and available_at <= :now
      order by available_at
      limit {PROMOTE_AT_ONCE}
    )"""

    def _promote(self) -> int:
        """Make some of the due jobs ready, the longest due first; returns how many."""
        return self._database.change(self.PROMOTE, {"now": self._now()})

    def has_ready(self, queues: Sequence[str] = ()) -> bool:
        """Whether a worker of these queues would find a ready job."""
        served = queues or self._ready_queues()
        return any(self._database.rows(self.FIRST_FROM, {"queue": queue}) for queue in served)

    NEXT_DUE = """
    select min(available_at)
    from litequeue_jobs
    where state = 4"""

    def next_due(self) -> float | None:
        """When the next scheduled job is due, in seconds since the epoch; None if there is
        none."""
        found = self._database.rows(self.NEXT_DUE)[0][0]
        # Text sorts after all numbers: then no other job is scheduled, and this one is never due.
        return float(found) / 1000 if isinstance(found, int | float) else None

    def _has_due(self) -> bool:
        due = self.next_due()
        return due is not None and due * 1000 <= self._now()

    # A dead worker may have had hundreds of jobs, and rescuing them needs no payload.
    RUNNING = f"""
    select {COLUMNS.removesuffix("payload")} ''
    from litequeue_jobs
    where state = 5 and worker = :worker
    order by id"""

    def running(self, worker: int) -> list[JobRow]:
        """Return the rows that a worker has claimed and not ended, with empty payloads (see
        with_payload)."""
        return self._readable(self._database.rows(self.RUNNING, {"worker": worker}))

    PAYLOAD = """
    select payload
    from litequeue_jobs
    where id = :id"""

    def with_payload(self, row: JobRow) -> JobRow:
        """Return the row with its stored payload; unchanged if the row is gone."""
        found = self._database.rows(self.PAYLOAD, {"id": row.id})
        return row._replace(payload=found[0][0]) if found else row

    WORKERLESS = f"""
    select {COLUMNS}
    from litequeue_jobs
    where state = 5 and typeof(worker) <> 'integer'"""

    def fail_workerless(self) -> int:
        """Fail the running jobs whose worker is not a number, since no worker could end them;
        returns how many."""
        rows = self._database.rows(self.WORKERLESS)
        for row in rows:
            self._fail_damaged(row)
        return len(rows)

    SEVERAL = """
    select id
    from litequeue_jobs
    where state = 5 and worker = :worker
    limit 2"""

    def has_several(self, worker: int) -> bool:
        """Whether a worker has claimed more than one job."""
        return len(self._database.rows(self.SEVERAL, {"worker": worker})) > 1

    FAIL_DAMAGED = """
    update litequeue_jobs
    set state = 7, finished_at = :now, failed_at = :now, exception = :exception
    where id = :id and state in (3, 4, 5, 9)
    returning overlap_key, batch"""

    def _readable(self, rows: Sequence[Row]) -> list[JobRow]:
        """The running rows that can be read. Rows that were edited into something unreadable
        are failed, so that they block no other job."""
        readable = []
        for row in rows:
            try:
                readable.append(read_row(row))
            except DamagedRow:
                self._fail_damaged(row)
        return readable

    def _fail_damaged(self, row: Row) -> None:
        """Fail a job, given as a row of COLUMNS, that cannot be read or claimed."""
        what = "; ".join(faults_of(row).values()) or "the table refuses a claim of it"
        error = DamagedRow(thing=f"job {row[0]}", what=what)
        values = {"id": row[0], "now": self._now(), "exception": str(error)}
        with self._database.transaction():
            for key, batch in self._database.rows(self.FAIL_DAMAGED, values):
                self._unblocker.job_ended(key, batch, State.FAILED)
        from litequeue.log import logger  # a producer never claims

        logger.error("%s", error)
