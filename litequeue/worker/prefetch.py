"""Running the jobs that were claimed together, one after the other, and writing their ends
together."""

from __future__ import annotations

import os
import threading
from collections import deque
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


class Prefetch:
    """The jobs that were claimed together, to run one after the other in one thread."""

    def __init__(
        self,
        log: PrefetchLog,
        executor: Executor,
        prefetch_size: PrefetchSize,
        over: Callable[[], bool],
        settle_each: Callable[[], bool],
    ) -> None:
        """Record in ``log`` how far the jobs have come. No job starts when it is ``over``. Where
        the ends are to be written ``settle_each`` by itself, no job starts before that."""
        self.log = log
        self.claimed: deque[JobRow] = deque()
        """What has not started yet."""
        self.unstarted: list[JobRow] = []
        """What will not start, and is to be released."""
        self.unwritten: list[Execution] = []
        """What has run, and whose end is not in the table yet."""
        self.running: JobRow | None = None
        self.ran = 0
        self._executor = executor
        self._prefetch_size = prefetch_size
        self._over = over
        self._settle_each = settle_each
        self._until = self._began = 0.0
        self._recorded = True

    def begin(self, rows: Sequence[JobRow]) -> None:
        """Record what was claimed, so that no other job is charged if this worker dies."""
        self.claimed = deque(rows)
        self.ran, self._until = 0, perf_counter() + 2 * PREFETCH_SECONDS
        if rows:
            at = rows[0].reserved_at
            self.log.begin([row.id for row in rows], at.timestamp() if at else 0.0)
        else:
            self.log.clear()

    def advance(self, report_to: int) -> None:
        """Run the jobs in order, until none is left or the end of one has to be written before
        the next one starts. Raises ForcedShutdown."""
        now = perf_counter()
        while (row := self._next(now)) is not None:
            began = now
            try:
                execution = self._executor.execute(row, report_to)
            except ForcedShutdown:
                self._release(row)
                raise
            now = perf_counter()
            if not self._add(execution, began, now):
                return

    async def advance_async(self, report_to: int) -> None:
        """Do the same with async jobs, in an event loop."""
        now = perf_counter()
        while (row := self._next(now)) is not None:
            began = now
            try:
                execution = await self._executor.execute_async(row, report_to)
            except ForcedShutdown:
                self._release(row)
                return
            now = perf_counter()
            if not self._add(execution, began, now):
                return

    def settled(self) -> None:
        """Everything that has run is in the table."""
        if not self._recorded:
            self.log.end()
            self._recorded = True
            self._prefetch_size.ran(self.unwritten[-1].row.name, perf_counter() - self._began)
        self.unwritten, self.unstarted = [], []

    def _next(self, now: float) -> JobRow | None:
        """The next job, which has started from ``now`` on; None if there is none, or if the others
        are to be released: for a stop, or because the jobs take longer than was expected and
        what was pushed meanwhile may be more urgent."""
        if self.claimed:
            late = self.ran and (now > self._until or self._over())
            if not late and self.log.start():
                self.ran += 1
                self.running = self.claimed.popleft()
                return self.running
            self._release()
        return None

    def _release(self, *running: JobRow) -> None:
        if running:
            self.log.release()
        self.running = None
        self.unstarted += [*running, *self.claimed]
        self.claimed.clear()

    def _add(self, execution: Execution, began: float, now: float) -> bool:
        """Add a job that has run from ``began`` to ``now``; return whether the next one can
        start."""
        self.running = None
        self.unwritten.append(execution)
        self._recorded = self._record(execution)
        if self._recorded:
            self._prefetch_size.ran(execution.row.name, now - began)
        # Otherwise the others wait until its end is written, so that counts, too.
        self._began = began
        return self._recorded

    def _record(self, execution: Execution) -> bool:
        """Record in the log that a job is over, if the next one can start before that is in the
        table, and if there is room."""
        if self._settle_each():
            return False
        if execution.succeeded:
            # As long as the end of a unique job is not in the table, no equal job can be pushed.
            result, keep = execution.result_json, execution.policy.keep
            if execution.row.unique_key is None and self.log.has_room(result, keep):
                self.log.finish(result, keep)
                return True
            return False
        if execution.in_table:
            self.log.end()
        return execution.in_table


