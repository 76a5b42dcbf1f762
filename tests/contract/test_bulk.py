"""Bulk verbs: what they do to many rows is what they do to each, and they let others write
meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from waiting import Clock
from worker_side import WorkerSide, claimed

from litequeue import Job
from litequeue.queue import Queue
from litequeue.records import NOBODY, State
from litequeue.store.bulk import AT_ONCE, HOLD_SECONDS, TOGETHER

WORKER = NOBODY + 1
MANY = 2 * AT_ONCE + 3
VERBS = ["retry", "cancel", "forget"]


class Plain(Job):
    number: int

    def handle(self) -> None: ...


def mixed(queue: Queue) -> None:
    """Jobs of every kind of tie in every state, among many without any."""
    for number in range(3 * TOGETHER):
        queue.push("plain", {"number": number}, delay=number % 2 * 60)
    parent = queue.push("parent")
    failed = queue.push("failed-parent")
    queue.push("child", after=[parent, failed])
    queue.push("grandchild", after=[failed])
    queue.push("one", {"n": 1}, unique=True)
    queue.push("held", without_overlapping=True)
    queue.push("held", without_overlapping=True)
    with queue.batch(then=Plain(0)) as batch:
        batch.push(Plain(1))
        batch.push(Plain(2))
    for _ in range(3):
        row = claimed(queue, WORKER)
        WorkerSide(queue).fail(row, "ValueError: no")
    row = WorkerSide(queue).claim_job(WORKER, failed)
    assert row is not None
    WorkerSide(queue).fail(row, "ValueError: no")
    queue.cancel(*[row.id for row in queue.find(name="plain", state=State.READY, limit=5)])


def contents(queue: Queue) -> list[list[tuple[object, ...]]]:
    tables = ("jobs", "edges", "batches")
    return [
        WorkerSide(queue).rows(f"select * from litequeue_{name} order by 1, 2") for name in tables
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_a_bulk_verb_does_to_many_what_it_does_to_each(
    make_queue: Callable[..., Queue], verb: str
) -> None:
    many, each = make_queue("many.db"), make_queue("each.db")
    for queue in (many, each):
        mixed(queue)
    before = contents(many)
    assert before == contents(each)
    getattr(many, verb)(all=True)
    for row in reversed(each.find(limit=1000)):
        try:
            getattr(each, verb)(row.id)
        except Exception:
            continue  # in a state that the verb does not accept, or gone with another
    assert contents(many) == contents(each) != before
    assert many.check() == []


@pytest.mark.parametrize("verb", [*VERBS, "prune"])
def test_others_write_while_a_bulk_verb_is_at_work(
    make_queue: Callable[..., Queue], clock: Clock, verb: str
) -> None:
    other = make_queue()
    pushed: list[int] = []

    def sleep(seconds: float) -> None:
        clock.advance(seconds)
        pushed.append(other.push("meanwhile"))

    queue = make_queue(sleep=sleep)
    queue.push_many([("a", {})] * MANY, delay=3600)
    if verb == "prune":
        queue.cancel(name="a")
        pushed.clear()
    changed = queue.prune(0) if verb == "prune" else getattr(queue, verb)(name="a")
    assert changed == MANY
    assert len(pushed) == MANY // AT_ONCE


class Ticking(Clock):
    """A clock that moves whenever somebody looks at it."""

    def __call__(self) -> float:
        self.now += HOLD_SECONDS / 2
        return self.now


def test_a_step_ends_when_its_time_is_over_however_few_its_rows(
    make_queue: Callable[..., Queue],
) -> None:
    naps: list[float] = []
    queue = make_queue(clock=Ticking(), sleep=naps.append)
    queue.push_many([("a", {})] * 20)
    assert queue.cancel(all=True) == 20
    # At this pace no step has time for a second row.
    assert len(naps) == 19
    assert queue.check() == []


def test_within_a_transaction_a_bulk_verb_does_not_pause(make_queue: Callable[..., Queue]) -> None:
    naps: list[float] = []
    queue = make_queue(sleep=naps.append)
    queue.push_many([("a", {})] * MANY)
    with WorkerSide(queue).transaction():
        assert queue.cancel(all=True) == MANY
    assert naps == []


def test_prune_forgets_batches_by_the_thousand(queue: Queue, clock: Clock) -> None:
    WorkerSide(queue).rows(
        """
        insert into litequeue_batches (id, name, planned, done, failed, cancelled, created_at)
        with recursive ids (id) as (select 1 union all select id + 1 from ids where id < :count)
        select id, 'gone', 0, 0, 0, 0, :now from ids""",
        {"count": AT_ONCE + 5, "now": int(clock.now * 1000)},
    )
    queue.push("a")  # has the id of a batch, which is then not over
    clock.advance(60)
    queue.prune(30)
    assert WorkerSide(queue).rows("select id from litequeue_batches") == [(1,)]
