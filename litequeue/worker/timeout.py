"""Timeouts that are kept.

A job whose time is over gets a JobTimeout raised inside it, an async one is cancelled.
One that does not end then, because it sits in a C call or swallows what is raised, is
ended together with its process, by a thread of faulthandler's that needs no Python to
run. In a thread of a larger program nothing can be ended; there the row says so. A job
that has returned before the JobTimeout could be raised has succeeded.

Jobs in the main thread are timed by the alarm, jobs in other threads by a Timekeeper.
"""

from __future__ import annotations

import faulthandler
import heapq
import inspect
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from litequeue.errors import JobTimeout, LitequeueError
from litequeue.log import logger
from litequeue.records import JobRow
from litequeue.worker.interrupt import RETRY_SECONDS, Alarm, run_job, within_job
from litequeue.worker.shutdown import ForcedShutdown, block_signals

if TYPE_CHECKING:
    from litequeue.worker.event_loop import EventLoop

TIMEOUT = "timeout"
# How much later than promised the watchdog may end the process. It is armed anew only after
# that time, since arming it starts a thread. In threads it is the last resort, for a job that
# keeps all others from running.
WATCHDOG_SECONDS = 0.05
THREADS_WATCHDOG_SECONDS = 1.0
LEAST_WATCHDOG_SECONDS = 0.001

Handle = Callable[[], object]
Overdue = Callable[[JobRow], None]


class Watchdog:
    """Ends this process, whatever it does, unless it is disarmed before."""

    def __init__(self, late: float = WATCHDOG_SECONDS) -> None:
        """It may come ``late`` by so many seconds."""
        self._late = late
        self._ends_at = 0.0
        self._report_to = -1
        self._lock = threading.Lock()

    def arm(self, seconds: float, report_to: int) -> None:
        """End the process in ``seconds``, or a little later, with status 1 and with where it
        hung written to the descriptor ``report_to``."""
        at = time.monotonic() + seconds
        if not at <= self._ends_at <= at + self._late:
            with self._lock:
                self._ends_at, self._report_to = at + self._late, report_to
                self._set()

    def refresh(self) -> None:
        """Set the timer again, if it is armed: a job that has used the same thread of
        faulthandler's has stopped it. Any thread may call this."""
        with self._lock:
            if self._ends_at:
                self._set()

    def disarm(self) -> None:
        """Let the process live, and also if a job has used the same thread of faulthandler's."""
        if not self._ends_at:
            faulthandler.cancel_dump_traceback_later()
            return
        with self._lock:
            faulthandler.cancel_dump_traceback_later()
            self._ends_at = 0.0

    def _set(self) -> None:
        seconds = max(self._ends_at - time.monotonic(), LEAST_WATCHDOG_SECONDS)
        with suppress(OSError, ValueError):  # a job has closed the file
            faulthandler.dump_traceback_later(seconds, exit=True, file=self._report_to)


class Timekeeper:
    """Calls functions at their time, in a thread that is started for the first of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, list[Callable[[], None]]]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def call_later(self, seconds: float, action: Callable[[], None]) -> Callable[[], None]:
        """Call ``action`` once in ``seconds``, unless the function that this returns was called
        before."""
        entry = [action]
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="litequeue-timekeeper", daemon=True
                )
                self._thread.start()
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), entry))
            if self._due[0][2] is entry:
                self._changed.notify()
        return entry.clear

    def close(self) -> None:
        """End the thread, and call nothing of what is due; a later call starts another."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._closed = thread is not None
            self._changed.notify()
        if thread is not None:
            thread.join()
            self._due.clear()
            self._closed = False

    def _run(self) -> None:
        block_signals()
        while True:
            with self._changed:
                # Before it waits: it may have been closed before it began.
                if self._closed:
                    return
                action = self._next()
            if action is not None:
                # In a thread of its own: it may wait for the database, and others are due.
                threading.Thread(target=_call, args=(action,), daemon=True).start()

    def _next(self) -> Callable[[], None] | None:
        """Wait for the first moment, or for a change; return what is due, if it is."""
        while self._due and not self._due[0][2]:
            heapq.heappop(self._due)
        if not self._due:
            self._changed.wait()
            return None
        seconds = self._due[0][0] - time.monotonic()
        if seconds > 0:
            self._changed.wait(min(seconds, threading.TIMEOUT_MAX))
            return None
        _, _, entry = heapq.heappop(self._due)
        # A list gives up its element once, also where it is cancelled at this moment.
        try:
            return entry.pop()
        except IndexError:
            return None


def _call(action: Callable[[], None]) -> None:
    try:
        action()
    except LitequeueError as error:
        logger.warning("a job that has not ended in its time: %s", error)


