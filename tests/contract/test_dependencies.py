"""push(after=...) and chain: a job starts when all that it comes after has succeeded."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from itertools import permutations

import pytest
from waiting import Clock
from worker_side import WorkerSide, claim_one, claimed

from litequeue import Job
from litequeue.engine.database import Connection
from litequeue.errors import NoSuchJob, OptionError, PayloadError, WrongState
from litequeue.queue import Queue
from litequeue.records import NOBODY, JobRow, State

pytestmark = pytest.mark.usefixtures("sound")

WORKER = NOBODY + 1
HIGHEST = 2**63 - 1


class Step(Job):
    """One step of a flow."""

    name: str

    def handle(self) -> str:
        return self.name


def states(queue: Queue, *ids: int) -> list[str]:
    """Where the jobs stand, by their words; ``gone`` for those without a row."""
    found = {row.id: str(row.state) for row in queue.find()}
    return [found.get(id, "gone") for id in ids]


def running(queue: Queue, id: int) -> JobRow:
    row = WorkerSide(queue).claim_job(WORKER, id)
    assert row is not None, f"job {id} is {states(queue, id)[0]}"
    return row


def succeed(queue: Queue, *ids: int, result: str | None = None, keep: float = 0) -> None:
    for id in ids:
        WorkerSide(queue).complete(running(queue, id), result=result, keep=keep)


def fail(queue: Queue, *ids: int) -> None:
    for id in ids:
        WorkerSide(queue).fail(running(queue, id), "ValueError: no")


# Shapes


def test_a_job_waits_for_the_one_that_it_comes_after(queue: Queue) -> None:
    parent = queue.push("parent", {})
    child = queue.push("child", {}, after=[parent])
    assert states(queue, parent, child) == ["ready", "waiting"]
    row = running(queue, parent)
    assert states(queue, child) == ["waiting"]
    WorkerSide(queue).complete(row)
    assert states(queue, parent, child) == ["gone", "ready"]
    succeed(queue, child)


def test_no_worker_gets_a_job_that_waits(queue: Queue) -> None:
    parent = queue.push("parent", {})
    child = queue.push("child", {}, after=[parent], priority=9)
    assert running(queue, parent)
    assert claim_one(queue, WORKER) is None
    assert claim_one(queue, WORKER, ["default"]) is None
    assert WorkerSide(queue).claim_job(WORKER, child) is None


def test_a_chain_runs_one_after_another(queue: Queue) -> None:
    ids = queue.chain(Step("a"), Step("b"), Step("c"))
    assert states(queue, *ids) == ["ready", "waiting", "waiting"]
    for id in ids:
        row = claimed(queue, WORKER)
        assert row.id == id
        assert claim_one(queue, WORKER) is None
        WorkerSide(queue).complete(row)
    assert states(queue, *ids) == ["gone"] * 3


@pytest.mark.parametrize("count", [0, 1])
def test_a_chain_of_one_or_none_waits_for_nothing(queue: Queue, count: int) -> None:
    ids = queue.chain(*[Step("a")] * count, queue="low")
    assert states(queue, *ids) == ["ready"] * count


def test_a_chain_is_pushed_whole_or_not_at_all(queue: Queue) -> None:
    with pytest.raises(PayloadError):
        queue.chain(Step("a"), Step(7))  # type: ignore[arg-type]
    with pytest.raises(OptionError):
        queue.chain(Step("a"), priority="high")  # type: ignore[arg-type]
    assert queue.counts() == {}


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_a_job_after_several_starts_with_the_last_of_them(
    queue: Queue, order: tuple[int, ...]
) -> None:
    parents = queue.push_many([("parent", {})] * 3)
    child = queue.push("child", {}, after=parents)
    for index in order:
        assert states(queue, child) == ["waiting"]
        succeed(queue, parents[index])
    assert states(queue, child) == ["ready"]


def test_a_diamond_comes_together_again(queue: Queue) -> None:
    top = queue.push("top", {})
    sides = [queue.push("side", {}, after=[top]) for _ in range(2)]
    bottom = queue.push("bottom", {}, after=sides)
    for steps in ([top], sides, [bottom]):
        assert queue.counts()["default"].get(State.READY) == len(steps)
        succeed(queue, *steps)


def test_dependencies_work_across_queues(queue: Queue) -> None:
    parent = queue.push("parent", {}, queue="images")
    child = queue.push("child", {}, queue="emails", after=[parent])
    assert claim_one(queue, WORKER, ["emails"]) is None
    row = claimed(queue, WORKER, ["images"])
    WorkerSide(queue).complete(row)
    found = claimed(queue, WORKER, ["emails"])
    assert found.id == child


def test_one_parent_named_twice_is_waited_for_once(queue: Queue) -> None:
    parent = queue.push("parent", {})
    child = queue.push("child", {}, after=[parent, parent])
    succeed(queue, parent)
    assert states(queue, child) == ["ready"]


def test_after_nothing_is_at_once(queue: Queue) -> None:
    assert (
        states(queue, queue.push("a", {}, after=[]), queue.push("b", {}, after=())) == ["ready"] * 2
    )


# Parents that are pushed with the child


def test_parents_given_as_jobs_are_pushed_with_the_child(queue: Queue) -> None:
    earlier = queue.push("earlier", {})
    child = queue.push(Step("child"), after=[Step("a"), earlier, Step("b")])
    parents = [row.id for row in queue.find(name="Step") if row.id != child]
    assert states(queue, *parents, child) == ["ready", "ready", "waiting"]
    succeed(queue, *parents)
    assert states(queue, child) == ["waiting"]
    succeed(queue, earlier)
    assert states(queue, child) == ["ready"]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        pytest.param(Step(7), PayloadError, id="a payload"),  # type: ignore[arg-type]
        pytest.param(99, NoSuchJob, id="an id"),
    ],
)
def test_one_wrong_parent_and_nothing_is_pushed(
    queue: Queue, wrong: int | Job, error: type[Exception]
) -> None:
    with pytest.raises(error):
        queue.push(Step("child"), after=[Step("a"), Step("b"), wrong])
    assert queue.counts() == {}


def test_a_wrong_child_pushes_no_parents(queue: Queue) -> None:
    with pytest.raises(PayloadError):
        queue.push(Step(7), after=[Step("a")])  # type: ignore[arg-type]
    assert queue.counts() == {}


@pytest.mark.parametrize("after", ["12", ["send-mail"], [True], 1, [Step], [None], [1.0]], ids=str)
def test_what_is_neither_an_id_nor_a_job_is_refused(queue: Queue, after: object) -> None:
    queue.push("first", {})
    with pytest.raises(OptionError, match="after"):
        queue.push("child", {}, after=after)  # type: ignore[arg-type]
    assert len(queue.find()) == 1


# Parents that are over


@pytest.mark.parametrize("keep", [0, 60])
def test_a_parent_that_has_succeeded_is_met_at_once(queue: Queue, keep: float) -> None:
    parent = queue.push("parent", {})
    succeed(queue, parent, keep=keep)
    assert states(queue, queue.push("child", {}, after=[parent])) == ["ready"]


def test_the_kept_result_of_a_parent_that_is_done_is_available(queue: Queue, clock: Clock) -> None:
    parents = queue.push_many([("parent", {})] * 2)
    for number, parent in enumerate(parents):
        succeed(queue, parent, result=f"{number}", keep=60)
    child = queue.push("child", {}, after=parents)
    clock.advance(3600)
    WorkerSide(queue).expire()
    assert WorkerSide(queue).results(child) == ["0", "1"]


def test_a_parent_that_has_failed_is_waited_for(queue: Queue) -> None:
    parent = queue.push("parent", {})
    fail(queue, parent)
    child = queue.push("child", {}, after=[parent])
    assert states(queue, child) == ["waiting"]
    assert WorkerSide(queue).unsatisfied(child) == [parent]


@pytest.mark.parametrize("id", [0, -1, 2, HIGHEST, HIGHEST + 1, 10**30])
def test_an_id_that_was_never_given_pushes_nothing(queue: Queue, id: int) -> None:
    parent = queue.push("parent", {})
    with pytest.raises(NoSuchJob, match=f"There is no job {id}"):
        queue.push("child", {}, after=[parent, id])
    assert len(queue.find()) == 1


def test_the_first_job_of_a_file_comes_after_none(queue: Queue) -> None:
    with pytest.raises(NoSuchJob):
        queue.push("child", {}, after=[1])
    assert queue.counts() == {}


def test_nothing_comes_after_a_cancelled_job(queue: Queue) -> None:
    parent = queue.push("parent", {})
    queue.cancel(parent)
    with pytest.raises(WrongState, match=f"Job {parent} is cancelled"):
        queue.push("child", {}, after=[parent])
    assert len(queue.find()) == 1


# Delays


def test_a_delay_counts_from_the_push_and_is_waited_for_too(queue: Queue, clock: Clock) -> None:
    parent = queue.push("parent", {})
    child = queue.push("child", {}, after=[parent], delay=60)
    assert states(queue, child) == ["waiting"]
    clock.advance(20)
    succeed(queue, parent)
    assert states(queue, child) == ["scheduled"]
    clock.advance(39.9)
    assert claim_one(queue, WORKER) is None
    clock.advance(0.2)
    row = claimed(queue, WORKER)
    assert row.id == child


def test_a_delay_that_is_over_when_the_parent_ends_costs_nothing_more(
    queue: Queue, clock: Clock
) -> None:
    parent = queue.push("parent", {})
    child = queue.push("child", {}, after=[parent], delay=60)
    clock.advance(61)
    assert claim_one(queue, WORKER) is not None
    assert claim_one(queue, WORKER) is None
    assert states(queue, child) == ["waiting"]
    WorkerSide(queue).complete(queue.get(parent))
    assert states(queue, child) == ["ready"]


def test_a_child_with_a_delay_after_a_parent_that_is_over_is_scheduled(queue: Queue) -> None:
    parent = queue.push("parent", {})
    succeed(queue, parent)
    assert states(queue, queue.push("child", {}, after=[parent], delay=60)) == ["scheduled"]


# Uniqueness


def test_a_unique_child_that_exists_already_gets_no_further_parents(queue: Queue) -> None:
    first, second = queue.push_many([("parent", {})] * 2)
    child = queue.push("child", {}, after=[first], unique=True)
    assert queue.push("child", {}, after=[second], unique=True) == child
    succeed(queue, first)
    assert states(queue, child) == ["ready"]


def test_parents_are_not_pushed_for_a_unique_child_that_is_there_already(queue: Queue) -> None:
    child = queue.push("child", {}, unique=True)
    assert queue.push("child", {}, after=[Step("a")], unique=True) == child
    assert [row.id for row in queue.find()] == [child]


# In the caller's transaction


@pytest.fixture
def connection(queue: Queue) -> Iterator[Connection]:
    opened = sqlite3.connect(queue.path, isolation_level=None)
    yield opened
    opened.close()


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize(
    "push",
    [
        pytest.param(
            lambda queue, parent, on: queue.push("child", {}, after=[parent], connection=on),
            id="an id",
        ),
        pytest.param(
            lambda queue, parent, on: queue.push(
                "child", {}, after=[Step("a"), parent], connection=on
            ),
            id="a job",
        ),
        pytest.param(
            lambda queue, parent, on: queue.chain(Step("a"), Step("b"), connection=on), id="a chain"
        ),
    ],
)
def test_dependencies_are_part_of_the_callers_transaction(
    queue: Queue, connection: Connection, push: Callable[..., object], end: str
) -> None:
    parent = queue.push("parent", {})
    connection.execute("begin immediate")
    push(queue, parent, connection)
    assert [row.id for row in queue.find()] == [parent]
    connection.execute(end)
    waiting = len(queue.find(state="waiting"))
    edges = len(WorkerSide(queue).rows("select * from litequeue_edges"))
    assert (waiting > 0, edges > 0) == (end == "commit",) * 2


def test_a_refused_parent_leaves_the_callers_transaction_as_it_was(
    queue: Queue, connection: Connection
) -> None:
    connection.execute("begin immediate")
    first = queue.push("first", {}, connection=connection)
    with pytest.raises(NoSuchJob):
        queue.push("child", {}, after=[Step("a"), 99], connection=connection)
    child = queue.push("child", {}, after=[first], connection=connection)
    connection.execute("commit")
    assert states(queue, first, child) == ["ready", "waiting"]
    assert len(queue.find()) == 2
