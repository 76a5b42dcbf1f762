"""Starts N worker processes, replaces those that end, and stops them together.

The supervisor imports and runs no job. Each worker holds one end of a socket pair. The
other end closes when the supervisor dies, and the worker then ends after its current job.
The worker reports how it ended through the socket, because a job can end the process with
any exit status.
"""

from __future__ import annotations

import math
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from litequeue.engine.notifier import Notifier
from litequeue.engine.presence import STOPPED
from litequeue.store.store import Store
from litequeue.worker.parent_pipe import FINISHED, RECYCLED, WRONG_USE, Reports
from litequeue.worker.shutdown import FORCED_STOP_SECONDS, Shutdown

# The exit status of a supervisor whose workers were started with options that cannot work.
WRONG_USE_STATUS = 2

# A worker that dies sooner than this counts as having failed to start.
SETTLED_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0


@dataclass(slots=True, eq=False)
class Child:
    """A worker process, and what it has reported."""

    process: subprocess.Popen[bytes]
    reports: Reports
    started_at: float
    # When to kill a worker that has reported its end but is still running.
    kill_at: float = math.inf

    @property
    def pid(self) -> int:
        return self.process.pid


@dataclass(slots=True)
class WorkerSlot:
    """One of the N slots: its process, or the time at which the next one starts."""

    child: Child | None = None
    start_at: float = 0.0
    deaths: int = 0
    finished: bool = False


