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
from litequeue.records import JobRow, State
from litequeue.store.store import Store
from litequeue.worker.executor import Attempt, Executor
from litequeue.worker.leftovers import Leftovers
from litequeue.worker.prefetch_size import PREFETCH_SECONDS, PrefetchSize
from litequeue.worker.shutdown import ForcedShutdown, block_signals

# How long the thread may take to stop, and how long it waits after an error.
WATCH_STOP_SECONDS = 2.0


class PrefetchRunner:
    """Runs what one worker has claimed, as if each job were alone."""

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
        self._prefetch_size = prefetch_size
        self._over = over
        self._store = store
        self._leftovers = Leftovers(store.database, registration, owns_process=owns_process)
        store.database.on_lock_wait(self._leftovers.held_up)
        # A worker that was made before a fork may work behind it.
        executor.pid = os.getpid()
        self._watch = PrefetchWatch(
            registration.prefetch_log,
            lambda: store.reclaimer.reclaim(registration.worker, PREFETCH_SECONDS),
        )

    def run(self, rows: Sequence[JobRow]) -> list[State | None]:
        """Run the jobs in order, and return the states that they are left in, None for a
        run that was lost. Those that do not come to run, for a stop or because the others
        take longer than was thought, are released. Raises ForcedShutdown."""
        prefetch_log, ran = self.registration.prefetch_log, 0
        states: list[State | None] = []
        reserved_at = rows[0].reserved_at
        prefetch_log.begin(
            [row.id for row in rows], reserved_at.timestamp() if reserved_at else 0.0
        )
        if len(rows) > 1:
            self._watch.begin()
        finished: list[tuple[JobRow, Attempt]] = []
        now = perf_counter()
        until = now + 2 * PREFETCH_SECONDS
        written = True
        try:
            for row in rows:
                # What was pushed meanwhile may be more urgent than what is left.
                if ran and (now > until or self._over() or not prefetch_log.start()):
                    break
                ran += 1
                states.append(self._run(row, finished, alone=len(rows) == 1))
                before, now = now, perf_counter()
                self._prefetch_size.ran(row.name, now - before)
        except ForcedShutdown:
            prefetch_log.release()
            ran -= 1
            raise
        except BaseException:
            # The end of the job that ran is not in the table: it stays in the log, so that
            # the rescuer charges the job.
            written = False
            raise
        finally:
            self._settle(finished, rows[ran:])
            if written:
                prefetch_log.clear()
        self._leftovers.written()
        return states

    def close(self) -> None:
        """End the watch."""
        self._store.database.on_lock_wait(None)
        self._watch.end()

    def _run(
        self, row: JobRow, finished: list[tuple[JobRow, Attempt]], *, alone: bool
    ) -> State | None:
        self._leftovers.begin_job()
        try:
            attempt = self._executor.attempt(row, self.registration.fileno())
        finally:
            self._leftovers.end_job()
        self._leftovers.runs.append((row, attempt))
        prefetch_log = self.registration.prefetch_log
        waits = not alone and self._executor.may_wait(row, attempt)
        # Each by itself, where it is to be known which one has left a transaction open.
        waits = waits and not self._store.database.has_other_connections()
        if waits and prefetch_log.has_room(attempt.text):
            finished.append((row, attempt))
            prefetch_log.finish(attempt.text)
            return State.DONE
        left = self._executor.end(row, attempt)
        prefetch_log.end()
        return left

    def _settle(self, finished: list[tuple[JobRow, Attempt]], rest: Sequence[JobRow]) -> None:
        """Write the ends that the log has; what cannot be written stays in the log."""
        if finished:
            self._executor.end_all(finished, lambda: self.registration.prefetch_log.settled)
        if rest:
            self._executor.release_all(rest)


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