class PrefetchRunner:
    """Runs the jobs that a worker has claimed together, and writes their ends together."""

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
        self._executor = executor
        self._store = store
        # A worker that was made before a fork may work behind it.
        executor.pid = os.getpid()
        self._prefetch = Prefetch(
            registration.prefetch_log,
            executor,
            prefetch_size,
            over,
            # Where it is to be known which job has left a transaction open.
            store.database.has_other_connections,
        )
        self._leftovers = Leftovers(
            store.database,
            registration,
            lambda: self._prefetch.unwritten,
            owns_process=owns_process,
        )
        store.database.on_lock_wait(self._leftovers.held_up)
        self._watch = PrefetchWatch(registration.prefetch_log.threads, self._job_is_late)

    @property
    def claimed(self) -> bool:
        """Whether there is something to run."""
        return bool(self._prefetch.claimed)

    def begin(self, rows: Sequence[JobRow]) -> None:
        """Record what was claimed, so that no other job is charged if this worker dies."""
        self._prefetch.begin(rows)

    def run(self) -> list[Execution]:
        """Run what was claimed, in order; ``settle`` writes how it ended. Raises
        ForcedShutdown."""
        prefetch = self._prefetch
        ran: list[Execution] = []
        if len(prefetch.claimed) > 1:
            self._watch.begin()
        try:
            while prefetch.claimed:
                with self._leftovers.running():
                    prefetch.advance(self.registration.fileno())
                ran += prefetch.unwritten
                if prefetch.claimed:
                    self._settle()
        except ForcedShutdown:
            self._settle()
            prefetch.log.clear()
            raise
        except BaseException:
            if prefetch.claimed:
                self._executor.release_all(list(prefetch.claimed))
            raise
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

    def _job_is_late(self) -> None:
        # A short job before it, in the same prefetch, may have stopped what would end it.
        self._executor.refresh_timeout()
        self._store.reclaimer.reclaim(self.worker, PREFETCH_SECONDS)

    def _settle(self) -> None:
        executions, _ = self._write()
        self._executor.announce(executions)

    def _write(self, claim: Claim | None = None) -> tuple[list[Execution], list[JobRow]]:
        executions, rows = write(self._executor, [self._prefetch], claim)
        self._leftovers.written(executions)
        return executions, rows


def write(
    executor: Executor, prefetches: Sequence[Prefetch], claim: Claim | None
) -> tuple[list[Execution], list[JobRow]]:
    """Write the ends of what has run of these prefetches, release what will not start, and claim
    the next jobs, all in one transaction; return the executions, and the rows of the claim."""
    executions = [each for prefetch in prefetches for each in prefetch.unwritten]
    unstarted = [row for prefetch in prefetches for row in prefetch.unstarted]

    def settled() -> list[int]:
        return [id for prefetch in prefetches for id in prefetch.log.settled]

    try:
        rows = executor.settle(executions, unstarted, claim, settled)
    except BaseException:
        # Where only the end of one job cannot be written, the others are not held up. The log
        # stays as it is, so that the rescuer charges that job.
        others = [each for each in executions if each.succeeded]
        if 0 < len(others) < len(executions):
            executor.settle(others, unstarted, None, settled)
            executor.announce(others)
        raise
    for prefetch in prefetches:
        prefetch.settled()
    return executions, rows


class PrefetchWatch:
    """A thread that has the log reclaimed when a job takes longer than expected: the jobs
    before it are completed, and those behind it are released for other workers."""

    def __init__(self, logs: Sequence[PrefetchLog], reclaim: Callable[[], object]) -> None:
        self._logs = logs
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
            moves = self._moves()
            if self._ended.wait(2 * PREFETCH_SECONDS):
                return
            has_unstarted = self._moves() == moves and self._reclaim() and self._moves() == moves
            several = any(log.count > 1 for log in self._logs)
            if not self._ended.is_set() and several and not has_unstarted:
                self._armed.set()

    def _moves(self) -> list[int]:
        return [log.moves for log in self._logs]

    def _reclaim(self) -> bool:
        try:
            self._reclaim_late()
        except LitequeueError as error:
            logger.warning("%s", error)
            self._ended.wait(WATCH_STOP_SECONDS)
            return False
        return True
