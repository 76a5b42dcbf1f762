"""The signal handlers, signal mask and timers of a worker, restored after each job.

A change that a job leaves behind would affect the next job, or keep the worker from
stopping. A child that a job forks gets the handlers from before the worker set its own.
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

# From signal's C module: signal.getsignal converts the result to an enum, which takes a
# hundred times as long.
_getsignal: Callable[[int], object] = _signal.getsignal

# Reading the signal mask or a timer costs a system call. Jobs that are shorter than this share
# one check.
SIGNAL_CHECK_SECONDS = 0.0005


def _numbers(*names: str) -> tuple[int, ...]:
    return tuple(int(getattr(signal, name)) for name in names if hasattr(signal, name))


# Signals of timers, whose default action would end the process if a job left a timer running.
TIMER_SIGNALS = _numbers("SIGVTALRM", "SIGPROF")
# Signals whose handlers are restored; many programs set SIGCHLD and SIGPIPE for themselves.
WATCHED = _numbers("SIGTERM", "SIGINT", "SIGHUP", "SIGALRM", "SIGCHLD", "SIGPIPE") + TIMER_SIGNALS
POSIX = hasattr(signal, "pthread_sigmask")
OTHER_TIMERS = [
    (name, int(getattr(signal, name)))
    for name in ("ITIMER_VIRTUAL", "ITIMER_PROF")
    if hasattr(signal, name)
]

# The handlers from before the worker set its own; a forked child gets them.
_before: dict[int, object] = {}
_masks = threading.local()
_registered = False


class SignalState:
    """The signal settings of one worker thread while no job runs."""

    def __init__(self, *, main: bool, alarm: Alarm) -> None:
        """Remember the current settings.

        Only the ``main`` thread has handlers and timers. The worker itself uses ITIMER_REAL
        for its ``alarm``.
        """
        self._main = main
        self._alarm = alarm
        self._handlers = _handlers() if main else []
        self._mask = _mask()
        self._wakeup = -1
        self._checked_at = 0.0
        self._skipped = False

    def restore(self) -> str:
        """Undo what a job has changed; return a description of it, "" for nothing."""
        changed = False
        if self._main:
            changed = _handlers() != self._handlers
        if not changed and 0 <= perf_counter() - self._checked_at < SIGNAL_CHECK_SECONDS:
            self._skipped = True
            return ""
        left = [*self._restore_handlers(), *self._restore_mask(), *self._restore_timers()]
        if self._main:
            self.write_to(self._wakeup)
        skipped, self._skipped = self._skipped, False
        self._checked_at = perf_counter()
        if not left:
            return ""
        return ", ".join(left) + (" (or a short job just before it did)" if skipped else "")

    def write_to(self, descriptor: int) -> None:
        """Write the number of each signal to ``descriptor`` as it arrives; -1 for none.

        This works even while no Python code can run.
        """
        self._wakeup = descriptor
        try:
            signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
        except (OSError, ValueError):
            # A job has closed the descriptor.
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
    """Do nothing; keeps a timer that a job has left running from ending the process."""


def set_handler(number: int, handler: object) -> None:
    """Set a handler that was read before; None, one not set from Python, becomes SIG_DFL."""
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
    """Set these handlers, and no wakeup descriptor, in each child forked from now on.

    With an empty mapping, children are left as they are.
    """
    global _registered
    _before.clear()
    _before.update(handlers)
    if not _registered and hasattr(os, "register_at_fork"):
        _registered = True
        os.register_at_fork(
            before=_block_signals,
            after_in_parent=_restore_mask_after_fork,
            after_in_child=_set_in_child,
        )


def _block_signals() -> None:
    """Block the signals until the child has its handlers.

    A signal that arrived before would be handled as a stop of the worker, and be lost.
    """
    if _before:
        _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _before)


def _restore_mask_after_fork() -> None:
    mask = _masks.__dict__.pop("before", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _set_in_child() -> None:
    for number, handler in _before.items():
        set_handler(number, handler)
    if _before:
        signal.set_wakeup_fd(-1)
    _before.clear()
    _restore_mask_after_fork()
