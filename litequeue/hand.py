"""What a worker has in hand: the jobs that it has fetched, and how far it has come.

Short jobs are fetched several at a time, and completed several at a time. What the table
does not know of them yet stands here, in memory that is a file: it outlives the process,
and says which job was running, which had succeeded, and which were only fetched.

Others may have back those that have not started. The worker first writes that it starts a
job, and then looks whether the hand was recalled; who recalls it writes that first, waits
until what was written elsewhere must be seen here, and then looks how far the worker is.
Whichever came first, one of them sees the other. The recall is part of a write
transaction, so that until it has ended nothing of the hand can be claimed again.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

# The most jobs that a hand can hold.
MOST = 250
# A processor's write is seen by the others within a microsecond.
SEEN_SECONDS = 0.001

# The file: numbers of eight bytes, then the ids, then the results as lines of text.
MAGIC = int.from_bytes(b"lq-hand1", "little")
_MAGIC, _RECALLED, _SETTLED, _MOVED_AT, _COUNT, _STARTED, _DONE, _RESULTS, _IDS = range(9)
RESULTS_AT = 8 * (_IDS + MOST)
SIZE = 16384


class Note(NamedTuple):
    """How far a worker had come: the job that it ran, 0 for none and None where that is
    not known, those that had succeeded with their results, those not yet started, and
    where the job hung, if that ended the worker."""

    running: int | None
    finished: Mapping[int, str | None] = {}
    fetched: Sequence[int] = ()
    hung: str = ""


class Hand:
    """The hand of a living worker."""

    def __init__(
        self, path: str, mode: int, *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Make the file, with this ``mode``; ``clock`` gives nanoseconds that are never
        set back."""
        self.path = path
        self.moves = 0
        self._clock = clock
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            with suppress(OSError):
                os.chmod(path, mode)
            # Written, and not only made longer: on a full disk the memory would not be there.
            if os.write(self._descriptor, bytes(SIZE)) < SIZE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._map = mmap.mmap(self._descriptor, SIZE)
        except BaseException:
            os.close(self._descriptor)
            os.unlink(path)
            raise
        self._numbers = memoryview(self._map).cast("q")
        self._numbers[_MAGIC] = MAGIC

    def deal(self, ids: Sequence[int]) -> None:
        """Take these jobs in hand, at most MOST; the first of them has started."""
        numbers = self._numbers
        numbers[_DONE] = numbers[_RESULTS] = numbers[_RECALLED] = numbers[_SETTLED] = 0
        for place, id in enumerate(ids, start=_IDS):
            numbers[place] = id
        numbers[_MOVED_AT] = self._clock()
        numbers[_STARTED] = 1
        # Last: until now there was nothing to recall, and the mark of before was in vain.
        numbers[_COUNT] = len(ids)
        self.moves += 1

    def start(self) -> bool:
        """Start the next job; False where those that had not started were recalled."""
        numbers = self._numbers
        numbers[_MOVED_AT] = self._clock()
        numbers[_STARTED] += 1
        self.moves += 1
        if numbers[_RECALLED]:
            numbers[_STARTED] -= 1
            return False
        return True

    def finish(self, result: str | None = None) -> None:
        """Note that the job that runs has succeeded with this result."""
        numbers = self._numbers
        if result is not None:
            line = b"%d %b\n" % (numbers[_DONE], result.encode("utf-8", "surrogatepass"))
            end = RESULTS_AT + numbers[_RESULTS]
            self._map[end : end + len(line)] = line
            numbers[_RESULTS] += len(line)
        numbers[_DONE] += 1

    def end(self) -> None:
        """Note that the end of the job that runs is written in the table. It may be to run
        again, and what is found here after a power failure may be old: no success is
        noted."""
        numbers = self._numbers
        numbers[_IDS + numbers[_DONE]] = 0
        numbers[_DONE] += 1

    def has_room(self, result: str | None) -> bool:
        """Whether a result can be noted."""
        if result is None:
            return True
        left = SIZE - RESULTS_AT - self._numbers[_RESULTS]
        # The place, a blank and a newline come with it; a character may be four bytes.
        return 4 * len(result) + 8 < left

    def give_back(self) -> None:
        """Note that the job that runs is not to blame for what comes."""
        self._numbers[_STARTED] = self._numbers[_DONE]

    def clear(self) -> None:
        """Note that the table knows all that was in hand; before another claim, since a
        job may come again."""
        numbers = self._numbers
        numbers[_COUNT] = numbers[_STARTED] = numbers[_DONE] = 0
        self.moves += 1

    @property
    def settled(self) -> Sequence[int]:
        """The jobs that had succeeded when others had back what had not started: they
        have completed them."""
        numbers = self._numbers
        return numbers[_IDS : _IDS + numbers[_SETTLED]].tolist()

    @property
    def count(self) -> int:
        """How many jobs the table does not know all of."""
        return self._numbers[_COUNT]

    def close(self) -> None:
        """Let go of the file."""
        self._numbers.release()
        self._map.close()
        os.close(self._descriptor)


