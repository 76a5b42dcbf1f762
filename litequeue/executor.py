"""One run, from a reserved row to a row that is settled: resolve, decode, handle,
classify, settle, announce."""

from __future__ import annotations

import inspect
import logging
import os
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from litequeue.context import Run
from litequeue.errors import (
    DatabaseBusy,
    DatabaseFull,
    JobTimeout,
    PayloadError,
    RunLost,
    UnknownJob,
    WorkerDied,
)
from litequeue.job import Job
from litequeue.options import Options
from litequeue.outcome import Outcome, Policy, Verb, classify, policy
from litequeue.payload import encode_result
from litequeue.queue import Queue
from litequeue.record import JobRow, State, key
from litequeue.stop import HardStop, Stop
from litequeue.timeout import cancelled_after, limited

SETTLE_PAUSE_SECONDS = 1.0
OVERDUE = "timed out, still running"

logger = logging.getLogger("litequeue")


class Listener(Protocol):
    """Who is told of each run; what it raises is logged and passed over."""

    def started(self, row: JobRow, max_attempts: int) -> None: ...

    def ended(self, row: JobRow, max_attempts: int, outcome: Outcome, left: State) -> None: ...

    def lost(self, row: JobRow, error: RunLost) -> None: ...


@dataclass(slots=True)
class Attempt:
    """What has come of a run so far, and what decides over it."""

    policy: Policy
    job: Job | None = None
    result: object = None
    error: BaseException | None = None
    completed: bool = False
    planned: bool = False


class Executor:
    """Runs one job at a time for a worker."""

    def __init__(
        self,
        queue: Queue,
        jobs: Mapping[str, type[Job]],
        *,
        flags: Options,
        grace: float,
        stop: Stop,
        listener: Listener,
    ) -> None:
        """Run jobs of ``queue`` by the classes of ``jobs`` (by folded name), under the
        worker's own ``flags``. A job has ``grace`` seconds to end after its timeout; a
        hard ``stop`` gives the running one back."""
        self._queue = queue
        self._jobs = jobs
        self._flags = flags
        self._grace = grace
        self._stop = stop
        self._listener = listener

    def run(self, row: JobRow, report_to: int) -> State | None:
        """Run a reserved job and write down how it ended; returns the state that it left,
        None where the run was lost. Raises HardStop after it has given the job back.

        Where the process has to be ended with the job, ``report_to`` is the descriptor
        that is told where it hung.
        """
        attempt = Attempt(self.policy(row))
        self._tell(lambda: self._listener.started(row, attempt.policy.max_attempts))
        try:
            self._attempt(row, attempt, report_to)
        except HardStop:
            self._give_back(row, attempt)
            raise
        except BaseException as error:
            # Whatever a job raises, exits and interrupts among them, ends that job alone.
            attempt.error = error
        return self._end(row, attempt)

    def bury(self, row: JobRow, error: JobTimeout | WorkerDied) -> State | None:
        """End the run that a dead worker has left behind."""
        attempt = Attempt(self.policy(row), error=error)
        # Without a job there is just nobody to call back.
        with suppress(Exception):
            self._decode(row, attempt)
        return self._end(row, attempt)

    def policy(self, row: JobRow) -> Policy:
        """What decides over the row if it fails, and how long it may run."""
        cls = self._jobs.get(key(row.name))
        return policy(row, cls.__litequeue__.options if cls else {}, self._flags)

    def _attempt(self, row: JobRow, attempt: Attempt, report_to: int) -> None:
        job = self._decode(row, attempt)
        run, pid = Run(self._queue, row), os.getpid()
        seconds = attempt.policy.timeout
        asynchronous = inspect.iscoroutinefunction(job.handle)
        limit = limited(
            seconds,
            grace=self._grace,
            interrupt=not asynchronous,
            report_to=report_to,
            overdue=lambda: self._queue.remark(row, OVERDUE),
        )
        try:
            with run.entered(), self._stop.interrupting(), limit:
                attempt.result = _handled(job, seconds)
        finally:
            if os.getpid() != pid:
                # A child that the job has forked must not come back as a second worker.
                os._exit(1)
            attempt.completed, attempt.planned = run.completed, run.planned

    def _decode(self, row: JobRow, attempt: Attempt) -> Job:
        cls = self._jobs.get(key(row.name))
        if cls is None:
            raise UnknownJob(name=row.name)
        job = cls.__litequeue__.codec.decode(row.payload)
        assert isinstance(job, Job)
        attempt.job = job
        return job

    def _give_back(self, row: JobRow, attempt: Attempt) -> None:
        if not attempt.completed:
            with suppress(RunLost):
                self._queue.release(row)

    def _end(self, row: JobRow, attempt: Attempt) -> State | None:
        if attempt.completed:
            outcome = Outcome(Verb.COMPLETE)
            left = State.WAITING if attempt.planned else State.DONE
            self._report_late_error(row, attempt)
        else:
            outcome = classify(attempt.error, row, attempt.policy, random.random)
            try:
                left = self._settle(row, outcome, attempt)
            except RunLost as error:
                lost = error
                self._tell(lambda: self._listener.lost(row, lost))
                return None
        most = attempt.policy.max_attempts
        self._tell(lambda: self._listener.ended(row, most, outcome, left))
        self._call_back(attempt, left)
        return left

    def _settle(self, row: JobRow, outcome: Outcome, attempt: Attempt) -> State:
        """Write the end of a run, however long the file is locked or the disk is full:
        until it is written, or known to be lost, the worker has nothing better to do."""
        while True:
            try:
                return self._write(row, outcome, attempt)
            except (DatabaseBusy, DatabaseFull) as error:
                logger.error("job %d waits to be written down: %s", row.id, error)
                if self._stop.hard:
                    raise
                self._stop.sleep(SETTLE_PAUSE_SECONDS)

    def _write(self, row: JobRow, outcome: Outcome, attempt: Attempt) -> State:
        if outcome.verb is Verb.COMPLETE:
            keep = attempt.policy.keep
            text = self._result(row, attempt.result, keep)
            self._queue.complete(row, result=text, keep=keep)
            return State.DONE
        if outcome.verb is Verb.RELEASE:
            return self._queue.release(row, after=outcome.after)
        if outcome.verb is Verb.RETRY_LATER:
            return self._queue.retry_later(row, outcome.exception, after=outcome.after)
        delete = attempt.policy.on_failure == "delete"
        if delete:
            logger.error("job %d (%s) failed for good:\n%s", row.id, row.name, outcome.exception)
        return self._queue.fail(row, outcome.exception, delete=delete)

    def _result(self, row: JobRow, result: object, keep: float) -> str | None:
        if result is None:
            return None
        try:
            return encode_result(result)
        except PayloadError as error:
            # The work is done; to run it again would not make its result any better.
            level = logging.ERROR if keep else logging.DEBUG
            logger.log(level, "the result of job %d was not kept: %s", row.id, error)
            return None

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
        if left is State.DONE:
            self._tell(lambda: job.succeeded(attempt.result))
        elif left is State.FAILED and error is not None:
            self._tell(lambda: job.failed(error))

    def _tell(self, call: Callable[[], None]) -> None:
        try:
            call()
        except HardStop:
            raise
        except BaseException:
            logger.exception("a listener raised")


def _handled(job: Job, seconds: float | None) -> object:
    result = job.handle()
    if inspect.isawaitable(result):
        import asyncio  # a worker without async jobs does without its 10 MB

        return asyncio.run(cancelled_after(result, seconds))
    return result
