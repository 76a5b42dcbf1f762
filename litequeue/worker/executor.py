"""One run, from a reserved row to a row that is settled: resolve, decode, handle,
classify, settle, announce."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import AsyncGeneratorType, GeneratorType
from typing import Protocol, TypeVar

from litequeue.durations import seconds_of
from litequeue.errors import (
    DatabaseBusy,
    DatabaseFull,
    JobError,
    JobLeftTransaction,
    JobTimeout,
    PayloadError,
    RunLost,
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
from litequeue.worker.timeout import limited, unlimited

T = TypeVar("T")
# What can be said of a run that its worker did not outlive.
DeathOfRun = JobTimeout | WorkerDied | JobLeftTransaction

SETTLE_PAUSE_SECONDS = 1.0
COMPLETED = Outcome(Verb.COMPLETE)
OVERDUE = "timed out, still running"


class Observer(Protocol):
    """Receives the start and end of each run; an exception that it raises is logged and ignored."""

    def started(self, row: JobRow, max_attempts: int) -> None: ...

    def ended(self, row: JobRow, max_attempts: int, outcome: Outcome, left: State) -> None: ...

    def lost(self, row: JobRow, error: RunLost) -> None: ...


class Attempt:
    """What has come of a run so far, and what decides over it."""

    job: Job | None = None
    result: object = None
    text: str | None = None
    completed = planned = False

    def __init__(self, policy: Policy, error: BaseException | None = None) -> None:
        self.policy = policy
        self.error = error

    def has_hook(self) -> bool:
        """Whether the job has a hook for its end."""
        if self.job is None:
            return False
        cls = type(self.job)
        return has_hook(cls) or cls.failed is not Job.failed


class Executor:
    """Runs one job at a time for a worker."""

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
        """Run jobs of ``queue`` by the classes of ``jobs`` (by folded name), under the
        worker's own ``flags``; the modules ``unimported`` may have others. A job has
        ``grace`` seconds to end after its timeout; a hard ``stop`` gives the running one
        back."""
        self._queue, self._store = queue, queue.store
        self._jobs = jobs
        self._flags = flags
        self._grace = grace
        self._shutdown = stop
        self._observer = observer
        self.pid = os.getpid()
        self.put_back = 0
        """How many jobs were put back, since no class here answers to their names."""
        self._unimported = tuple(unimported)
        self._unknown: set[str] = set()
        self._classes: dict[str, type[Job]] = {}
        self._policies: dict[tuple[str, int | None], Policy] = {}

    @property
    def keep(self) -> float:
        """For how many seconds a job stays after its success that does not say."""
        return seconds_of(self._flags.get("keep", 0))

    def attempt(self, row: JobRow, report_to: int) -> Attempt:
        """Run a reserved job, and leave it to be written down how it ended. Raises
        ForcedShutdown where it is to be released.

        Where the process has to be ended with the job, ``report_to`` is the descriptor
        that is told where it hung.
        """
        attempt = Attempt(self.policy(row))
        if self._class_of(row.name) is None:
            attempt.error = UnknownJob(name=row.name)
            return attempt
        self._report(self._observer.started, row, attempt.policy.max_attempts)
        try:
            self._attempt(row, attempt, report_to)
        except ForcedShutdown:
            raise
        except BaseException as error:
            # Whatever a job raises, exits and interrupts among them, ends that job alone.
            attempt.error = error
        return attempt

    def may_wait(self, row: JobRow, attempt: Attempt) -> bool:
        """Whether the end of a run can be written down together with others: it has
        succeeded, and nothing is to follow but its completion. An equal of a unique job
        can be pushed from then on."""
        return not (
            row.unique_key is not None
            or attempt.error is not None
            or attempt.completed
            or attempt.policy.keep
            or (attempt.job is not None and has_hook(type(attempt.job)))
        )

    def end_all(
        self, runs: Sequence[tuple[JobRow, Attempt]], settled: Callable[[], Sequence[int]]
    ) -> None:
        """Write down at once that these runs have succeeded, and tell of it; ``settled``
        gives the ids of those that another may have completed for this worker."""
        finished = [(row, attempt.text) for row, attempt in runs]
        lost = self._patiently(
            finished[0][0], lambda: self._store.executions.complete_all(finished)
        )
        gone = {row.id for row in lost}.difference(settled() if lost else ())
        for row, attempt in runs:
            if row.id in gone:
                self._report(self._observer.lost, row, RunLost(id=row.id, attempt=row.attempts))
            else:
                most = attempt.policy.max_attempts
                self._report(self._observer.ended, row, most, COMPLETED, State.DONE)

    def release_all(self, rows: Sequence[JobRow]) -> None:
        """Release these runs, their attempts not used; those of them that are over or
        lost are passed over."""

        def release() -> None:
            with self._store.database.transaction():
                for row in rows:
                    with suppress(RunLost):
                        self._store.executions.release(row)

        self._patiently(rows[0], release)

    def end_for_dead(self, row: JobRow, error: DeathOfRun) -> State | None:
        """End the run that a dead worker has left behind."""
        attempt = Attempt(self.policy(row), error)
        # Without a job there is just nobody to call back.
        with suppress(Exception):
            self._decode(row, attempt)
        return self.end(row, attempt)

    def report_finished(self, row: JobRow) -> None:
        """Tell of a run that a dead worker had finished, and that was completed for it."""
        self._announce(row, Attempt(self.policy(row)), COMPLETED, State.DONE)

    def policy(self, row: JobRow) -> Policy:
        """What decides over the row if it fails, and how long it may run."""
        if row.options:
            return self._decide(row)
        # Most rows of a class have said the same: nothing.
        found = self._policies.get((row.name, row.max_attempts))
        if found is None:
            found = self._decide(row)
            if row.name in self._classes:
                self._policies[row.name, row.max_attempts] = found
        return found

    def _decide(self, row: JobRow) -> Policy:
        cls = self._class_of(row.name)
        return policy(row, cls.__litequeue__.options if cls else {}, self._flags)

    def _class_of(self, name: str) -> type[Job] | None:
        """The class for a name in any spelling, which is remembered."""
        cls = self._classes.get(name)
        if cls is None:
            cls = self._jobs.get(key(name))
            if cls is not None:
                self._classes[name] = cls
        return cls

    def _attempt(self, row: JobRow, attempt: Attempt, report_to: int) -> None:
        job = self._decode(row, attempt)
        run, seconds = Run(self._queue, row), attempt.policy.timeout
        try:
            self._shutdown.begin_job(row)
            with run:
                if seconds is None:
                    result = unlimited(job.handle)
                else:
                    result = self._limited(row, job, seconds, report_to)
                attempt.result = _no_generator(result, job)
        finally:
            left = self._shutdown.end_job()
            if os.getpid() != self.pid:
                # A child that the job has forked must not come back as a second worker.
                os._exit(1)
            if left:
                logger.warning("job %d (%s) left %s; put back", row.id, row.name, left)
            left_open = self._store.database.abandon()
            if run.completed:
                attempt.completed, attempt.planned = True, run.planned
        if left_open:
            raise JobLeftTransaction(job=f"Job {row.id} ({row.name})", path=self._queue.path)
        if attempt.result is not None and not attempt.completed:
            attempt.text = self._result(row, attempt.result, attempt.policy.keep)

    def _limited(self, row: JobRow, job: Job, seconds: float, report_to: int) -> object:
        return limited(
            job.handle,
            seconds,
            alarm=self._shutdown.alarm,
            grace=self._grace,
            interrupt=not inspect.iscoroutinefunction(job.handle),
            report_to=report_to,
            overdue=lambda: self._store.executions.remark(row, OVERDUE),
        )

    def _decode(self, row: JobRow, attempt: Attempt) -> Job:
        cls = self._class_of(row.name)
        if cls is None:
            raise UnknownJob(name=row.name)
        job = cls.__litequeue__.codec.decode(row.payload)
        assert isinstance(job, Job)
        attempt.job = job
        return job

    def end(self, row: JobRow, attempt: Attempt) -> State | None:
        """Write down how a run ended; returns the state that it left, None where it was
        lost."""
        if attempt.completed:
            outcome = COMPLETED
            left = State.WAITING if attempt.planned else State.DONE
            self._report_late_error(row, attempt)
        else:
            outcome = classify(attempt.error, row, attempt.policy, _chance, self._store.clock())
            try:
                left = self._patiently(row, lambda: self._write(row, outcome, attempt))
            except RunLost as error:
                self._report(self._observer.lost, row, error)
                return None
        if outcome.verb is Verb.PUT_BACK and left is State.SCHEDULED:
            self.put_back += 1
            self._report_unknown(row)
        else:
            self._announce(row, attempt, outcome, left)
        return left

    def _announce(self, row: JobRow, attempt: Attempt, outcome: Outcome, left: State) -> None:
        self._report(self._observer.ended, row, attempt.policy.max_attempts, outcome, left)
        self._call_back(attempt, left)

    def _patiently(self, row: JobRow, write: Callable[[], T]) -> T:
        """Write the end of a run, however long the file is locked or the disk is full:
        until it is written, or known to be lost, the worker has nothing better to do."""
        while True:
            try:
                return write()
            except (DatabaseBusy, DatabaseFull) as error:
                logger.error("job %d waits to be written down: %s", row.id, error)
                if self._shutdown.hard:
                    raise
                self._shutdown.sleep(SETTLE_PAUSE_SECONDS)

    def _write(self, row: JobRow, outcome: Outcome, attempt: Attempt) -> State:
        if outcome.verb is Verb.COMPLETE:
            self._store.executions.complete(row, result=attempt.text, keep=attempt.policy.keep)
            return State.DONE
        if outcome.verb is Verb.RELEASE:
            return self._store.executions.release(row, after=outcome.after)
        if outcome.verb is Verb.PUT_BACK:
            return self._store.executions.put_back(row, after=outcome.after)
        if outcome.verb is Verb.RETRY_LATER:
            return self._store.executions.retry_later(row, outcome.exception, after=outcome.after)
        delete = attempt.policy.on_failure == "delete"
        if delete:
            logger.error(
                "job %d (%s) failed for good:\n%s", row.id, row.name, Traceback(outcome.exception)
            )
        return self._store.executions.fail(row, outcome.exception, delete=delete)

    def _result(self, row: JobRow, result: object, keep: float) -> str | None:
        try:
            return encode_result(result)
        except PayloadError as error:
            # The work is done; to run it again would not make its result any better.
            level = logging.ERROR if keep else logging.DEBUG
            logger.log(level, "the result of job %d was not kept: %s", row.id, error)
            return None

    def _report_unknown(self, row: JobRow) -> None:
        """Say once for each name that its jobs wait; they are looked at again and again."""
        if row.name in self._unknown:
            return
        self._unknown.add(row.name)
        failed = ", ".join(self._unimported)
        logger.warning(
            "Job %d was put back, its attempt not used: this worker has no job named %s%s. Such "
            "jobs are looked at again, and fail for good a day after the first look.",
            row.id,
            row.name,
            f", and these modules failed to import: {failed}" if failed else "",
        )

    def _report_late_error(self, row: JobRow, attempt: Attempt) -> None:
        if attempt.error is not None:
            logger.error(
                "job %d (%s) raised after its transaction had completed it",
                row.id,
                row.name,
                exc_info=attempt.error,
            )

    def _call_back(self, attempt: Attempt, left: State) -> None:
        job, error = attempt.job, attempt.error
        if job is None:
            return
        if left is State.DONE and has_hook(type(job)):
            self._report(job.succeeded, attempt.result)
        elif left is State.FAILED and error is not None:
            self._report(job.failed, error)

    def _report(self, call: Callable[..., None], *what: object) -> None:
        try:
            call(*what)
        except ForcedShutdown:
            raise
        except BaseException:
            logger.exception("a listener raised")


def has_hook(cls: type[Job]) -> bool:
    """Whether a job class has a hook for its success."""
    return cls.succeeded is not Job.succeeded


def _chance() -> float:
    import random  # a worker whose jobs succeed does without

    return random.random()


def _no_generator(result: object, job: Job) -> object:
    if isinstance(result, GeneratorType | AsyncGeneratorType):
        # Where handle itself has a yield, its class was refused; a decorator can hide one.
        problem = "handle() returned a generator, and nothing of that has run"
        raise JobError(job=type(job).__litequeue__.location, problem=problem)
    return result
