"""Flows with real workers: results, pushes from inside a run, and races."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

import pytest
from test_dependencies import WORKER, running, states, succeed
from waiting import Child, wait_until
from worker_side import WorkerSide

from litequeue import Fail, Job, Retry, current, job
from litequeue.errors import WrongState
from litequeue.queue import Queue
from litequeue.worker.worker import Limits, Worker

pytestmark = pytest.mark.usefixtures("sound")

ROUNDS = 300


class Give(Job):
    """Returns what it was given, or raises it."""

    what: object = None

    def handle(self) -> object:
        return self.what


class Gather(Job, keep=3600, backoff=0):
    """Returns the results of its parents, after so many failures."""

    failures: int = 0

    def handle(self) -> object:
        if current().attempt <= self.failures:
            raise Retry("not yet", after=0)
        return current().results


class Broken(Job):
    def handle(self) -> None:
        raise Fail("broken")


class Split(Job):
    """Pushes what is to be done after it from inside its own transaction."""

    parts: int
    fails: bool = False

    def handle(self) -> None:
        run = current()
        with run.transaction():
            parts = [run.push(Give(part), after=[run.id]) for part in range(self.parts)]
            run.push(Gather(), after=[*parts, run.id])
            if self.fails:
                raise Fail("after the pushes")


@job
def hand_on() -> None:
    """Pushes its own continuation, and then succeeds."""
    run = current()
    run.push(Gather(), after=[run.id])


JOBS = [Give, Gather, Broken, Split, hand_on]


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Queue:
    return make_queue(clock=time.time, sleep=time.sleep)


def drain(queue: Queue) -> None:
    Worker(queue, JOBS, limits=Limits(drain=True)).run()


# Results


def test_the_results_of_the_parents_come_in_the_order_of_after(queue: Queue) -> None:
    values = [3, "two", None, {"one": [1.5, True]}]
    parents = [queue.push(Give(value)) for value in values]
    turned = queue.push(Gather(), after=parents[::-1])
    straight = queue.push(Gather(), after=parents)
    drain(queue)
    assert queue.result(straight, timeout=0) == values
    assert queue.result(turned, timeout=0) == values[::-1]


def test_results_are_available_in_a_later_attempt_and_after_a_retry(queue: Queue) -> None:
    parents = [queue.push(Give(value)) for value in "ab"]
    child = queue.push(Gather(failures=3), after=parents, max_attempts=2)
    drain(queue)
    assert states(queue, *parents, child) == ["gone", "gone", "failed"]
    WorkerSide(queue).rows("update litequeue_jobs set payload = '{\"failures\": 1}'")
    queue.retry(child)
    drain(queue)
    assert queue.result(child, timeout=0) == ["a", "b"]


def test_a_parent_that_is_over_and_was_not_kept_has_no_result_any_more(queue: Queue) -> None:
    over = queue.push(Give("lost"))
    drain(queue)
    child = queue.push(Gather(), after=[over])
    drain(queue)
    assert queue.result(child, timeout=0) == [None]


def test_a_job_that_comes_after_none_has_no_results(queue: Queue) -> None:
    child = queue.push(Gather())
    drain(queue)
    assert queue.result(child, timeout=0) == []


def test_steps_that_have_run_are_not_run_again(queue: Queue) -> None:
    ids = queue.chain(Give(1), Broken(), Gather())
    drain(queue)
    assert states(queue, *ids) == ["gone", "failed", "waiting"]
    WorkerSide(queue).rows("update litequeue_jobs set name = 'Give' where state = 7")
    queue.retry(ids[1])
    Worker(queue, JOBS, limits=Limits(jobs=2)).run()
    assert queue.result(ids[2], timeout=0) == [None]


# From inside a run


def test_a_run_pushes_what_comes_after_it(queue: Queue) -> None:
    first = queue.push(hand_on())
    drain(queue)
    assert queue.result(first + 1, timeout=0) == [None]


def test_a_transaction_of_a_run_ends_it_and_frees_what_was_pushed_in_it(queue: Queue) -> None:
    first = queue.push(Split(3))
    Worker(queue, JOBS, limits=Limits(jobs=1)).run()
    (gather,) = [row.id for row in queue.find(name="Gather")]
    assert states(queue, first, gather) == ["gone", "waiting"]
    assert len(queue.find(name="Give", state="ready")) == 3
    drain(queue)
    assert queue.result(gather, timeout=0) == [0, 1, 2, None]


def test_a_transaction_of_a_run_that_raises_leaves_none_of_the_jobs_it_pushed(queue: Queue) -> None:
    queue.push(Split(3, fails=True))
    drain(queue)
    assert [(row.name, row.reason) for row in queue.find()] == [("Split", "Fail: after the pushes")]


# Races


def test_a_child_that_is_pushed_while_its_parent_ends_always_runs(queue: Queue) -> None:
    both = Barrier(2)

    def end(id: int, spin: int) -> None:
        row = running(queue, id)
        both.wait(10)
        sum(range(spin))
        WorkerSide(queue).complete(row)

    def push(id: int, spin: int) -> int:
        both.wait(10)
        sum(range(spin))
        return queue.push("child", {}, after=[id])

    chance = random.Random(4)
    with ThreadPoolExecutor(2) as threads:
        for _ in range(ROUNDS):
            parent = queue.push("parent", {})
            ended = threads.submit(end, parent, chance.randrange(4000))
            child = threads.submit(push, parent, chance.randrange(4000)).result(20)
            ended.result(20)
            assert states(queue, parent, child) == ["gone", "ready"]
            succeed(queue, child)


ENDER = """
import sys
from litequeue.queue import Queue
from worker_side import WorkerSide
queue = Queue(sys.argv[1])
worker = int(sys.argv[2])
print("here", flush=True)
for line in sys.stdin:
    row = WorkerSide(queue).claim_job(worker, int(line))
    print("running", flush=True)
    WorkerSide(queue).complete(row)
    print("ended", flush=True)
