"""Running the jobs that were claimed together, one after the other, and writing their ends
together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from time import perf_counter

from litequeue.engine.prefetch_log import PrefetchLog
from litequeue.engine.presence import Registration
from litequeue.errors import LitequeueError
from litequeue.log import logger
from litequeue.records import JobRow
from litequeue.store.store import Store
from litequeue.worker.executor import Claim, Execution, Executor
from litequeue.worker.leftovers import Leftovers
from litequeue.worker.prefetch_size import PREFETCH_SECONDS, PrefetchSize
from litequeue.worker.shutdown import ForcedShutdown, block_signals

# How long the thread may take to stop, and how long it waits after an error.
WATCH_STOP_SECONDS = 2.0


class PrefetchRunner:
    """Runs the jobs that one worker has claimed together, and writes their ends together."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        registration: Registration,
        prefetch_size: PrefetchSize,
        over: Callable[[], bool],
        *,
        owns_process: bool = False,
    ) -> None:
        """Run jobs of ``store`` for this ``registration`` until none is left, or ``over``. With
        ``owns_process``, there is nothing in this process but the worker and its jobs."""
        self.registration = registration
        self.worker = registration.worker
        self.claimed: Sequence[JobRow] = ()
        """What was claimed and has not run."""
        self._unwritten: list[Execution] = []
        self._log = registration.prefetch_log
        self._executor = executor
        self._prefetch_size = prefetch_size
        self._over = over
        self._store = store
        self._leftovers = Leftovers(store.database, registration, owns_process=owns_process)
        store.database.on_lock_wait(self._leftovers.held_up)
        # A worker that was made before a fork may work behind it.
        executor.pid = os.getpid()
        self._watch = PrefetchWatch(
            self._log,
            lambda: store.reclaimer.reclaim(registration.worker, PREFETCH_SECONDS),
        )

    def begin(self, rows: Sequence[JobRow]) -> None:
        """Note what was claimed, so that no other job is charged if this worker dies."""
        self.claimed = rows
        if rows:
            at = rows[0].reserved_at
            self._log.begin([row.id for row in rows], at.timestamp() if at else 0.0)
        else:
            self._log.clear()

    def run(self) -> list[Execution]:
        """Run what was claimed, in order; ``settle`` writes how it ended. Jobs that are not
        started, because of a stop or because the others take longer than was expected, are
        released. Raises ForcedShutdown."""
        rows, self.claimed = self.claimed, ()
        ran: list[Execution] = []
        if len(rows) > 1:
            self._watch.begin()
        now = perf_counter()
        until = now + 2 * PREFETCH_SECONDS
        try:
            for row in rows:
                # What was pushed meanwhile may be more urgent than what is left.
                if ran and (now > until or self._over()):
                    break
                if not self._log.start():
                    break
                execution = self._execute(row)
                ran.append(execution)
                before, now = now, perf_counter()
                self._prefetch_size.ran(row.name, now - before)
                recorded = self._may_wait(execution) and self._record(execution)
                if not recorded and len(ran) < len(rows):
                    self._settle()
                    self._log.end()
        except ForcedShutdown:
            self._log.release()
            self._settle()
            self._release(rows[len(ran) :])
            self._log.clear()
            raise
        except BaseException:
            self._release(rows[len(ran) :])
            raise
        self._release(rows[len(ran) :])
        return ran

    def settle(self, claim: Claim | None = None) -> None:
        """Write how the jobs ended that have run, claim the next ones in the same transaction,
        and announce the ends."""
        executions, rows = self._write(claim)
        self.begin(rows)
        self._executor.announce(executions)

    def close(self) -> None:
        """End the watch."""
        self._store.database.on_lock_wait(None)
        self._watch.end()

    def _execute(self, row: JobRow) -> Execution:
        self._leftovers.begin_job()
        try:
            execution = self._executor.execute(row, self.registration.fileno())
        finally:
            self._leftovers.end_job()
        self._leftovers.runs.append(execution)
        self._unwritten.append(execution)
        return execution

    def _record(self, execution: Execution) -> bool:
        """Record in the log that a job is over, if there is room; a failure is recorded in the
        table alone."""
        result, keep = execution.result_json, execution.policy.keep
        if execution.in_table:
            self._log.end()
        elif execution.succeeded and self._log.has_room(result, keep):
            self._log.finish(result, keep)
        else:
            return False
        return True

    def _may_wait(self, execution: Execution) -> bool:
        """Whether the next job can start before the end of this one is in the table."""
        # Each by itself, where it is to be known which one has left a transaction open.
        return execution.may_wait and not self._store.database.has_other_connections()

    def _settle(self) -> None:
        self._executor.announce(self._write()[0])

    def _write(self, claim: Claim | None = None) -> tuple[list[Execution], list[JobRow]]:
        executions, self._unwritten = self._unwritten, []
        try:
            rows = self._executor.settle(executions, claim, self._settled)
        except BaseException:
            # Where only the end of one job cannot be written, the others are not held up. The
            # log stays as it is, so that the rescuer charges that job.
            others = [each for each in executions if each.succeeded]
            if 0 < len(others) < len(executions):
                self._executor.settle(others, None, self._settled)
                self._executor.announce(others)
            raise
        self._leftovers.written()
        return executions, rows

    def _settled(self) -> Sequence[int]:
        return self._log.settled

    def _release(self, rows: Sequence[JobRow]) -> None:
        if rows:
            self._executor.release_all(rows)


class PrefetchWatch:
    """A thread that has the log reclaimed when a job takes longer than expected: the jobs
    before it are completed, and those behind it are released for other workers."""

    def __init__(self, prefetch_log: PrefetchLog, reclaim: Callable[[], object]) -> None:
        self._prefetch_log = prefetch_log
        self._reclaim_late = reclaim
        self._armed = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Watch the jobs that have just begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="litequeue-watch", daemon=True)
            self._thread.start()
        if not self._armed.is_set():
            self._armed.set()

    def end(self) -> None:
        """End the thread, if there is one."""
        self._ended.set()
        self._armed.set()
        if self._thread is not None:
            # The thread may be waiting for a lock that another process holds.
            self._thread.join(WATCH_STOP_SECONDS)

    def _run(self) -> None:
        block_signals()
        while self._armed.wait() and not self._ended.is_set():
            self._armed.clear()
            moves = self._prefetch_log.moves
            if self._ended.wait(2 * PREFETCH_SECONDS):
                return
            has_unstarted = (
                self._prefetch_log.moves == moves
                and self._reclaim()
                and self._prefetch_log.moves == moves
            )
            if not self._ended.is_set() and self._prefetch_log.count > 1 and not has_unstarted:
                self._armed.set()

    def _reclaim(self) -> bool:
        try:
            self._reclaim_late()
        except LitequeueError as error:
            logger.warning("%s", error)
            self._ended.wait(WATCH_STOP_SECONDS)
            return False
        return True
