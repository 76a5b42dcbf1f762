"""The prefetch log: which jobs a worker has claimed, and how far it has come with them.

A worker claims several short jobs at a time, and completes several at a time. The state of
these jobs that is not yet in the table is in this file, mapped into memory: it survives the
process, and tells which job was running, which had succeeded, and which had not started.

The file is never synced. After a power failure it may be newer or older than the database,
or partly both. So it identifies the boot of the machine, the database file and the claim,
and each number carries a checksum. If one of these does not match, the log is ignored.

Other processes may reclaim the jobs that have not started. The worker first writes that it
starts a job, and then reads whether the log was reclaimed. The reclaimer first writes that
it reclaims, waits until the write is visible to the worker's processor, and then reads how
far the worker is. So at least one of them sees the other. Reclaiming is part of a write
transaction, so none of the jobs can be claimed again before it has ended.
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
# A write by one processor is visible to the others within a microsecond.
VISIBLE_SECONDS = 0.001

# The file: a header with the mark, numbers of eight bytes, the claim, and a log of lines. All
# that changes, except the log, is in one disk block, which is written completely or not at all.
HEADER = struct.Struct("8s120s")
MAGIC = b"lq-hand3"
_RECLAIMED, _SETTLED, _MOVED_AT, _COUNT, _STARTED, _DONE, _LOGGED = range(16, 23)
CLAIM_AT = 8 * 23
CLAIMED = struct.Struct("d")
IDS_AT = CLAIM_AT + CLAIMED.size
LOG_AT = IDS_AT + 8 * MOST
SIZE = 16384
# A job whose end is in the table takes at most so many bytes of the log.
ENDED_BYTES = 4
# What the line of a job with a result, or with a time to be kept, has besides the result.
LINE_BYTES = 32

# A number is written as one word, so that a death of the process cannot leave half of it: the
# value, and a checksum of the value and of the claim that it belongs to.
_CHECKS = [crc32(b"%d" % value) for value in range(MOST + 1)]


class Success(NamedTuple):
    """The result of a job, JSON text, and for how many seconds the job is to be kept."""

    result: str | None = None
    keep: float = 0.0


class Snapshot(NamedTuple):
    """How far a worker had come with the jobs that it had claimed."""

    running: int | None
    """The id of the job that was running; 0 for none, None if unknown."""
    finished: Mapping[int, Success] = {}
    """The jobs that had succeeded."""
    unstarted: Sequence[int] = ()
    stuck_at: str = ""
    """The traceback of the hanging job that ended the worker, if any."""
    claimed_at: float = 0.0
    stopped: bool = False
    """Whether the worker had been asked to stop."""

    def about(self, rows: Sequence[JobRow]) -> Snapshot:
        """The part of the snapshot that is about these rows, which the worker has in the
        table. A row from another claim, as after a backup was restored, is left out."""
        ids = {row.id for row in rows if _claimed_at(row) == self.claimed_at}
        return self._replace(
            running=self.running if self.running in ids else 0,
            finished={id: success for id, success in self.finished.items() if id in ids},
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
        """Create the file with this ``mode``. Readers ignore it unless they pass the same
        ``mark``. ``clock`` returns nanoseconds that never go back."""
        self.path = path
        self.moves = self.count = 0
        self._clock = clock
        self._started = self._done = self._logged = 0
        header = HEADER.pack(MAGIC, mark)
        self._seed = self._salt = self._check = crc32(header)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | NO_FOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            with suppress(OSError, AttributeError):  # Windows has no fchmod
                os.fchmod(descriptor, mode)
            # Written, not only extended: on a full disk, a write to the mapping would kill the
            # process.
            if os.write(descriptor, header.ljust(SIZE, b"\0")) < SIZE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._map = mmap.mmap(descriptor, SIZE)
        except BaseException:
            os.close(descriptor)
            os.unlink(path)
            raise
        # The mapping has its own descriptor, and a job may close any other.
        os.close(descriptor)
        self._numbers = memoryview(self._map).cast("Q")

    def begin(self, ids: Sequence[int], claimed_at: float = 0.0) -> None:
        """Begin with these jobs, at most MOST, which were claimed at ``claimed_at``."""
        numbers = self._numbers
        numbers[_RECLAIMED] = numbers[_SETTLED] = 0
        claim = CLAIMED.pack(claimed_at) + array("q", ids).tobytes()
        self._map[CLAIM_AT : CLAIM_AT + len(claim)] = claim
        self._salt = self._check = salt = crc32(claim, self._seed)
        self._started, self._done, self._logged, self.count = 0, 0, 0, len(ids)
        numbers[_LOGGED] = salt
        numbers[_DONE] = _word(0, salt)
        numbers[_STARTED] = _word(0, salt)
        numbers[_MOVED_AT] = self._clock()
        # Last: until now there was nothing to reclaim, so an earlier reclaim had no effect.
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

    def finish(self, result: str | None = None, keep: float = 0.0) -> None:
        """Record that the running job has succeeded with this result, JSON text, and is to be
        kept for so many seconds."""
        if result is not None or keep:
            line = b"%d %d" % (self._done, int(keep * 1000))
            if result is not None:
                line += b" " + result.encode("utf-8", "surrogatepass")
            self._log(line + b"\n")
        self._done += 1
        self._numbers[_DONE] = _word(self._done, self._salt)

    def end(self) -> None:
        """Record that the table already has the end of the running job, which did not
        succeed: it failed, or runs again."""
        self._log(b"%d\n" % self._done)
        self._done += 1
        self._numbers[_DONE] = _word(self._done, self._salt)

    def has_room(self, result: str | None, keep: float = 0.0) -> bool:
        """Whether the log has room for what ``finish`` would write."""
        if result is None and not keep:
            return True
        left = SIZE - LOG_AT - MOST * ENDED_BYTES - self._logged
        # A character may take four bytes.
        return 4 * len(result or "") + LINE_BYTES < left

    def release(self) -> None:
        """Record that the running job is not to be charged for a crash from now on."""
        self._started = self._done
        self._numbers[_STARTED] = _word(self._started, self._salt)

    def clear(self) -> None:
        """Empty the log, since the table now has all of it. To be called before the next
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
    """The snapshot in the log of a dead worker; an unknown one if its mark is another."""
    with _opened(path, mark) as whole:
        return Snapshot(None) if whole is None else _snapshot(whole)