class Supervisor:
    """Keeps N worker processes running on a queue."""

    def __init__(
        self,
        store: Store,
        command: Sequence[str],
        *,
        first: Sequence[str] = (),
        count: int,
        grace: float,
        until_done: bool,
        stop: Shutdown,
        complain: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare ``count`` slots for processes of ``python -m litequeue`` + ``command``.

        The process that starts first gets the arguments ``first`` too.
        With ``until_done``, a worker that finishes is not replaced. On a stop, running jobs
        have ``grace`` seconds to finish. ``complain`` prints a line for the user. ``clock``
        returns monotonic seconds.
        """
        self._store = store
        self._command = command
        self._first = first
        self._grace = grace
        self._until_done = until_done
        self._shutdown = stop
        self._complain = complain
        self._clock = clock
        self._slots = [WorkerSlot() for _ in range(count)]
        self._ever_registered = False
        self._status = 0
        self._oom_kills = _oom_kills()

    def run(self) -> int:
        """Run until a stop, or until every worker has finished; return the exit status.

        Raises DatabaseMoved, and CannotOpen if the file has got a second name.
        """
        with self._shutdown.on_signals(), self._waking_on_child_exit():
            try:
                while not self._shutdown.requested and not all(p.finished for p in self._slots):
                    # If the file was deleted, a new worker would create an empty one.
                    self._store.database.check_place()
                    self._fill()
                    self._shutdown.sleep(self._seconds_left(), self._descriptors())
                    self._collect()
            finally:
                self._end_all()
        return self._status or self._shutdown.status

    @contextmanager
    def _waking_on_child_exit(self) -> Iterator[None]:
        before = signal.signal(signal.SIGCHLD, lambda number, frame: self._shutdown.wake())
        try:
            yield
        finally:
            signal.signal(signal.SIGCHLD, before)

    def _fill(self) -> None:
        now = self._clock()
        for slot in self._slots:
            if slot.child is None and not slot.finished and slot.start_at <= now:
                slot.child = self._start(now)

    def _start(self, now: float) -> Child:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        command, self._first = [*self._command, *self._first], ()
        with theirs:
            # In its own session, a worker does not get the terminal's Ctrl-C in addition to
            # the signal that the supervisor sends.
            process = subprocess.Popen(
                [sys.executable, "-m", "litequeue", *command],
                stdin=theirs.fileno(),
                start_new_session=True,
            )
        return Child(process, Reports(ours.detach()), now)

    def _seconds_left(self) -> float:
        """Return the seconds until the next worker must be started or killed."""
        waiting = [p.start_at for p in self._slots if p.child is None and not p.finished]
        ending = [child.kill_at for child in self._children()]
        at = min(waiting + ending, default=math.inf)
        return min(SETTLED_SECONDS, max(0.0, at - self._clock()))

    def _descriptors(self) -> list[int]:
        return [each for child in self._children() for each in child.reports.descriptors()]

    def _children(self) -> list[Child]:
        return [slot.child for slot in self._slots if slot.child is not None]

    def _collect(self) -> None:
        for slot in self._slots:
            if slot.child is not None:
                # Poll before reading: the reports of a dead process are then complete.
                status = slot.child.process.poll()
                slot.child.reports.read()
                if status is not None:
                    self._ended(slot, slot.child, status)
                elif slot.child.reports.ended is not None:
                    self._kill_if_late(slot.child)

    def _kill_if_late(self, child: Child) -> None:
        """Kill a worker that has reported its end but does not exit within the grace.

        Threads or processes that a job left running can keep it from exiting.
        """
        if child.kill_at == math.inf:
            child.kill_at = self._clock() + self._grace + FORCED_STOP_SECONDS
        elif child.kill_at <= self._clock():
            _kill_all(child)

    def _ended(self, slot: WorkerSlot, child: Child, status: int) -> None:
        lived = self._clock() - child.started_at
        slot.child = None
        child.reports.close()
        how = child.reports.ended
        self._ever_registered = self._ever_registered or child.reports.worker is not None
        if how == WRONG_USE and not self._ever_registered:
            # The worker has printed what is wrong; the others would fail the same way.
            self._status = WRONG_USE_STATUS
            self._shutdown.request()
        elif how == RECYCLED:
            slot.deaths = 0
        elif how == FINISHED:
            slot.finished = self._until_done
        else:
            self._died(slot, child, status, lived)

    def _died(self, slot: WorkerSlot, child: Child, status: int, lived: float) -> None:
        cause = death_of(status, self._out_of_memory())
        worker = child.reports.worker
        was_registered = worker is not None and self._store.presence.set_cause(worker, cause)
        # Wake the idle workers: one of them rescues its jobs now, not at its next check.
        Notifier(self._store.presence.folder).notify_all()
        slot.deaths = 0 if was_registered or lived >= SETTLED_SECONDS else slot.deaths + 1
        pause = self._pause(slot.deaths)
        slot.start_at = self._clock() + pause
        when = f"in {pause:.1f} s" if pause else "now"
        self._complain(f"Worker process {child.pid} died ({cause}); another starts {when}")

    def _pause(self, deaths: int) -> float:
        """Return the seconds before a restart: 0 after the first death, then growing."""
        if deaths <= 1:
            return 0.0
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(deaths, 20))
        return pause * random.uniform(0.75, 1)

    def _out_of_memory(self) -> bool:
        before, self._oom_kills = self._oom_kills, _oom_kills()
        return self._oom_kills > before

    def _end_all(self) -> None:
        """Let the jobs finish, then have them released, then kill the remaining workers."""
        # Ctrl-C sets no time limit; the workers get SIGINT, so that they set none either.
        interrupted = self._shutdown.signal == signal.SIGINT
        number = signal.SIGINT if interrupted else signal.SIGTERM
        self._signal_all(number)
        if not self._wait(math.inf if interrupted else self._grace):
            self._signal_all(number)
            if not self._wait(FORCED_STOP_SECONDS):
                for child in self._living():
                    self._kill(child)

    def _signal_all(self, number: int) -> None:
        for child in self._living():
            child.process.send_signal(number)

    def _wait(self, seconds: float) -> bool:
        """Wait until no child is alive; return False after ``seconds`` or a second signal."""
        until = self._clock() + seconds
        hard = self._shutdown.hard
        while self._living():
            left = until - self._clock()
            if left <= 0 or (self._shutdown.hard and not hard):
                return False
            self._shutdown.sleep(min(left, LONGEST_PAUSE_SECONDS))
        return True

    def _living(self) -> list[Child]:
        return [child for child in self._children() if child.process.poll() is None]

    def _kill(self, child: Child) -> None:
        """Kill a worker that does not exit, and release its jobs without using an attempt."""
        worker = child.reports.read().worker
        if worker is not None:
            self._store.presence.set_cause(worker, STOPPED)
        _kill_all(child)
        child.process.wait()
        worker = child.reports.read().worker
        if worker is not None:
            self._release_jobs(worker)

    def _release_jobs(self, worker: int) -> None:
        with self._store.presence.rescue(worker) as note:
            if note is not None:
                self._store.reclaimer.release_all(worker, note)


def _kill_all(child: Child) -> None:
    """Kill a worker and the processes of its group, which its job may have started.

    The job will run again, and must not run twice at the same time.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.process.kill()


def death_of(status: int, out_of_memory: bool) -> str:
    """Describe how a process ended, from its ``subprocess`` return code."""
    if status >= 0:
        return f"exit code {status}"
    return "signal 9, out of memory" if status == -9 and out_of_memory else f"signal {-status}"


def _oom_kills() -> int:
    """Return how many processes the kernel has killed because memory ran out."""
    try:
        with open("/proc/vmstat") as counters:
            return next(int(line.split()[1]) for line in counters if line.startswith("oom_kill "))
    except (OSError, StopIteration):
        return 0
