"""Many jobs at once in one process: each `def handle` in a thread, each `async def handle` on one
event loop.

The main thread claims, writes and announces; the threads run nothing but jobs. What is claimed
together for one thread is a prefetch of its own, with a log of its own.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from math import inf
from queue import SimpleQueue
from time import monotonic

from litequeue.engine.database import OwnConnections
from litequeue.engine.presence import STUCK_JOB, Registration
from litequeue.log import logger
from litequeue.records import JobRow
from litequeue.store.claim import Fits
from litequeue.store.store import Store
from litequeue.worker.executor import Execution, Executor
from litequeue.worker.leftovers import Leftovers
from litequeue.worker.prefetch import Prefetch, PrefetchWatch, write
from litequeue.worker.prefetch_size import PREFETCH_SECONDS, PrefetchSize
from litequeue.worker.shutdown import ForcedShutdown, Shutdown, block_signals

# How long a worker starts no other job so that one can run by itself, and how long that one waits
# if the others have not ended by then.
ALONE_SECONDS = 2.0
ALONE_PAUSE_SECONDS = 30.0

# Claims jobs as long as they fit together, inside the caller's transaction or in its own.
ClaimFitting = Callable[[Fits, bool], list[JobRow]]


class Slot:
    """One of the N places for jobs: a thread, which is started when first needed, or a task of
    the event loop."""

    def __init__(self, prefetch: Prefetch) -> None:
        self.prefetch = prefetch
        self.thread: threading.Thread | None = None
        self.goes_on: SimpleQueue[bool] = SimpleQueue()
        self.connections: OwnConnections | None = None
        self.in_loop = False
        self.error: BaseException | None = None


class JobThreads:
    """Runs the jobs of one worker in up to N threads, and writes their ends together."""

    # Until when the job that is to run by itself waits for the others to end, and until when
    # the others may go on beside a job that is overdue.
    _alone_until = _others_until = inf
    _interrupted = False

    def __init__(
        self,
        store: Store,
        executor: Executor,
        registration: Registration,
        prefetch_size: PrefetchSize,
        over: Callable[[], bool],
        stop: Shutdown,
        *,
        owns_process: bool = False,
    ) -> None:
        """Run as many jobs at once as the log of ``registration`` has threads. With
        ``owns_process``, the process is ended with a job that does not end in its time."""
        self.registration, self.worker = registration, registration.worker
        self._store, self._executor, self._shutdown = store, executor, stop
        self._prefetch_size = prefetch_size
        executor.pid = os.getpid()
        # Each end by itself, where it is to be known which job has left a transaction open.
        alone = store.database.has_other_connections
        logs = registration.prefetch_log.threads
        self._free = deque(
            Slot(Prefetch(log, executor, prefetch_size, over, alone)) for log in logs
        )
        self._busy: list[Slot] = []
        self._ended: deque[Slot] = deque()
        self._alone: Slot | None = None
        self._overdue: list[tuple[JobRow, str]] = []
        self._leftovers = Leftovers(
            store.database,
            registration,
            self._unwritten,
            owns_process=owns_process,
            busy=lambda: bool(self.running()),
        )
        self._watch = PrefetchWatch(
            logs, lambda: store.reclaimer.reclaim(registration.worker, PREFETCH_SECONDS)
        )
        store.database.on_lock_wait(self._leftovers.held_up)
        executor.end_process_for(self._report_overdue if owns_process else None)
        stop.run_in_threads(self.running)

    def running(self) -> list[JobRow]:
        """The rows of the jobs that run now."""
        found = [slot.prefetch.running for slot in list(self._busy)]
        return [row for row in found if row is not None]

    @property
    def claimed(self) -> int:
        """How many jobs have been claimed and have not run."""
        return sum(len(slot.prefetch.claimed) for slot in self._busy) + len(self.running())

    @property
    def uncounted(self) -> int:
        """How many jobs have been claimed that ``settle`` has not returned yet."""
        return self.claimed + len(self._unwritten())

    @property
    def busy(self) -> bool:
        """Whether the end of a job is still to come, or to be written."""
        return bool(self._busy)

    @property
    def can_claim(self) -> bool:
        """Whether another job can start now."""
        return bool(self._free) and self._alone is None and not self.overdue

    @property
    def to_settle(self) -> bool:
        """Whether ``settle`` has something to do."""
        return bool(self._ended) or (self._alone is not None and self._alone_is_due())

    @property
    def overdue(self) -> JobRow | None:
        """A job that has not ended in its time, for which the process is to be ended."""
        running = self.running()
        # In place: another thread appends to the list.
        for each in list(self._overdue):
            if each[0] not in running:
                self._overdue.remove(each)
        return self._overdue[0][0] if self._overdue else None

    def settle(self, claim: ClaimFitting | None) -> list[Execution]:
        """Write how the jobs ended that have run, claim others for the free slots in the same
        transaction, start them, and announce the ends; returns what has ended."""
        self._look_after_alone()
        ended = list(self._ended)
        errors = [slot.error for slot in ended if slot.error is not None]
        if errors:
            raise errors[0]
        over = [slot for slot in ended if not slot.prefetch.claimed]
        shares: list[list[JobRow]] = []

        def claim_within() -> list[JobRow]:
            assert claim is not None
            shares[:] = self._shares(claim, len(self._free) + len(over), within=True)
            return [row for share in shares for row in share]

        combined = claim_within if claim is not None and self._alone is None else None
        executions, rows = write(self._executor, [slot.prefetch for slot in ended], combined)
        if not rows:
            # The ends were written without a claim, whose error would have undone them.
            shares = []
        self._leftovers.written(executions)
        for slot in ended:
            self._ended.popleft()
            if slot in over:
                slot.prefetch.begin([])
                self._busy.remove(slot)
                self._free.append(slot)
                if slot is self._alone:
                    self._alone = None
            else:
                self._go(slot)
        if claim is not None and self.can_claim and not shares:
            shares = self._shares(claim, len(self._free), within=False)
        for share in shares:
            self._start(share)
        self._report_left()
        self._executor.announce(executions)
        return executions

    def interrupt(self) -> None:
        """Raise ForcedShutdown in all jobs; they will be released."""
        if not self._interrupted:
            self._interrupted = True
            self._executor.interrupt(ForcedShutdown)

    def end_process_if_overdue(self, grace: float) -> None:
        """End the process if a job has not ended in its time, and the others have ended or have
        had the ``grace``. The rescuer charges that job, and no other."""
        row = self.overdue
        if row is None:
            self._others_until = inf
            return
        self._others_until = min(self._others_until, monotonic() + grace)
        if len(self.running()) > 1 and monotonic() < self._others_until:
            return
        words = f"{STUCK_JOB}{row.id}\n{self._overdue[0][1]}"
        os.write(self.registration.fileno(), words.encode("utf-8", "backslashreplace"))
        logger.error("job %d (%s) did not end in its time: this process ends", row.id, row.name)
        os._exit(1)

    def close(self) -> None:
        """End the threads, of which none runs a job any more."""
        self._shutdown.run_in_threads(None)
        self._store.database.on_lock_wait(None)
        self._watch.end()
        self._executor.end_process_for(None)
        for slot in [*self._free, *self._busy]:
            slot.goes_on.put(False)
        for slot in self._free:
            if slot.thread is not None:
                slot.thread.join()
        if self._executor.loop is not None:
            self._executor.loop.close()
            self._executor.loop = None

    # Claiming

    def _shares(self, claim: ClaimFitting, slots: int, *, within: bool) -> list[list[JobRow]]:
        """What is claimed for so many slots."""
        shares: list[list[JobRow]] = []
        while len(shares) < slots:
            dealing = self._prefetch_size.deal(slots - len(shares), self._executor.is_async)
            rows = claim(dealing.fits, within)
            if not rows:
                break
            shares += dealing.shares(rows)
            if rows[-1].runs_alone:
                break
        return shares

    def _start(self, rows: list[JobRow]) -> None:
        slot = self._free.popleft()
        slot.prefetch.begin(rows)
        slot.in_loop = self._executor.is_async(rows[0])
        self._busy.append(slot)
        if rows[0].runs_alone:
            self._alone, self._alone_until = slot, monotonic() + ALONE_SECONDS
            self._look_after_alone()
            return
        self._go(slot)

    def _alone_is_due(self) -> bool:
        """Whether the job that is to run by itself can start, or is to be released: it has waited
        long enough, or no job is to start any more."""
        waits = self._alone_until < inf
        over = self._shutdown.requested or monotonic() > self._alone_until
        return waits and (over or len(self._busy) == 1)

    def _look_after_alone(self) -> None:
        slot = self._alone
        if slot is None or not self._alone_is_due():
            return
        self._alone_until = inf
        stopping = self._shutdown.requested
        if len(self._busy) == 1 and not stopping:
            self._go(slot)
            return
        pause = 0 if stopping else ALONE_PAUSE_SECONDS
        self._executor.release_later(slot.prefetch.claimed[0], pause)
        slot.prefetch.begin([])
        self._busy.remove(slot)
        self._free.append(slot)
        self._alone = None

    # Running

    def _go(self, slot: Slot) -> None:
        """Let a slot run what was claimed for it."""
        if len(slot.prefetch.claimed) > 1:
            self._watch.begin()
        if slot.in_loop:
            if self._executor.loop is None:
                # A worker without async jobs does without its 10 MB.
                from litequeue.worker.event_loop import LoopThread

                self._executor.loop = LoopThread()
            self._executor.loop.start(lambda: self._run_in_loop(slot))
            return
        if slot.thread is None:
            slot.thread = threading.Thread(
                target=self._serve, args=(slot,), name="litequeue-job", daemon=True
            )
            slot.thread.start()
        slot.goes_on.put(True)

    def _serve(self, slot: Slot) -> None:
        block_signals()
        while slot.goes_on.get():
            try:
                slot.prefetch.advance(self.registration.fileno())
            except ForcedShutdown:
                pass
            except BaseException as error:
                slot.error = error
            self._has_ended(slot)
        self._executor.close_thread()

    async def _run_in_loop(self, slot: Slot) -> None:
        if slot.connections is None:
            slot.connections = OwnConnections()
        slot.connections.use()
        try:
            await slot.prefetch.advance_async(self.registration.fileno())
        except BaseException as error:
            slot.error = error
        self._has_ended(slot)

    def _has_ended(self, slot: Slot) -> None:
        self._ended.append(slot)
        self._shutdown.wake()

    def _report_overdue(self, row: JobRow) -> None:
        """Called in a thread of the timekeeper's."""
        for slot in list(self._busy):
            if slot.prefetch.running is row:
                loop = self._executor.loop
                thread = loop.thread if slot.in_loop and loop is not None else slot.thread
                self._overdue.append((row, _trace(thread)))
                self._shutdown.wake()

    def _report_left(self) -> None:
        left = self._shutdown.restore()
        if left:
            logger.warning("a job in a thread left %s; put back", left)

    def _unwritten(self) -> list[Execution]:
        return [each for slot in self._busy for each in slot.prefetch.unwritten]


def _trace(thread: threading.Thread | None) -> str:
    """Where a thread is, as faulthandler writes it: the innermost frame first."""
    frame = None if thread is None else sys._current_frames().get(thread.ident or 0)
    lines: list[str] = []
    while frame is not None:
        code = frame.f_code
        lines.append(f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}\n')
        frame = frame.f_back
    return "".join(lines)
