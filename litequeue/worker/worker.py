"""The loop: reserve a job, run it, and when there is none, sleep until there may be one."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from math import ceil
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

from litequeue.durations import Duration, unbounded_seconds
from litequeue.engine.notifier import Listener
from litequeue.engine.prefetch_log import MOST
from litequeue.engine.presence import STOPPED, Registration
from litequeue.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseFull,
    JobError,
    KeyBusy,
    LitequeueError,
    NoJobsFound,
    OptionError,
    RateLimitReached,
    RunLost,
    WorkerRunning,
    WrongState,
)
from litequeue.jobs.discovery import Found, collect, collect_events, discover, jobs_in
from litequeue.jobs.job import Job
from litequeue.log import logger
from litequeue.messages import show
from litequeue.mistakes import no_class, no_classes, no_queue
from litequeue.options import Options, checked
from litequeue.queue import Queue
from litequeue.records import JobRow, State, key, workers_folder
from litequeue.store.claim import Fits
from litequeue.worker.executor import Executor, Observer
from litequeue.worker.memory import resident_bytes
from litequeue.worker.outcome import Outcome, describe
from litequeue.worker.periodic import PeriodicPusher
from litequeue.worker.prefetch import PrefetchRunner
from litequeue.worker.prefetch_size import PrefetchSize
from litequeue.worker.rescuer import Rescuer
from litequeue.worker.shutdown import ForcedShutdown, Shutdown

if TYPE_CHECKING:
    from litequeue.worker.threads import ClaimFitting, JobThreads

# How often a worker looks for dead workers, and checks that the file is still there.
RESCUE_CHECK_SECONDS = 0.5
# How long a worker waits after the file was locked, or the disk full, for too long.
TROUBLE_SECONDS = 1.0
# With the stop's own last second, less than the ten that container engines wait.
GRACE_SECONDS = 8.0
MOST_THREADS = 1000


Jobs = str | ModuleType | Iterable[type[Job]] | Found


class LogObserver:
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
    """When nothing is due any more."""
    polls: int | None = None
    """After so many looks for work."""
    jobs: int | None = None
    """After so many jobs."""
    seconds: Duration | None = None
    """After so long."""
    memory: int | None = None
    """When, after a job, the process holds more bytes than this."""
    longest_seconds: float = field(init=False, repr=False)
    any: bool = field(init=False, repr=False)
    """Whether there is a limit other than ``drain``."""

    def __post_init__(self) -> None:
        longest = float("inf") if self.seconds is None else self.seconds
        seconds = unbounded_seconds(longest, "Limits", "seconds")
        object.__setattr__(self, "longest_seconds", seconds)
        given = (self.polls, self.jobs, self.seconds, self.memory)
        object.__setattr__(self, "any", given != (None,) * len(given))


class Worker:
    """Runs the jobs of a queue, one at a time, until it is told to stop."""

    recycled = False
    owns_process = False
    """Whether there is nothing in this process but the worker and its jobs."""
    registered: Callable[[int], None] | None = None
    """Called with the id of this worker each time that it registers."""
    error: BaseException | None = None
    """What it has died of in the background, if it has."""
    _thread: threading.Thread | None = None
    _id: int | None = None
    _done = _polls = 0
    _started_at = _rescued_at = 0.0

    def __init__(
        self,
        queue: Queue,
        jobs: Jobs,
        *,
        queues: Sequence[str] = (),
        sleep: Duration = 1.0,
        grace: Duration = GRACE_SECONDS,
        prefetch: int = MOST,
        threads: int = 1,
        limits: Limits = Limits(),
        flags: Options | None = None,
        observer: Observer | None = None,
        stop: Shutdown | None = None,
    ) -> None:
        """Make a worker for the ``jobs`` of a package by name, of a module, or classes.

        It serves ``queues`` strictly in that order, or all by priority and age. ``sleep`` is the
        longest time between two polls; after its timeout or a stop, a job has ``grace`` to end.
        Up to ``prefetch`` short jobs are claimed together. Up to ``threads`` jobs run at once,
        async ones on one event loop. ``flags`` are the default options of jobs. Raises
        NoJobsFound, DuplicateJob and OptionError."""
        self.queue, self.queues = _checked(queue, queues)
        self._store = queue.store
        self.found = _found(jobs)
        self._limits, self._sleep = limits, unbounded_seconds(sleep, "Worker", "sleep")
        self._grace = unbounded_seconds(grace, "Worker", "grace")
        self._shutdown = stop or Shutdown(grace=self._grace)
        self._executor = Executor(
            queue,
            self.found.jobs,
            flags=checked(flags or {}, "the worker"),
            grace=self._grace,
            stop=self._shutdown,
            observer=observer or LogObserver(),
            unimported=self.found.unimported,
        )
        self._rescuer = Rescuer(self._store, self._executor)
        self._pusher = PeriodicPusher(self._store, self.found.classes)
        self._prefetch_size, self._threads = PrefetchSize(prefetch), _checked_threads(threads)

    def run(self) -> int:
        """Work until a limit is reached or a stop is asked for; returns the exit status,
        0, or 128 + signal where a second signal ended a job.

        In the main thread, SIGTERM, SIGHUP and SIGINT ask for the stop. The running job
        has the grace to finish, after SIGINT as long as it takes; then, or with the second
        signal, it is released, its attempt not used. Raises DatabaseMoved, and other
        DatabaseErrors that waiting does not cure; WorkerRunning where another thread has it
        at work.
        """
        self._begin(threading.current_thread())
        try:
            return self._work()
        finally:
            self._thread = None

    @property
    def alive(self) -> bool:
        """Whether it is at work, in the background or in run()."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def _begin(self, thread: threading.Thread) -> None:
        if self.alive:
            raise WorkerRunning
        self._thread, self.error = thread, None
        self._done = self._polls = self._executor.put_back = 0

    def _work(self) -> int:
        self._started_at = time.monotonic()
        self._pusher.begin()
        over = False
        while not over:
            over = self._work_registered()
            over = over or self._over()
        return self.status

    def _work_registered(self) -> bool:
        """Work until it is over; False if the registration was lost and a new one is needed."""
        over = True
        if self._threads == 1:
            with self._session() as runner, self._listening() as listener:
                over = self._loop(runner, listener)
        else:
            with self._session_of_threads() as threads, self._listening() as listener:
                over = self._loop_of_threads(threads, listener)
        return over

    def run_named(self, name: str) -> list[State | None]:
        """Run every due job of one name, and no other; returns the states that they were
        left in, None for a run that was lost."""
        cls = self.found.jobs.get(key(name))
        keys = sorted(cls.__litequeue__.keys) if cls else [key(name)]
        ended: list[State | None] = []
        with self._session() as runner:
            self._store.reclaimer.reclaim()
            for id in [id for each in keys for id in self._store.claims.due_named(each)]:
                row = (
                    None
                    if self._shutdown.requested
                    else self._store.claims.claim_job(runner.worker, id)
                )
                if row is not None:
                    ended.append(self._run_one(runner, row))
        return ended

    def run_job(self, id: int) -> State | None:
        """Run one job, due or not; returns the state that it was left in, None where the
        run was lost. Raises NoSuchJob, and WrongState for a job that is running, waiting
        or finished."""
        with self._session() as runner:
            self._store.reclaimer.reclaim()
            row = self._store.claims.claim_job(runner.worker, id)
            if row is None:
                raise self._refusal(id)
            return self._run_one(runner, row)
        return None

    def _run_one(self, runner: PrefetchRunner, row: JobRow) -> State | None:
        runner.begin([row])
        (execution,) = runner.run()
        runner.settle()
        self._done += 1
        return execution.state

    def _refusal(self, id: int) -> LitequeueError:
        row = self.queue.get(id)
        if row.state in (State.READY, State.SCHEDULED):
            left = self._store.rates.seconds_left(row)
            if left > 0 and (row.overlap_key is None or row.rate_since is not None):
                limit = row.options.get("rate_limit")
                return RateLimitReached(id=id, limit=limit, wait=f"{ceil(left)} s")
            return KeyBusy(id=id, key=row.overlap_key)
        allowed = f"{State.READY} or {State.SCHEDULED}"
        return WrongState(id=id, state=row.state, verb="run", allowed=allowed)

    @property
    def status(self) -> int:
        """The exit status: 0, or 128 + signal after a hard stop."""
        return self._shutdown.status

    def stop(self) -> None:
        """Let the running job finish and start no other; any thread may call this."""
        self._shutdown.request()

    def in_background(self) -> Background:
        """Work in a thread of this process for as long as the block lasts; its end waits
        for the running job. No signal is handled.

        An error that ends the worker is logged at once, is its ``error`` from then on, and
        is raised at the block's end, unless the block itself raises. Where the block is
        never left, the worker ends with the program: a job that then takes longer than
        ``grace`` seconds is run again by another worker, its attempt not used. Raises
        WorkerRunning.
        """
        return Background(self)

    @contextmanager
    def _session(self) -> Iterator[PrefetchRunner]:
        """Register, and run one job after the other."""
        with self._registered() as registration:
            runner = PrefetchRunner(
                self._store,
                self._executor,
                registration,
                self._prefetch_size,
                self._over,
                owns_process=self.owns_process,
            )
            with closing(runner), self._shutdown.noted_in(registration.fileno()):
                yield runner

    @contextmanager
    def _session_of_threads(self) -> Iterator[JobThreads]:
        """Register, and run jobs in threads."""
        from litequeue.worker.threads import JobThreads  # most workers run one job at a time

        with self._registered(self._threads) as registration:
            threads = JobThreads(
                self._store,
                self._executor,
                registration,
                self._prefetch_size,
                self._over,
                self._shutdown,
                owns_process=self.owns_process,
            )
            with closing(threads), self._shutdown.noted_in(registration.fileno()):
                yield threads

    @contextmanager
    def _registered(self, threads: int = 1) -> Iterator[Registration]:
        """Register, rescue what dead workers left, and let signals mean a stop; a forced one
        ends it."""
        with (
            self._shutdown.on_signals(),
            suppress(ForcedShutdown),
            closing(self._executor),
        ):
            registration = self._store.presence.register(self.queues, self._executor.keep, threads)
            try:
                self._id = registration.worker
                if self.registered is not None:
                    self.registered(registration.worker)
                self._rescue_and_adopt(registration.worker)
                yield registration
            finally:
                if registration.leave():
                    # The next worker that looks deregisters it, where the file is locked or full.
                    with suppress(DatabaseBusy, DatabaseFull):
                        self._store.presence.deregister(registration.worker)

    @contextmanager
    def _listening(self) -> Iterator[Listener]:
        listener = Listener(workers_folder(self.queue.path), self.queues)
        try:
            yield listener
        finally:
            listener.close()

    def _loop(self, runner: PrefetchRunner, listener: Listener) -> bool:
        """Work until it is over; False if the registration was lost and a new one is needed."""
        notified = False
        while not self._over():
            if not runner.registration.still_held():
                logger.error("the lock file of this worker was removed; it takes another")
                return False
            try:
                runner.begin(self._next(runner.worker, listener, notified))
                if not runner.claimed:
                    if self._limits.drain or self._over():
                        break
                    notified = self._idle(runner.registration, listener)
            except (DatabaseBusy, DatabaseFull) as error:
                logger.error("%s", error)
                self._shutdown.sleep(TROUBLE_SECONDS)
            while runner.claimed:
                self._run(runner)
        return True

    def _loop_of_threads(self, threads: JobThreads, listener: Listener) -> bool:
        """The same with jobs in threads, which run while this claims and settles."""
        notified = lost = False
        while True:
            # Sleeping looks at the parent pipe too, but a busy worker may never sleep.
            self._shutdown.look()
            lost = lost or not threads.registration.still_held()
            over = lost or self._over() or threads.overdue is not None
            try:
                claim = None if over else self._claim_fitting(threads)
                if claim is not None:
                    self._look_for_due(threads.worker)
                before = threads.claimed
                self._done += len(threads.settle(claim))
                if notified and threads.claimed > before:
                    self._pass_on(listener)
                elif notified and claim is not None and self._rescue_and_adopt(threads.worker):
                    # The wake-up was for a worker that has died.
                    notified = False
                    continue
                if not threads.busy and (over or self._limits.drain):
                    return not lost
                if self._shutdown.hard:
                    threads.interrupt()
                threads.end_process_if_overdue(self._grace)
                notified = self._wait_for(threads, listener)
            except (DatabaseBusy, DatabaseFull) as error:
                if self._shutdown.hard:
                    raise
                logger.error("%s", error)
                self._shutdown.sleep(TROUBLE_SECONDS)

    def _wait_for(self, threads: JobThreads, listener: Listener) -> bool:
        """Sleep until a job has ended in a thread, or, if one can be claimed, as ``_idle`` does;
        returns whether there was a wake-up."""
        can_claim = threads.can_claim and not self._over()
        if can_claim and not threads.to_settle and listener.drain():
            return True
        idle = not threads.busy and not self._shutdown.requested
        until = time.monotonic() + (self._idle_seconds() if can_claim else RESCUE_CHECK_SECONDS)
        stopping = (self._shutdown.requested, self._shutdown.hard)
        while not threads.to_settle and (left := until - time.monotonic()) > 0:
            also = listener.descriptors() if can_claim else ()
            ready = self._shutdown.sleep(min(left, RESCUE_CHECK_SECONDS), also)
            if ready and listener.take():
                return True
            if stopping != (self._shutdown.requested, self._shutdown.hard):
                return False
            if time.monotonic() - self._rescued_at > RESCUE_CHECK_SECONDS and (
                self._rescue_and_adopt(threads.worker) or not threads.registration.still_held()
            ):
                return True
        if idle and not threads.to_settle:
            self._expire_and_checkpoint()
        return False

    def _claim_fitting(self, threads: JobThreads) -> ClaimFitting | None:
        """How the threads claim their next jobs; None if they may have no more."""
        uncounted = threads.uncounted
        if self._most(uncounted) < 1:
            return None

        def claim(fits: Fits, within: bool) -> list[JobRow]:
            nonlocal uncounted
            most = self._most(uncounted)
            rows = self._claim(threads.worker, most, fits, within=within) if most > 0 else []
            uncounted += len(rows)
            return rows

        return claim

    def _over(self) -> bool:
        limits = self._limits
        if self._shutdown.requested:
            return True
        # Asked before each job, of workers that mostly have none.
        if not limits.any:
            return False
        if self._seconds_left() <= 0:
            return True
        if limits.polls is not None and self._polls >= limits.polls:
            return True
        full = limits.jobs is not None and self._ran() >= limits.jobs
        heavy = limits.memory is not None and self._done and resident_bytes() > limits.memory
        self.recycled = bool(full or heavy)
        return self.recycled

    def _ran(self) -> int:
        """How many jobs have run; those put back, having no class here, have not."""
        return self._done - self._executor.put_back

    def _seconds_left(self) -> float:
        return self._started_at + self._limits.longest_seconds - time.monotonic()

    def _next(self, worker: int, listener: Listener, notified: bool) -> list[JobRow]:
        """Claim a job, or several that are short. A byte in the FIFO may be for a job
        that came after the look, or for a worker that has died."""
        self._look_for_due(worker)
        rows = self._fetch(worker)
        if not rows and (notified or listener.drain()):
            notified = True
            self._rescue_and_adopt(worker)
            rows = self._fetch(worker)
        if rows and notified:
            self._pass_on(listener)
        return rows

    def _pass_on(self, listener: Listener) -> None:
        """One byte may have stood for many jobs: wake the next worker that sleeps."""
        if self._store.claims.has_ready(self.queues):
            listener.notify()

    def _look_for_due(self, worker: int) -> None:
        """Push the periodic jobs that are due, and look for dead workers from time to time."""
        self._polls += 1
        self._pusher.tick()
        if time.monotonic() - self._rescued_at > RESCUE_CHECK_SECONDS:
            self._rescue_and_adopt(worker)

    def _fetch(self, worker: int, *, within: bool = False) -> list[JobRow]:
        short = self._prefetch_size.fits()
        return self._claim(worker, self._most(), lambda row: short(row.name), within=within)

    def _most(self, uncounted: int = 0) -> int:
        """How many jobs may be claimed now, beside those that are claimed and not counted yet."""
        most, limits = self._prefetch_size.most(), self._limits
        if limits.jobs is not None:
            most = min(most, limits.jobs - self._ran() - uncounted)
        if limits.polls is not None:
            most = min(most, 1 - uncounted)
        return most

    def _claim(self, worker: int, most: int, fits: Fits, *, within: bool) -> list[JobRow]:
        """Claim at most so many jobs, ``within`` the transaction that is open or in one of its
        own."""
        claim = self._store.claims.claim_within if within else self._store.claims.claim
        rows = claim(worker, self.queues, most, fits)
        # A job that is cancelled after its deadline may let others run.
        if not rows and not within and self._store.deadlines.cancel_passed():
            rows = claim(worker, self.queues, most, fits)
        self._prefetch_size.fetched(len(rows), most)
        return rows

    def _run(self, runner: PrefetchRunner) -> None:
        """Run what was claimed, and claim what comes next together with writing the ends."""
        executions = runner.run()
        self._done += len(executions)
        self._shutdown.look()
        # A hook may take long, and nothing is to wait for it; and what comes before a claim in
        # the loop has its time too.
        alone = (
            self._over()
            or self._limits.polls is not None
            or time.monotonic() - self._rescued_at > RESCUE_CHECK_SECONDS
            or self._pusher.seconds_left() <= 0
            or any(execution.has_hook for execution in executions)
            or not runner.registration.still_held()
        )
        runner.settle(None if alone else lambda: self._fetch(runner.worker, within=True))

    def _idle(self, registration: Registration, listener: Listener) -> bool:
        """Sleep until a wake-up, a stop, the next due job or the poll; returns whether there
        was a wake-up, or something else to look at."""
        # By a clock that nobody sets back. A sleep may be longer than it was meant to be.
        until = time.monotonic() + self._idle_seconds()
        while (left := until - time.monotonic()) > 0 and not self._shutdown.requested:
            notified = self._shutdown.sleep(min(left, RESCUE_CHECK_SECONDS), listener.descriptors())
            if (
                (notified and listener.take())
                or self._rescue_and_adopt(registration.worker)
                or not registration.still_held()
            ):
                return True
        self._expire_and_checkpoint()
        return False

    def _idle_seconds(self) -> float:
        due = self._store.claims.next_due()
        until_due = float("inf") if due is None else due - self._store.clock()
        until_tick = self._pusher.seconds_left()
        return min(self._sleep, until_due, until_tick, self._seconds_left())

    def _expire_and_checkpoint(self) -> None:
        """What is better done when there is nothing else to do."""
        try:
            self._store.admin.expire()
            self._store.database.checkpoint_while_idle()
        except DatabaseError as error:
            logger.warning("%s", error)

    def _rescue_and_adopt(self, worker: int) -> int:
        """Reclaim the jobs of dead workers and adopt those that other workers released because they
        lack the class, cancel those past their deadline, and check that the file is still
        there; return the number of jobs."""
        self._rescued_at = time.monotonic()
        self._store.database.check_place()
        self._store.rates.forget_old()
        reclaimed = self._rescuer.rescue(worker)
        adopted = self._store.claims.adopt(self._knows, self.queues)
        return reclaimed + adopted + self._store.deadlines.cancel_passed()

    def _knows(self, name: str) -> bool:
        return key(name) in self.found.jobs


