"""The event loop of a worker, on which its async jobs run one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial

from litequeue.errors import JobTimeout
from litequeue.worker.interrupt import run_job


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


async def _awaited(work: Awaitable[object]) -> object:
    return await work


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
