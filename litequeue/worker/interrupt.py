"""Raising in a running job what is to end it, and nowhere else.

A signal handler of Python runs between any two lines of the main thread, and most of those
are not the job's: what it raised in a worker's own lines would end the worker. So nothing
is raised unless the job's own code runs; if it does not, the alarm tries again.
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

# How soon an alarm that came at a wrong moment comes again.
RETRY_SECONDS = 0.002
# How far the remaining time of the timer may be from what was computed.
SAME_TIMER_SECONDS = 0.01

# Below these, a job is inside steps that belong together: the state of a transaction and
# what is known of it, a stop and what it prints.
WHOLE_MODULES = frozenset(
    {"litequeue.engine.database", "litequeue.worker.interrupt", "litequeue.worker.shutdown"}
)
WHOLE: CodeType = Run.transaction.__wrapped__.__code__  # type: ignore[attr-defined]
# What waits for a lock of the database has changed nothing yet, and may wait for long.
WAITING: CodeType = Database._retry_while_locked.__code__

Action = Callable[[FrameType | None], None]


def run_job(handle: Callable[[], object]) -> object:
    """Call a job's ``handle``: what is raised from outside is raised below this frame."""
    return handle()


_BOUNDARY = run_job.__code__


def within_job(frame: FrameType | None) -> bool:
    """Whether an exception that is raised in ``frame``, the innermost of a thread, comes out
    of a job that has not returned yet, and leaves nothing half done."""
    if frame is None or frame.f_code is _BOUNDARY or _module(frame) == "contextlib":
        # A block of ``with`` whose __exit__ was called, and has not begun, never ends.
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
    """The interval timer of the main thread, shared by everything that waits for a moment.

    The timer is set anew only if it would fire too late. It may fire for something that was
    cancelled, and is then set for what is due next: so jobs with the same timeout that run one
    after the other cost no system call each but one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds that are never set back."""
        self._clock = clock
        self._due: dict[str, tuple[float, Action]] = {}
        self._fires_at = inf
        self._changes = 0
        self._thread = 0

    def begin(self) -> None:
        """Belong to this thread, whose SIGALRM calls ``fire`` from now on."""
        self._thread = threading.get_ident()

    def end(self) -> None:
        """Forget everything that is due, and the thread."""
        if self._thread:
            self._due.clear()
            self.stop()
            self._thread = 0

    def forget(self) -> None:
        """Do the same in a forked child, which has not inherited the timer."""
        self._due.clear()
        self._fires_at, self._thread = inf, 0

    def here(self) -> bool:
        """Whether it belongs to the thread that asks."""
        return self._thread == threading.get_ident()

    def set(self, name: str, seconds: float, action: Action) -> None:
        """Call ``action`` with the frame that then runs, once, in ``seconds``; there is one
        action of each ``name``."""
        if self._thread:
            self._due[name] = (self._clock() + seconds, action)
            self._arm()

    def cancel(self, name: str) -> None:
        """Do not call that action."""
        self._due.pop(name, None)

    def stop(self) -> None:
        """Stop the timer if nothing is due."""
        if self._fires_at < inf and not self._due:
            self._fires_at = inf
            signal.setitimer(signal.ITIMER_REAL, 0)
            # A signal handler may have set something in between.
            self._arm()

    def restore(self) -> bool:
        """Set the timer again if a job has changed it; return whether the job had left one
        running."""
        left, interval = signal.getitimer(signal.ITIMER_REAL)
        ours = max(0.0, self._fires_at - self._clock()) if self._fires_at < inf else 0.0
        if not interval and abs(left - ours) < SAME_TIMER_SECONDS:
            return False
        self._fires_at = inf
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._arm()
        return left > 0

    def fire(self, number: int, frame: FrameType | None) -> None:
        """Do the first thing that is due; the handler of SIGALRM."""
        self._fires_at = inf
        # A copy: other signals change it between any two lines.
        due = [(at, name) for name, (at, _) in list(self._due.items())]
        at, name = min(due, default=(inf, ""))
        action = self._due.pop(name, None) if at <= self._clock() else None
        # Before the action, which may raise.
        self._arm()
        if action is not None:
            action[1](frame)

    def _arm(self) -> None:
        """Let the timer fire when the first thing is due, or before."""
        self._changes = changes = self._changes + 1
        while due := list(self._due.values()):
            first = min(at for at, _ in due)
            seconds = max(first - self._clock(), 1e-6)
            # The system is asked, since a job may have stopped the timer.
            if not (
                self._fires_at <= first
                and 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= seconds + SAME_TIMER_SECONDS
            ):
                signal.setitimer(signal.ITIMER_REAL, seconds)
                self._fires_at = first
            # A signal handler that came in between has armed it for something else.
            if changes == self._changes:
                return
            changes = self._changes