def read(path: str) -> Note:
    """What the hand of a dead worker says."""
    with _opened(path) as numbers:
        return Note(None) if numbers is None else _noted(numbers)


def rests(path: str, seconds: float, *, clock: Callable[[], int] = time.monotonic_ns) -> bool:
    """Whether a worker has something in hand beside the job that it has been at for more
    than ``seconds``."""
    with _opened(path) as numbers:
        return numbers is not None and _rests(numbers, seconds, clock())


def recall(
    path: str,
    rested: float = 0,
    *,
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Note | None:
    """Keep a living worker from starting what it has not started, and return what its
    hand says; None where it has nothing beside the job that it is at, or has been at that
    for less than ``rested`` seconds. To be called in a write transaction, which then
    writes what the hand says."""
    with _opened(path) as numbers:
        if numbers is None or not _rests(numbers, rested, clock()):
            return None
        numbers[_RECALLED] = 1
        sleep(SEEN_SECONDS)
        note = _noted(numbers)
        numbers[_SETTLED] = numbers[_DONE]
        return note


@contextmanager
def _opened(path: str) -> Iterator[memoryview | None]:
    """The numbers of a file; None for one that is not there, is another user's, or that a
    power failure has left empty."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        yield None
        return
    try:
        if os.fstat(descriptor).st_size < SIZE:
            yield None
            return
        with mmap.mmap(descriptor, SIZE) as whole, memoryview(whole).cast("q") as numbers:
            yield numbers if numbers[_MAGIC] == MAGIC else None
    finally:
        os.close(descriptor)


def _rests(numbers: memoryview, seconds: float, now: int) -> bool:
    return numbers[_COUNT] >= 2 and not 0 <= now - numbers[_MOVED_AT] < seconds * 1e9


def _noted(numbers: memoryview) -> Note:
    count, started, done = (numbers[place] for place in (_COUNT, _STARTED, _DONE))
    if count == 0:
        # Dead between two hands, or before all of one was written down.
        return Note(0)
    if not (0 <= done <= started <= done + 1 and started <= count <= MOST):
        return Note(None)
    ids = numbers[_IDS : _IDS + count].tolist()
    with numbers.cast("B") as whole:
        text = bytes(whole[RESULTS_AT : RESULTS_AT + max(0, numbers[_RESULTS])])
    finished: dict[int, str | None] = {id: None for id in ids[:done] if id}
    try:
        for line in filter(None, text.split(b"\n")):
            place, _, result = line.partition(b" ")
            finished[ids[int(place)]] = result.decode("utf-8", "surrogatepass")
    except (ValueError, IndexError):
        # After a power failure, a part of the file can be older than another.
        return Note(None)
    return Note(ids[done] if started > done else 0, finished, tuple(ids[started:]))
