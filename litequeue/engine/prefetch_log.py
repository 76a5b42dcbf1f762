"""The prefetch log: which jobs a worker has claimed, and how far it has come with them.

Short jobs are claimed several at a time, and completed several at a time. What the table
does not say about them yet is in this file, mapped into memory: it survives the process,
and says which job was running, which had succeeded, and which had not started.

The file is never synced. After a power failure it may be newer or older than the database,
or partly both. So it names the boot of the machine, the database file and the claim that
it is about, and each number carries a checksum. Where one of these does not match, the log
is ignored.

Others may reclaim the jobs that have not started. The worker first writes that it starts a
job, and then reads whether the log was reclaimed; the reclaimer writes its mark first, waits
until the write is visible to the worker's processor, and then reads how far the worker is.
Whichever came first, one of them sees the other. Reclaiming is part of a write transaction,
so none of the jobs can be claimed again before it has ended.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple
from zlib import crc32

from litequeue.engine.locks import NO_FOLLOW
from litequeue.records import JobRow

# The most jobs that a log can hold.
MOST = 250
# A processor's write is seen by the others within a microsecond.
VISIBLE_SECONDS = 0.001

# The file: whose it is, numbers of eight bytes, the claim, and then a log of lines. All
# that moves but the log lies in one block of a disk, which is written whole or not at all.
HEADER = struct.Struct("8s120s")
MAGIC = b"lq-hand2"
_RECLAIMED, _SETTLED, _MOVED_AT, _COUNT, _STARTED, _DONE, _LOGGED = range(16, 23)
CLAIM_AT = 8 * 23
CLAIMED = struct.Struct("d")
IDS_AT = CLAIM_AT + CLAIMED.size
LOG_AT = IDS_AT + 8 * MOST
SIZE = 16384
# Each job that ended in the table has a line of the log, of at most so many bytes.
ENDED_BYTES = 4

# A number is written as one word, which no death of the process can tear: its value, and
# behind it a check of the value and of the claim that it belongs to.
_CHECKS = [crc32(b"%d" % value) for value in range(MOST + 1)]


class Snapshot(NamedTuple):
    """How far a worker had come: the job that it ran, 0 for none and None where that is
    not known, those that had succeeded with their results, those not yet started, where
    the job hung, if that ended the worker, when all of them were claimed, and whether the
    worker was asked to stop."""

    running: int | None
    finished: Mapping[int, str | None] = {}
    unstarted: Sequence[int] = ()
    stuck_at: str = ""
    claimed_at: float = 0.0
    stopped: bool = False

    def about(self, rows: Sequence[JobRow]) -> Snapshot:
        """What it says of these rows, which the worker has in the table: nothing of one
        that comes from another claim, as after a backup was restored."""
        ids = {row.id for row in rows if _claimed_at(row) == self.claimed_at}
        return self._replace(
            running=self.running if self.running in ids else 0,
            finished={id: result for id, result in self.finished.items() if id in ids},
            unstarted=[id for id in self.unstarted if id in ids],
        )


class PrefetchLog:
    """The prefetch log of a living worker."""

    def __init__(
        self,
        path: str,
        mode: int,
        mark: bytes = b"",
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Make the file, with this ``mode``; it is believed by who asks for the same
        ``mark``. ``clock`` gives nanoseconds that are never set back."""
        self.path = path
        self.moves = self.count = 0
        self._clock = clock
        self._started = self._done = self._logged = 0
        header = HEADER.pack(MAGIC, mark)
        self._seed = self._salt = self._check = crc32(header)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | NO_FOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            with suppress(OSError, AttributeError):  # Windows has modes by name alone
                os.fchmod(descriptor, mode)
            # Written, and not only made longer: on a full disk the memory would not be there.
            if os.write(descriptor, header.ljust(SIZE, b"\0")) < SIZE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._map = mmap.mmap(descriptor, SIZE)
        except BaseException:
            os.close(descriptor)
            os.unlink(path)
            raise
        # The memory has its own, and a job that closes descriptors must not take it away.
        os.close(descriptor)
        self._numbers = memoryview(self._map).cast("Q")

    def begin(self, ids: Sequence[int], claimed_at: float = 0.0) -> None:
        """Begin with these jobs, at most MOST, which were claimed at this instant; the first
        of them has started."""
        numbers = self._numbers
        numbers[_RECLAIMED] = numbers[_SETTLED] = 0
        claim = CLAIMED.pack(claimed_at) + array("q", ids).tobytes()
        self._map[CLAIM_AT : CLAIM_AT + len(claim)] = claim
        self._salt = self._check = salt = crc32(claim, self._seed)
        self._started, self._done, self._logged, self.count = 1, 0, 0, len(ids)
        numbers[_LOGGED] = salt
        numbers[_DONE] = _word(0, salt)
        numbers[_STARTED] = _word(1, salt)
        numbers[_MOVED_AT] = self._clock()
        # Last: until now there was nothing to reclaim, and an earlier mark had no effect.
        numbers[_COUNT] = _word(len(ids), salt)
        self.moves += 1

    def start(self) -> bool:
        """Start the next job; False if the jobs that had not started were reclaimed."""
        numbers = self._numbers
        numbers[_MOVED_AT] = self._clock()
        started = self._started + 1
        numbers[_STARTED] = _word(started, self._salt)
        self.moves += 1
        if numbers[_RECLAIMED]:
            numbers[_STARTED] = _word(self._started, self._salt)
            return False
        self._started = started
        return True

    def finish(self, result: str | None = None) -> None:
        """Record that the running job has succeeded with this result, JSON text."""
        if result is not None:
            self._log(b"%d %b\n" % (self._done, result.encode("utf-8", "surrogatepass")))
        self._done += 1
        self._numbers[_DONE] = _word(self._done, self._salt)

    def end(self) -> None:
        """Note that the end of the job that runs is written in the table: it may be to
        run again, and is no success."""
        self._log(b"%d\n" % self._done)
        self._done += 1
        self._numbers[_DONE] = _word(self._done, self._salt)

    def has_room(self, result: str | None) -> bool:
        """Whether a result can be noted."""
        if result is None:
            return True
        left = SIZE - LOG_AT - MOST * ENDED_BYTES - self._logged
        # The place, a blank and a newline come with it; a character may be four bytes.
        return 4 * len(result) + 8 < left

    def release(self) -> None:
        """Record that the running job is not to be charged for a crash from now on."""
        self._started = self._done
        self._numbers[_STARTED] = _word(self._started, self._salt)

    def clear(self) -> None:
        """Empty the log, since the table now says all of it. To be called before the next
        claim, which may claim one of these jobs again."""
        self._numbers[_COUNT] = self.count = 0
        self.moves += 1

    @property
    def settled(self) -> Sequence[int]:
        """The jobs that had succeeded when the others were reclaimed: the reclaimer has
        completed them."""
        return _ids(self._map, self._numbers[_SETTLED])

    def close(self) -> None:
        """Close the file."""
        self._numbers.release()
        self._map.close()

    def _log(self, line: bytes) -> None:
        at = LOG_AT + self._logged
        self._map[at : at + len(line)] = line
        self._logged += len(line)
        self._check = crc32(line, self._check)
        self._numbers[_LOGGED] = self._logged << 32 | self._check


