"""The loop: reserve a job, run it, and when there is none, sleep until there may be one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType

from litequeue.discovery import Found, collect, discover, jobs_in
from litequeue.errors import (
    DatabaseError,
    NoJobsFound,
    RunLost,
    WorkerDied,
    WrongState,
)
from litequeue.executor import Executor, Listener
from litequeue.job import Job, key
from litequeue.nudge import Bell
from litequeue.options import Options, checked
from litequeue.outcome import Outcome
from litequeue.queue import Queue
from litequeue.record import JobRow, State, WorkerRow
from litequeue.roster import Seat
from litequeue.stop import HardStop, Stop

# How often a busy worker looks for others that have died.
RESCUE_SECONDS = 0.5

logger = logging.getLogger("litequeue")

Jobs = str | ModuleType | Iterable[type[Job]] | Found


class LogListener:
    """Tells of failures through ``logging``, for a worker inside another program."""

    def started(self, row: JobRow, max_attempts: int) -> None:
        logger.debug("job %d (%s) started, attempt %d", row.id, row.name, row.attempts)

    def ended(self, row: JobRow, max_attempts: int, outcome: Outcome, left: State) -> None:
        if outcome.exception:
            logger.warning("job %d (%s) is %s: %s", row.id, row.name, left, outcome.reason)
        else:
            logger.debug("job %d (%s) is %s", row.id, row.name, left)

    def lost(self, row: JobRow, error: RunLost) -> None:
        logger.error("%s", error)


@dataclass(frozen=True, slots=True)
class Limits:
    """When a worker ends by itself; None is never."""

    drain: bool = False
    polls: int | None = None
    jobs: int | None = None
    seconds: float | None = None


class Worker:
    """Runs the jobs of a queue, one at a time, until it is told to stop."""

    def __init__(
        self,
        queue: Queue,
        jobs: Jobs,
        *,
        queues: Sequence[str] = (),
        sleep: float = 1.0,
        limits: Limits = Limits(),
        flags: Options | None = None,
        listener: Listener | None = None,
        stop: Stop | None = None,
    ) -> None:
        """Make a worker for ``queue`` and the ``jobs``: a package by name, a module, or
        the classes themselves.

        It serves ``queues`` strictly in that order, or all queues by priority and age.
        ``sleep`` is the longest time, in seconds, between two looks for work. ``flags``
        are options for jobs that do not set them. Raises NoJobsFound, DuplicateJob and
        OptionError.
        """
        self.queue = queue
        self.found = _found(jobs)
        if not self.found.jobs:
            raise NoJobsFound(problem=_nothing_in(self.found))
        self.queues = tuple(queues)
        self._sleep = sleep
        self._limits = limits
        self._stop = stop or Stop()
        self._executor = Executor(
            queue,
            self.found.jobs,
            flags=checked(flags or {}, "the worker"),
            stop=self._stop,
            listener=listener or LogListener(),
        )
        self._done = self._polls = 0
        self._rescued_at = float("-inf")

    def run(self) -> int:
        """Work until a limit is reached or a stop is asked for; returns the exit status,
        0, or 128 + signal where a second signal ended a job.

        In the main thread, SIGTERM and SIGINT ask for the stop: the first lets the
        running job finish, the second gives it back with its attempt unspent.
        """
        with self._session() as seat, self._listening() as bell:
            self._loop(seat, bell)
        return self.status

    def run_named(self, name: str) -> list[State | None]:
        """Run every due job of one name, and no other; returns the states that they were
        left in, None for a run that was lost."""
        cls = self.found.jobs.get(key(name))
        keys = sorted(cls.__litequeue__.keys) if cls else [key(name)]
        ended: list[State | None] = []
        with self._session() as seat:
            for id in [id for each in keys for id in self.queue.due_named(each)]:
                row = None if self._stop.requested else self.queue.reserve_job(seat.worker, id)
                if row is not None:
                    ended.append(self._run(seat, row))
        return ended

    def run_job(self, id: int) -> State | None:
        """Run one job, due or not; returns the state that it was left in, None where the
        run was lost. Raises NoSuchJob, and WrongState for a job that is running, waiting
        or finished."""
        with self._session() as seat:
            row = self.queue.reserve_job(seat.worker, id)
            if row is None:
                state = self.queue.get(id).state
                allowed = f"{State.READY} or {State.SCHEDULED}"
                raise WrongState(id=id, state=state, verb="run", allowed=allowed)
            return self._run(seat, row)
        return None

    @property
    def status(self) -> int:
        """The exit status: 0, or 128 + signal after a hard stop."""
        return self._stop.status

    def stop(self) -> None:
        """Let the running job finish and start no other; any thread may call this."""
        self._stop.request()

    @contextmanager
    def in_background(self) -> Iterator[Worker]:
        """Work in a thread of this process for as long as the block lasts; its end waits
        for the running job. No signal is handled."""
        thread = threading.Thread(target=self.run, name="litequeue-worker")
        thread.start()
        try:
            yield self
        finally:
            self.stop()
            thread.join()

    @contextmanager
    def _session(self) -> Iterator[Seat]:
        """A seat, the dead buried, and signals that mean a stop; a hard stop ends it."""
        with self._stop.on_signals(), suppress(HardStop), self._seated() as seat:
            self._rescue(seat)
            yield seat

    @contextmanager
    def _seated(self) -> Iterator[Seat]:
        seat = self.queue.roster.join(self.queues)
        try:
            yield seat
        finally:
            self.queue.roster.dismiss(seat.worker)
            seat.leave()

    @contextmanager
    def _listening(self) -> Iterator[Bell]:
        bell = Bell(self.queue.roster.folder, self.queues)
        try:
            yield bell
        finally:
            bell.close()

    def _loop(self, seat: Seat, bell: Bell) -> None:
        started_at = self.queue.clock()
        rung = False
        while not self._enough(started_at):
            self._rescue(seat)
            row = self._next(seat, bell, rung)
            if row is not None:
                self._run(seat, row)
                continue
            if self._limits.drain or self._enough(started_at):
                break
            rung = self._idle(bell, started_at)

    def _enough(self, started_at: float) -> bool:
        limits = self._limits
        return (
            self._stop.requested
            or (limits.jobs is not None and self._done >= limits.jobs)
            or (limits.polls is not None and self._polls >= limits.polls)
            or (limits.seconds is not None and self.queue.clock() - started_at >= limits.seconds)
        )

    def _next(self, seat: Seat, bell: Bell, rung: bool) -> JobRow | None:
        """Claim a job. A byte in the FIFO may be for a job that came after the look."""
        self._polls += 1
        row = self.queue.reserve(seat.worker, self.queues)
        if row is None and bell.drain():
            rung = True
            row = self.queue.reserve(seat.worker, self.queues)
        if row is not None and rung and self.queue.has_ready(self.queues):
            # One byte may have stood for many jobs: wake the next who sleeps.
            bell.ring()
        return row

    def _run(self, seat: Seat, row: JobRow) -> State | None:
        seat.note(row.id)
        try:
            return self._executor.run(row)
        finally:
            seat.note(0)
            self._done += 1

    def _idle(self, bell: Bell, started_at: float) -> bool:
        """Sleep until a nudge, a stop, the next due job or the poll; says whether it was
        a nudge."""
        seconds = self._sleep
        now = self.queue.clock()
        due = self.queue.next_due()
        if due is not None:
            seconds = min(seconds, due - now)
        if self._limits.seconds is not None:
            seconds = min(seconds, started_at + self._limits.seconds - now)
        if self._stop.sleep(seconds, bell.descriptors()):
            return bell.take()
        self._tidy()
        return False

    def _tidy(self) -> None:
        """What is better done when there is nothing else to do."""
        try:
            self.queue.expire()
            self.queue.database.checkpoint()
        except DatabaseError as error:
            logger.warning("%s", error)

    def _rescue(self, seat: Seat) -> None:
        """End the runs that dead workers have left, at the start and twice a second."""
        now = self.queue.clock()
        if 0 <= now - self._rescued_at < RESCUE_SECONDS:
            return
        self._rescued_at = now
        for worker in self.queue.roster.listed():
            if worker.id != seat.worker:
                self._bury(worker)

    def _bury(self, worker: WorkerRow) -> None:
        with self.queue.roster.burial(worker.id) as running:
            if running is None:
                return
            for row in self.queue.running(worker.id):
                if running in (row.id, -1):
                    self._executor.bury(row, self._death(worker, row))
                else:
                    # It was only fetched; its attempt has not begun.
                    self.queue.release(row)

    def _death(self, worker: WorkerRow, row: JobRow) -> WorkerDied:
        return WorkerDied(
            worker=f"{worker.name} (process {worker.pid})",
            cause=worker.cause or "killed, or its machine went down",
            attempt=row.attempts,
            max_attempts=self._executor.max_attempts(row),
        )


def _found(jobs: Jobs) -> Found:
    if isinstance(jobs, Found):
        return jobs
    if isinstance(jobs, str):
        return discover([jobs])
    found = Found()
    collect(jobs_in(jobs) if isinstance(jobs, ModuleType) else jobs, found)
    return found


def _nothing_in(found: Found) -> str:
    where = ", ".join(found.packages) or "what the worker was given"
    failed = f" ({len(found.failures)} modules failed to import)" if found.failures else ""
    return f"there is no job class in {where}{failed}"
