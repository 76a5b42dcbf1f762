"""Batches at the queue: members are counted, and what follows runs once after the last."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from test_dependencies import WORKER, Step, running, states, succeed
from worker_side import WorkerSide, claimed

from litequeue import Batch, Job
from litequeue.errors import OptionError, PayloadError, RunLost
from litequeue.queue import Queue
from litequeue.records import JobRow

pytestmark = pytest.mark.usefixtures("sound")

Counts = tuple[int, int, int, int]


class Catalog(Batch):
    """Planned by the tests, by hand."""

    def plan(self, cursor: object) -> tuple[list[Job], object]:
        raise AssertionError("nobody runs it here")


def counts(queue: Queue, id: int) -> Counts:
    """Planned, done, failed, cancelled."""
    batch = queue.batch(id)
    return (batch.planned, batch.done, batch.failed, batch.cancelled)


def members(queue: Queue, id: int) -> list[int]:
    return sorted(row.id for row in queue.find() if row.batch == id)


def planned(queue: Queue, count: int) -> tuple[int, list[int]]:
    """A batch whose planning is over; its id and its members."""
    id = queue.push(Catalog())
    WorkerSide(queue).plan(running(queue, id), [Step("a")] * count, None)
    return id, members(queue, id)


# Planning


def test_a_batch_is_planned_chunk_by_chunk(queue: Queue) -> None:
    id = queue.push(Catalog())
    assert counts(queue, id) == (0, 0, 0, 0)
    row = running(queue, id)
    for cursor in ("one", {"two": [2]}, 0, "", False):
        WorkerSide(queue).plan(row, [Step("a"), ("by-name", {"x": 1})], cursor)
        assert queue.batch(id).cursor == cursor
        assert (queue.batch(id).planned_at, states(queue, id)) == (None, ["running"])
    WorkerSide(queue).plan(row, [Step("z")], None)
    assert counts(queue, id) == (11, 0, 0, 0)
    assert states(queue, id, *members(queue, id)) == ["waiting"] + ["ready"] * 11
    assert queue.batch(id).planned_at is not None
    succeed(queue, *members(queue, id))


def test_members_end_while_others_are_planned_and_nothing_follows_yet(queue: Queue) -> None:
    id = queue.push(Catalog())
    row = running(queue, id)
    WorkerSide(queue).plan(row, [Step("a"), Step("b")], 1)
    succeed(queue, *members(queue, id))
    assert counts(queue, id) == (2, 2, 0, 0)
    assert (queue.batch(id).closed_at, states(queue, id)) == (None, ["running"])
    WorkerSide(queue).plan(row, [Step("c")], 2)
    WorkerSide(queue).plan(row, [], None)
    assert states(queue, id) == ["waiting"]
    succeed(queue, *members(queue, id))
    assert states(queue, id) == ["ready"]


def test_a_batch_of_none_goes_on_at_once(queue: Queue) -> None:
    id, ids = planned(queue, 0)
    assert (ids, states(queue, id), queue.batch(id).percent) == ([], ["ready"], 100.0)


@pytest.mark.parametrize(
    ("chunk", "cursor", "error"),
    [
        pytest.param([Step("a"), Step(7)], 2, PayloadError, id="a payload"),  # type: ignore[arg-type]
        pytest.param([Step("a")], object(), TypeError, id="a cursor"),
        pytest.param([Step("a")], {1, 2}, TypeError, id="a set"),
    ],
)
def test_a_chunk_is_stored_with_its_cursor_or_not_at_all(
    queue: Queue, chunk: list[Job], cursor: object, error: type[Exception]
) -> None:
    id = queue.push(Catalog())
    row = running(queue, id)
    WorkerSide(queue).plan(row, [Step("first")], 1)
    with pytest.raises(error):
        WorkerSide(queue).plan(row, chunk, cursor)
    assert (counts(queue, id), queue.batch(id).cursor) == ((1, 0, 0, 0), 1)
    assert len(members(queue, id)) == 1


def retaken(queue: Queue, row: JobRow) -> None:
    queue.retry(row.id, force=True)
    assert WorkerSide(queue).claim_job(WORKER + 1, row.id) is not None


def ended(queue: Queue, row: JobRow) -> None:
    WorkerSide(queue).fail(row, "no")


def finished(queue: Queue, row: JobRow) -> None:
    WorkerSide(queue).plan(row, [], None)


LOSSES = [retaken, ended, finished, lambda queue, row: queue.cancel_batch(row.id)]


@pytest.mark.parametrize("cursor", [2, None])
@pytest.mark.parametrize("lose", LOSSES, ids=["retaken", "failed", "planned", "cancelled"])
def test_a_planner_that_has_lost_its_run_adds_nothing(
    queue: Queue, lose: Callable[[Queue, JobRow], object], cursor: object
) -> None:
    id = queue.push(Catalog())
    row = running(queue, id)
    lose(queue, row)
    before = states(queue, id)
    with pytest.raises(RunLost):
        WorkerSide(queue).plan(row, [Step("late")], cursor)
    assert (members(queue, id), states(queue, id)) == ([], before)


@pytest.mark.parametrize("key", [True, "one"])
def test_a_unique_member_that_is_there_already_is_not_planned_again(
    queue: Queue, key: bool | str
) -> None:
    class Refresh(Job, unique=key):
        number: int = 0

        def handle(self) -> None: ...

    elsewhere = queue.push(Refresh())
    id = queue.push(Catalog())
    WorkerSide(queue).plan(running(queue, id), [Refresh(), Step("a"), Refresh()], None)
    assert counts(queue, id) == (1, 0, 0, 0)
    succeed(queue, *members(queue, id))
    assert states(queue, elsewhere, id) == ["ready", "ready"]


def test_a_planner_gives_up_its_key_while_it_waits(queue: Queue) -> None:
    class Keyed(Catalog, without_overlapping="shop"):
        pass

    id = queue.push(Keyed())
    row = running(queue, id)
    other = queue.push("other", {}, without_overlapping="shop", priority=5)
    WorkerSide(queue).plan(row, [Step("a")], 1)
    assert WorkerSide(queue).claim_job(WORKER, other) is None
    WorkerSide(queue).plan(row, [], None)
    found = claimed(queue, WORKER)
    assert found.id == other


def test_options_that_make_no_sense_for_a_batch_are_refused(queue: Queue) -> None:
    for wrong in ({}, {"then": Step("a"), "prority": 1}, {"then": Catalog()}):
        with pytest.raises(OptionError), queue.batch(**wrong) as batch:  # type: ignore
            batch.push(Step("b"))
    assert queue.counts() == {}
