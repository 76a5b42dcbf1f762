"""What the end of a job means for those that come after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from test_dependencies import WORKER, fail, running, states, succeed
from waiting import Clock
from worker_side import WorkerSide, claim_one

from litequeue.errors import WrongState
from litequeue.queue import Queue

pytestmark = pytest.mark.usefixtures("sound")

Action = Callable[[Queue, int], object]


@pytest.fixture
def chain(queue: Queue) -> list[int]:
    """Four jobs, each after the one before."""
    ids = [queue.push("step", {})]
    for _ in range(3):
        ids.append(queue.push("step", {}, after=ids[-1:]))
    return ids


# A failure holds the flow up


def test_a_failure_leaves_the_rest_waiting(queue: Queue, chain: list[int]) -> None:
    succeed(queue, chain[0])
    fail(queue, chain[1])
    assert states(queue, *chain) == ["gone", "failed", "waiting", "waiting"]
    assert WorkerSide(queue).unsatisfied(chain[2]) == [chain[1]]
    assert claim_one(queue, WORKER) is None


def test_an_attempt_that_failed_with_others_left_changes_nothing_for_the_rest(
    queue: Queue, chain: list[int]
) -> None:
    WorkerSide(queue).retry_later(running(queue, chain[0]), "ValueError: no", after=60)
    assert states(queue, *chain) == ["scheduled", "waiting", "waiting", "waiting"]
    WorkerSide(queue).release(running(queue, chain[0]))
    assert states(queue, *chain) == ["ready", "waiting", "waiting", "waiting"]


def test_a_chain_finishes_after_several_failures_of_several_steps(
    queue: Queue, chain: list[int]
) -> None:
    for id in chain:
        for _ in range(2):
            fail(queue, id)
            queue.retry(id)
        succeed(queue, id)
    assert queue.counts() == {}


def test_one_failed_parent_of_several_keeps_the_child_waiting(queue: Queue) -> None:
    parents = queue.push_many([("parent", {})] * 3)
    child = queue.push("child", {}, after=parents)
    succeed(queue, parents[0])
    fail(queue, parents[1])
    succeed(queue, parents[2])
    assert states(queue, child) == ["waiting"]
    assert WorkerSide(queue).unsatisfied(child) == [parents[1]]
    queue.retry(parents[1])
    succeed(queue, parents[1])
    assert states(queue, child) == ["ready"]


# Whatever ends an unfinished parent without success cancels what comes after it


def by_failing_for_good(queue: Queue, id: int) -> None:
    WorkerSide(queue).fail(running(queue, id), "ValueError: no", delete=True)


def by_asking_a_running_one_to_stop(queue: Queue, id: int) -> None:
    row = running(queue, id)
    queue.cancel(id)
    WorkerSide(queue).fail(row, "Fail: stopped")


def by_forgetting_a_failed_one(queue: Queue, id: int) -> None:
    fail(queue, id)
    queue.forget(id)


def by_pruning_a_failed_one(queue: Queue, id: int) -> None:
    fail(queue, id)
    assert queue.prune(0) == 1


ENDS: dict[str, Action] = {
    "cancel": lambda queue, id: queue.cancel(id),
    "cancel by name": lambda queue, id: queue.cancel(name="parent"),
    "forget": lambda queue, id: queue.forget(id),
    "forget by name": lambda queue, id: queue.forget(name="parent"),
    "cancel, running": by_asking_a_running_one_to_stop,
    "on_failure=delete": by_failing_for_good,
    "forget, failed": by_forgetting_a_failed_one,
    "prune, failed": by_pruning_a_failed_one,
}
every_end = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)


@every_end
def test_the_end_of_a_parent_cancels_all_that_come_after_it(queue: Queue, end: Action) -> None:
    parent = queue.push("parent", {})
    children = [queue.push("child", {}, after=[parent], delay=delay) for delay in (0, 60)]
    grandchild = queue.push("grandchild", {}, after=children)
    great = queue.push("great", {}, after=[grandchild, parent])
    end(queue, parent)
    assert states(queue, *children, grandchild, great) == ["cancelled"] * 4
    assert claim_one(queue, WORKER) is None


@every_end
def test_a_child_whose_other_parent_has_succeeded_is_not_freed(queue: Queue, end: Action) -> None:
    other, parent = queue.push("other", {}), queue.push("parent", {})
    child = queue.push("child", {}, after=[other, parent])
    succeed(queue, other)
    end(queue, parent)
    assert states(queue, child) == ["cancelled"]


@every_end
def test_the_other_parent_of_a_cancelled_child_goes_on_and_frees_nobody(
    queue: Queue, end: Action
) -> None:
    other, parent = queue.push("other", {}), queue.push("parent", {})
    child = queue.push("child", {}, after=[other, parent])
    end(queue, parent)
    assert states(queue, other, child) == ["ready", "cancelled"]
    succeed(queue, other)
    assert states(queue, child) == ["cancelled"]


def test_a_running_parent_that_was_asked_to_stop_and_succeeds_frees_its_child(queue: Queue) -> None:
    parent = queue.push("parent", {})
    child = queue.push("child", {}, after=[parent])
    row = running(queue, parent)
    queue.cancel(parent)
    assert states(queue, child) == ["waiting"]
    WorkerSide(queue).complete(row)
    assert states(queue, child) == ["ready"]


def test_forgetting_and_expiring_a_parent_that_has_succeeded_changes_nothing(
    queue: Queue, clock: Clock
) -> None:
    first, second, failed = queue.push_many([("parent", {})] * 3)
    children = [queue.push("child", {}, after=[first, second, id]) for id in (first, failed)]
    succeed(queue, first, second, keep=60)
    fail(queue, failed)
    queue.forget(first)
    clock.advance(61)
    assert WorkerSide(queue).expire() == 1
    assert states(queue, *children) == ["ready", "waiting"]


def test_cancelling_a_child_leaves_its_parents_alone(queue: Queue, chain: list[int]) -> None:
    queue.cancel(chain[2])
    assert states(queue, *chain) == ["ready", "waiting", "cancelled", "cancelled"]
    succeed(queue, chain[0], chain[1])
    assert states(queue, *chain) == ["gone", "gone", "cancelled", "cancelled"]


@pytest.mark.parametrize("verb", ["cancel", "forget"])
@pytest.mark.parametrize("turned", [False, True])
def test_parents_and_children_may_be_named_in_one_call(
    queue: Queue, chain: list[int], verb: str, turned: bool
) -> None:
    assert getattr(queue, verb)(*(reversed(chain) if turned else chain)) == 4
    assert states(queue, *chain) == ["cancelled" if verb == "cancel" else "gone"] * 4


def test_a_rolled_back_end_changes_nothing_for_the_rest(queue: Queue, chain: list[int]) -> None:
    for end in (succeed, by_failing_for_good, ENDS["cancel"]):
        with pytest.raises(ZeroDivisionError), WorkerSide(queue).transaction():
            end(queue, chain[0])
            raise ZeroDivisionError
    assert states(queue, *chain) == ["ready", "waiting", "waiting", "waiting"]


# Back again


def test_a_retried_child_waits_again(queue: Queue, chain: list[int]) -> None:
    queue.cancel(chain[1])
    queue.retry(chain[1])
    assert states(queue, *chain) == ["ready", "waiting", "cancelled", "cancelled"]
    succeed(queue, chain[0])
    assert states(queue, *chain) == ["gone", "ready", "cancelled", "cancelled"]


def test_a_child_that_is_retried_alone_waits_for_its_cancelled_parent(
    queue: Queue, chain: list[int]
) -> None:
    queue.cancel(chain[0])
    queue.retry(chain[1])
    assert states(queue, *chain[:2]) == ["cancelled", "waiting"]
    queue.retry(chain[0])
    succeed(queue, chain[0])
    assert states(queue, chain[1]) == ["ready"]


def test_a_whole_cancelled_chain_is_retried_by_one_call(queue: Queue, chain: list[int]) -> None:
    queue.cancel(chain[0])
    assert queue.retry(state="cancelled") == 4
    assert states(queue, *chain) == ["ready", "waiting", "waiting", "waiting"]
    succeed(queue, *chain)


def test_who_retries_the_child_of_a_forgotten_parent_wants_it_run(
    queue: Queue, chain: list[int]
) -> None:
    queue.forget(chain[0])
    assert states(queue, *chain[1:]) == ["cancelled"] * 3
    queue.retry(chain[1])
    assert states(queue, *chain[1:]) == ["ready", "cancelled", "cancelled"]


def test_a_retried_child_waits_for_its_other_parents_still(queue: Queue) -> None:
    lost, other = queue.push_many([("parent", {})] * 2)
    child = queue.push("child", {}, after=[lost, other])
    queue.forget(lost)
    queue.retry(child)
    assert states(queue, child) == ["waiting"]
    succeed(queue, other)
    assert states(queue, child) == ["ready"]


def test_a_child_that_failed_and_is_retried_does_not_wait_for_what_was_met(queue: Queue) -> None:
    parent = queue.push("parent", {})
    child = queue.push("child", {}, after=[parent])
    succeed(queue, parent)
    fail(queue, child)
    queue.retry(child)
    assert states(queue, child) == ["ready"]


def test_a_waiting_job_is_not_to_be_retried(queue: Queue, chain: list[int]) -> None:
    for force in (False, True):
        with pytest.raises(WrongState, match=f"Job {chain[1]} is waiting"):
            queue.retry(chain[1], force=force)
    assert states(queue, *chain) == ["ready", "waiting", "waiting", "waiting"]


def test_a_forced_retry_of_a_running_parent_frees_nobody(queue: Queue, chain: list[int]) -> None:
    running(queue, chain[0])
    queue.retry(chain[0], force=True)
    assert states(queue, *chain) == ["ready", "waiting", "waiting", "waiting"]
    succeed(queue, chain[0])
    assert states(queue, *chain) == ["gone", "ready", "waiting", "waiting"]
