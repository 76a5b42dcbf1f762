"""Asking a worker to end: after the job that it runs, or at once.

The first signal is only noted, and wakes the worker. A second signal, or the end of the
grace after the first, ends the running job by an exception that is raised inside its
handle(), and nowhere else. A service manager may kill the worker before that. So each
signal is written to a file at once, and a job whose worker was killed during a stop is not
charged for it.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import RawIOBase
from math import inf
from types import FrameType

from litequeue.engine import forks
from litequeue.records import JobRow
from litequeue.worker.interrupt import RETRY_SECONDS, Alarm, within_job
from litequeue.worker.signal_state import (
    TIMER_SIGNALS,
    SignalState,
    give_to_children,
    ignore,
    set_handler,
)

# SIGHUP, which Windows does not have, is sent when a terminal is closed.
SIGNALS = tuple(
    int(getattr(signal, name)) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)
# How long a job may take to end after ForcedShutdown was raised in it; then the process ends.
# Together with the grace, this is less than the ten seconds that container engines wait.
FORCED_STOP_SECONDS = 1.0
GRACE, FORCED, LAST = "grace", "forced stop", "last"

logger = logging.getLogger("litequeue")


def block_signals() -> None:
    """Block all signals in this thread, so that other threads get them.

    A signal that a helper thread received would not wake the main thread, which handles it.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


class ForcedShutdown(BaseException):
    """Raised in a running job that must end now; the job is released."""


