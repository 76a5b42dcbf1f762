"""The file: connections, pragmas, transactions, and SQLite's errors made ours.

The only module that imports sqlite3. Four rules hold everywhere:

- A connection belongs to one process and one thread. After a fork the child opens its
  own and never uses or closes the one that it inherited.
- Every write is one statement, or a transaction that begins IMMEDIATE: a deferred one
  that reads and then writes fails at once when another writer came between.
- Every result is fetched whole, or its cursor closed: an unfinished one keeps its lock.
- Nobody opens and closes the file itself, nor its -wal and -shm: POSIX drops all locks
  of the process on a file when any descriptor of it closes.
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
# The same by place, for the one insert that is to be as fast as can be.
Bound = Parameters | tuple[object, ...]
NOTHING: Parameters = {}
# What a statement can raise: SQLite's own, and Python's for a text that is no UTF-8 or a
# number of more than 64 bits.
UNFIT = (sqlite3.Error, UnicodeEncodeError, OverflowError)

OLDEST_SQLITE = (3, 35, 0)
# Of a file that we make; any other keeps its own. A push changes three pages, and most of
# its time goes into writing them twice: whole to the WAL, and from there to the disk.
PAGE_BYTES = 1024
BUSY_SECONDS = 30.0
# Less than that on a disk is none: the -shm file alone takes half of it.
LEAST_ROOM_BYTES = 64 * 1024
# SQLite's code for a transaction that has read what another one has changed since; Python
# 3.10 has no codes, and sqlite3 no name for this one.
BUSY_SNAPSHOT = 517
FIRST_LOCK_RETRY_SECONDS = 0.0001
# After so long it is time to ask who keeps a writer waiting.
REPORT_BLOCKER_SECONDS = 0.05
LONGEST_LOCK_RETRY_SECONDS = 0.005

# The statements of a transaction: its begin, its end, and how it is undone.
OUTERMOST = ("begin immediate", "commit", ("rollback",))
NESTED = ("savepoint inner", "release inner", ("rollback to inner", "release inner"))

PRAGMAS = (
    "pragma wal_autocheckpoint = 0",  # see litequeue.engine.checkpoint
    # Debian's SQLite overwrites what it deletes: twice the pages for a large payload.
    "pragma secure_delete = off",
    # The writer that restarts the WAL also shortens it, so its size says how much is to copy.
    "pragma journal_size_limit = 0",
    "pragma mmap_size = 0",
    # A large transaction would need a writable folder for temporary files.
    "pragma temp_store = memory",
)

# Connections that came to this process by fork. To close one here would be to end the
# parent's locks, so they are kept from the garbage collector.
_inherited: list[_Link] = []


# The files, by their real paths, to which others in this process have connected.
_connected: set[str] = set()
_connecting = threading.local()


def watch_connections() -> None:
    """Note from now on, for as long as the process lives, to which files others than we
    connect in it."""
    sys.addaudithook(_note_connection)


def _note_connection(event: str, arguments: tuple[object, ...]) -> None:
    if event != "sqlite3.connect" or getattr(_connecting, "ours", False):
        return
    # What is raised here would be raised where the connection was asked for.
    with suppress(Exception):
        name = os.fsdecode(arguments[0])  # type: ignore[arg-type]
        if name.startswith("file:"):
            name = name.removeprefix("file:").partition("?")[0]
        _connected.add(os.path.realpath(name))


@contextmanager
def _by_us() -> Iterator[None]:
    _connecting.ours = True
    try:
        yield
    finally:
        _connecting.ours = False


class _Link:
    """One thread's connection, and where it stands in a transaction."""

    def __init__(self, connection: Connection, *, borrowed: bool = False, depth: int = 0) -> None:
        self.connection = connection
        self.borrowed = borrowed
        self.depth = depth
        self.pid = os.getpid()
        self.cursor = connection.cursor()
        self.cursor.row_factory = None  # a caller's connection may have one
        self.identity = (0, 0)
        self.changes = self.last_id = self.statements = 0
        # As keys: an action that is asked for twice is done once.
        self.after_commit: dict[tuple[Callable[[str], None], str], None] = {}

        # A thread that ends drops its link. The connection is not to be left to the garbage
        # collector, which would warn that nobody closed it.
        self._end = weakref.finalize(self, _close, None if borrowed else connection, self.pid)

    def close(self) -> None:
        self._end()


