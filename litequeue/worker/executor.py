"""The life of a run, from a claimed row to its end: resolve, decode, handle, classify, settle,
announce."""

from __future__ import annotations

import inspect
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from litequeue.durations import seconds_of
from litequeue.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseFull,
    JobError,
    JobLeftTransaction,
    JobTimeout,
    PayloadError,
    RunLost,
    Snooze,
    UnknownJob,
    WorkerDied,
)
from litequeue.jobs.context import Run
from litequeue.jobs.job import Job
from litequeue.log import Traceback, logger
from litequeue.options import Options
from litequeue.payloads.codec import encode_result
from litequeue.queue import Queue
from litequeue.records import JobRow, State, key
from litequeue.worker.outcome import Outcome, Policy, Verb, classify, policy
from litequeue.worker.shutdown import ForcedShutdown, Shutdown
from litequeue.worker.timeout import Timeouts

if TYPE_CHECKING:
    from litequeue.worker.event_loop import LoopThread

T = TypeVar("T")
# Why a run ended with the process of its worker.
DeathOfRun = JobTimeout | WorkerDied | JobLeftTransaction
Claim = Callable[[], list[JobRow]]

SETTLE_PAUSE_SECONDS = 1.0
COMPLETED = Outcome(Verb.COMPLETE)
OVERDUE = "timed out, still running"


class Observer(Protocol):
    """Receives the start and end of each run; an exception that it raises is logged and ignored."""

    def started(self, row: JobRow, max_attempts: int) -> None: ...

    def ended(self, row: JobRow, max_attempts: int, outcome: Outcome, left: State) -> None: ...

    def lost(self, row: JobRow, error: RunLost) -> None: ...


class Known(NamedTuple):
    """What is known of a job before it runs: its class, if there is one, the options that apply,
    whether it has a method that is called after its end, and whether it is a coroutine."""

    cls: type[Job] | None
    policy: Policy
    has_hook: bool
    is_async: bool


class Execution:
    """One run of a job, and what is known of it so far."""

    job: Job | None = None
    result: object = None
    result_json: str | None = None
    in_table = False
    """Whether the job's own transaction has written its end."""
    outcome = COMPLETED
    succeeded = False
    """Whether the job succeeded, and its end is still to be written."""
    state: State | None = None
    """The state that the job was left in; None as long as the end is not written, and for a run
    that was lost."""

    def __init__(self, row: JobRow, known: Known) -> None:
        self.row = row
        self.cls, self.policy, self.has_hook, self.is_async = known
        self.error: BaseException | None = None


