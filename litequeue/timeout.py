"""Timeouts that are kept.

A job whose time is over gets a JobTimeout raised inside it, an async one is cancelled.
One that does not end then, because it sits in a C call or swallows what is raised, is
ended together with its process, by a thread of faulthandler's that needs no Python to
run. In a thread of a larger program nothing can be ended; there the row says so.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from litequeue.errors import JobTimeout


@contextmanager
def limited(
    seconds: float | None,
    *,
    grace: float,
    interrupt: bool,
    report_to: int,
    overdue: Callable[[], None],
) -> Iterator[None]:
    """Give the block ``seconds``, and then ``grace`` seconds to end; None is for ever.

    With ``interrupt``, a JobTimeout is raised in it when its time is over. After the
    grace the process is ended, with status 1 and where it hung written to the descriptor
    ``report_to``; in another thread than the main one, ``overdue`` is called instead.
    """
    if seconds is None:
        yield
    elif threading.current_thread() is threading.main_thread() and sys.platform != "win32":
        with _ended_after(seconds + grace, report_to), _alarmed(seconds, interrupt):
            yield
    else:
        with _timed(seconds, grace, interrupt, overdue):
            yield


async def cancelled_after(work: object, seconds: float | None) -> object:
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


async def _awaited(work: object) -> object:
    return await work  # type: ignore[misc]


@contextmanager
def _ended_after(seconds: float, report_to: int) -> Iterator[None]:
    faulthandler.dump_traceback_later(seconds, exit=True, file=report_to)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def _alarmed(seconds: float, interrupt: bool) -> Iterator[None]:
    armed = interrupt

    def expire(number: int, frame: FrameType | None) -> None:
        if armed:
            raise _timeout(seconds)

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _timed(
    seconds: float, grace: float, interrupt: bool, overdue: Callable[[], None]
) -> Iterator[None]:
    thread = threading.get_ident()
    guard = threading.Lock()
    armed = interrupt

    def expire() -> None:
        with guard:
            if armed:
                _raise_in(thread, JobTimeout)

    timers = [threading.Timer(seconds, expire), threading.Timer(seconds + grace, overdue)]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        # What was raised too late for the job must not hit the worker.
        with suppress(JobTimeout), guard:
            armed = False
        _raise_in(thread, None)
        for timer in timers:
            timer.cancel()


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Have an exception raised in another thread, or take it back."""
    import ctypes  # some 2 MB that only a worker in a thread, with a timeout, needs

    what = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)


def _timeout(seconds: float | None) -> JobTimeout:
    return JobTimeout(detail=f" of {seconds:g} s")