def has_unstarted(
    path: str,
    seconds: float,
    mark: bytes = b"",
    *,
    clock: Callable[[], int] = time.monotonic_ns,
) -> bool:
    """Whether a worker has claimed jobs that it has not started while it runs another for
    more than ``seconds``."""
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
    """Keep a living worker from starting the jobs that it has not started, and return its
    snapshot; None if it has only the job that it runs, or has run that for less than
    ``busy_seconds``. To be called in a write transaction, which then settles the jobs in the
    table."""
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
    """Map the file into memory for a block; yield None if it is missing, another user's, cut
    short by a power failure, or has another mark."""
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
    # Each is read in one access, in this order: the worker may be writing them.
    with memoryview(whole).cast("Q") as numbers:
        yield from (numbers[place] for place in places)


def _has_unstarted(whole: mmap.mmap, seconds: float, now: int) -> bool:
    count, moved_at = _numbers(whole, _COUNT, _MOVED_AT)
    return count >> 32 >= 2 and not 0 <= now - moved_at < seconds * 1e9


def _snapshot(whole: mmap.mmap) -> Snapshot:
    # The log last: then it has the result of each job that is done, and a job with a line in
    # it is done, even if its number is not written yet.
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
    finished = dict.fromkeys(ids[:done], Success())
    try:
        for line in filter(None, log.split(b"\n")):
            place, *success = line.split(b" ", 2)
            if success:
                result = success[1].decode("utf-8", "surrogatepass") if success[1:] else None
                finished[ids[int(place)]] = Success(result, int(success[0]) / 1000)
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
