"""Timeouts that are kept.

A job whose time is over gets a JobTimeout raised inside it, an async one is cancelled.
One that does not end then, because it sits in a C call or swallows what is raised, is
ended together with its process, by a thread of faulthandler's that needs no Python to
run. In a thread of a larger program nothing can be ended; there the row says so. A job
that has returned before the JobTimeout could be raised has succeeded.
"""

from __future__ import annotations

import faulthandler
import inspect
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType

from litequeue.errors import JobTimeout
from litequeue.worker.interrupt import RETRY_SECONDS, Alarm, run_job, within_job

TIMEOUT = "timeout"

Handle = Callable[[], object]


def unlimited(handle: Handle) -> object:
    """Run ``handle``, and what it gives to be awaited, for as long as that takes."""
    return _handled(handle, None, run_job)


def limited(
    handle: Handle,
    seconds: float,
    *,
    alarm: Alarm,
    grace: float,
    interrupt: bool,
    report_to: int,
    overdue: Callable[[], None],
) -> object:
    """Run ``handle`` for ``seconds``, and then ``grace`` seconds in which it is to end.

    With ``interrupt``, a JobTimeout is raised in it when its time is over. After the
    grace the process is ended, with status 1 and where it hung written to the descriptor
    ``report_to``; in a thread without an ``alarm``, ``overdue`` is called instead.
    """
    if not alarm.here():
        return _timed(handle, seconds, grace, interrupt, overdue)
    faulthandler.dump_traceback_later(seconds + grace, exit=True, file=report_to)
    try:
        return _handled(
            handle, seconds, partial(_alarmed, alarm, seconds) if interrupt else run_job
        )
    finally:
        faulthandler.cancel_dump_traceback_later()


def _handled(handle: Handle, seconds: float | None, call: Callable[[Handle], object]) -> object:
    result = call(handle)
    if result is not None and inspect.isawaitable(result):
        import asyncio  # a worker without async jobs does without its 10 MB

        return run_job(partial(asyncio.run, _cancelled_after(result, seconds)))
    return result


def _alarmed(alarm: Alarm, seconds: float, handle: Handle) -> object:
    def expire(frame: FrameType | None) -> None:
        if within_job(frame):
            raise _timeout(seconds)
        alarm.set(TIMEOUT, RETRY_SECONDS, expire)

    alarm.set(TIMEOUT, seconds, expire)
    try:
        return run_job(handle)
    finally:
        alarm.cancel(TIMEOUT)


async def _cancelled_after(work: Awaitable[object], seconds: float | None) -> object:
    """Await ``work``, cancelling it after ``seconds``; raises JobTimeout then."""
    import asyncio

    task = asyncio.ensure_future(_awaited(work))
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = task.cancel()

    if seconds is not None:
        asyncio.get_running_loop().call_later(seconds, expire)
    try:
        return await task
    except asyncio.CancelledError:
        if expired:
            raise _timeout(seconds) from None
        raise


async def _awaited(work: Awaitable[object]) -> object:
    return await work


def _timed(
    handle: Handle, seconds: float, grace: float, interrupt: bool, overdue: Callable[[], None]
) -> object:
    late = _Late(threading.get_ident())
    timers = [threading.Timer(seconds + grace, overdue)]
    if interrupt:
        timers.append(threading.Timer(seconds, late.expire))
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        return _handled(handle, seconds, late.run if interrupt else run_job)
    finally:
        for timer in timers:
            timer.cancel()


class _Late:
    """Has a JobTimeout raised in the job of another thread, which must not come out of it
    anywhere else: what is asked for there is raised some steps later."""

    def __init__(self, thread: int) -> None:
        self._thread = thread
        # The thread that takes the one element decides; no lock, which the exception could leave
        # locked.
        self._armed = [True]
        self._raised = False

    def expire(self) -> None:
        """Raise it as soon as the job's own code runs."""
        while self._take():
            if within_job(sys._current_frames().get(self._thread)):
                _raise_in(self._thread, JobTimeout)
                self._raised = True
                return
            self._armed.append(True)
            time.sleep(RETRY_SECONDS)

    def run(self, handle: Handle) -> object:
        """Run the job; when this returns, nothing will be raised any more."""
        results: list[object] = []
        try:
            try:
                results.append(run_job(handle))
            finally:
                self._reclaim()
        except JobTimeout:
            if not results:
                raise
        return results[0]

    def _reclaim(self) -> None:
        try:
            while not self._take():
                if self._raised:
                    _raise_in(self._thread, None)
                    return
                time.sleep(RETRY_SECONDS)
        except JobTimeout:
            # It was raised here, too late for the job, and comes no second time.
            return

    def _take(self) -> bool:
        try:
            return self._armed.pop()
        except IndexError:
            return False


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Have an exception raised in another thread, or take it back."""
    import ctypes  # some 2 MB that only a worker in a thread, with a timeout, needs

    what = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)


def _timeout(seconds: float | None) -> JobTimeout:
    return JobTimeout(detail=f" of {seconds:g} s")
