"""Asking a worker to end: after the job that it runs, or at once.

A signal handler here only notes that it was called and wakes whoever sleeps. One thing
cannot wait: the second signal ends the job that is running, by an exception raised
inside its handle(), and nowhere else.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import RawIOBase
from types import FrameType

from litequeue.interrupt import RETRY_SECONDS, Alarm, within_job

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# What a job has after the second signal; one more then ends the process.
DEAF_SECONDS = 2.0
FORCED = "forced stop"


def unsignalled() -> None:
    """Leave all signals to the other threads of the process: one that a helping thread
    took would not wake the main thread, which has to see to it."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


class HardStop(BaseException):
    """Raised inside a running job by the second signal; its run is given back."""


class Stop:
    """Whether, and how soon, one worker is to end."""

    def __init__(
        self, leash: int | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """The end of file of the descriptor ``leash``, the end of a pipe that another
        process holds, asks for a stop as well. ``clock`` gives seconds that are never
        set back."""
        self._clock = clock
        self._leash = [] if leash is None else [leash]
        self._reader, self._writer = _pipe()
        self._times = 0
        self._interruptible = False
        self._hard_at = 0.0
        self.alarm = Alarm(clock)
        self.signal = 0

    @property
    def requested(self) -> bool:
        """Whether no further job is to start."""
        return self._times > 0

    @property
    def hard(self) -> bool:
        """Whether the running job, too, is to end now."""
        return self._times > 1

    @property
    def status(self) -> int:
        """The exit status of a process that this has ended."""
        return 128 + self.signal if self.hard else 0

    def request(self) -> None:
        """Let the running job finish and start no other; may be called by any thread."""
        self._times = max(1, self._times)
        self.wake()

    def renew(self) -> None:
        """Forget a stop that was asked for: whom it was for has ended, and works anew."""
        self._times = self.signal = 0

    def sleep(self, seconds: float, also: Sequence[int] = ()) -> list[int]:
        """Sleep until a stop, ``seconds`` at most, or until one of the descriptors
        ``also`` can be read; returns those that can."""
        own = self._reader.fileno()
        ready, _, _ = select.select([own, *self._leash, *also], [], [], max(0.0, seconds))
        if own in ready:
            self._reader.read(4096)
        if self._leash and self._leash[0] in ready:
            # It can be read for ever from now on.
            self._leash.clear()
            self.request()
        return [descriptor for descriptor in ready if descriptor in also]

    def look(self) -> None:
        """See whether the leash has ended, for whoever is too busy to sleep."""
        if self._leash:
            self.sleep(0)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT mean this stop, inside the block; elsewhere than in the
        main thread, where Python has no say in signals, change nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        if hasattr(signal, "SIGALRM"):
            before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self.alarm.ring)
            self.alarm.begin()
        try:
            yield
        finally:
            self.alarm.end()
            for number, handler in before.items():
                signal.signal(number, handler)

    def begin_job(self) -> None:
        """From here on, a second signal raises HardStop; it does now if there was one."""
        self._interruptible = True
        if self.hard:
            raise HardStop

    def end_job(self) -> None:
        """The job is over; to be called in any case."""
        self._interruptible = False
        self.alarm.cancel(FORCED)

    def wake(self) -> None:
        """End the sleep, if there is one; a signal handler or any thread may call this."""
        with suppress(OSError, ValueError):
            self._writer.write(b"\n")

    def close(self) -> None:
        """Close the pipe."""
        for end in (self._reader, self._writer):
            with suppress(OSError):  # a job may have closed it
                end.close()

    # A worker that is dropped drops its stop.
    __del__ = close

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._times += 1
        self.signal = number
        self.wake()
        if self._times == 2:
            self._hard_at = self._clock()
            self._force(frame)
        elif self.hard and self._interruptible and self._clock() > self._hard_at + DEAF_SECONDS:
            # A job that swallows every exception would keep the process for ever.
            os._exit(128 + number)

    def _force(self, frame: FrameType | None) -> None:
        """Raise HardStop in the job, as soon as its own code runs."""
        if self._interruptible:
            if within_job(frame):
                raise HardStop
            self.alarm.set(FORCED, RETRY_SECONDS, self._force)


def _pipe() -> tuple[RawIOBase, RawIOBase]:
    """The two ends of a pipe, neither of which ever waits."""
    if sys.platform == "win32":
        import socket  # where select() takes nothing else; elsewhere it would be 0.5 MB

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