def read(path: str, mark: bytes = b"") -> Snapshot:
    """Return what the log of a dead worker says, if it was made with this ``mark``."""
    with _opened(path, mark) as whole:
        return Snapshot(None) if whole is None else _snapshot(whole)


def has_unstarted(
    path: str,
    seconds: float,
    mark: bytes = b"",
    *,
    clock: Callable[[], int] = time.monotonic_ns,
) -> bool:
    """Whether a worker has claimed more than the job that it has been running for more than
    ``seconds``."""
    with _opened(path, mark) as whole:
        return whole is not None and _has_unstarted(whole, seconds, clock())


def reclaim(
    path: str,
    busy_seconds: float = 0,
    mark: bytes = b"",
    *,
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Snapshot | None:
    """Keep a living worker from starting what it has not started, and return what its log
    says; None if it has nothing but the job that it runs, or has run that for less than
    ``busy_seconds``. To be called in a write transaction, which then writes what the log
    says."""
    with _opened(path, mark) as whole:
        if whole is None or not _has_unstarted(whole, busy_seconds, clock()):
            return None
        with memoryview(whole).cast("Q") as numbers:
            numbers[_RECLAIMED] = 1
            sleep(VISIBLE_SECONDS)
            snapshot = _snapshot(whole)
            numbers[_SETTLED] = numbers[_DONE] >> 32
        return snapshot


@contextmanager
def _opened(path: str, mark: bytes) -> Iterator[mmap.mmap | None]:
    """The memory of a file; None for one that is not there, is another user's, that a
    power failure has left empty, or that was made with another mark."""
    try:
        descriptor = os.open(path, os.O_RDWR | NO_FOLLOW)
    except OSError:
        yield None
        return
    try:
        if os.fstat(descriptor).st_size < SIZE:
            yield None
            return
        with mmap.mmap(descriptor, SIZE) as whole:
            yield whole if whole[: HEADER.size] == HEADER.pack(MAGIC, mark) else None
    finally:
        os.close(descriptor)


def _numbers(whole: mmap.mmap, *places: int) -> Iterator[int]:
    # One after the other, and each at once: the worker may live, and write them.
    with memoryview(whole).cast("Q") as numbers:
        yield from (numbers[place] for place in places)


def _has_unstarted(whole: mmap.mmap, seconds: float, now: int) -> bool:
    count, moved_at = _numbers(whole, _COUNT, _MOVED_AT)
    return count >> 32 >= 2 and not 0 <= now - moved_at < seconds * 1e9


def _snapshot(whole: mmap.mmap) -> Snapshot:
    # The log last: what has its line in it is done, and no result is to be missed.
    words = list(_numbers(whole, _COUNT, _STARTED, _DONE, _LOGGED))
    if not words[0]:
        # The worker died between two claims, or before one was written completely.
        return Snapshot(0)
    count, started, done, logged = (word >> 32 for word in words)
    if not (done <= started <= done + 1 and started <= count <= MOST and logged <= SIZE - LOG_AT):
        return Snapshot(None)
    salt = crc32(whole[CLAIM_AT : IDS_AT + 8 * count], crc32(whole[: HEADER.size]))
    log = whole[LOG_AT : LOG_AT + logged]
    checked = [*(_word(value, salt) for value in (count, started, done)), _logged_word(log, salt)]
    if words != checked:
        return Snapshot(None)
    ids = _ids(whole, count)
    finished: dict[int, str | None] = dict.fromkeys(ids[:done])
    try:
        for line in filter(None, log.split(b"\n")):
            place, success, result = line.partition(b" ")
            if success:
                finished[ids[int(place)]] = result.decode("utf-8", "surrogatepass")
            else:
                finished.pop(ids[int(place)], None)
    except (ValueError, IndexError):
        return Snapshot(None)
    (claimed_at,) = CLAIMED.unpack(whole[CLAIM_AT:IDS_AT])
    running = ids[done] if started > done else 0
    return Snapshot(running, finished, tuple(ids[started:]), claimed_at=claimed_at)


def _word(value: int, salt: int) -> int:
    return value << 32 | _CHECKS[value] ^ salt


def _logged_word(log: bytes, salt: int) -> int:
    return len(log) << 32 | crc32(log, salt)


def _ids(whole: mmap.mmap, count: int) -> list[int]:
    return array("q", whole[IDS_AT : IDS_AT + 8 * count]).tolist()


def _claimed_at(row: JobRow) -> float | None:
    return None if row.reserved_at is None else row.reserved_at.timestamp()
