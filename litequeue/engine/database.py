"""The database file: connections, pragmas, transactions, and SQLite's errors as litequeue's.

The only module that imports sqlite3. Four rules hold everywhere:

- A connection belongs to one process and one thread. After a fork the child opens its
  own and never uses or closes the one that it inherited.
- Every write is one statement, or a transaction that begins IMMEDIATE. A deferred
  transaction that reads and then writes fails at once if another writer came in between.
- Every result is fetched completely, or its cursor is closed: an unfinished cursor keeps
  its lock.
- No code opens and closes the file itself, its -wal or its -shm: POSIX drops all locks of
  the process on a file when any descriptor of it closes.
"""

from __future__ import annotations

import math
import os
import sqlite3
import stat
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Literal

from litequeue.engine.checkpoint import WAL_CHECK_STATEMENTS, Checkpoints, Execute
from litequeue.engine.place import (
    NO_DESCRIPTORS,
    check_links,
    check_mount,
    descriptors_used_up,
    path_of,
)
from litequeue.errors import (
    CannotOpen,
    DatabaseBusy,
    DatabaseError,
    DatabaseFull,
    DatabaseMoved,
    DatabaseRefused,
    LockedByAwait,
    LockedByOther,
    LockedByUs,
    NotADatabase,
    OtherDatabase,
    SqliteTooOld,
    StaleTransaction,
)
from litequeue.records import Row

Connection = sqlite3.Connection
Parameters = Mapping[str, object]
Synchronous = Literal["normal", "full"]
# By name, or by position for the insert of a plain push, which positions make faster.
Bound = Parameters | tuple[object, ...]
NOTHING: Parameters = {}
# What a statement can raise: SQLite's own errors, and Python's for text that is not valid
# UTF-8 or a number of more than 64 bits.
STATEMENT_ERRORS = (sqlite3.Error, UnicodeEncodeError, OverflowError)

OLDEST_SQLITE = (3, 35, 0)
# The page size of new files; an existing file keeps its own. A push changes three pages, and
# takes most of its time to write them twice: to the WAL, and from there to the database.
PAGE_BYTES = 1024
BUSY_SECONDS = 30.0
# A disk with less free space counts as full: the -shm file alone takes half of this.
LEAST_DISK_BYTES = 64 * 1024
# SQLite's error code for a transaction that has read what another has changed since.
# Python 3.10 has no error codes, and sqlite3 has no name for this one.
BUSY_SNAPSHOT = 517
FIRST_LOCK_RETRY_SECONDS = 0.0001
# A writer that has waited this long reports that it waits (see on_lock_wait).
REPORT_BLOCKER_SECONDS = 0.05
LONGEST_LOCK_RETRY_SECONDS = 0.005

# The statements that begin, end and undo a transaction.
OUTERMOST = ("begin immediate", "commit", ("rollback",))
NESTED = ("savepoint inner", "release inner", ("rollback to inner", "release inner"))

PRAGMAS = (
    "pragma wal_autocheckpoint = 0",  # see litequeue.engine.checkpoint
    # Debian's SQLite overwrites what it deletes: twice the pages for a large payload.
    "pragma secure_delete = off",
    # The writer that restarts the WAL also truncates it, so its size is what is left to copy.
    "pragma journal_size_limit = 0",
    "pragma mmap_size = 0",
    # A large transaction would need a writable folder for temporary files.
    "pragma temp_store = memory",
)

# Connections that this process inherited by a fork. Closing one would release the parent's
# locks, so they are kept from the garbage collector.
_inherited: list[_Link] = []

# The real paths of the files to which other code in this process has connected.
_connected: set[str] = set()
_connecting = threading.local()


class UnreadableText(Exception):
    """A text of the file is no UTF-8."""


