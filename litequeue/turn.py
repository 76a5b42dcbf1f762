"""One turn of a worker: the jobs of its hand, run one after the other, and then written
down together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from time import perf_counter

from litequeue.errors import LitequeueError
from litequeue.executor import Attempt, Executor
from litequeue.hand import Hand
from litequeue.leftovers import Leftovers
from litequeue.log import logger
from litequeue.pace import HAND_SECONDS, Pace
from litequeue.queue import Queue
from litequeue.record import JobRow, State
from litequeue.roster import Seat
from litequeue.stop import HardStop, unsignalled

# What the watch has to end in, and how long it rests after an error.
LAST_SECONDS = 2.0


class Turn:
    """Runs what one worker has in hand, as if each job were alone."""

    def __init__(
        self,
        queue: Queue,
        executor: Executor,
        seat: Seat,
        pace: Pace,
        over: Callable[[], bool],
        *,
        owns_process: bool = False,
    ) -> None:
        """Run jobs of ``queue`` in this ``seat`` until the hand is empty, or ``over``. With
        ``owns_process``, there is nothing in this process but the worker and its jobs."""
        self.seat = seat
        self.worker = seat.worker
        self._queue = queue
        self._executor = executor
        self._pace = pace
        self._over = over
        self._leftovers = Leftovers(queue.database, seat, owns_process=owns_process)
        queue.database.tell_of_waits(self._leftovers.held_up)
        # A worker that was made before a fork may work behind it.
        executor.pid = os.getpid()
        self._watch = Watch(seat.hand, lambda: queue.recall(seat.worker, HAND_SECONDS))

    def run(self, rows: Sequence[JobRow]) -> list[State | None]:
        """Run the jobs in order, and return the states that they are left in, None for a
        run that was lost. Those that do not come to run, for a stop or because the others
        take longer than was thought, are released. Raises HardStop."""
        hand, ran = self.seat.hand, 0
        states: list[State | None] = []
        reserved_at = rows[0].reserved_at
        hand.deal([row.id for row in rows], reserved_at.timestamp() if reserved_at else 0.0)
        if len(rows) > 1:
            self._watch.begin()
        finished: list[tuple[JobRow, Attempt]] = []
        now = perf_counter()
        until = now + 2 * HAND_SECONDS
        written = True
        try:
            for row in rows:
                # What was pushed meanwhile may be more urgent than what is left.
                if ran and (now > until or self._over() or not hand.start()):
                    break
                ran += 1
                states.append(self._run(row, finished, alone=len(rows) == 1))
                before, now = now, perf_counter()
                self._pace.ran(row.name, now - before)
        except HardStop:
            hand.give_back()
            ran -= 1
            raise
        except BaseException:
            # The end of the job that ran is not in the table: it stays noted, so that
            # whoever buries this worker charges the job.
            written = False
            raise
        finally:
            self._settle(finished, rows[ran:])
            if written:
                hand.clear()
        self._leftovers.written()
        return states

    def close(self) -> None:
        """End the watch."""
        self._queue.database.tell_of_waits(None)
        self._watch.end()

    def _run(
        self, row: JobRow, finished: list[tuple[JobRow, Attempt]], *, alone: bool
    ) -> State | None:
        self._leftovers.begin_job()
        try:
            attempt = self._executor.attempt(row, self.seat.fileno())
        finally:
            self._leftovers.end_job()
        self._leftovers.runs.append((row, attempt))
        hand = self.seat.hand
        waits = not alone and self._executor.may_wait(row, attempt)
        # Each by itself, where it is to be known which one has left a transaction open.
        waits = waits and not self._queue.database.has_other_connections()
        if waits and hand.has_room(attempt.text):
            finished.append((row, attempt))
            hand.finish(attempt.text)
            return State.DONE
        left = self._executor.end(row, attempt)
        hand.end()
        return left

    def _settle(self, finished: list[tuple[JobRow, Attempt]], rest: Sequence[JobRow]) -> None:
        """Write down what is noted in the hand; what cannot be written stays noted."""
        if finished:
            self._executor.end_all(finished, lambda: self.seat.hand.settled)
        if rest:
            self._executor.give_back(rest)


class Watch:
    """A thread that has the hand emptied when a job takes longer than was thought: those
    before it are completed, and those behind it are for other workers to run."""

    def __init__(self, hand: Hand, recall: Callable[[], object]) -> None:
        self._hand = hand
        self._recall = recall
        self._armed = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Watch the hand that was just dealt."""
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
            # It may wait for a lock that somebody else keeps.
            self._thread.join(LAST_SECONDS)

    def _run(self) -> None:
        unsignalled()
        while self._armed.wait() and not self._ended.is_set():
            self._armed.clear()
            moves = self._hand.moves
            if self._ended.wait(2 * HAND_SECONDS):
                return
            rests = self._hand.moves == moves and self._take_back() and self._hand.moves == moves
            if not self._ended.is_set() and self._hand.count > 1 and not rests:
                self._armed.set()

    def _take_back(self) -> bool:
        try:
            self._recall()
        except LitequeueError as error:
            logger.warning("%s", error)
            self._ended.wait(LAST_SECONDS)
            return False
        return True
