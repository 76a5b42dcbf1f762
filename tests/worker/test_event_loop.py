"""The event loop that all async jobs of a worker share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from litequeue import Fail, Job, Queue, Worker
from litequeue.errors import JobTimeout
from litequeue.worker.event_loop import EventLoop
from litequeue.worker.worker import Limits

seen: list[object] = []


class Notes(Job, max_attempts=1):
    """Notes its loop, and does what ``word`` says."""

    word: str = ""

    async def handle(self) -> None:
        loop = asyncio.get_running_loop()
        seen.append(loop)
        if self.word == "leave a task":
            seen.append(loop.create_task(asyncio.sleep(3600)))
        elif self.word == "close":
            loop.call_soon(loop.stop)
            await asyncio.sleep(3600)
        elif self.word == "hang":
            await asyncio.sleep(3600)
        elif self.word == "fail":
            raise Fail("as asked")


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    made = EventLoop()
    yield made
    made.close()


def drain(queue: Queue) -> None:
    assert Worker(queue, [Notes], limits=Limits(drain=True)).run() == 0


def test_all_async_jobs_of_a_worker_share_one_loop(queue: Queue) -> None:
    queue.push_many([Notes(), Notes("fail"), Notes()])
    drain(queue)
    assert len(seen) == 3
    assert len(set(map(id, seen))) == 1
    assert seen[0].is_closed()  # type: ignore[attr-defined]


def test_a_task_that_a_job_leaves_is_cancelled_before_the_next_job(queue: Queue) -> None:
    queue.push_many([Notes("leave a task"), Notes()])
    drain(queue)
    task = seen[1]
    assert isinstance(task, asyncio.Task)
    assert task.cancelled()


def test_a_job_that_stops_the_loop_fails_alone(queue: Queue) -> None:
    ids = queue.push_many([Notes("close"), Notes()])
    drain(queue)
    assert [queue.get(row.id).state for row in queue.find()] == ["failed"]
    assert queue.get(ids[0]).exception
    assert len(seen) == 2


def test_a_timeout_cancels_what_is_awaited(loop: EventLoop) -> None:
    with pytest.raises(JobTimeout, match=r"0\.01 s"):
        loop.run(asyncio.sleep(3600), 0.01)
    assert loop.run(asyncio.sleep(0, "next"), 60) == "next"


def test_a_job_that_cancels_itself_was_not_timed_out(loop: EventLoop) -> None:
    async def cancel() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        loop.run(cancel(), 60)


def test_a_closed_loop_is_replaced(loop: EventLoop) -> None:
    async def own() -> object:
        return asyncio.get_running_loop()

    first = loop.run(own(), None)
    loop.close()
    loop.close()
    assert loop.run(own(), None) is not first
