"""How the members of a batch end, how the batch ends, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from test_batches import Catalog, Counts, counts, members, planned
from test_dependencies import WORKER, Step, fail, running, states, succeed
from waiting import Clock
from worker_side import WorkerSide, claim_one

from litequeue.errors import NoSuchJob
from litequeue.queue import Queue

pytestmark = pytest.mark.usefixtures("sound")


# Members that end


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        pytest.param(lambda queue, id: succeed(queue, id), (2, 2, 0, 0), id="done"),
        pytest.param(lambda queue, id: succeed(queue, id, keep=60), (2, 2, 0, 0), id="kept"),
        pytest.param(lambda queue, id: fail(queue, id), (2, 1, 1, 0), id="failed"),
        pytest.param(
            lambda queue, id: WorkerSide(queue).fail(running(queue, id), "no", delete=True),
            (2, 1, 1, 0),
            id="failed and deleted",
        ),
        pytest.param(lambda queue, id: queue.cancel(id), (2, 1, 0, 1), id="cancelled"),
        pytest.param(lambda queue, id: queue.forget(id), (2, 1, 0, 1), id="forgotten"),
    ],
)
def test_a_member_is_counted_by_how_it_ended(
    queue: Queue, end: Callable[[Queue, int], object], expected: Counts
) -> None:
    id, ids = planned(queue, 2)
    end(queue, ids[0])
    assert states(queue, id) == ["waiting"]
    succeed(queue, ids[1])
    assert (counts(queue, id), states(queue, id)) == (expected, ["ready"])


def test_a_member_that_is_tried_again_is_not_over(queue: Queue) -> None:
    id, (member,) = planned(queue, 1)
    WorkerSide(queue).retry_later(running(queue, member), "no", after=0)
    WorkerSide(queue).release(running(queue, member), after=0)
    assert (counts(queue, id), states(queue, id)) == ((1, 0, 0, 0), ["waiting"])
    succeed(queue, member)


def test_a_member_that_cannot_be_read_is_counted_as_failed(queue: Queue) -> None:
    id, (member,) = planned(queue, 1)
    spoil = "update litequeue_jobs set options = :text where batch = :id"
    WorkerSide(queue).rows(spoil, {"id": id, "text": "["})
    assert WorkerSide(queue).claim_job(WORKER, member) is None
    WorkerSide(queue).rows(spoil, {"id": id, "text": None})
    assert (counts(queue, id), states(queue, id)) == ((1, 0, 1, 0), ["ready"])


@pytest.mark.parametrize("early", [True, False], ids=["while others run", "after the end"])
def test_retrying_a_member_corrects_the_counts_and_nothing_follows_twice(
    queue: Queue, early: bool
) -> None:
    id, ids = planned(queue, 2)
    fail(queue, ids[0])
    if not early:
        succeed(queue, ids[1], id)
    queue.retry(ids[0])
    assert counts(queue, id) == (2, 0 if early else 1, 0, 0)
    succeed(queue, ids[0])
    assert counts(queue, id) == (2, 1 if early else 2, 0, 0)
    if early:
        succeed(queue, ids[1], id)
    assert (counts(queue, id), states(queue, id)) == ((2, 2, 0, 0), ["gone"])


@pytest.mark.parametrize("verb", ["forget", "prune"])
def test_a_member_that_is_over_and_then_deleted_stays_counted(queue: Queue, verb: str) -> None:
    id, ids = planned(queue, 4)
    fail(queue, ids[0])
    queue.cancel(ids[1])
    succeed(queue, ids[2], keep=60)
    queue.prune(0) if verb == "prune" else queue.forget(*ids[:3])
    assert members(queue, id) == ids[3:]
    assert (counts(queue, id), states(queue, id)) == ((4, 1, 1, 1), ["waiting"])
    succeed(queue, ids[3])
    assert states(queue, id) == ["ready"]


def test_a_member_that_others_are_cancelled_with_is_counted(queue: Queue) -> None:
    id = queue.push(Catalog())
    first = queue.push("first", {})
    row = running(queue, id)
    WorkerSide(queue).plan(row, [Step("a")], None)
    (member,) = members(queue, id)
    queue.cancel(member)
    queue.retry(member)
    WorkerSide(queue).rows(
        "insert into litequeue_edges values (:child, 0, :parent, null, null)",
        {"child": member, "parent": first},
    )
    WorkerSide(queue).rows("update litequeue_jobs set state = 2 where id = :id", {"id": member})
    queue.cancel(first)
    assert counts(queue, id) == (1, 0, 0, 1)


# Cancelling, retrying and pruning the whole


def test_cancelling_a_batch_cancels_its_members_and_what_follows(queue: Queue) -> None:
    id, ids = planned(queue, 4)
    after = queue.push("after", {}, after=[id])
    succeed(queue, ids[0])
    row = running(queue, ids[1])
    assert queue.cancel_batch(id) == 4
    assert states(queue, id, *ids, after) == [
        *("cancelled", "gone", "running", "cancelled", "cancelled", "cancelled")
    ]
    assert not WorkerSide(queue).wanted(row)
    WorkerSide(queue).fail(row, "stopped")
    assert counts(queue, id) == (4, 1, 0, 3)
    assert queue.batch(id).cancelled_at is not None
    assert claim_one(queue, WORKER) is None


def test_a_planner_that_is_cancelled_before_it_runs_plans_nothing(queue: Queue) -> None:
    id = queue.push(Catalog(), delay=60)
    assert queue.cancel_batch(id) == 1
    assert states(queue, id) == ["cancelled"]
    assert queue.cancel_batch(id) == 0


@pytest.mark.parametrize("id", [0, 2, 2**63, 10**30])
def test_there_is_no_batch_of_another_id(queue: Queue, id: int) -> None:
    queue.push("no batch", {})
    for ask in (queue.batch, queue.cancel_batch):
        with pytest.raises(NoSuchJob):
            ask(id)


def test_a_cancelled_follower_that_is_retried_waits_for_the_batch(queue: Queue) -> None:
    id, ids = planned(queue, 2)
    queue.cancel(id)
    succeed(queue, ids[0])
    queue.retry(id)
    assert states(queue, id) == ["waiting"]
    succeed(queue, ids[1])
    assert states(queue, id) == ["ready"]


def test_a_planner_that_has_failed_goes_on_from_its_cursor_when_it_is_retried(queue: Queue) -> None:
    id = queue.push(Catalog())
    row = running(queue, id)
    WorkerSide(queue).plan(row, [Step("a")], "here")
    WorkerSide(queue).fail(row, "no")
    succeed(queue, *members(queue, id))
    assert (queue.batch(id).closed_at, states(queue, id)) == (None, ["failed"])
    queue.retry(id)
    again = running(queue, id)
    assert (again.step, queue.batch(id).cursor) == ("plan", "here")
    WorkerSide(queue).plan(again, [], None)
    assert states(queue, id) == ["ready"]


def test_prune_forgets_the_batches_that_were_over_then(queue: Queue, clock: Clock) -> None:
    old, _ = planned(queue, 0)
    succeed(queue, old)
    cancelled = queue.push(Catalog())
    queue.cancel_batch(cancelled)
    clock.advance(3600)
    new, _ = planned(queue, 0)
    succeed(queue, new)
    open_, _ = planned(queue, 1)
    queue.prune(60)
    for gone in (old, cancelled):
        with pytest.raises(NoSuchJob):
            queue.batch(gone)
    assert queue.batch(new).closed_at is not None
    assert queue.batch(open_).closed_at is None


def test_prune_keeps_a_batch_that_somebody_still_needs(queue: Queue, clock: Clock) -> None:
    unfinished, _ = planned(queue, 0)
    retried, (member,) = planned(queue, 1)
    fail(queue, member)
    succeed(queue, retried)
    queue.retry(member)
    clock.advance(3600)
    queue.prune(60)
    assert queue.batch(unfinished).id == unfinished
    succeed(queue, member)
    assert counts(queue, retried) == (1, 1, 0, 0)


def test_prune_forgets_a_batch_that_was_never_planned_to_its_end(
    queue: Queue, clock: Clock
) -> None:
    id = queue.push(Catalog())
    fail(queue, id)
    clock.advance(3600)
    queue.prune(60)
    with pytest.raises(NoSuchJob):
        queue.batch(id)


def test_a_batch_comes_after_others_and_others_after_it(queue: Queue) -> None:
    before = queue.push("before", {})
    id = queue.push(Catalog(), after=[before])
    after = queue.push("after", {}, after=[id])
    assert states(queue, id, after) == ["waiting"] * 2
    succeed(queue, before)
    WorkerSide(queue).plan(running(queue, id), [Step("a")], None)
    succeed(queue, *members(queue, id))
    assert states(queue, id, after) == ["ready", "waiting"]
    succeed(queue, id)
    assert states(queue, after) == ["ready"]
