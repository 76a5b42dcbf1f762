"""Which workers are alive: each has a row, and a file that it locks.

A worker is alive while it holds its lock, and the kernel releases the lock when the process
dies, however suddenly. There is no lease that could expire during a slow job and no
heartbeat to write, and a process that is suspended or swapped out is still alive. Beside
the lock file is the worker's prefetch log, which tells after a crash which job was running.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from litequeue.engine import boot, forks, locks
from litequeue.engine.database import Database
from litequeue.engine.notifier import remove_unused_fifos
from litequeue.engine.place import NO_DESCRIPTORS
from litequeue.engine.prefetch_log import PrefetchLog, Snapshot, has_unstarted, read, reclaim
from litequeue.errors import CannotOpen
from litequeue.records import NOBODY, WorkerRow, read_worker, worker_name, workers_folder

if TYPE_CHECKING:
    from pathlib import Path

# Worker ids take six bytes and are greater than NOBODY.
FIRST_WORKER, LAST_WORKER = NOBODY + 1, (1 << 47) - 1
WORKER_IDS = LAST_WORKER - FIRST_WORKER + 1
LONGEST_TRACE = 20_000
# The most that is read of a dead worker's lock file; a timer may have filled it with signals.
LONGEST_LOCK_FILE = 1 << 20
# SIGHUP, SIGINT and SIGTERM.
STOPS = (1, 2, 15)
# The bytes that stand for signals; none of them occurs in a traceback.
SIGNAL_BYTES = bytes(set(range(32)) - set(b"\t\n"))

# What a worker with threads writes to its lock file before the id of a job that hangs, and before
# the traceback of that job.
STUCK_JOB = "job "
# Written to the lock file of a worker that ends because a job left a transaction open.
LEFT_TRANSACTION = "a write transaction was left open"

# The cause of death of a worker that was stopped on purpose: its job is not charged.
STOPPED = "stopped"


class Registration:
    """A living worker's id, lock and prefetch log."""

    def __init__(self, worker: int, path: str, descriptor: int, prefetch_log: PrefetchLog) -> None:
        self.worker = worker
        self.prefetch_log = prefetch_log
        self._path = path
        self._descriptor: int | None = descriptor
        self._opened = os.fstat(descriptor)
        forks.tell_child(self)

    def fileno(self) -> int:
        """The descriptor of the lock file, for a traceback of a job that hangs."""
        assert self._descriptor is not None
        return self._descriptor

    def still_held(self) -> bool:
        """Whether other processes can still see that this worker is alive."""
        try:
            return self._descriptor is not None and locks.leads_to(self._path, self._descriptor)
        except OSError:
            return False  # a job has closed it

    def leave(self) -> bool:
        """Remove the worker's files and release its lock. If its log still has jobs, the
        files stay for the rescuer, and this returns False."""
        clear = self._descriptor is None or not any(log.count for log in self.prefetch_log.threads)
        if clear and self.still_held():
            _remove(self._path)
        self.close()
        return clear

    def close(self) -> None:
        """Close this process's hold on the lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self.prefetch_log.close()
            # A job may have closed it, and its number may now be another file's.
            with suppress(OSError):
                if os.path.samestat(os.fstat(descriptor), self._opened):
                    os.close(descriptor)

    # A forked child would keep a dead worker's lock alive.
    forked = close


class Presence:
    """The workers of one database, in its table and in the folder beside it."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._folder = workers_folder(database.path)
        self._database = database
        self._clock = clock

    @property
    def folder(self) -> Path:
        """The folder beside the database."""
        from pathlib import Path  # a worker only opens files whose names it knows

        return Path(self._folder)

    def register(self, queues: Sequence[str], keep: float = 0, threads: int = 1) -> Registration:
        """Register a new worker, which keeps results for ``keep`` seconds if neither the job
        nor its class sets keep, and runs up to ``threads`` jobs at once. Raises CannotOpen if
        the folder beside the database cannot be written or trusted."""
        worker = FIRST_WORKER + int.from_bytes(os.urandom(8), "big") % WORKER_IDS
        try:
            self._make_folder()
            self._check_folder()
            registration = self._registration(worker, threads)
        except OSError as error:
            used_up = error.errno in (errno.EMFILE, errno.ENFILE)
            reason = NO_DESCRIPTORS if used_up else error.strerror
            problem = f"workers keep their locks there ({reason})"
            raise CannotOpen(path=self._folder, problem=problem) from error
        try:
            self._register(worker, queues, keep)
        except BaseException:
            registration.leave()
            raise
        return registration

    def _registration(self, worker: int, threads: int) -> Registration:
        path, mode = self._path(worker), os.stat(self._database.path).st_mode & 0o666
        descriptor = locks.acquire(path, mode)
        assert descriptor is not None
        try:
            prefetch_log = PrefetchLog(
                _log_path(path), locks.writers(mode), self._mark(), threads=threads
            )
            return Registration(worker, path, descriptor, prefetch_log)
        except BaseException:
            _remove(path)
            os.close(descriptor)
            raise

    REGISTER = """
    insert into litequeue_workers (id, pid, queues, started_at, keeps)
    values (:worker, :pid, :queues, :now, nullif(:keeps, 0))"""

    def _register(self, worker: int, queues: Sequence[str], keep: float) -> None:
        row = {
            "worker": worker,
            "pid": os.getpid(),
            "queues": "\n".join(queues),
            "now": int(self._clock() * 1000),
            "keeps": int(keep * 1000),
        }
        self._database.change(self.REGISTER, row)

    KEEPING = """
    select id
    from litequeue_workers
    where keeps > 0"""

    def keeps(self) -> bool:
        """Whether a living worker keeps results of jobs that do not set keep."""
        return any(self._is_alive(int(id)) for (id,) in self._database.rows(self.KEEPING))

    DEREGISTER = """
    delete from litequeue_workers
    where id = :worker"""

    def deregister(self, worker: int) -> None:
        """Delete the row of a worker that has left, or whose runs have been rescued."""
        self._database.change(self.DEREGISTER, {"worker": worker})

    # The second part is for a file that was edited: a running job may name a worker that
    # never registered, which counts as dead.
    LISTED = """
    select id, pid, queues, started_at, cause
    from litequeue_workers
    union all
    select distinct worker, 0, '', 0, null
    from litequeue_jobs
    where state = 5
      and worker not in (select id from litequeue_workers)"""

    def workers(self) -> list[WorkerRow]:
        """All workers in the table, dead ones included."""
        return [
            read_worker(row) for row in self._database.rows(self.LISTED) if isinstance(row[0], int)
        ]

    def alive(self) -> list[WorkerRow]:
        """The workers that are alive now."""
        self._check_folder()
        return [row for row in self.workers() if self._is_alive(row.id)]

    @contextmanager
    def rescue(self, worker: int) -> Iterator[Snapshot | None]:
        """Hold a dead worker's lock for a block, so that only one process rescues it, and
        yield its prefetch log; yield None for a living worker. After the block the worker's
        row and files are removed."""
        self._check_folder()
        path = self._path(worker)
        try:
            descriptor = os.open(path, os.O_RDWR | locks.NO_FOLLOW)
        except FileNotFoundError:
            # The file was removed, so the worker may be alive: it must start no more jobs.
            with self._database.transaction():
                snapshot = self.reclaim(worker)
            yield snapshot or read(_log_path(path), self._mark())
            self._remove_dead(worker)
            with suppress(OSError):
                os.unlink(_log_path(path))
            return
        except PermissionError:
            # Another user's worker: a process of a user who may open the file rescues it.
            yield None
            return
        with locks.kept(descriptor):
            if not locks.lock(descriptor) or not locks.leads_to(path, descriptor):
                yield None
                return
            stuck_at, stopped = _read_lock_file(descriptor)
            snapshot = read(_log_path(path), self._mark())
            yield snapshot._replace(stuck_at=stuck_at, stopped=stopped)
            self._remove_dead(worker)
            _remove(path)

    SERVED = """
    select queues
    from litequeue_workers
    where id = :worker"""

    def _remove_dead(self, worker: int) -> None:
        """Deregister a dead worker, and remove the FIFOs that no other worker listens on."""
        for (queues,) in self._database.rows(self.SERVED, {"worker": worker}):
            if isinstance(queues, str):
                remove_unused_fifos(self._folder, queues.split("\n") if queues else ())
        self.deregister(worker)

    SET_CAUSE = """
    update litequeue_workers
    set cause = :cause
    where id = :worker"""

    # By the worker's id: the process ids of two containers may be equal.
    def set_cause(self, worker: int, cause: str) -> bool:
        """Store how a worker's process ended, for its rescuer; False if the worker is not
        registered."""
        return self._database.change(self.SET_CAUSE, {"worker": worker, "cause": cause}) > 0

    def reclaim(self, worker: int, busy_seconds: float = 0) -> Snapshot | None:
        """Keep a worker from starting more of the jobs that it has claimed, as
        prefetch_log.reclaim does. To be called in a write transaction."""
        self._check_folder()
        return reclaim(_log_path(self._path(worker)), busy_seconds, self._mark())

    def has_unstarted(self, worker: int, seconds: float) -> bool:
        """Whether a worker has claimed jobs that it has not started while it runs another for
        more than ``seconds``."""
        self._check_folder()
        return has_unstarted(_log_path(self._path(worker)), seconds, self._mark())

    def _is_alive(self, worker: int) -> bool:
        try:
            descriptor = os.open(self._path(worker), os.O_RDWR | locks.NO_FOLLOW)
        except FileNotFoundError:
            return False
        except PermissionError:
            return True
        with locks.kept(descriptor):
            return not locks.lock(descriptor)

    def _mark(self) -> bytes:
        """The mark that a prefetch log must carry to be believed now."""
        return boot.file_mark(self._database.path)

    def _path(self, worker: int) -> str:
        return os.path.join(self._folder, worker_name(worker))

    def _make_folder(self) -> None:
        with suppress(FileExistsError):
            os.mkdir(self._folder)
            file = os.stat(self._database.path)
            # Users who may write the database may run workers: x for each r.
            mode = file.st_mode & 0o666
            if not _give_to(file, self._folder):
                # The folder's group is not the database's.
                mode &= ~0o060
            group = os.stat(self._folder).st_mode & stat.S_ISGID
            os.chmod(self._folder, group | mode | (mode & 0o444) >> 2)

    def _check_folder(self) -> None:
        try:
            problem = trust_problem(self._folder, os.stat(self._database.path))
        except FileNotFoundError:
            return  # the folder or the database does not exist
        if problem:
            raise CannotOpen(path=self._folder, problem=problem)


