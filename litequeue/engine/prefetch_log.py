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
    """The id of the job that was running; 0 for none or several, None if unknown."""
    finished: Mapping[int, Success] = {}
    """The jobs that had succeeded."""
    unstarted: Sequence[int] = ()
    stuck_at: str = ""
    """The traceback of the hanging job that ended the worker, if any."""
    claimed_at: float = 0.0
    stopped: bool = False
    """Whether the worker had been asked to stop."""
    together: Sequence[int] = ()
    """The ids of the jobs that were running at the same time, if there were several."""
    others: Sequence[Snapshot] = ()
    """The same of the worker's other threads."""

    def about(self, rows: Sequence[JobRow]) -> Snapshot:
        """The part of the snapshot, with all threads in one, that is about these rows, which the
        worker has in the table. A row from another claim, as after a backup was restored, is
        left out."""
        claimed_at = {row.id: _claimed_at(row) for row in rows}
        running: list[int] = []
        finished: dict[int, Success] = {}
        unstarted: list[int] = []
        for part in (self, *self.others):
            ids = {id for id, at in claimed_at.items() if at == part.claimed_at}
            running += ids.intersection([part.running or 0])
            finished.update((id, part.finished[id]) for id in ids.intersection(part.finished))
            unstarted += [id for id in part.unstarted if id in ids]
        return self._replace(
            running=running[0] if len(running) == 1 else 0,
            together=running if len(running) > 1 else (),
            finished=finished,
            unstarted=unstarted,
            others=(),
        )