def _close(connection: Connection | None, pid: int) -> None:
    if connection is not None and pid == os.getpid():
        connection.close()


class Database:
    """One SQLite file in WAL mode, opened anew for each thread that uses it."""

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
        """Name the file; it is opened, and made if need be, when first used.

        A statement waits ``busy_timeout`` seconds for the write lock, by ``sleep`` and by
        ``clock``, which gives seconds that are never set back.
        ``synchronous="full"`` syncs every commit, so that not even a power failure takes
        the last ones back. ``as_found`` is for looking only: no journal mode is set, no
        statement may write, and a file of several names is opened all the same. Raises
        SqliteTooOld, and CannotOpen for ":memory:", a URI and, without ``create``, for a
        file that there is not.
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            needed = ".".join(map(str, OLDEST_SQLITE))
            raise SqliteTooOld(path=path, needed=needed, found=sqlite3.sqlite_version)
        name = path_of(path)
        # As given, for a link on it may come to lead elsewhere: see moved().
        self._given = name if os.path.isabs(name) else os.path.join(os.getcwd(), name)
        # The real path: two names of one file must lead to the same workers.
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
        self._checkpoints = Checkpoints(self.path, self._apart, clock)

    def rows(self, sql: str, parameters: Parameters = NOTHING) -> list[Row]:
        """Run one statement and return all its rows; waits while another one writes."""
        return self._run(self._link(), sql, parameters)

    @contextmanager
    def reading(self, sql: str, parameters: Parameters = NOTHING) -> Iterator[Iterator[Row]]:
        """Give the rows of a statement one after the other, inside a transaction; those that
        the block does not come to are not read, however large they are."""
        cursor = self._link().connection.cursor()
        try:
            cursor.row_factory = None
            yield cursor.execute(sql, parameters)
        except UNFIT as error:
            raise self._ours(error) from error
        finally:
            # Or it would keep the transaction from ending.
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
        """Hold the write lock from here to the end of the block, which commits, or
        rolls back if it raises; inside another transaction, be a part of that one which
        is undone by itself."""
        link = self._link()
        outer = link.depth
        begin, end, undo = NESTED if outer else OUTERMOST
        try:
            # All of it in the try: a signal may raise between any two of these lines.
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
            self._follow_up(link)

    @contextmanager
    def joined(self, connection: Connection) -> Iterator[None]:
        """Run this block's statements on the caller's own connection, as part of the
        transaction that it has open; raises OtherDatabase if it is to another file."""
        ours = self._link()
        try:
            link = _Link(connection, borrowed=True)
            found = link.cursor.execute("pragma database_list").fetchall()[0][2]
            if not found or _identity(_found(found)) != _identity(_found(self.path)):
                raise OtherDatabase(path=self.path, found=found or "no file")
            if not _autocommits(connection):
                link.depth = 1
                if not connection.in_transaction:
                    # As Python would, one statement later; a savepoint must not be first.
                    self._retry_while_locked(link, "begin immediate", NOTHING)
        except sqlite3.Error as error:
            raise self._ours(error) from error
        self._local.link = link
        texts, connection.text_factory = connection.text_factory, _text
        try:
            yield
        finally:
            connection.text_factory = texts
            self._local.link = ours

    def after_commit(self, action: Callable[[str], None], argument: str) -> None:
        """Call ``action(argument)`` once what was just written can be seen by others.

        In a caller's own transaction that moment is unknown, and nothing is called.
        """
        # The statement that wrote it has seen to it that this is no parent's link.
        link: _Link = self._local.link
        if not link.depth:
            action(argument)
        elif not link.borrowed:
            link.after_commit[action, argument] = None

    def in_transaction(self) -> bool:
        """Whether this thread has a transaction open that has not been ended."""
        link = self._link()
        return link.depth > 0 and link.connection.in_transaction

    def checkpoint(self) -> bool:
        """Copy the WAL into the database, and say whether it was emptied; waits for
        nobody, and does nothing in a transaction or where the file was replaced."""
        link = self._link()
        return not link.depth and not self.moved() and self._checkpoints.run()

    def checkpoint_while_idle(self) -> None:
        """Copy the WAL into the database if it is worth it to who has nothing to do."""
        if self._checkpoints.due_while_idle():
            self.checkpoint()

    def on_lock_wait(self, callback: Callable[[float], None] | None) -> None:
        """While this thread waits for the write lock, call ``callback`` repeatedly with the
        seconds waited so far, and with infinity before the wait fails. An exception from the
        callback ends the wait. None removes the callback."""
        self._local.on_wait = callback

    def has_other_connections(self) -> bool:
        """Whether something in this process has connected to the file without this, since
        watch_connections was called."""
        return bool(_connected) and self.path in _connected

    def held_by_this_thread(self) -> bool:
        """Whether a connection that this thread has opened, by itself and not through
        this, keeps a transaction open on the file."""
        import gc

        from litequeue.engine import locks  # most writers never wait

        if locks.writer(self.path) not in (None, os.getpid()):
            return False
        own = {id(link.connection) for link in list(self._links)}
        # By its type: objects that stand for another may do anything when asked what they are.
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
            # Closed, or another thread's, or of a class that does things its own way.
            return False

    def held_by_this_process(self) -> bool:
        """Whether any connection of this process, but those of this, has the write lock;
        False where the system does not say."""
        from litequeue.engine import locks  # most writers never wait

        own = any(_is_in_transaction(link.connection) for link in list(self._links))
        return not own and locks.writer(self.path) == os.getpid()

    def abandon(self) -> bool:
        """Undo what is still open on this thread's connection, and say whether there was
        something; the connection is closed then, or was closed by somebody else."""
        link: _Link | None = getattr(self._local, "link", None)
        if link is None:
            return False
        try:
            if not (link.depth or link.connection.in_transaction):
                return False
        except sqlite3.Error:
            pass  # the connection is closed
        if link.pid != os.getpid():
            return False
        # Closed: whoever still has it, or a block that was not left, must not use it again.
        del self._local.link
        link.close()
        return True

    def backup(
        self, target: str | os.PathLike[str], finish: Callable[[str], None] = lambda path: None
    ) -> None:
        """Copy the live database to a file that there is not yet; raises CannotOpen.

        Until the copy is whole, and ``finish`` has been called with its path, it has
        another name: what is called ``target`` is sound.
        """
        path = path_of(target)
        if os.path.lexists(path):
            raise CannotOpen(path=path, problem="a backup is not written over another file")
        from tempfile import TemporaryDirectory  # a producer makes no backup

        where, name = os.path.split(path)
        try:
            # In a folder that only this user can enter, nobody can put a link, or a journal
            # that SQLite would play back, at the name of the copy while it is made.
            with TemporaryDirectory(prefix=f"{name}.partial-", dir=where or ".") as private:
                partial = os.path.join(private, name)
                self._copy(partial)
                finish(partial)
                os.rename(partial, path)
        except (sqlite3.Error, OSError) as error:
            raise CannotOpen(path=path, problem=str(error)) from error

    def _copy(self, partial: str) -> None:
        with _by_us():
            copy = sqlite3.connect(partial)
        try:
            # Payloads are as private in the copy as they are here.
            os.chmod(partial, os.stat(self.path).st_mode & 0o777)
            self._link().connection.backup(copy)
        finally:
            copy.close()

    def moved(self) -> bool:
        """Whether the path as given no longer leads to the file that this thread has open."""
        return _identity(_found(self._given)) != self._link().identity

    def check_place(self) -> None:
        """Raise DatabaseMoved where the path as given no longer leads to the file that this
        thread has open, and CannotOpen where that file has got a second name."""
        found = _found(self._given)
        if found is None or _identity(found) != self._link().identity:
            raise DatabaseMoved(path=self._given)
        check_links(self.path, found)

    def close(self) -> None:
        """Close this process's connections; a later use opens a new one."""
        for link in list(self._links):
            link.close()
        self._local = threading.local()

    def _run(self, link: _Link, sql: str, parameters: Bound = NOTHING) -> list[Row]:
        link.statements += 1
        if link.depth:
            if not link.connection.in_transaction:
                # By a full disk, or by the caller; what follows would stand alone.
                raise DatabaseRefused(path=self.path, problem="the transaction is over")
            return self._once(link, sql, parameters)
        rows = self._retry_while_locked(link, sql, parameters)
        if link.statements >= WAL_CHECK_STATEMENTS and not link.connection.in_transaction:
            link.statements = 0
            if self._checkpoints.due():
                self.checkpoint()
        return rows

    def _retry_while_locked(self, link: _Link, sql: str, parameters: Bound) -> list[Row]:
        """Try until the lock is free: SQLite's own busy handler lets a process starve
        for seconds, short pauses with jitter share the lock fairly."""
        started, longest = self._clock(), FIRST_LOCK_RETRY_SECONDS
        while True:
            try:
                return self._once(link, sql, parameters)
            except StaleTransaction:
                raise
            except DatabaseBusy as busy:
                # By the clock, not by the pauses: on a caller's connection each try waits, too.
                waited = self._clock() - started
                if waited >= self._busy_seconds:
                    self._report_wait(math.inf)
                    raise self._locked(waited) from busy
            self._report_wait(waited)
            from random import uniform  # most writers never wait

            self._sleep(min(self._busy_seconds - waited, longest * uniform(0.5, 1)))
            longest = min(2 * longest, LONGEST_LOCK_RETRY_SECONDS)

    def _once(self, link: _Link, sql: str, parameters: Bound) -> list[Row]:
        """Try once; on a caller's connection SQLite waits as long as the caller has said."""
        if not link.borrowed:
            return self._fetch(link, sql, parameters)
        started = time.monotonic()
        try:
            return self._fetch(link, sql, parameters)
        except DatabaseBusy as busy:
            waited = time.monotonic() - started
            # It waits for no one where its snapshot may be too old by then.
            stale = getattr(busy.__cause__, "sqlite_errorcode", None) == BUSY_SNAPSHOT
            if stale or waited * 1000 < self._aside(link, "pragma busy_timeout")[0][0]:
                raise StaleTransaction(path=self.path, waited=waited) from busy
            raise self._locked(waited) from busy

    def _locked(self, waited: float) -> DatabaseBusy:
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
        except UNFIT as error:
            raise self._ours(error) from error
        link.changes, link.last_id = cursor.rowcount, cursor.lastrowid or 0
        return rows

    def _follow_up(self, link: _Link) -> None:
        actions, link.after_commit = link.after_commit, {}
        for action, argument in actions:
            action(argument)

    def _undo(self, link: _Link, undo: Sequence[str]) -> None:
        if not link.depth:
            link.after_commit.clear()
        # SQLite has rolled back already where the disk was full, or the block was abandoned.
        if _is_in_transaction(link.connection):
            for sql in undo:
                self._aside(link, sql)

    def _aside(self, link: _Link, sql: str) -> list[Row]:
        """Run a statement, and leave what is known of the last one as it is."""
        try:
            return link.connection.execute(sql).fetchall()
        except sqlite3.Error as error:
            raise self._ours(error) from error

    @contextmanager
    def _apart(self) -> Iterator[Execute]:
        """A connection beside this thread's own, for a block."""
        try:
            with _by_us():
                connection = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        except sqlite3.Error as error:
            raise self._ours(error) from error
        link = _Link(connection)
        try:
            for pragma in (*PRAGMAS, f"pragma synchronous = {self.synchronous}"):
                self._aside(link, pragma)
            yield lambda sql: self._aside(link, sql)
        finally:
            link.close()

    def _link(self) -> _Link:
        link: _Link | None = getattr(self._local, "link", None)
        if link is not None and link.pid == os.getpid():
            return link
        if link is not None:
            _inherited.append(link)
        self._local.link = link = self._open()
        self._links.add(link)
        return link

    def _open(self) -> _Link:
        self._examine()
        try:
            with _by_us():
                connection = sqlite3.connect(
                    self.path, timeout=0, isolation_level=None, check_same_thread=False
                )
        except sqlite3.Error as error:
            raise self._ours(error) from error
        try:
            return self._prepared(connection)
        except BaseException:
            connection.close()
            raise

    def _examine(self) -> None:
        """Raise CannotOpen where no database can be, or the file has a second name."""
        found = _found(self.path)
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

    def _prepared(self, connection: Connection) -> _Link:
        connection.text_factory = _text
        link = _Link(connection)
        if self._as_found:
            self._retry_while_locked(link, "pragma query_only = on", NOTHING)
        else:
            self._retry_while_locked(link, f"pragma page_size = {PAGE_BYTES}", NOTHING)
            # Changing the mode of a new file does not wait for other openers by itself.
            if self._retry_while_locked(link, "pragma journal_mode = wal", NOTHING)[0][0] != "wal":
                raise CannotOpen(path=self.path, problem="its file system cannot hold a WAL")
        for pragma in (*PRAGMAS, f"pragma synchronous = {self.synchronous}"):
            self._retry_while_locked(link, pragma, NOTHING)
        link.identity = _identity(_found(self.path))
        return link

    def _ours(self, error: Exception) -> DatabaseError:
        """The error of litequeue for one of SQLite's; by its words, for Python 3.10 has
        no error codes."""
        words = str(error)
        if "locked" in words or "busy" in words:
            return DatabaseBusy(path=self.path, waited=0)
        if "is full" in words:
            return DatabaseFull(path=self.path, problem=words)
        if "readonly" in words:
            return CannotOpen(path=self.path, problem="the file or its folder is read-only")
        if "unable to open" in words or "I/O error" in words:
            return self._refused(words)
        if "not a database" in words or "malformed" in words:
            return NotADatabase(path=self.path, problem=words)
        return DatabaseRefused(path=self.path, problem=words)

    def _refused(self, words: str) -> DatabaseError:
        """Why the system let SQLite open or write no file, which SQLite does not say."""
        if lacking := _lacking(os.path.dirname(self.path)):
            return DatabaseFull(path=self.path, problem=lacking)
        if "unable to open" in words:
            forbidden = "the file or its folder forbids it"
            problem = NO_DESCRIPTORS if descriptors_used_up() else forbidden
            return CannotOpen(path=self.path, problem=problem)
        cause = "its disk may be failing, the file be cut off, or a quota be used up"
        if limit := _longest_file():
            cause = f"this process may make no file longer than {limit} bytes (ulimit -f)"
        return DatabaseRefused(path=self.path, problem=f"{words} ({cause})")