def trust_problem(folder: str, file: os.stat_result) -> str:
    """Why the contents of the ``folder`` beside a database cannot be trusted, and the remedy;
    "" if only users who may write the database, the ``file``, can have written there. Raises
    FileNotFoundError."""
    found = os.lstat(folder)
    if stat.S_ISLNK(found.st_mode):
        return f"it is a symbolic link, which another user may have made: rm {_quoted(folder)}"
    if not hasattr(os, "geteuid") or not stat.S_ISDIR(found.st_mode):
        return ""
    allowed = file.st_mode & 0o022
    if allowed & 0o020 and found.st_gid != file.st_gid and not allowed & 0o002:
        allowed = 0  # the folder's group is not the one that may write the database
    excess = found.st_mode & 0o022 & ~allowed
    if excess:
        mode = stat.S_IMODE(found.st_mode) & ~excess
        return (
            "more users may write there than may write the database, and could end its jobs or "
            f"run them twice: chmod {mode:o} {_quoted(folder)}"
        )
    if found.st_uid in (0, os.geteuid(), file.st_uid) or _made_by_writer(found, file, folder):
        return ""
    shell_path = _quoted(folder)
    return (
        f"user {found.st_uid} owns it, who is neither you nor the owner of the database, and could "
        f"end its jobs or run them twice: rm -r {shell_path}, or, if you trust that user, "
        f"chown {file.st_uid} {shell_path}"
    )