class PrefetchLog:
    """The prefetch log of a living worker, or of one thread of it."""

    def __init__(
        self,
        path: str,
        mode: int,
        mark: bytes = b"",
        *,
        threads: int = 1,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Create the file with this ``mode``. Readers ignore it unless they pass the same
        ``mark``. Each of ``threads`` has a log of its own in the file: the first has this one.
        ``clock`` returns nanoseconds that never go back."""
        self.path = path
        self._map = _created(path, mode, HEADER.pack(MAGIC, mark), threads)
        self._open_part(0, clock)
        self.threads = [self]
        """The logs of all threads, this one first."""
        for part in range(1, threads):
            log = PrefetchLog.__new__(PrefetchLog)
            log._map = self._map
            log._open_part(part, clock)
            self.threads.append(log)

    def _open_part(self, part: int, clock: Callable[[], int]) -> None:
        self.moves = self.count = 0
        self._clock = clock
        self._started = self._done = self._logged = 0
        self._bytes = memoryview(self._map)[part * SIZE : (part + 1) * SIZE]
        self._numbers = self._bytes.cast("Q")
        self._seed = self._salt = self._check = crc32(self._bytes[: HEADER.size])

    def begin(self, ids: Sequence[int], claimed_at: float = 0.0) -> None:
        """Begin with these jobs, at most MOST, which were claimed at ``claimed_at``."""
        numbers = self._numbers
        numbers[_RECLAIMED] = numbers[_SETTLED] = 0
        claim = CLAIMED.pack(claimed_at) + array("q", ids).tobytes()
        self._bytes[CLAIM_AT : CLAIM_AT + len(claim)] = claim
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
        return _ids(self._bytes, self._numbers[_SETTLED])

    def close(self) -> None:
        """Close the file, and the logs of all threads."""
        for log in self.threads:
            log._numbers.release()
            log._bytes.release()
        self._map.close()

    def _log(self, line: bytes) -> None:
        at = LOG_AT + self._logged
        self._bytes[at : at + len(line)] = line
        self._logged += len(line)
        self._check = crc32(line, self._check)
        self._numbers[_LOGGED] = self._logged << 32 | self._check


def _created(path: str, mode: int, header: bytes, parts: int) -> mmap.mmap:
    """Create the file with this header in each of its parts, and map it into memory."""
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | NO_FOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        with suppress(OSError, AttributeError):  # Windows has no fchmod
            os.fchmod(descriptor, mode)
        # Written, not only extended: on a full disk, a write to the mapping would kill the
        # process.
        if os.write(descriptor, header.ljust(SIZE, b"\0") * parts) < SIZE * parts:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return mmap.mmap(descriptor, SIZE * parts)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        # The mapping has its own descriptor, and a job may close any other.
        os.close(descriptor)


def read(path: str, mark: bytes = b"") -> Snapshot:
    """Read the log of a dead worker. The snapshot is Snapshot(None) if the log cannot be
    trusted, or was made with another mark."""
    with _opened(path, mark) as parts:
        return _joined([_snapshot(part) for part in parts]) or Snapshot(None)


def has_unstarted(
    path: str,
    seconds: float,
    mark: bytes = b"",
    *,
    clock: Callable[[], int] = time.monotonic_ns,
) -> bool:
    """Whether a worker has claimed jobs that it has not started while it runs another for
    more than ``seconds``."""
    with _opened(path, mark) as parts:
        return any(_has_unstarted(part, seconds, clock()) for part in parts)


def reclaim(
    path: str,
    busy_seconds: float = 0,
    mark: bytes = b"",
    *,
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Snapshot | None:
    """Keep a living worker from starting the jobs that it has not started, and return its
    snapshot; None if it has only the jobs that it runs, or has run them for less than
    ``busy_seconds``. To be called in a write transaction, which then settles the jobs in the
    table."""
    with _opened(path, mark) as parts:
        late = [part for part in parts if _has_unstarted(part, busy_seconds, clock())]
        if not late:
            return None
        for part in late:
            _set_number(part, _RECLAIMED, 1)
        sleep(VISIBLE_SECONDS)
        snapshots = [_snapshot(part) for part in late]
        for part in late:
            (done,) = _numbers(part, _DONE)
            _set_number(part, _SETTLED, done >> 32)
        return _joined(snapshots)


def _joined(snapshots: Sequence[Snapshot]) -> Snapshot | None:
    return snapshots[0]._replace(others=tuple(snapshots[1:])) if snapshots else None


@contextmanager
def _opened(path: str, mark: bytes) -> Iterator[Sequence[memoryview]]:
    """Map the file into memory for a block, and yield the parts of its threads; yield none if
    it is missing, another user's, cut short by a power failure, or has another mark."""
    try:
        descriptor = os.open(path, os.O_RDWR | NO_FOLLOW)
    except OSError:
        yield ()
        return
    try:
        size = os.fstat(descriptor).st_size
        if size < SIZE:
            yield ()
            return
        with mmap.mmap(descriptor, size) as whole, memoryview(whole) as view:
            parts = [view[at : at + SIZE] for at in range(0, size - SIZE + 1, SIZE)]
            header = HEADER.pack(MAGIC, mark)
            try:
                yield parts if all(part[: HEADER.size] == header for part in parts) else ()
            finally:
                for part in parts:
                    part.release()
    finally:
        os.close(descriptor)


def _numbers(part: memoryview, *places: int) -> Iterator[int]:
    # Each is read in one access, in this order: the worker may be writing them.
    with part.cast("Q") as numbers:
        yield from (numbers[place] for place in places)


def _set_number(part: memoryview, place: int, value: int) -> None:
    with part.cast("Q") as numbers:
        numbers[place] = value


def _has_unstarted(part: memoryview, seconds: float, now: int) -> bool:
    count, moved_at = _numbers(part, _COUNT, _MOVED_AT)
    return count >> 32 >= 2 and not 0 <= now - moved_at < seconds * 1e9


def _snapshot(part: memoryview) -> Snapshot:
    # The log last: then it has the result of each job that is done, and a job with a line in
    # it is done, even if its number is not written yet.
    words = list(_numbers(part, _COUNT, _STARTED, _DONE, _LOGGED))
    if not words[0]:
        # The worker died between two claims, or before one was written completely.
        return Snapshot(0)
    count, started, done, logged = (word >> 32 for word in words)
    if not (done <= started <= done + 1 and started <= count <= MOST and logged <= SIZE - LOG_AT):
        return Snapshot(None)
    salt = crc32(part[CLAIM_AT : IDS_AT + 8 * count], crc32(part[: HEADER.size]))
    log = bytes(part[LOG_AT : LOG_AT + logged])
    checked = [*(_word(value, salt) for value in (count, started, done)), _logged_word(log, salt)]
    if words != checked:
        return Snapshot(None)
    ids = _ids(part, count)
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
    (claimed_at,) = CLAIMED.unpack(part[CLAIM_AT:IDS_AT])
    running = ids[done] if started > done else 0
    return Snapshot(running, finished, tuple(ids[started:]), claimed_at=claimed_at)


def _word(value: int, salt: int) -> int:
    return value << 32 | _CHECKS[value] ^ salt


def _logged_word(log: bytes, salt: int) -> int:
    return len(log) << 32 | crc32(log, salt)


def _ids(part: memoryview, count: int) -> list[int]:
    return array("q", bytes(part[IDS_AT : IDS_AT + 8 * count])).tolist()


def _claimed_at(row: JobRow) -> float | None:
    return None if row.reserved_at is None else row.reserved_at.timestamp()