class Background:
    """The block for whose length a worker works in a thread."""

    # No generator: one that nobody keeps is closed at once, and would end the worker.
    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._pid = os.getpid()

    def __enter__(self) -> Worker:
        # A daemon: the program would wait for any other thread, and this one waits for jobs.
        thread = threading.Thread(target=self._work, name="litequeue-worker", daemon=True)
        self._worker._begin(thread)
        self._thread = thread
        thread.start()
        atexit.register(self._end_with_program)
        return self._worker

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._worker.stop()
        self._thread.join()
        atexit.unregister(self._end_with_program)
        self._worker._shutdown.renew()
        if error is None and self._worker.error is not None:
            raise self._worker.error

    def _work(self) -> None:
        try:
            self._worker._work()
        except BaseException as error:
            self._worker.error = error
            logger.error(
                "the worker in the background has died, and runs no more jobs of %s: %s",
                self._worker.queue.path,
                describe(error),
                exc_info=None if isinstance(error, LitequeueError) else error,
            )

    def _end_with_program(self) -> None:
        """The block was never left: let the running job end, or be run by another worker."""
        if os.getpid() != self._pid:
            # A forked child has this to do at its end, and not the thread.
            return
        self._worker.stop()
        self._thread.join(self._worker._grace)
        if self._thread.is_alive() and self._worker._id is not None:
            with suppress(DatabaseError):
                self._worker.queue.store.presence.set_cause(self._worker._id, STOPPED)