def _lacking(folder: str) -> str | None:
    """What the disk of a folder has no more of, if so."""
    try:
        disk = os.statvfs(folder)
    except (OSError, AttributeError):  # Windows has no such call
        return None
    if disk.f_bavail * disk.f_frsize < LEAST_ROOM_BYTES:
        return "its disk is full"
    # Some file systems count none.
    return "its disk has no inode left for a file" if disk.f_files and not disk.f_favail else None


def _longest_file() -> int | None:
    try:
        import resource  # only Windows has none, and only trouble needs it
    except ImportError:
        return None
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _text(raw: bytes) -> str | bytes:
    """A text of the file; where it is no UTF-8, its bytes, as those of a blob: whoever
    reads the row sees that they are no text, and SQLite's own way would refuse the rows
    beside it too."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _found(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _identity(found: os.stat_result | None) -> tuple[int, int]:
    return (0, 0) if found is None else (found.st_dev, found.st_ino)


def _is_in_transaction(connection: Connection) -> bool | None:
    """None for a connection that is closed."""
    try:
        return connection.in_transaction
    except sqlite3.Error:
        return None


def _autocommits(connection: Connection) -> bool:
    """Whether a write on this connection is committed at once by itself."""
    if connection.in_transaction:
        return False
    # The attribute came with Python 3.12; True and False there switch the old way off.
    autocommit: object = getattr(connection, "autocommit", None)
    if isinstance(autocommit, bool):
        return autocommit
    return connection.isolation_level is None