def _made_by_writer(found: os.stat_result, file: os.stat_result, folder: str) -> bool:
    """Whether the owner of the folder must be a user who may write the database: all users
    may, or a group that shares the folder around both."""
    if file.st_mode & 0o002:
        return True
    around = os.stat(os.path.dirname(folder))
    shared = file.st_mode & 0o020 and file.st_gid == found.st_gid == around.st_gid
    return bool(shared) and not around.st_mode & 0o002


def _give_to(file: os.stat_result, folder: str) -> bool:
    """Give a new folder to the group of the file, and, if this user is root, to its owner;
    False if this user may not."""
    if not hasattr(os, "geteuid"):
        return True
    owner = file.st_uid if os.geteuid() == 0 else -1
    if os.stat(folder).st_gid == file.st_gid and owner in (-1, 0):
        return True
    try:
        os.chown(folder, owner, file.st_gid)
    except OSError:
        return False
    return True


def _quoted(path: str) -> str:
    from shlex import quote  # needed only for a message

    return quote(path)


def _read_lock_file(descriptor: int) -> tuple[str, bool]:
    """The traceback of the hanging job that ended the worker, if any, and whether the worker
    was asked to stop: each signal that it received is a byte of the file, its number."""
    words = os.read(descriptor, LONGEST_LOCK_FILE)
    stopped = any(number in words for number in STOPS)
    trace = words.translate(None, SIGNAL_BYTES)[:LONGEST_TRACE]
    return trace.decode("utf-8", "replace"), stopped


def _log_path(path: str) -> str:
    return f"{path}.hand"


def _remove(path: str) -> None:
    for each in (_log_path(path), path):
        with suppress(OSError):
            os.unlink(each)