class Shutdown:
    """Whether one worker is to stop, and how soon."""

    signal = 0
    _state: SignalState | None = None
    _job: JobRow | None = None
    _in_threads: Callable[[], Sequence[JobRow]] | None = None
    _note: int | None = None
    _forced = False

    def __init__(
        self,
        parent_pipe: int | None = None,
        *,
        grace: float | None = None,
        last: float = FORCED_STOP_SECONDS,
        say: Callable[[str], None] = logger.warning,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a stop that an end of file on the descriptor ``parent_pipe`` requests, too.

        After SIGTERM and SIGHUP, a job has ``grace`` seconds to end. Then ForcedShutdown is
        raised in it, and ``last`` seconds later the process ends. Without a grace, and after
        SIGINT, there is no time limit. ``say`` gets a line that names the job. ``clock``
        returns monotonic seconds.
        """
        self._clock = clock
        self._parent_pipe = [] if parent_pipe is None else [parent_pipe]
        self._reader, self._writer = _pipe()
        self._times = 0
        self._grace, self._last, self._say = grace, last, say
        self._end_at = inf
        self.alarm = Alarm(clock)

    @property
    def requested(self) -> bool:
        """Whether no further job is to start."""
        return self._times > 0

    @property
    def hard(self) -> bool:
        """Whether the running job, too, is to end now."""
        return self._forced or self._times > 1

    @property
    def status(self) -> int:
        """The exit status of the process after this stop."""
        return 128 + self.signal if self._times > 1 else 0

    def request(self) -> None:
        """Let the running job finish and start no other; may be called by any thread."""
        self._times = max(1, self._times)
        self.wake()

    def renew(self) -> None:
        """Forget an earlier stop request, so that the worker can run again."""
        self._times = self.signal = 0
        self._forced = False

    def sleep(self, seconds: float, also: Sequence[int] = ()) -> list[int]:
        """Sleep at most ``seconds``, until a stop or until a descriptor in ``also`` is readable.

        Returns the readable ones.
        """
        own = self._reader.fileno()
        ready, _, _ = select.select([own, *self._parent_pipe, *also], [], [], max(0.0, seconds))
        if own in ready:
            self._reader.read(4096)
        if self._parent_pipe and self._parent_pipe[0] in ready:
            # An end of file stays readable forever.
            self._parent_pipe.clear()
            self.request()
        return [descriptor for descriptor in ready if descriptor in also]

    def look(self) -> None:
        """Check whether the parent pipe was closed, for a worker that is too busy to sleep."""
        if self._parent_pipe:
            self.sleep(0)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Let SIGTERM, SIGINT and SIGHUP request this stop inside the block.

        Outside the main thread no handlers are set, since Python does not allow it. A SIGHUP
        that was ignored, as under nohup, stays ignored.
        """
        main = threading.current_thread() is threading.main_thread()
        outermost = self._state is None
        before = self._install(outermost) if main else {}
        self._state = SignalState(main=main, alarm=self.alarm)
        try:
            yield
        finally:
            if outermost:
                self._state = None
                self.alarm.end()
                if before:
                    give_to_children({})
                for number, handler in before.items():
                    set_handler(number, handler)

    def _install(self, outermost: bool) -> dict[int, object]:
        """Set the handlers, even if a module of jobs has set its own; return those from before."""
        handlers: dict[int, Callable[[int, FrameType | None], object]] = {}
        for number in SIGNALS:
            if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                handlers[number] = self._handle
        for number in TIMER_SIGNALS:
            handlers[number] = ignore
        if hasattr(signal, "SIGALRM"):
            handlers[signal.SIGALRM] = self.alarm.fire
            self.alarm.begin()
        before: dict[int, object] = {number: signal.getsignal(number) for number in handlers}
        if outermost:
            forks.tell_child(self)
            give_to_children(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        return before

    @contextmanager
    def noted_in(self, descriptor: int) -> Iterator[None]:
        """Write the number of each signal to this file as it arrives, inside the block."""
        if self._state is None or not self.alarm.here():
            yield
            return
        os.set_blocking(descriptor, False)
        self._note = descriptor
        self._state.write_to(descriptor)
        try:
            yield
        finally:
            self._note = None
            self._state.write_to(-1)

    def run_in_threads(self, running: Callable[[], Sequence[JobRow]] | None) -> None:
        """From here on, or with None up to here, jobs run in other threads: ``running`` returns
        their rows. Who calls this looks at ``hard``, and interrupts them."""
        self._in_threads = running

    def begin_job(self, row: JobRow) -> None:
        """From here on, a forced stop raises ForcedShutdown; at once if one was requested."""
        if self._in_threads is None:
            self._job = row
        if self.hard:
            raise ForcedShutdown

    def end_job(self) -> str:
        """End the job, and undo what it has changed of signals and timers.

        Must always be called. Returns a description of the changes, "" for none.
        """
        if self._in_threads is not None:
            return ""
        self._job = None
        if self._times:
            return self.restore()
        return "" if self._state is None else self._state.restore()

    def restore(self) -> str:
        """Put back what jobs have changed of signals and timers; return what that was, "" for
        nothing. No job is running in this thread."""
        if self._times and not self._running():
            self.alarm.cancel(FORCED)
            self.alarm.cancel(LAST)
        return "" if self._state is None else self._state.restore()

    def _running(self) -> Sequence[JobRow]:
        if self._in_threads is not None:
            return self._in_threads()
        return () if self._job is None else (self._job,)

    def forked(self) -> None:
        """Be inactive in a forked child, which gets its handlers from signal_state."""
        self.alarm.forget()
        self._state = self._job = self._note = self._in_threads = None

    def wake(self) -> None:
        """End the sleep, if there is one; a signal handler or any thread may call this."""
        with suppress(OSError, ValueError):
            self._writer.write(b"\n")

    def close(self) -> None:
        """Close the pipe."""
        for end in (self._reader, self._writer):
            with suppress(OSError):  # a job may have closed it
                end.close()

    # The pipe of a worker that is garbage-collected is closed too.
    __del__ = close

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Keep the count in a local: another signal may be handled between any two lines.
        times = self._times = self._times + 1
        self.signal = number
        self.wake()
        if self._note is not None:
            # A job may have replaced the wakeup descriptor, as asyncio does.
            with suppress(OSError):
                os.write(self._note, bytes([number]))
        if times == 1:
            self._ask(number)
        elif times == 2:
            self._force(frame)
        elif self._clock() > self._end_at and self._running():
            os._exit(128 + number)

    def _ask(self, number: int) -> None:
        if self._forced:
            return
        seconds = None if number == signal.SIGINT else self._grace
        if seconds is not None:
            self.alarm.set(GRACE, seconds, self._force)
        running = self._running()
        if running:
            again = "Ctrl-C" if number == signal.SIGINT else "a signal"
            within = "" if seconds is None else f" within {seconds:g} s"
            it = "it" if len(running) == 1 else "them"
            self._report(f"Finishing {_named(running)}{within}; {again} again releases {it}")

    def _force(self, frame: FrameType | None) -> None:
        if self._forced:
            # A second signal at the end of the grace: a second exception would interrupt the
            # job while it handles the first.
            return
        self._forced = True
        self.wake()
        running = self._running()
        if running:
            self._end_at = self._clock() + self._last
            self.alarm.set(LAST, self._last, self._end)
            self._report(f"Releasing {_named(running)}; this attempt does not count")
            self._raise(frame)

    def _raise(self, frame: FrameType | None) -> None:
        """Raise ForcedShutdown in the job as soon as the job's own code runs."""
        if self._job is not None:
            if within_job(frame):
                raise ForcedShutdown
            self.alarm.set(FORCED, RETRY_SECONDS, self._raise)

    def _end(self, frame: FrameType | None) -> None:
        # A job that catches every exception would keep the process running forever.
        if self._running():
            os._exit(128 + self.signal)

    def _report(self, text: str) -> None:
        # This runs in a signal handler, where the write may itself be interrupted.
        with suppress(Exception):
            self._say(text)


def _named(rows: Sequence[JobRow]) -> str:
    return f"job {rows[0].id} ({rows[0].name})" if len(rows) == 1 else f"{len(rows)} jobs"


def _pipe() -> tuple[RawIOBase, RawIOBase]:
    """Return the two ends of a non-blocking pipe."""
    if sys.platform == "win32":
        import socket  # select() needs it on Windows; elsewhere it would cost 0.5 MB

        ends = socket.socketpair()
        for end in ends:
            end.setblocking(False)
        files = ends[0].makefile("rb", buffering=0), ends[1].makefile("wb", buffering=0)
        for end in ends:
            end.close()  # when its file is closed
        return files
    reader, writer = os.pipe()
    for descriptor in (reader, writer):
        os.set_blocking(descriptor, False)
    return open(reader, "rb", buffering=0), open(writer, "wb", buffering=0)
