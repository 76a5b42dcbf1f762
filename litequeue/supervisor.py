"""N worker processes: started, replaced when they end, stopped together.

The supervisor runs no job and imports none. Its children hold the read end of a pipe
whose write end dies with it, so that they end too, after their job.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from litequeue.errors import DatabaseMoved, RunLost
from litequeue.nudge import Nudge
from litequeue.queue import Queue
from litequeue.roster import STOPPED
from litequeue.stop import Stop

# The exit status of a worker that has reached --max-jobs or --memory-limit, and is to
# be replaced by a fresh one.
RECYCLED = 90
WRONG_USE = 2

# A worker that ends sooner than this has died at its start.
SETTLED_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
# What a child has between the second signal and the one that nothing can refuse.
LAST_SECONDS = 2.0


@dataclass(slots=True)
class Place:
    """One of the N places: the process in it, or when the next one is to start."""

    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    deaths: int = 0
    finished: bool = False


class Supervisor:
    """Keeps N processes at work on a queue."""

    def __init__(
        self,
        queue: Queue,
        command: Sequence[str],
        *,
        count: int,
        grace: float,
        until_done: bool,
        stop: Stop,
        complain: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make ``count`` places for processes of ``python -m litequeue`` + ``command``.

        With ``until_done``, one that ends by itself is not replaced. On a stop they have
        ``grace`` seconds for their jobs. ``complain`` takes lines for people; ``clock``
        gives seconds that are never set back.
        """
        self._queue = queue
        self._command = command
        self._grace = grace
        self._until_done = until_done
        self._stop = stop
        self._complain = complain
        self._clock = clock
        self._places = [Place() for _ in range(count)]
        self._ever_settled = False
        self._status = 0
        self._oom_kills = _oom_kills()

    def run(self) -> int:
        """Work until a stop, or until every worker has ended by itself; returns the exit
        status. Raises DatabaseMoved."""
        with self._stop.on_signals(), self._told_of_deaths():
            try:
                while not self._stop.requested and not all(p.finished for p in self._places):
                    if self._queue.database.moved():
                        # A new worker would make a new, empty file in its place.
                        raise DatabaseMoved(path=self._queue.path)
                    self._fill()
                    self._stop.sleep(self._until_next_start())
                    self._collect()
            finally:
                self._end_all()
        return self._status or self._stop.status

    @contextmanager
    def _told_of_deaths(self) -> Iterator[None]:
        before = signal.signal(signal.SIGCHLD, lambda number, frame: self._stop.wake())
        try:
            yield
        finally:
            signal.signal(signal.SIGCHLD, before)

    def _fill(self) -> None:
        now = self._clock()
        for place in self._places:
            if place.process is None and not place.finished and place.start_at <= now:
                place.process = self._start()
                place.started_at = now

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in a terminal goes to the supervisor alone, which
        # passes it on once, and not to the children a second time.
        return subprocess.Popen(
            [sys.executable, "-m", "litequeue", *self._command],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _until_next_start(self) -> float:
        waiting = [p.start_at for p in self._places if p.process is None and not p.finished]
        return max(0.0, min(waiting) - self._clock()) if waiting else SETTLED_SECONDS

    def _collect(self) -> None:
        for place in self._places:
            if place.process is not None:
                status = place.process.poll()
                if status is not None:
                    self._ended(place, place.process, status)

    def _ended(self, place: Place, process: subprocess.Popen[bytes], status: int) -> None:
        lived = self._clock() - place.started_at
        self._ever_settled = self._ever_settled or lived >= SETTLED_SECONDS
        place.process = None
        _close_leash(process)
        if status == RECYCLED:
            place.deaths = 0
        elif status == 0:
            place.finished = self._until_done
        elif status == WRONG_USE and not self._ever_settled:
            # It has said what is wrong, and the others would say the same.
            self._status = WRONG_USE
            self._stop.request()
        else:
            self._died(place, process, status, lived)

    def _died(
        self, place: Place, process: subprocess.Popen[bytes], status: int, lived: float
    ) -> None:
        cause = death_of(status, self._out_of_memory())
        seated = self._queue.roster.explain(process.pid, cause)
        # Whoever is idle buries it now, and does not wait for its next look.
        Nudge(self._queue.roster.folder).ring_all()
        place.deaths = 0 if seated or lived >= SETTLED_SECONDS else place.deaths + 1
        pause = self._pause(place.deaths)
        place.start_at = self._clock() + pause
        when = f"in {pause:.1f} s" if pause else "now"
        self._complain(f"Worker process {process.pid} died ({cause}); another starts {when}")

    def _pause(self, deaths: int) -> float:
        """None after the first death, then more and more, if they die at their start."""
        if deaths <= 1:
            return 0.0
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(deaths, 20))
        return pause * random.uniform(0.75, 1)

    def _out_of_memory(self) -> bool:
        before, self._oom_kills = self._oom_kills, _oom_kills()
        return self._oom_kills > before

    def _end_all(self) -> None:
        """Let the jobs finish, then have them given back, then end what is left."""
        self._signal_all()
        if not self._wait(self._grace):
            self._signal_all()
            if not self._wait(LAST_SECONDS):
                for process in self._living():
                    self._kill(process)

    def _signal_all(self) -> None:
        for process in self._living():
            process.send_signal(signal.SIGTERM)

    def _wait(self, seconds: float) -> bool:
        """Wait until no child lives; a second signal here cuts it short."""
        until = self._clock() + seconds
        hard = self._stop.hard
        while self._living():
            left = until - self._clock()
            if left <= 0 or (self._stop.hard and not hard):
                return False
            self._stop.sleep(left)
        return True

    def _living(self) -> list[subprocess.Popen[bytes]]:
        processes = [place.process for place in self._places if place.process is not None]
        return [process for process in processes if process.poll() is None]

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a worker that does not listen, and give its job back unspent."""
        self._queue.roster.explain(process.pid, STOPPED)
        process.kill()
        process.wait()
        for worker in self._queue.roster.listed():
            if worker.pid == process.pid:
                with self._queue.roster.burial(worker.id) as note:
                    if note is not None:
                        self._queue.take_back(worker.id, note)
                        for row in self._queue.running(worker.id):
                            with suppress(RunLost):
                                self._queue.release(row)


def death_of(status: int, out_of_memory: bool) -> str:
    """How a process ended, in words, by its status as subprocess gives it."""
    if status >= 0:
        return f"exit code {status}"
    return "signal 9, out of memory" if status == -9 and out_of_memory else f"signal {-status}"


def _close_leash(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def _oom_kills() -> int:
    """How many processes the kernel of this machine has ended for want of memory."""
    try:
        with open("/proc/vmstat") as counters:
            return next(int(line.split()[1]) for line in counters if line.startswith("oom_kill "))
    except (OSError, StopIteration):
        return 0