class Executor:
    """Runs the jobs of a worker."""

    def __init__(
        self,
        queue: Queue,
        jobs: Mapping[str, type[Job]],
        *,
        flags: Options,
        grace: float,
        stop: Shutdown,
        observer: Observer,
        unimported: Sequence[str] = (),
    ) -> None:
        """Run jobs of ``queue`` with the classes of ``jobs`` (by folded name), under the
        worker's own ``flags``; the modules ``unimported`` may have more classes. A job has
        ``grace`` seconds to end after its timeout; a forced ``stop`` releases the running job."""
        self._queue, self._store = queue, queue.store
        self._jobs = jobs
        self._flags = flags
        self._shutdown = stop
        self._timeouts = Timeouts(stop.alarm, grace)
        self._observer = observer
        self.pid = os.getpid()
        self.put_back = 0
        """How many jobs were put back because no class here has their name."""
        self._overdue: Callable[[JobRow], None] = self._remark_overdue
        self.loop: LoopThread | None = None
        """Where async jobs run that are executed with execute_async."""
        self._unimported = tuple(unimported)
        self._unknown: set[str] = set()
        self._classes: dict[str, type[Job]] = {}
        self._known: dict[tuple[str, int | None], Known] = {}

    def execute(self, row: JobRow, report_to: int) -> Execution:
        """Run a claimed job, and decide how the run ends. Raises ForcedShutdown for a run that
        is to be released.

        If the process has to be ended with the job, where it hung is written to the descriptor
        ``report_to``.
        """
        execution = self._start(row)
        try:
            self._decode(execution)
            self._handle(execution, report_to)
        except ForcedShutdown:
            raise
        except BaseException as error:
            # Whatever a job raises, exits and interrupts among them, ends that job alone.
            execution.error = error
        self._classify(execution)
        return execution

    async def execute_async(self, row: JobRow, report_to: int) -> Execution:
        """Do the same with an async job, in a running event loop."""
        execution = self._start(row)
        try:
            self._decode(execution)
            await self._handle_async(execution, report_to)
        except ForcedShutdown:
            raise
        except BaseException as error:
            execution.error = error
        self._classify(execution)
        return execution

    def settle(
        self,
        executions: Sequence[Execution],
        unstarted: Sequence[JobRow] = (),
        claim: Claim | None = None,
        settled: Callable[[], Sequence[int]] = tuple,
    ) -> list[JobRow]:
        """Write how these runs ended, and release those that will not start, in one transaction,
        which also claims the next jobs; their rows are returned. ``settled`` returns the ids of
        jobs that another process may have completed while it reclaimed from this worker."""
        self._timeouts.disarm()
        rows = [*(each.row for each in executions), *unstarted]
        if not rows:
            return []

        def write(claim: Claim | None) -> list[JobRow]:
            with self._store.database.transaction():
                self._write_all(executions, settled)
                self._release_all(unstarted)
                return [] if claim is None else claim()

        try:
            return self._until_written(rows[0], lambda: write(claim))
        except DatabaseError:
            if claim is None:
                raise
            # An error of the claim must not undo the ends; the next claim raises it by itself.
            return self._until_written(rows[0], lambda: write(None))

    def announce(self, executions: Sequence[Execution]) -> None:
        """Tell the observer and the jobs' own hooks how these runs ended."""
        for execution in executions:
            self._announce(execution)

    def end_for_dead(self, row: JobRow, error: DeathOfRun) -> None:
        """End a run whose worker has died, with ``error``: it is retried later, or has failed if
        its retries are exhausted."""
        execution = Execution(row, self._resolve(row))
        # If the payload cannot be decoded, no hook is called.
        with suppress(Exception):
            self._decode(execution)
        execution.error = error
        self._classify(execution)
        self.settle([execution])
        self.announce([execution])

    def report_finished(self, row: JobRow, result: str | None) -> None:
        """Announce a run whose worker has died, after it was completed with this result."""
        execution = Execution(row, self._resolve(row))
        execution.state = State.DONE
        if execution.has_hook:
            with suppress(Exception):
                self._decode(execution)
                execution.result = None if result is None else json.loads(result)
        self.announce([execution])

    def release_all(self, rows: Sequence[JobRow]) -> None:
        """Release these runs, their attempts not used; runs that are over or lost are skipped."""
        self.settle((), rows)

    def release_later(self, row: JobRow, after: float) -> None:
        """Release a run, its attempt not used; the job is due again ``after`` seconds from now."""

        def release() -> None:
            with suppress(RunLost):
                self._store.executions.release(row, after=after)

        self._until_written(row, release)

    def policy(self, row: JobRow) -> Policy:
        """The options that apply to a row."""
        return self._resolve(row).policy

    def is_async(self, row: JobRow) -> bool:
        """Whether the job is a coroutine, which can be awaited beside others."""
        return self._resolve(row).is_async

    def has_hook(self, row: JobRow) -> bool:
        """Whether the job has a method that is called after its end."""
        return self._resolve(row).has_hook

    @property
    def keep(self) -> float:
        """How long a job is kept after its success if it does not say so itself, in seconds."""
        return seconds_of(self._flags.get("keep", 0))

    def close(self) -> None:
        """End the threads and the event loop of the jobs."""
        self._timeouts.close()

    def end_process_for(self, overdue: Callable[[JobRow], None] | None) -> None:
        """Have ``overdue`` called in another thread for a job in a thread that has not ended in
        its time, and the process ended if that does not help; None marks its row only."""
        self._overdue = overdue or self._remark_overdue
        self._timeouts.watched = overdue is not None

    def refresh_timeout(self) -> None:
        """Make sure that a job that runs long is ended at its time; any thread may call this."""
        self._timeouts.refresh()

    def close_thread(self) -> None:
        """End what belongs to the thread that calls this, in which no job will run any more."""
        self._timeouts.close_loop()

    def interrupt(self, kind: type[BaseException]) -> None:
        """Raise an exception of this kind in each job that runs in a thread, or in the loop."""
        self._timeouts.interrupt(kind)
        if self.loop is not None:
            self.loop.interrupt(kind)

    # -- resolve

    def _start(self, row: JobRow) -> Execution:
        known = self._resolve(row)
        if known.cls is not None:
            self._report(self._observer.started, row, known.policy.max_attempts)
        return Execution(row, known)

    def _resolve(self, row: JobRow) -> Known:
        # Most rows of a class say nothing themselves.
        known = None if row.options else self._known.get((row.name, row.max_attempts))
        if known is None:
            cls = self._class_of(row.name)
            options = cls.__litequeue__.options if cls else {}
            known = Known(cls, policy(row, options, self._flags), has_hook(cls), is_async(cls))
            if cls is not None and not row.options:
                self._known[row.name, row.max_attempts] = known
        return known

    def _class_of(self, name: str) -> type[Job] | None:
        """The class for a name in any spelling, which is remembered."""
        cls = self._classes.get(name)
        if cls is None:
            cls = self._jobs.get(key(name))
            if cls is not None:
                self._classes[name] = cls
        return cls

    # -- decode

    def _decode(self, execution: Execution) -> None:
        if execution.cls is None:
            raise UnknownJob(name=execution.row.name)
        job = execution.cls.__litequeue__.codec.decode(execution.row.payload)
        assert isinstance(job, Job)
        execution.job = job

    # -- handle

    def _handle(self, execution: Execution, report_to: int) -> None:
        row, job = execution.row, execution.job
        assert job is not None
        if row.rate_key is not None:
            self._count_start(row)
        run = Run(self._queue, row)
        try:
            self._shutdown.begin_job(row)
            with run:
                result = self._timeouts.run(
                    job.handle,
                    execution.is_async,
                    execution.policy.timeout,
                    report_to,
                    self._overdue,
                    row,
                )
        finally:
            self._end_handle(execution, run)
        self._keep_result(execution, job, result)

    def _end_handle(self, execution: Execution, run: Run) -> None:
        left_open = self._clean_up(execution.row)
        if run.completed:
            execution.in_table = True
            execution.state = State.WAITING if run.planned else State.DONE
        if left_open:
            job = f"Job {execution.row.id} ({execution.row.name})"
            raise JobLeftTransaction(job=job, path=self._queue.path)

    def _keep_result(self, execution: Execution, job: Job, result: object) -> None:
        if result is not None:
            execution.result = _no_generator(result, job)
            if not execution.in_table:
                execution.result_json = _encoded(execution)

    def _remark_overdue(self, row: JobRow) -> None:
        with suppress(RunLost):
            self._store.executions.remark(row, OVERDUE)

    async def _handle_async(self, execution: Execution, report_to: int) -> None:
        row, job, seconds = execution.row, execution.job, execution.policy.timeout
        assert job is not None
        assert self.loop is not None
        if self._shutdown.hard:
            raise ForcedShutdown
        if row.rate_key is not None:
            self._count_start(row)
        run = Run(self._queue, row)
        overdue = self._timeouts.overdue_after(seconds, report_to, self._overdue, row)
        try:
            with run, overdue:
                work = job.handle()
                assert inspect.isawaitable(work)
                result = await self.loop.run(work, seconds)
        finally:
            self._end_handle(execution, run)
        self._keep_result(execution, job, result)

    def _count_start(self, row: JobRow) -> None:
        """Count the start of a job with a rate limit, if its claim was some time ago; raises
        Snooze if its turn has passed since."""
        try:
            wait = self._store.rates.started(row)
        except DatabaseError as error:
            logger.warning("job %d (%s) has to wait: %s", row.id, row.name, error)
            wait = SETTLE_PAUSE_SECONDS
        if wait > 0:
            raise Snooze(after=wait)

    def _clean_up(self, row: JobRow) -> bool:
        """Put back what a job has changed of this process; return whether it has left a
        transaction open."""
        left = self._shutdown.end_job()
        if os.getpid() != self.pid:
            # A child that the job has forked must not come back as a second worker.
            os._exit(1)
        if left:
            logger.warning("job %d (%s) left %s; put back", row.id, row.name, left)
        return self._store.database.abandon()

    # -- classify

    def _classify(self, execution: Execution) -> None:
        if execution.in_table:
            return
        if execution.error is None:
            execution.succeeded = True
            return
        row, policy = execution.row, execution.policy
        execution.outcome = classify(execution.error, row, policy, _chance, self._store.clock())

    # -- settle

    def _write_all(
        self, executions: Sequence[Execution], settled: Callable[[], Sequence[int]]
    ) -> None:
        succeeded = [each for each in executions if each.succeeded]
        if succeeded:
            rows = [(each.row, each.result_json, each.policy.keep) for each in succeeded]
            lost = {row.id for row in self._store.executions.complete_all(rows)}
            if lost:
                lost.difference_update(settled())
            for each in succeeded:
                each.state = None if each.row.id in lost else State.DONE
        for each in executions:
            if each.outcome.verb is not Verb.COMPLETE:
                each.state = None
                with suppress(RunLost):
                    each.state = self._write(each.row, each.outcome, each.policy)

    def _release_all(self, rows: Sequence[JobRow]) -> None:
        for row in rows:
            with suppress(RunLost):
                self._store.executions.release(row)

    def _write(self, row: JobRow, outcome: Outcome, policy: Policy) -> State:
        executions = self._store.executions
        if outcome.verb is Verb.RELEASE:
            return executions.release(row, after=outcome.after)
        if outcome.verb is Verb.PUT_BACK:
            return executions.put_back(row, after=outcome.after)
        if outcome.verb is Verb.RETRY_LATER:
            return executions.retry_later(row, outcome.exception, after=outcome.after)
        return executions.fail(row, outcome.exception, delete=policy.on_failure == "delete")

    def _until_written(self, row: JobRow, write: Callable[[], T]) -> T:
        """Call ``write`` until it succeeds, however long the file is locked or the disk full:
        a worker cannot go on before the end of a run is written, or known to be lost."""
        while True:
            try:
                return write()
            except (DatabaseBusy, DatabaseFull) as error:
                logger.error("the end of job %d is not written yet: %s", row.id, error)
                if self._shutdown.hard:
                    raise
                self._shutdown.sleep(SETTLE_PAUSE_SECONDS)

    # -- announce

    def _announce(self, execution: Execution) -> None:
        row, outcome, state = execution.row, execution.outcome, execution.state
        most = execution.policy.max_attempts
        if state is None:
            self._report(self._observer.lost, row, RunLost(id=row.id, attempt=row.attempts))
            return
        if outcome.verb is Verb.PUT_BACK and state is State.SCHEDULED:
            self.put_back += 1
            self._report_unknown(row)
            return
        if execution.error is not None:
            self._log_error(execution)
        self._report(self._observer.ended, row, most, outcome, state)
        if execution.has_hook:
            self._call_hook(execution)

    def _log_error(self, execution: Execution) -> None:
        """Log what would be seen nowhere else."""
        row, outcome = execution.row, execution.outcome
        if outcome.verb is Verb.FAIL and execution.policy.on_failure == "delete":
            trace = Traceback(outcome.exception)
            logger.error("job %d (%s) failed for good:\n%s", row.id, row.name, trace)
        if execution.in_table:
            words = "job %d (%s) raised after its transaction had completed it"
            logger.error(words, row.id, row.name, exc_info=execution.error)

    def _call_hook(self, execution: Execution) -> None:
        job, error = execution.job, execution.error
        if job is None:
            return
        if execution.state is State.DONE and type(job).succeeded is not Job.succeeded:
            self._report(job.succeeded, execution.result)
        elif execution.state is State.FAILED and error is not None:
            self._report(job.failed, error)

    def _report_unknown(self, row: JobRow) -> None:
        """Say once for each name that its jobs wait; they are tried again and again."""
        if row.name in self._unknown:
            return
        self._unknown.add(row.name)
        failed = ", ".join(self._unimported)
        logger.warning(
            "Job %d was put back, its attempt not used: this worker has no job named %s%s. Such "
            "jobs are tried again, and fail permanently a day after the first try.",
            row.id,
            row.name,
            f", and these modules failed to import: {failed}" if failed else "",
        )

    def _report(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            call(*arguments)
        except ForcedShutdown:
            raise
        except BaseException:
            logger.exception("an observer or a hook raised")


def has_hook(cls: type[Job] | None) -> bool:
    """Whether a job class has a method that is called after the end of a job."""
    return cls is not None and (cls.succeeded is not Job.succeeded or cls.failed is not Job.failed)


def is_async(cls: type[Job] | None) -> bool:
    """Whether the handle of a job class is a coroutine function."""
    return cls is not None and inspect.iscoroutinefunction(cls.handle)


def _encoded(execution: Execution) -> str | None:
    """The result of a job as JSON text; None if it cannot be encoded."""
    try:
        return encode_result(execution.result)
    except PayloadError as error:
        # The work is done; running it again would not make the result any better.
        level = logging.ERROR if execution.policy.keep else logging.DEBUG
        logger.log(level, "the result of job %d was not kept: %s", execution.row.id, error)
        return None


def _chance() -> float:
    import random  # not needed while all jobs succeed

    return random.random()


def _no_generator(result: object, job: Job) -> object:
    if isinstance(result, GeneratorType | AsyncGeneratorType):
        # A handle with a yield of its own was refused with its class; a decorator can hide one.
        problem = "handle() returned a generator, and none of its code has run"
        raise JobError(job=type(job).__litequeue__.location, problem=problem)
    return result