def _checked(queue: Queue, queues: Sequence[str]) -> tuple[Queue, tuple[str, ...]]:
    if not isinstance(queue, Queue):
        raise no_queue("Worker", queue)
    if isinstance(queues, str):
        # As a sequence it is its letters, and the worker would serve none.
        raise OptionError(owner="Worker", problem=f"write queues=[{show(queues)}], a list")
    return queue, tuple(queues)


def _checked_threads(threads: int) -> int:
    if not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS:
        problem = f"threads must be a whole number from 1 to {MOST_THREADS}, not {show(threads)}"
        raise OptionError(owner="Worker", problem=problem)
    return threads


def _found(jobs: Jobs) -> Found:
    if isinstance(jobs, Found):
        found = jobs
    elif isinstance(jobs, str):
        found = discover([jobs])
    else:
        found = Found()
        collect(jobs_in(jobs) if isinstance(jobs, ModuleType) else _classes(jobs), found)
        collect_events(found)
    if not found.jobs:
        raise NoJobsFound(problem=_nothing_in(found))
    return found


def _classes(jobs: Iterable[type[Job]]) -> list[type[Job]]:
    if isinstance(jobs, type) or not isinstance(jobs, Iterable):
        raise no_classes(jobs)
    classes = list(jobs)
    for cls in classes:
        if not isinstance(cls, type) or not issubclass(cls, Job) or cls is Job:
            raise no_class(cls)
        if not cls.is_whole():
            raise JobError(job=cls.__litequeue__.location, problem=cls.what_is_missing())
    return classes


def _nothing_in(found: Found) -> str:
    where = ", ".join(found.packages) or "what the worker was given"
    failed = f" ({len(found.failures)} modules failed to import)" if found.failures else ""
    return f"there is no job class in {where}{failed}"