class OwnConnections:
    """The connections of one of several async jobs that share a thread. Without it they would
    share a connection, and write in each other's transactions."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._of: dict[Database, SimpleNamespace] = {}

    def use(self) -> None:
        """Let the current task, and the tasks that it makes, use these connections."""
        _own.set(self)

    def of(self, database: Database) -> SimpleNamespace | None:
        """Where the connection to this database is kept; None in another thread, which the job
        may have started."""
        if self._thread != threading.get_ident():
            return None
        return self._of.setdefault(database, SimpleNamespace())


_own: ContextVar[OwnConnections | None] = ContextVar("litequeue_connections", default=None)


def watch_connections() -> None:
    """Record from now on, until the process ends, which files other code in this process
    connects to."""
    sys.addaudithook(_note_connection)


def _note_connection(event: str, arguments: tuple[object, ...]) -> None:
    if event != "sqlite3.connect" or getattr(_connecting, "ours", False):
        return
    # An exception from an audit hook would be raised by the caller's sqlite3.connect().
    with suppress(Exception):
        name = os.fsdecode(arguments[0])  # type: ignore[arg-type]
        if name.startswith("file:"):
            name = name.removeprefix("file:").partition("?")[0]
        _connected.add(os.path.realpath(name))


@contextmanager
def _own_connection() -> Iterator[None]:
    _connecting.ours = True
    try:
        yield
    finally:
        _connecting.ours = False


class _Link:
    """One thread's connection, and how deep in transactions it is."""

    def __init__(self, connection: Connection, *, borrowed: bool = False, depth: int = 0) -> None:
        self.connection = connection
        self.borrowed = borrowed
        self.depth = depth
        self.pid = os.getpid()
        self.thread = threading.get_ident()
        self.cursor = connection.cursor()
        self.cursor.row_factory = None  # a caller's connection may have one
        self.identity = (0, 0)
        self.changes = self.last_id = self.statements = 0
        # A dict, so that an action that is requested twice runs once, in order.
        self.after_commit: dict[tuple[Callable[[str], None], str], None] = {}
        # A thread that ends drops its link. Without this, the garbage collector would warn that
        # the connection was never closed.
        self._end = weakref.finalize(self, _close, None if borrowed else connection, self.pid)

    def close(self) -> None:
        self._end()


def _close(connection: Connection | None, pid: int) -> None:
    if connection is not None and pid == os.getpid():
        connection.close()


