"""Rows that were edited by hand into something that no verb writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from waiting import Clock
from worker_side import WorkerSide, claim_one, claimed, edit

from litequeue.errors import DatabaseRefused
from litequeue.jobs.job import Job
from litequeue.queue import Queue
from litequeue.records import NOBODY, State
from litequeue.worker.shutdown import Shutdown
from litequeue.worker.worker import Limits, Worker

WORKER = NOBODY + 1
Damage = Callable[[int, str], None]

# Each is a row that cannot be read at all.
UNREADABLE = [
    "options = '{'",
    "options = x'ff'",
    "available_at = 1 << 60",
    "created_at = 'yesterday'",
    "created_at = -(1 << 62)",
    "failed_at = 'never'",
    "options = printf('%.*c', 30000, '[')",
    "name = cast(x'ff80' as text)",
    "priority = 1.5",
    "overlap_key = 'a', overlap_limit = 0",
    "unique_key = x'ff'",
]
# And these can be read, and not be run.
UNUSABLE = [
    "payload = 'nonsense'",
    "payload = x'ff'",
    "payload = '[]'",
    "name = x'ff'",
    "name = ''",
    "queue = x'ff'",
    "queue = cast(x'ff' as text)",
    "attempts = 1.5",
    "payload = cast(x'ff' as text)",
    "payload = printf('%.*c', 30000, '[')",
    """options = '{"keep": 1e300, "max_attempts": []}'""",
    "options = '[]'",
    """options = '{"timeout": "long", "backoff": "none", "keep": "yes"}'""",
    "max_attempts = 0",
    "attempts = 1 << 40",
    "exception = x'ff'",
]


class Good(Job):
    """Says that it ran."""

    word: str

    def handle(self) -> None:
        ran.append(self.word)


ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran_yet() -> None:
    ran.clear()


@pytest.fixture
def damage(queue: Queue) -> Damage:
    """Edits a row behind the queue's back, with the checks of the table switched off."""

    return lambda job_id, change: edit(
        queue, f"update litequeue_jobs set {change} where id = {job_id}"
    )


@pytest.fixture
def work(queue: Queue) -> Iterator[Callable[[], int]]:
    """Runs a worker until nothing is due."""
    stop = Shutdown()

    def drain() -> int:
        return Worker(queue, [Good], limits=Limits(drain=True, polls=20), stop=stop).run()

    yield drain
    stop.close()


@pytest.mark.parametrize("change", [*UNREADABLE, "state = 99", "state = 'ready'"])
def test_a_row_that_cannot_be_read_is_told_in_a_sentence(
    queue: Queue, damage: Damage, change: str
) -> None:
    job_id = queue.push("a")
    damage(job_id, change)
    for look in (lambda: queue.get(job_id), lambda: queue.wait(job_id, timeout=1)):
        with pytest.raises(DatabaseRefused, match=f"job {job_id} was edited into something"):
            look()


@pytest.mark.parametrize("change", [*UNREADABLE, "state = 99", "state = 5.5"])
def test_a_row_that_cannot_be_read_hides_no_other(
    queue: Queue, damage: Damage, change: str
) -> None:
    damage(queue.push("a"), change)
    other = queue.push("b")
    assert [row.id for row in queue.find()] == [other]


@pytest.mark.parametrize("change", [*UNREADABLE, *UNUSABLE, "state = 99"])
def test_workers_go_on_with_the_jobs_behind_a_damaged_one(
    queue: Queue, damage: Damage, work: Callable[[], int], change: str
) -> None:
    damage(queue.push(Good("damaged"), priority=1), change)
    queue.push_many([Good("one"), Good("two")])
    assert work() == 0
    assert [word for word in ran if word != "damaged"] == ["one", "two"]


@pytest.mark.parametrize("change", [*UNREADABLE, *UNUSABLE])
def test_workers_go_on_where_a_dead_worker_ran_a_damaged_job(
    queue: Queue, damage: Damage, work: Callable[[], int], change: str
) -> None:
    job_id = queue.push(Good("damaged"), max_attempts=1)
    assert claim_one(queue, WORKER) is not None
    damage(job_id, change)
    queue.push(Good("one"))
    assert work() == 0
    assert "one" in ran


def test_a_damaged_job_that_is_due_does_not_hold_up_the_others(
    queue: Queue, damage: Damage, work: Callable[[], int], clock: Clock
) -> None:
    damage(queue.push(Good("damaged"), delay=1), "options = '{'")
    queue.push(Good("one"), delay=2)
    clock.advance(5)
    assert work() == 0
    assert ran == ["one"]


@pytest.mark.parametrize("change", ["state = 99", *UNREADABLE])
def test_counts_end_in_a_sentence_at_worst(queue: Queue, damage: Damage, change: str) -> None:
    damage(queue.push("a"), change)
    queue.push("b", {}, queue="low")
    with suppress(DatabaseRefused):
        assert queue.counts()["low"] == {State.READY: 1}


@pytest.mark.parametrize("change", [*UNREADABLE, *UNUSABLE, "state = 99"])
def test_a_damaged_row_can_be_forgotten(queue: Queue, damage: Damage, change: str) -> None:
    job_id, other = queue.push("a"), queue.push("b")
    damage(job_id, change)
    assert queue.forget(job_id) == 1
    assert [row.id for row in queue.find()] == [other]
    assert queue.check() == []


def test_a_damaged_result_is_told_in_a_sentence(queue: Queue, damage: Damage) -> None:
    job_id = queue.push("a")
    row = claimed(queue, WORKER)
    WorkerSide(queue).complete(row, result="1", keep=60)
    damage(job_id, "result = '{'")
    with pytest.raises(DatabaseRefused):
        queue.result(job_id)


def test_a_running_job_that_has_never_started_by_its_row_is_released(
    queue: Queue, damage: Damage
) -> None:
    queue.push("good", {"word": "a"})
    row = claimed(queue, WORKER)
    damage(row.id, "attempts = 0")
    WorkerSide(queue).release(queue.get(row.id))
    assert (queue.get(row.id).state, queue.get(row.id).attempts) == (State.READY, 0)
