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
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from litequeue.errors import JobTimeout
from litequeue.worker.interrupt import RETRY_SECONDS, Alarm, run_job, within_job

if TYPE_CHECKING:
    from litequeue.worker.event_loop import EventLoop

TIMEOUT = "timeout"
# How much later than promised the watchdog may end the process. It is armed anew only after
# that time, since arming it starts a thread.
WATCHDOG_SECONDS = 0.05

Handle = Callable[[], object]


class Watchdog:
    """Ends this process, whatever it does, unless it is disarmed before."""

    def __init__(self) -> None:
        self._ends_at = 0.0

    def arm(self, seconds: float, report_to: int) -> None:
        """End the process in ``seconds``, or some hundredths of a second later, with status 1
        and with where it hung written to the descriptor ``report_to``."""
        at = time.monotonic() + seconds
        if not at <= self._ends_at <= at + WATCHDOG_SECONDS:
            late = seconds + WATCHDOG_SECONDS
            faulthandler.dump_traceback_later(late, exit=True, file=report_to)
            self._ends_at = at + WATCHDOG_SECONDS

    def disarm(self) -> None:
        """Let the process live, and also if a job has used the same thread of faulthandler's."""
        faulthandler.cancel_dump_traceback_later()
        self._ends_at = 0.0


class Timeouts:
    """Runs the jobs of one worker, each within its own time."""

    def __init__(self, alarm: Alarm, grace: float) -> None:
        """Use ``alarm`` in the thread that it belongs to. After its timeout, a job has
        ``grace`` seconds in which it is to end."""
        self._alarm = alarm
        self._grace = grace
        self._watchdog = Watchdog()
        self._event_loop: EventLoop | None = None

    def run(
        self,
        handle: Handle,
        seconds: float | None,
        *,
        report_to: int,
        overdue: Callable[[], None],
    ) -> object:
        """Run ``handle``, and await what it returns if that can be awaited; after ``seconds``,
        a JobTimeout is raised in it, or it is cancelled.

        After the grace the process is ended, with where it hung written to the descriptor
        ``report_to``; in a thread that the alarm does not belong to, ``overdue`` is called
        instead. The process may be ended until ``disarm`` is called.
        """
        main = self._alarm.here()
        if seconds is None:
            if main:
                self._watchdog.disarm()
            return self._handled(handle, None, run_job)
        interrupt = not inspect.iscoroutinefunction(handle)
        if not main:
            return self._timed(handle, seconds, interrupt, overdue)
        self._watchdog.arm(seconds + self._grace, report_to)
        call = partial(self._alarmed, seconds) if interrupt else run_job
        return self._handled(handle, seconds, call)

    def disarm(self) -> None:
        """The worker is about to do other things, which may take as long as they take."""
        if self._alarm.here():
            self._watchdog.disarm()
            self._alarm.stop()

    def close(self) -> None:
        """Close the event loop."""
        if self._event_loop is not None:
            self._event_loop.close()

    def _handled(
        self, handle: Handle, seconds: float | None, call: Callable[[Handle], object]
    ) -> object:
        result = call(handle)
        if result is None or not inspect.isawaitable(result):
            return result
        if self._event_loop is None:
            # A worker without async jobs does without its 10 MB.
            from litequeue.worker.event_loop import EventLoop

            self._event_loop = EventLoop()
        return self._event_loop.run(result, seconds)

    def _alarmed(self, seconds: float, handle: Handle) -> object:
        def expire(frame: FrameType | None) -> None:
            if within_job(frame):
                raise JobTimeout(detail=f" of {seconds:g} s")
            self._alarm.set(TIMEOUT, RETRY_SECONDS, expire)

        self._alarm.set(TIMEOUT, seconds, expire)
        try:
            return run_job(handle)
        finally:
            self._alarm.cancel(TIMEOUT)

    def _timed(
        self, handle: Handle, seconds: float, interrupt: bool, overdue: Callable[[], None]
    ) -> object:
        late = _Late(threading.get_ident())
        timers = [threading.Timer(seconds + self._grace, overdue)]
        if interrupt:
            timers.append(threading.Timer(seconds, late.expire))
        for timer in timers:
            timer.daemon = True
            timer.start()
        try:
            return self._handled(handle, seconds, late.run if interrupt else run_job)
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