class Database:
    """One SQLite file in WAL mode, with a connection for each thread that uses it."""

    def __init__(
        self,
        path: str | bytes | os.PathLike[str],
        *,
        synchronous: Synchronous = "normal",
        create: bool = True,
        as_found: bool = False,
        busy_timeout: float = BUSY_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the path of the file; the first use opens it, and creates it if it is missing.

        A statement waits up to ``busy_timeout`` seconds for the write lock. ``sleep`` waits
        for seconds, and ``clock`` returns seconds that never go back.
        ``synchronous="full"`` syncs every commit, so that a power failure loses none. With
        ``as_found`` the file is inspected as it is: no journal mode is set, no statement may
        write, and hard links and bind mounts are accepted. Raises SqliteTooOld, and
        CannotOpen for ":memory:", for a URI and, without ``create``, for a missing file.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            needed = ".".join(map(str, OLDEST_SQLITE))
            raise SqliteTooOld(path=path, needed=needed, found=sqlite3.sqlite_version)
        name = path_of(path)
        # Symbolic links are kept: one of them may be changed later (see moved).
        self._given = name if os.path.isabs(name) else os.path.join(os.getcwd(), name)
        # The real path: two paths of one file must lead to the same workers.
        self.path = os.path.realpath(name)
        if not create and not os.path.exists(self.path):
            raise CannotOpen(path=self.path, problem="there is no such file")
        self.synchronous = synchronous
        self._as_found = as_found
        self._mount_checked = False
        self._busy_seconds = busy_timeout
        self._sleep = sleep
        self._clock = clock
        self._local = threading.local()
        self._links: weakref.WeakSet[_Link] = weakref.WeakSet()
        self._checkpoints = Checkpoints(self.path, self._extra_connection, clock)

    def rows(self, sql: str, parameters: Parameters = NOTHING) -> list[Row]:
        """Run one statement and return all its rows; waits for the write lock if needed."""
        return self._run(self._link(), sql, parameters)

    @contextmanager
    def reading(self, sql: str, parameters: Parameters = NOTHING) -> Iterator[Iterator[Row]]:
        """Yield an iterator over the rows of a statement, inside a transaction. Rows that the
        block does not reach are not read, however large they are. Raises UnreadableText for a
        text that is no UTF-8, which costs less than to return it as bytes."""
        connection = self._link().connection
        cursor = connection.cursor()
        try:
            cursor.row_factory = None
            connection.text_factory = str
            yield cursor.execute(sql, parameters)
        except STATEMENT_ERRORS as error:
            if "decode" in str(error):
                raise UnreadableText from error
            raise self._wrapped(error) from error
        finally:
            connection.text_factory = _text_or_bytes
            # An open cursor would keep the transaction from ending.
            cursor.close()

    def change(self, sql: str, parameters: Parameters = NOTHING) -> int:
        """Run one statement and return how many rows it changed."""
        link = self._link()
        self._run(link, sql, parameters)
        return link.changes

    def insert(self, sql: str, parameters: Bound) -> int:
        """Run one insert and return the new row's id."""
        link = self._link()
        self._run(link, sql, parameters)
        return link.last_id

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Hold the write lock for a block; commit at its end, or roll back if it raises. A
        nested transaction is a savepoint: if its block raises, only it is rolled back."""
        link = self._link()
        outer = link.depth
        begin, end, undo = NESTED if outer else OUTERMOST
        try:
            # All inside the try: a signal handler may raise between any two of these lines.
            self._run(link, begin)
            link.depth = outer + 1
            yield link.connection
            self._fetch(link, end)
            link.depth = outer
        except BaseException:
            link.depth = outer
            self._undo(link, undo)
            raise
        if not outer:
            self._run_after_commit(link)
            if not link.borrowed:
                self._checkpoint_if_due(link)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a block in the transaction that is open, or in one of its own. Inside another
        transaction it cannot be rolled back alone: it must raise before its first write, or let
        the whole transaction fail."""
        if self._link().depth:
            yield
        else:
            with self.transaction():
                yield

    @contextmanager
    def joined(self, connection: Connection) -> Iterator[None]:
        """Run the statements of a block on the caller's connection, as part of its open
        transaction; raises OtherDatabase if it is a connection to another file."""
        ours = self._link()
        try:
            link = _Link(connection, borrowed=True)
            found = link.cursor.execute("pragma database_list").fetchall()[0][2]
            if not found or _identity(_stat(found)) != _identity(_stat(self.path)):
                raise OtherDatabase(path=self.path, found=found or "no file")
            if not _autocommits(connection):
                link.depth = 1
                if not connection.in_transaction:
                    # Python would do so at the next statement, but that may be a savepoint,
                    # which must not come first.
                    self._retry_while_locked(link, "begin immediate", NOTHING)
        except sqlite3.Error as error:
            raise self._wrapped(error) from error
        self._here().link = link
        texts, connection.text_factory = connection.text_factory, _text_or_bytes
        try:
            yield
        finally:
            connection.text_factory = texts
            self._here().link = ours

    def after_commit(self, action: Callable[[str], None], argument: str) -> None:
        """Call ``action(argument)`` once other connections can see what was just written.

        When a caller's own transaction commits is unknown, so there nothing is called.
        """
        # Not an inherited link: the statement before has already replaced that.
        link: _Link = self._here().link
        if not link.depth:
            action(argument)
        elif not link.borrowed:
            link.after_commit[action, argument] = None

    def in_transaction(self) -> bool:
        """Whether this thread has a transaction open."""
        link = self._link()
        return link.depth > 0 and link.connection.in_transaction

    def checkpoint(self) -> bool:
        """Copy the WAL into the database without waiting, and return whether it was emptied.
        Does nothing inside a transaction, or if the file was replaced."""
        link = self._link()
        return not link.depth and not self.moved() and self._checkpoints.run()

    def checkpoint_while_idle(self) -> None:
        """Copy the WAL into the database if it is long enough for an idle process to do so."""
        if self._checkpoints.due_while_idle():
            self.checkpoint()

    def on_lock_wait(self, callback: Callable[[float], None] | None) -> None:
        """While this thread waits for the write lock, call ``callback`` repeatedly with the
        seconds waited so far, and with infinity before the wait fails. An exception from the
        callback ends the wait. None removes the callback."""
        self._local.on_wait = callback

    def has_other_connections(self) -> bool:
        """Whether other code in this process has connected to the file since
        watch_connections was called."""
        return bool(_connected) and self.path in _connected

    def held_by_this_thread(self) -> bool:
        """Whether a connection of this thread that is not one of this Database's has a
        transaction open on the file."""
        import gc

        from litequeue.engine import locks  # most writers never wait

        if locks.writer(self.path) not in (None, os.getpid()):
            return False
        own = {id(link.connection) for link in list(self._links)}
        # By type(): a proxy object may run any code when isinstance() reads its __class__.
        return any(
            issubclass(type(each), Connection) and id(each) not in own and self._is_used_by(each)
            for each in gc.get_objects()
        )

    def _is_used_by(self, connection: Connection) -> bool:
        try:
            if not connection.in_transaction:
                return False
            cursor = connection.cursor()
            cursor.row_factory = None
            files = [row[2] for row in cursor.execute("pragma database_list").fetchall()]
            return any(file and os.path.samefile(file, self.path) for file in files)
        except Exception:
            # It is closed, belongs to another thread, or is of a subclass that raises.
            return False

    def held_by_this_process(self) -> bool:
        """Whether a connection of this process that is not one of this Database's has the
        write lock; False where the system does not tell."""
        from litequeue.engine import locks  # most writers never wait

        own = any(_is_in_transaction(link.connection) for link in list(self._links))
        return not own and locks.writer(self.path) == os.getpid()

    def abandon(self) -> bool:
        """Roll back a transaction that is still open on this thread's connection by closing
        the connection; returns whether there was one, or the connection was already closed."""
        link: _Link | None = getattr(self._here(), "link", None)
        if link is None:
            return False
        try:
            if not (link.depth or link.connection.in_transaction):
                return False
        except sqlite3.Error:
            pass  # the connection is closed
        if link.pid != os.getpid():
            return False
        # Closed, so that nothing that still refers to it can use it again.
        del self._here().link
        link.close()
        return True

    def backup(
        self, target: str | os.PathLike[str], finish: Callable[[str], None] = lambda path: None
    ) -> None:
        """Copy the live database to a new file; raises CannotOpen if it exists.

        The copy gets its name ``target`` only when it is complete and ``finish`` has been
        called with its temporary path, so a file of that name is always sound.
        """
        path = path_of(target)
        if os.path.lexists(path):
            raise CannotOpen(path=path, problem="a backup is not written over another file")
        from tempfile import TemporaryDirectory  # a producer makes no backup

        where, name = os.path.split(path)
        try:
            # Only this user can enter this folder, so no other user can place a link, or a
            # journal that SQLite would play back, at the path of the unfinished copy.
            with TemporaryDirectory(prefix=f"{name}.partial-", dir=where or ".") as private:
                partial = os.path.join(private, name)
                self._copy(partial)
                finish(partial)
                os.rename(partial, path)
        except (sqlite3.Error, OSError) as error:
            raise CannotOpen(path=path, problem=str(error)) from error

    def _copy(self, partial: str) -> None:
        with _own_connection():
            copy = sqlite3.connect(partial)
        try:
            # Payloads are as private in the copy as they are here.
            os.chmod(partial, os.stat(self.path).st_mode & 0o777)
            self._link().connection.backup(copy)
        finally:
            copy.close()

    def moved(self) -> bool:
        """Whether the path as given no longer leads to the file that this thread has open."""
        return _identity(_stat(self._given)) != self._link().identity

    def check_place(self) -> None:
        """Raise DatabaseMoved where the path as given no longer leads to the file that this
        thread has open, and CannotOpen where that file now has a hard link."""
        found = _stat(self._given)
        if found is None or _identity(found) != self._link().identity:
            raise DatabaseMoved(path=self._given)
        check_links(self.path, found)

    def close(self) -> None:
        """Close the connections of this process; a later use opens a new one."""
        for link in list(self._links):
            link.close()
        self._local = threading.local()

    def _run(self, link: _Link, sql: str, parameters: Bound = NOTHING) -> list[Row]:
        link.statements += 1
        if link.depth:
            if not link.connection.in_transaction:
                # A full disk or the caller has ended it: this statement would commit by itself.
                raise DatabaseRefused(path=self.path, problem="the transaction has ended")
            return self._try_once(link, sql, parameters)
        rows = self._retry_while_locked(link, sql, parameters)
        self._checkpoint_if_due(link)
        return rows

    def _checkpoint_if_due(self, link: _Link) -> None:
        """Look at the size of the WAL from time to time, after a commit."""
        if link.statements >= WAL_CHECK_STATEMENTS and not link.connection.in_transaction:
            link.statements = 0
            if self._checkpoints.due():
                self.checkpoint()

    def _retry_while_locked(self, link: _Link, sql: str, parameters: Bound) -> list[Row]:
        """Run a statement, and retry until the lock is free. SQLite's own busy handler lets a
        process starve for seconds; short pauses with jitter share the lock fairly."""
        started, longest = self._clock(), FIRST_LOCK_RETRY_SECONDS
        while True:
            try:
                return self._try_once(link, sql, parameters)
            except StaleTransaction:
                raise
            except DatabaseBusy as busy:
                # The sum of the pauses would be too short: a caller's connection waits by itself.
                waited = self._clock() - started
                if self._waits_for_own_thread(link):
                    raise LockedByAwait(path=self.path, waited=waited) from busy
                if waited >= self._busy_seconds:
                    self._report_wait(math.inf)
                    raise self._lock_error(waited) from busy
            self._report_wait(waited)
            from random import uniform  # most writers never wait

            self._sleep(min(self._busy_seconds - waited, longest * uniform(0.5, 1)))
            longest = min(2 * longest, LONGEST_LOCK_RETRY_SECONDS)

    def _waits_for_own_thread(self, link: _Link) -> bool:
        """Whether another async job of this thread has a transaction open."""
        own = _own.get()
        return own is not None and any(
            each is not link and each.depth and each.thread == link.thread
            for each in list(self._links)
        )

    def _try_once(self, link: _Link, sql: str, parameters: Bound) -> list[Row]:
        """Run a statement once; on a caller's connection, SQLite waits for the lock as long as
        the caller has set."""
        if not link.borrowed:
            return self._fetch(link, sql, parameters)
        started = time.monotonic()
        try:
            return self._fetch(link, sql, parameters)
        except DatabaseBusy as busy:
            waited = time.monotonic() - started
            # SQLite does not wait for the lock if the snapshot would be too old to write.
            stale = getattr(busy.__cause__, "sqlite_errorcode", None) == BUSY_SNAPSHOT
            if stale or waited * 1000 < self._execute(link, "pragma busy_timeout")[0][0]:
                raise StaleTransaction(path=self.path, waited=waited) from busy
            raise self._lock_error(waited) from busy

    def _lock_error(self, waited: float) -> DatabaseBusy:
        from litequeue.engine import locks  # most writers never wait

        pid = locks.writer(self.path)
        if pid is None:
            return DatabaseBusy(path=self.path, waited=waited)
        if pid == os.getpid():
            return LockedByUs(path=self.path, waited=waited)
        return LockedByOther(path=self.path, waited=waited, pid=pid)

    def _report_wait(self, waited: float) -> None:
        on_wait: Callable[[float], None] | None = getattr(self._local, "on_wait", None)
        if on_wait is not None and waited > REPORT_BLOCKER_SECONDS:
            on_wait(waited)

    def _fetch(self, link: _Link, sql: str, parameters: Bound = NOTHING) -> list[Row]:
        cursor = link.cursor
        try:
            rows = cursor.execute(sql, parameters).fetchall()
        except STATEMENT_ERRORS as error:
            raise self._wrapped(error) from error
        link.changes, link.last_id = cursor.rowcount, cursor.lastrowid or 0
        return rows

    def _run_after_commit(self, link: _Link) -> None:
        actions, link.after_commit = link.after_commit, {}
        for action, argument in actions:
            action(argument)

    def _undo(self, link: _Link, undo: Sequence[str]) -> None:
        if not link.depth:
            link.after_commit.clear()
        # Already rolled back: by SQLite if the disk is full, or by abandon().
        if _is_in_transaction(link.connection):
            for sql in undo:
                self._execute(link, sql)

    def _execute(self, link: _Link, sql: str) -> list[Row]:
        """Run a statement without changing link.changes and link.last_id."""
        try:
            return link.connection.execute(sql).fetchall()
        except sqlite3.Error as error:
            raise self._wrapped(error) from error

    @contextmanager
    def _extra_connection(self) -> Iterator[Execute]:
        """Open another connection for a block, and yield what runs a statement on it."""
        try:
            with _own_connection():
                connection = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        except sqlite3.Error as error:
            raise self._wrapped(error) from error
        link = _Link(connection)
        try:
            for pragma in (*PRAGMAS, f"pragma synchronous = {self.synchronous}"):
                self._execute(link, pragma)
            yield lambda sql: self._execute(link, sql)
        finally:
            link.close()

    def _here(self) -> threading.local | SimpleNamespace:
        """Where the connection is kept that is used here."""
        own = _own.get()
        return (own and own.of(self)) or self._local

    def _link(self) -> _Link:
        here = self._local if _own.get() is None else self._here()
        link: _Link | None = getattr(here, "link", None)
        if link is not None and link.pid == os.getpid():
            return link
        if link is not None:
            _inherited.append(link)
        here.link = link = self._open()
        self._links.add(link)
        return link

    def _open(self) -> _Link:
        self._check_path()
        try:
            with _own_connection():
                connection = sqlite3.connect(
                    self.path, timeout=0, isolation_level=None, check_same_thread=False
                )
        except sqlite3.Error as error:
            raise self._wrapped(error) from error
        try:
            return self._configured(connection)
        except BaseException:
            connection.close()
            raise

    def _check_path(self) -> None:
        """Raise CannotOpen if there can be no database at the path, or the file has a second
        name."""
        found = _stat(self.path)
        if found is None:
            if not os.path.isdir(folder := os.path.dirname(self.path)):
                raise CannotOpen(path=self.path, problem=f"there is no folder {folder}")
            return
        if stat.S_ISDIR(found.st_mode):
            raise CannotOpen(path=self.path, problem="it is a directory")
        if self._as_found:
            return
        check_links(self.path, found)
        if not self._mount_checked:
            check_mount(self.path)
            self._mount_checked = True

    def _configured(self, connection: Connection) -> _Link:
        connection.text_factory = _text_or_bytes
        link = _Link(connection)
        if self._as_found:
            self._retry_while_locked(link, "pragma query_only = on", NOTHING)
        else:
            self._retry_while_locked(link, f"pragma page_size = {PAGE_BYTES}", NOTHING)
            # SQLite does not wait for other openers to change the mode of a new file.
            if self._retry_while_locked(link, "pragma journal_mode = wal", NOTHING)[0][0] != "wal":
                raise CannotOpen(path=self.path, problem="its file system does not support a WAL")
        for pragma in (*PRAGMAS, f"pragma synchronous = {self.synchronous}"):
            self._retry_while_locked(link, pragma, NOTHING)
        link.identity = _identity(_stat(self.path))
        return link

    def _wrapped(self, error: Exception) -> DatabaseError:
        """The litequeue error for an error of SQLite, chosen by its message: Python 3.10 has
        no error codes."""
        words = str(error)
        if "locked" in words or "busy" in words:
            return DatabaseBusy(path=self.path, waited=0)
        if "is full" in words:
            return DatabaseFull(path=self.path, problem=words)
        if "readonly" in words:
            return CannotOpen(path=self.path, problem="the file or its folder is read-only")
        if "unable to open" in words or "I/O error" in words:
            return self._system_refused(words)
        if "not a database" in words or "malformed" in words:
            return NotADatabase(path=self.path, problem=words)
        return DatabaseRefused(path=self.path, problem=words)

    def _system_refused(self, words: str) -> DatabaseError:
        """The error for a file that the system did not let SQLite open or write. SQLite does
        not tell why, so likely causes are checked."""
        if full := _exhausted(os.path.dirname(self.path)):
            return DatabaseFull(path=self.path, problem=full)
        if "unable to open" in words:
            forbidden = "the permissions of the file or its folder forbid it"
            problem = NO_DESCRIPTORS if descriptors_used_up() else forbidden
            return CannotOpen(path=self.path, problem=problem)
        cause = "the disk may be failing, the file truncated, or a quota used up"
        if limit := _file_size_limit():
            cause = f"this process may not write files longer than {limit} bytes (ulimit -f)"
        return DatabaseRefused(path=self.path, problem=f"{words} ({cause})")


def _exhausted(folder: str) -> str | None:
    """What the disk of a folder has run out of; None if it has space and inodes."""
    try:
        disk = os.statvfs(folder)
    except (OSError, AttributeError):  # Windows has no such call
        return None
    if disk.f_bavail * disk.f_frsize < LEAST_DISK_BYTES:
        return "its disk is full"
    # Some file systems do not count inodes.
    return "its disk has no free inodes" if disk.f_files and not disk.f_favail else None


def _file_size_limit() -> int | None:
    try:
        import resource  # needed only for an error; Windows has no such module
    except ImportError:
        return None
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _text_or_bytes(raw: bytes) -> str | bytes:
    """Decode a text value; if it is not valid UTF-8, return its bytes, so that only this row
    is unreadable. By default sqlite3 would raise, and the other rows of the result would be
    lost too."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _identity(found: os.stat_result | None) -> tuple[int, int]:
    return (0, 0) if found is None else (found.st_dev, found.st_ino)


def _is_in_transaction(connection: Connection) -> bool | None:
    """Whether a transaction is open on the connection; None if it is closed."""
    try:
        return connection.in_transaction
    except sqlite3.Error:
        return None


def _autocommits(connection: Connection) -> bool:
    """Whether a statement on this connection would be committed at once."""
    if connection.in_transaction:
        return False
    # New in Python 3.12: if it is True or False, isolation_level has no effect.
    autocommit: object = getattr(connection, "autocommit", None)
    if isinstance(autocommit, bool):
        return autocommit
    return connection.isolation_level is None
