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
    """The interval timer of the main thread, shared by all that waits for a moment."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds that are never set back."""
        self._clock = clock
        self._due: dict[str, tuple[float, Action]] = {}
        self._changes = 0
        self._thread = 0

    def begin(self) -> None:
        """Belong to this thread, whose SIGALRM calls ``ring`` from now on."""
        self._thread = threading.get_ident()

    def end(self) -> None:
        """Forget all that is due, and the thread."""
        if self._thread:
            self._due.clear()
            self._arm()
            self._thread = 0

    def forget(self) -> None:
        """Do the same in a forked child, which has not inherited the timer."""
        self._due.clear()
        self._thread = 0

    def here(self) -> bool:
        """Whether it belongs to the thread that asks."""
        return self._thread == threading.get_ident()

    def pending(self) -> bool:
        """Whether the timer runs."""
        return bool(self._due)

    def set(self, name: str, seconds: float, action: Action) -> None:
        """Call ``action`` with the frame that then runs, once, in ``seconds``; there is one
        action of each ``name``."""
        if self._thread:
            self._due[name] = (self._clock() + seconds, action)
            self._arm()

    def cancel(self, name: str) -> None:
        """Call that action no more."""
        if self._due.pop(name, None) is not None:
            self._arm()

    def ring(self, number: int, frame: FrameType | None) -> None:
        """Do the first thing that is due; the handler of SIGALRM."""
        # A copy: other signals change it between any two lines.
        due = [(at, name) for name, (at, _) in list(self._due.items())]
        at, name = min(due, default=(inf, ""))
        action = self._due.pop(name, None) if at <= self._clock() else None
        # Before the action, which may raise.
        self._arm()
        if action is not None:
            action[1](frame)

    def _arm(self) -> None:
        self._changes = changes = self._changes + 1
        while True:
            seconds = 0.0
            due = list(self._due.values())
            if due:
                seconds = max(min(at for at, _ in due) - self._clock(), 1e-6)
            signal.setitimer(signal.ITIMER_REAL, seconds)
            # A signal handler that came between has armed it for something else.
            if changes == self._changes:
                return
            changes = self._changes