class Timeouts:
    """Runs the jobs of one worker, each within its own time."""

    def __init__(self, alarm: Alarm, grace: float) -> None:
        """Use ``alarm`` in the thread that it belongs to. After its timeout, a job has
        ``grace`` seconds in which it is to end."""
        self._alarm = alarm
        self._grace = grace
        self._watchdog = Watchdog()
        self._threads_watchdog = Watchdog(THREADS_WATCHDOG_SECONDS)
        self._timekeeper = Timekeeper()
        # A loop runs in one thread only. This is for jobs of the main thread, and for those of
        # other threads whose handle is no coroutine function and returns a coroutine.
        self._loops = threading.local()
        self._interruptible: dict[int, _Interruptible] = {}
        self._ends: dict[object, float] = {}
        self._lock = threading.Lock()
        self.watched = False
        """Whether a job in a thread may be ended together with this process."""

    def run(
        self,
        handle: Handle,
        is_async: bool,
        seconds: float | None,
        report_to: int,
        overdue: Overdue,
        row: JobRow,
    ) -> object:
        """Run the ``handle`` of a row's job, and await what it returns if that can be awaited, as
        it can if it ``is_async``; after ``seconds``, a JobTimeout is raised in it, or it is
        cancelled.

        After the grace the process is ended, with where it hung written to the descriptor
        ``report_to``; in a thread that the alarm does not belong to, ``overdue`` is called
        with the row instead. The process may be ended until ``disarm`` is called.
        """
        if not self._alarm.here():
            return self._in_thread(handle, is_async, seconds, report_to, overdue, row)
        if seconds is None:
            self._watchdog.disarm()
            return self._handled(handle, None, run_job)
        self._watchdog.arm(seconds + self._grace, report_to)
        call = run_job if is_async else partial(self._alarmed, seconds)
        return self._handled(handle, seconds, call)

    def interrupt(self, kind: type[BaseException]) -> None:
        """Raise an exception of this kind in the job of each thread."""
        for job in list(self._interruptible.values()):
            job.interrupt(kind)

    def refresh(self) -> None:
        """Make sure that the process is ended with the job of the main thread, if it is one that
        runs long. Any thread may call this."""
        self._watchdog.refresh()

    def disarm(self) -> None:
        """The worker is about to do other things, which may take as long as they take."""
        if self._alarm.here():
            self._watchdog.disarm()
            self._alarm.stop()

    def close(self) -> None:
        """Close the event loop of this thread, and end the thread of the timekeeper."""
        self.close_loop()
        self._timekeeper.close()

    def close_loop(self) -> None:
        """Close the event loop of this thread."""
        loop: EventLoop | None = self._loops.__dict__.pop("loop", None)
        if loop is not None:
            loop.close()

    @contextmanager
    def overdue_after(
        self, seconds: float | None, report_to: int, overdue: Overdue, row: JobRow
    ) -> Iterator[None]:
        """Call ``overdue`` with the row if the block takes longer than ``seconds`` and the
        grace."""
        if seconds is None:
            yield
            return
        cancel = self._timekeeper.call_later(seconds + self._grace, partial(overdue, row))
        job = object()
        self._watch(report_to, job, time.monotonic() + seconds + 2 * self._grace)
        try:
            yield
        finally:
            cancel()
            self._watch(report_to, job, None)

    def _watch(self, report_to: int, job: object, ends_at: float | None) -> None:
        """Have the process ended when no Python has run for so long that no job could be."""
        if not self.watched:
            return
        with self._lock:
            if ends_at is None:
                self._ends.pop(job, None)
            else:
                self._ends[job] = ends_at
            if self._ends:
                first = min(self._ends.values()) - time.monotonic()
                self._threads_watchdog.arm(first, report_to)
            else:
                self._threads_watchdog.disarm()

    def _handled(
        self, handle: Handle, seconds: float | None, call: Callable[[Handle], object]
    ) -> object:
        result = call(handle)
        if result is None or not inspect.isawaitable(result):
            return result
        loop: EventLoop | None = getattr(self._loops, "loop", None)
        if loop is None:
            # A worker without async jobs does without its 10 MB.
            from litequeue.worker.event_loop import EventLoop

            self._loops.loop = loop = EventLoop()
        return loop.run(result, seconds)

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

    def _in_thread(
        self,
        handle: Handle,
        is_async: bool,
        seconds: float | None,
        report_to: int,
        overdue: Overdue,
        row: JobRow,
    ) -> object:
        if is_async:
            with self.overdue_after(seconds, report_to, overdue, row):
                return self._handled(handle, seconds, run_job)
        thread = threading.get_ident()
        self._interruptible[thread] = job = _Interruptible(thread)
        cancel = _nothing
        if seconds is not None:
            cancel = self._timekeeper.call_later(seconds, partial(job.interrupt, JobTimeout))
        try:
            with self.overdue_after(seconds, report_to, overdue, row):
                return self._handled(handle, seconds, job.run)
        except JobTimeout as error:
            if not job.raised:
                raise
            # From outside, only its type could be raised.
            detailed = JobTimeout(detail=f" of {seconds:g} s")
            raise detailed.with_traceback(error.__traceback__) from None
        finally:
            cancel()
            self._interruptible.pop(thread, None)


def _nothing() -> None:
    pass


class _Interruptible:
    """Runs the job of a thread, in which another thread can have an exception raised. It must
    not come out of the job anywhere else: what is asked for there is raised some steps later."""

    def __init__(self, thread: int) -> None:
        self._thread = thread
        self._pid = os.getpid()
        # The thread that takes the one element decides; no lock, which the exception could leave
        # locked.
        self._armed = [True]
        self.raised = False
        """Whether the exception was raised."""

    def interrupt(self, kind: type[BaseException]) -> None:
        """Raise an exception of this kind as soon as the job's own code runs; the first kind
        counts."""
        while self._take():
            if within_job(sys._current_frames().get(self._thread)):
                _raise_in(self._thread, kind)
                self.raised = True
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
                if os.getpid() != self._pid:
                    # A child that the job has forked: in it, a lock of another thread of its
                    # parent's may never be released.
                    os._exit(1)
                self._disarm()
        except (JobTimeout, ForcedShutdown):
            if not results:
                raise
        return results[0]

    def _disarm(self) -> None:
        try:
            while not self._take():
                if self.raised:
                    _raise_in(self._thread, None)
                    return
                time.sleep(RETRY_SECONDS)
        except (JobTimeout, ForcedShutdown):
            # It was raised here, too late for the job, and comes no second time.
            return

    def _take(self) -> bool:
        try:
            return self._armed.pop()
        except IndexError:
            return False


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Have an exception raised in another thread, or take it back."""
    import ctypes  # some 2 MB that only a worker with threads, or in one, needs

    what = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)
