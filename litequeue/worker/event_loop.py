"""The event loop of a worker, on which its async jobs run: one after the other in the worker's own
thread, or many at once in a thread for all of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from functools import partial

from litequeue.errors import JobTimeout
from litequeue.worker.interrupt import run_job
from litequeue.worker.shutdown import block_signals

# How long the thread of the loop may take to end.
CLOSE_SECONDS = 2.0


class EventLoop:
    """An event loop that is made for the first async job and kept as long as the worker.

    Objects that belong to a loop, such as an HTTP client's connections, serve all jobs.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Awaitable[object], seconds: float | None) -> object:
        """Await ``work``, and cancel it after ``seconds``.

        Tasks that it leaves running are cancelled too. Raises JobTimeout if ``work`` was
        cancelled because its time was over.
        """
        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
        loop = self._loop
        task = loop.create_task(_awaited(work))
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = task.cancel()

        timer = None if seconds is None else loop.call_later(seconds, expire)
        try:
            return run_job(partial(loop.run_until_complete, task))
        except asyncio.CancelledError:
            if expired:
                raise JobTimeout(detail=f" of {seconds:g} s") from None
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if not loop.is_running():
                run_job(partial(_cancel_tasks, loop))

    def close(self) -> None:
        """Close the loop; a later job gets a new one."""
        loop, self._loop = self._loop, None
        if loop is None or loop.is_closed():
            return
        try:
            with suppress(Exception):
                _cancel_tasks(loop)
                loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            # Do not wait for the threads of the default executor: one may never end.
            loop.close()


class LoopThread:
    """An event loop in a thread of its own, on which many async jobs run at once."""

    def __init__(self) -> None:
        """Start the thread."""
        self._jobs: dict[asyncio.Task[object], type[BaseException] | None] = {}
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(_owned_task)  # type: ignore[arg-type]
        self.thread = threading.Thread(target=self._run, name="litequeue-async", daemon=True)
        self.thread.start()

    def start(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run ``work``, which may await ``run``, in the loop; any thread may call this."""
        asyncio.run_coroutine_threadsafe(work(), self._loop)

    async def run(self, work: Awaitable[object], seconds: float | None) -> object:
        """Await ``work`` as EventLoop.run does; several may be awaited at once."""
        owned: set[asyncio.Task[object]] = set()
        before = _owned.set(owned)
        try:
            task = self._loop.create_task(_awaited(work))
        finally:
            _owned.reset(before)
        self._jobs[task] = None
        timer = None
        if seconds is not None:
            timer = self._loop.call_later(seconds, self._interrupt, task, JobTimeout)
        try:
            return await task
        except asyncio.CancelledError:
            kind = self._jobs[task]
            if kind is JobTimeout:
                raise JobTimeout(detail=f" of {seconds:g} s") from None
            if kind is not None:
                raise kind from None
            raise
        finally:
            del self._jobs[task]
            if timer is not None:
                timer.cancel()
            left = [each for each in owned if not each.done()]
            for each in left:
                each.cancel()
            if left:
                await asyncio.gather(*left, return_exceptions=True)

    def interrupt(self, kind: type[BaseException]) -> None:
        """Cancel all jobs, and raise an exception of this kind instead of CancelledError."""

        def interrupt_all() -> None:
            for task in list(self._jobs):
                self._interrupt(task, kind)

        self._loop.call_soon_threadsafe(interrupt_all)

    def close(self) -> None:
        """End the loop and its thread. No job is running."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.thread.join(CLOSE_SECONDS)

    def _interrupt(self, task: asyncio.Task[object], kind: type[BaseException]) -> None:
        # The first kind counts.
        if self._jobs.get(task, kind) is None and task.cancel():
            self._jobs[task] = kind

    def _run(self) -> None:
        block_signals()
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            with suppress(Exception):
                _cancel_tasks(self._loop)
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


# The tasks of the job that makes them.
_owned: ContextVar[set[asyncio.Task[object]] | None] = ContextVar("litequeue_tasks", default=None)


def _owned_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[object, object, object], **options: object
) -> asyncio.Task[object]:
    task: asyncio.Task[object] = asyncio.Task(work, loop=loop, **options)  # type: ignore[arg-type]
    owned = _owned.get()
    if owned is not None:
        owned.add(task)
        task.add_done_callback(owned.discard)
    return task


async def _awaited(work: Awaitable[object]) -> object:
    return await work


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
