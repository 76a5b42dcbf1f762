"""The signal handlers, signal mask and timers of a worker, checked after each job.

What a job changes of them would meet the next one, or keep the worker from stopping. And
a child that a job forks is given the handlers that were there before the worker's.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter
from types import FrameType

from litequeue.worker.interrupt import Alarm

# Of signal's own C module: signal.getsignal makes an enum of what it finds, which takes a
# hundred times as long.
_getsignal: Callable[[int], object] = _signal.getsignal

# Reading the signal mask or a timer costs a system call: for jobs that are shorter than this,
# it is done once for several jobs.
SIGNAL_CHECK_SECONDS = 0.0005


def _numbers(*names: str) -> tuple[int, ...]:
    return tuple(int(getattr(signal, name)) for name in names if hasattr(signal, name))


# Those whose default would end the process, where a timer is left; and two that many
# programs set for themselves.
TIMER_SIGNALS = _numbers("SIGVTALRM", "SIGPROF")
WATCHED = _numbers("SIGTERM", "SIGINT", "SIGHUP", "SIGALRM", "SIGCHLD", "SIGPIPE") + TIMER_SIGNALS
POSIX = hasattr(signal, "pthread_sigmask")
OTHER_TIMERS = [
    (name, int(getattr(signal, name)))
    for name in ("ITIMER_VIRTUAL", "ITIMER_PROF")
    if hasattr(signal, name)
]

# The handlers from before the worker's own: what a forked child gets.
_before: dict[int, object] = {}
_masks = threading.local()
_registered = False


class SignalState:
    """What one thread of a worker has when no job runs."""

    def __init__(self, *, main: bool, alarm: Alarm) -> None:
        """Remember how it is now. Only the ``main`` thread has handlers and timers; the
        worker itself uses ITIMER_REAL, for its ``alarm``."""
        self._main = main
        self._alarm = alarm
        self._handlers = _handlers() if main else []
        self._mask = _mask()
        self._wakeup = -1
        self._looked_at = 0.0
        self._passed_over = False

    def restore(self) -> str:
        """Put back what a job has changed; returns what that was, "" for nothing."""
        changed = False
        if self._main:
            changed = _handlers() != self._handlers
        if not changed and 0 <= perf_counter() - self._looked_at < SIGNAL_CHECK_SECONDS:
            self._passed_over = True
            return ""
        left = [*self._restore_handlers(), *self._restore_mask(), *self._restore_timers()]
        if self._main:
            self.write_to(self._wakeup)
        passed_over, self._passed_over = self._passed_over, False
        self._looked_at = perf_counter()
        if not left:
            return ""
        return ", ".join(left) + (" (or a short job just before it did)" if passed_over else "")

    def write_to(self, descriptor: int) -> None:
        """Have the number of each signal written to this descriptor as it comes, even if
        no line of Python can run; -1 for none."""
        self._wakeup = descriptor
        try:
            signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
        except (OSError, ValueError):
            # A job has closed it.
            signal.set_wakeup_fd(-1)

    def _restore_handlers(self) -> Iterator[str]:
        if not self._main:
            return
        for number, ours, found in zip(WATCHED, self._handlers, _handlers(), strict=True):
            if found != ours:
                set_handler(number, ours)
                yield f"a handler of {_name(number)}"

    def _restore_mask(self) -> Iterator[str]:
        found = _mask()
        if found != self._mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            names = ", ".join(sorted(map(_name, found ^ self._mask)))
            yield f"a changed signal mask ({names})"

    def _restore_timers(self) -> Iterator[str]:
        if not self._main:
            return
        if hasattr(signal, "ITIMER_REAL") and self._alarm.restore():
            yield "a timer (ITIMER_REAL)"
        for name, number in OTHER_TIMERS:
            if signal.getitimer(number)[0]:
                signal.setitimer(number, 0)
                yield f"a timer ({name})"


def ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: a timer that a job has left running must not end the process."""


def set_handler(number: int, handler: object) -> None:
    """Set what was found before; None is a handler that Python cannot set."""
    signal.signal(number, signal.SIG_DFL if handler is None else handler)  # type: ignore[arg-type]


def _handlers() -> list[object]:
    return list(map(_getsignal, WATCHED))


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _mask() -> set[int]:
    return signal.pthread_sigmask(signal.SIG_BLOCK, ()) if POSIX else set()


def give_to_children(handlers: Mapping[int, object]) -> None:
    """Let each child that is forked from now on have these handlers, and no wakeup
    descriptor; an empty mapping leaves children as they are."""
    global _registered
    _before.clear()
    _before.update(handlers)
    if not _registered and hasattr(os, "register_at_fork"):
        _registered = True
        os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_give)


def _hold() -> None:
    """Block the signals: one that came to the child before it has its handlers would be
    taken for a stop of the worker, and lost."""
    if _before:
        _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _before)


def _let_go() -> None:
    mask = _masks.__dict__.pop("before", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _give() -> None:
    for number, handler in _before.items():
        set_handler(number, handler)
    if _before:
        signal.set_wakeup_fd(-1)
    _before.clear()
    _let_go()
