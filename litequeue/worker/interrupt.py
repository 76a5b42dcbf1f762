"""Raises an exception inside a running job, to end it, and nowhere else.

A Python signal handler can run between any two lines of the main thread. An exception
raised in the worker's own code would end the worker. So it is raised only while the job's
own code runs; otherwise the alarm tries again.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from math import inf
from types import CodeType, FrameType

from litequeue.engine.database import Database
from litequeue.jobs.context import Run

# The delay before an alarm that fired outside the job's own code fires again.
RETRY_SECONDS = 0.002
# How far the timer's remaining time may differ from the computed one.
SAME_TIMER_SECONDS = 0.01

# Code below these modules must not be interrupted: it changes a transaction and the record of
# its state, or handles a stop and prints its message.
WHOLE_MODULES = frozenset(
    {"litequeue.engine.database", "litequeue.worker.interrupt", "litequeue.worker.shutdown"}
)
WHOLE: CodeType = Run.transaction.__wrapped__.__code__  # type: ignore[attr-defined]
# Code that waits for the database lock may be interrupted: it has changed nothing yet.
WAITING: CodeType = Database._retry_while_locked.__code__

Action = Callable[[FrameType | None], None]


def run_job(handle: Callable[[], object]) -> object:
    """Call a job's ``handle``; its frame marks where the job's own code begins."""
    return handle()


_BOUNDARY = run_job.__code__


def within_job(frame: FrameType | None) -> bool:
    """Whether an exception can be raised safely in ``frame``, the innermost of a thread.

    This is so inside a job that has not returned, and not in steps that belong together.
    """
    if frame is None or frame.f_code is _BOUNDARY or _module(frame) == "contextlib":
        # An exception just before the first line of an __exit__ would skip its clean-up.
        return False
    waits = frame.f_code is WAITING
    while frame is not None:
        code = frame.f_code
        if code is _BOUNDARY:
            return True
        if not waits and (code is WHOLE or _module(frame) in WHOLE_MODULES):
            return False
        frame = frame.f_back
    return False


def _module(frame: FrameType) -> object:
    return frame.f_globals.get("__name__")


class Alarm:
    """The interval timer of the main thread, shared by timeouts and stops.

    The timer is set again only if it would fire too late. If it fires for an action that was
    cancelled, it is set for the next one. So consecutive jobs with the same timeout share one
    system call to set it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` returns monotonic seconds."""
        self._clock = clock
        self._due: dict[str, tuple[float, Action]] = {}
        self._fires_at = inf
        self._changes = 0
        self._thread = 0

    def begin(self) -> None:
        """Use the timer in this thread, which must be the one that handles SIGALRM."""
        self._thread = threading.get_ident()

    def end(self) -> None:
        """Cancel all actions, stop the timer and forget the thread."""
        if self._thread:
            self._due.clear()
            self.stop()
            self._thread = 0

    def forget(self) -> None:
        """Cancel all actions in a forked child, which does not inherit the timer."""
        self._due.clear()
        self._fires_at, self._thread = inf, 0

    def here(self) -> bool:
        """Whether the calling thread is the one that uses the timer."""
        return self._thread == threading.get_ident()

    def set(self, name: str, seconds: float, action: Action) -> None:
        """Call ``action`` once, in ``seconds``, with the frame that runs then.

        It replaces an earlier action of the same ``name``.
        """
        if self._thread:
            self._due[name] = (self._clock() + seconds, action)
            self._arm()

    def cancel(self, name: str) -> None:
        """Cancel the action of this name, if there is one."""
        self._due.pop(name, None)

    def stop(self) -> None:
        """Stop the timer if nothing is due."""
        if self._fires_at < inf and not self._due:
            self._fires_at = inf
            signal.setitimer(signal.ITIMER_REAL, 0)
            # A signal handler may have set an action in the meantime.
            self._arm()

    def restore(self) -> bool:
        """Set the timer again if a job has changed it.

        Returns whether the job had left a timer running.
        """
        left, interval = signal.getitimer(signal.ITIMER_REAL)
        ours = max(0.0, self._fires_at - self._clock()) if self._fires_at < inf else 0.0
        if not interval and abs(left - ours) < SAME_TIMER_SECONDS:
            return False
        self._fires_at = inf
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._arm()
        return left > 0

    def fire(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGALRM: call the first action that is due."""
        self._fires_at = inf
        # A copy: a handler of another signal may change the dict between any two lines.
        due = [(at, name) for name, (at, _) in list(self._due.items())]
        at, name = min(due, default=(inf, ""))
        action = self._due.pop(name, None) if at <= self._clock() else None
        # Set the timer before the action, which may raise.
        self._arm()
        if action is not None:
            action[1](frame)

    def _arm(self) -> None:
        """Set the timer to fire no later than the first action is due."""
        self._changes = changes = self._changes + 1
        while due := list(self._due.values()):
            first = min(at for at, _ in due)
            seconds = max(first - self._clock(), 1e-6)
            # Read the real timer, since a job may have stopped it.
            if not (
                self._fires_at <= first
                and 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= seconds + SAME_TIMER_SECONDS
            ):
                signal.setitimer(signal.ITIMER_REAL, seconds)
                self._fires_at = first
            # If a signal handler has set the timer in the meantime, check again.
            if changes == self._changes:
                return
            changes = self._changes