"""


def test_a_child_is_never_left_behind_by_a_parent_that_ends_in_another_process(
    queue: Queue, start: Callable[..., Child]
) -> None:
    ender = start(ENDER, queue.path, WORKER)
    assert ender.line() == "here"
    chance = random.Random(5)
    for _ in range(ROUNDS):
        parent = queue.push("parent", {})
        ender.say(str(parent))
        assert ender.line() == "running"
        sum(range(chance.randrange(20_000)))
        child = queue.push("child", {}, after=[parent])
        assert ender.line() == "ended"
        assert states(queue, parent, child) == ["gone", "ready"]
        succeed(queue, child)


def test_the_end_of_the_last_two_parents_at_once_frees_the_child(queue: Queue) -> None:
    both = Barrier(2)

    def end(id: int) -> None:
        row = running(queue, id)
        both.wait(10)
        WorkerSide(queue).complete(row)

    with ThreadPoolExecutor(2) as threads:
        for _ in range(ROUNDS):
            parents = queue.push_many([("parent", {})] * 2)
            child = queue.push("child", {}, after=parents)
            list(threads.map(end, parents, timeout=20))
            assert states(queue, child) == ["ready"]
            succeed(queue, child)


def test_a_cancelled_parent_and_a_push_after_it_leave_no_job_waiting_for_ever(queue: Queue) -> None:
    both = Barrier(2)

    def cancel(id: int) -> None:
        both.wait(10)
        queue.cancel(id)

    def push(id: int) -> None:
        both.wait(10)
        with suppress(WrongState):
            queue.push("child", {}, after=[id])

    with ThreadPoolExecutor(2) as threads:
        for _ in range(ROUNDS // 3):
            parent = queue.push("parent", {})
            cancelled = threads.submit(cancel, parent)
            threads.submit(push, parent).result(20)
            cancelled.result(20)
            assert set(queue.counts()["default"]) == {"cancelled"}


def test_two_workers_run_many_dependent_jobs_to_their_end(queue: Queue) -> None:
    tops = [queue.push(Give(number)) for number in range(20)]
    middles = [queue.push(Give(), after=[top, tops[0]]) for top in tops]
    last = queue.push(Gather(), after=middles + tops)
    with Worker(queue, JOBS).in_background(), Worker(queue, JOBS).in_background():
        wait_until(lambda: states(queue, last) == ["done"], within=20)
    assert queue.result(last, timeout=0) == [None] * 20 + list(range(20))
    assert states(queue, *tops, *middles) == ["gone"] * 40
