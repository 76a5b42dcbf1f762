"""The file: what can be wrong with it, who else uses it, and what SQLite says."""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from waiting import Child, Clock

from litequeue.engine import locks
from litequeue.engine.checkpoint import CHECKPOINT_BYTES
from litequeue.engine.database import PAGE_BYTES
from litequeue.errors import CannotOpen, DatabaseError, DatabaseFull, NotADatabase, SqliteTooOld
from litequeue.queue import Queue

MakeQueue = Callable[..., Queue]


# What a WAL has that was started over: its header, and the one page of the commit that did it.
EMPTY_WAL = 32 + 24 + PAGE_BYTES


def wal_bytes(queue: Queue) -> int:
    return os.stat(f"{queue.path}-wal").st_size


# Opening


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("", CannotOpen, "is a directory"),
        ("folder", CannotOpen, "is a directory"),
        ("missing/jobs.db", CannotOpen, "there is no folder .*missing"),
        ("text.db/jobs.db", CannotOpen, "there is no folder .*text.db"),
        ("text.db", NotADatabase, "is not an SQLite database.*restore this one from a backup"),
        ("truncated.db", NotADatabase, "is not an SQLite database, or is damaged"),
        ("headless.db", NotADatabase, "is not an SQLite database, or is damaged"),
        ("dangling", CannotOpen, "there is no folder"),
    ],
)
def test_a_file_that_is_no_database_is_refused_with_a_sentence_and_left_alone(
    make_queue: MakeQueue, tmp_path: Path, name: str, kind: type[DatabaseError], words: str
) -> None:
    make_broken_files(tmp_path, make_queue)
    before = contents(tmp_path)
    with pytest.raises(kind, match=words) as told:
        make_queue(name).find()
    assert str(tmp_path) in str(told.value)
    assert contents(tmp_path) == before


def make_broken_files(folder: Path, make_queue: MakeQueue) -> None:
    (folder / "folder").mkdir()
    (folder / "text.db").write_text("These are my notes, and no database.\n" * 50)
    (folder / "dangling").symlink_to("nowhere/jobs.db")
    for name, size in (("truncated.db", 8192), ("headless.db", 50)):
        queue = make_queue(name)
        queue.push_many([("a", {"text": "x" * 500})] * 50)
        queue.store.database.checkpoint()
        queue.close()
        os.truncate(folder / name, size)


def contents(folder: Path) -> dict[str, bytes]:
    # SQLite may leave the helpers of a damaged file beside it.
    files = [path for path in folder.iterdir() if path.is_file()]
    return {path.name: path.read_bytes() for path in files if path.suffix in (".db", "")}


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_a_queue_needs_a_file(path: str) -> None:
    with pytest.raises(CannotOpen, match="a queue needs a file"):
        Queue(path)


def test_a_file_that_is_not_to_be_created_must_be_there(
    make_queue: MakeQueue, tmp_path: Path
) -> None:
    with pytest.raises(CannotOpen, match="there is no such file"):
        make_queue("typo.db", create=False)
    assert list(tmp_path.iterdir()) == []
    make_queue("jobs.db").close()
    assert make_queue("jobs.db", create=False).push("a") == 1


def test_an_empty_file_becomes_a_queue(make_queue: MakeQueue, tmp_path: Path) -> None:
    (tmp_path / "jobs.db").touch()
    assert make_queue().push("a") == 1


def test_the_path_of_a_queue_is_absolute_and_without_links(
    make_queue: MakeQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_queue()
    (tmp_path / "link.db").symlink_to("jobs.db")
    monkeypatch.chdir(tmp_path)
    with Queue("link.db") as queue:
        assert queue.path == os.path.realpath(tmp_path / "jobs.db")


@pytest.mark.parametrize(("version", "works"), [((3, 34, 1), False), ((3, 35, 0), True)])
def test_an_sqlite_that_is_too_old_is_refused(
    make_queue: MakeQueue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: tuple[int, int, int],
    works: bool,
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    if works:
        assert make_queue().push("a") == 1
        return
    with pytest.raises(SqliteTooOld, match=r"needs SQLite 3.35.0 or newer"):
        make_queue()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("synchronous", "level"), [("normal", 1), ("full", 2)])
def test_the_pragmas_are_those_that_were_measured(
    make_queue: MakeQueue, synchronous: str, level: int
) -> None:
    database = make_queue(synchronous=synchronous).store.database
    wanted = {
        "journal_mode": "wal",
        "synchronous": level,
        "wal_autocheckpoint": 0,
        "secure_delete": 0,
        "mmap_size": 0,
        "temp_store": 2,
        "busy_timeout": 0,
    }
    found = {name: database.rows(f"pragma {name}") for name in wanted}
    # SQLite that was built without memory maps has no answer.
    assert {name: rows[0][0] for name, rows in found.items() if rows}.items() <= wanted.items()
    assert found["journal_mode"] == [("wal",)]


def test_a_new_file_has_small_pages_and_one_that_there_is_keeps_its_own(
    make_queue: MakeQueue, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.execute("pragma page_size = 8192")
        connection.execute("create table mine (id)")
    sizes = [
        make_queue(name).store.database.rows("pragma page_size") for name in ("jobs.db", "app.db")
    ]
    assert sizes == [[(PAGE_BYTES,)], [(8192,)]]
    make_queue("jobs.db").backup(tmp_path / "copy.db")
    assert make_queue("copy.db").store.database.rows("pragma page_size") == [(PAGE_BYTES,)]


# What may not be read or written

AS_NOBODY = """
import os, sys
from litequeue.errors import DatabaseError
from litequeue.queue import Queue
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    queue = Queue(sys.argv[1])
    queue.push("a")
except DatabaseError as error:
    print(type(error).__name__, error)
else:
    print("pushed", len(queue.find()))
"""


@pytest.fixture
def open_folder(make_queue: MakeQueue) -> Iterator[Path]:
    """A folder that every user can reach, with a database of one job."""
    with tempfile.TemporaryDirectory() as name:
        queue = make_queue(Path(name) / "jobs.db")
        queue.push("a")
        queue.close()
        yield Path(name)
        os.chmod(name, 0o700)


@pytest.mark.parametrize(
    ("folder", "file", "said"),
    [
        (0o777, 0o666, "pushed 2"),
        (0o777, 0o444, "CannotOpen .* the file or its folder is read-only"),
        (0o555, 0o666, "CannotOpen .* the file or its folder (is read-only|forbid it)"),
        (0o555, 0o444, "CannotOpen .* the file or its folder (is read-only|forbid it)"),
        (0o777, 0o000, "CannotOpen .* the file or its folder forbid it"),
        (0o000, 0o666, "CannotOpen .* "),
    ],
)
def test_another_user_can_push_where_the_file_lets_them_and_is_told_where_not(
    start: Callable[..., Child], open_folder: Path, folder: int, file: int, said: str
) -> None:
    if not hasattr(os, "setuid"):
        pytest.skip("this system has no users to change to")
    os.chmod(open_folder / "jobs.db", file)
    os.chmod(open_folder, folder)
    printed = start(AS_NOBODY, open_folder / "jobs.db").finish()
    os.chmod(open_folder, 0o700)
    assert re.match(said, printed), printed


LARGE_TRANSACTION = """
import sys
from litequeue.queue import Queue
queue = Queue(sys.argv[1])
with queue.store.database.transaction():
    queue.push_many([("a", {"text": "x" * 300})] * 50_000)
    with queue.store.database.transaction():
        queue.store.database.change("update litequeue_jobs set state = 7, priority = priority + 1")
print(queue.retry(all=True))
queue.close()
"""


def test_a_large_transaction_needs_no_folder_for_temporary_files(
    start: Callable[..., Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write any folder, says the system; but nobody can make a file in this one.
    if not os.path.isdir("/proc/self") or not os.access("/proc", os.W_OK):
        pytest.skip("SQLite would find another folder")
    monkeypatch.setenv("SQLITE_TMPDIR", "/proc")
    assert start(LARGE_TRANSACTION, tmp_path / "jobs.db").finish() == "50000"


# A full disk


@pytest.fixture
def full(make_queue: MakeQueue) -> Queue:
    """A queue whose file may not grow any more."""
    queue = make_queue()
    queue.push_many([("a", {})] * 10)
    limit(queue, queue.store.database.rows("pragma page_count")[0][0])
    return queue


def limit(queue: Queue, pages: int) -> None:
    queue.store.database.rows(f"pragma max_page_count = {pages}")


BIG = {"text": "x" * 100_000}


@pytest.mark.parametrize("many", [False, True])
def test_a_full_disk_reaches_the_caller_and_harms_nothing(full: Queue, many: bool) -> None:
    before = full.find()
    with pytest.raises(DatabaseFull, match=r"nothing was written\. Free some space"):
        full.push_many([("b", {}), ("b", BIG)]) if many else full.push("b", BIG)
    assert not full.store.database.in_transaction()
    assert full.find() == before
    assert full.check() == []
    assert full.store.database.rows("pragma integrity_check") == [("ok",)]


def test_when_there_is_room_again_pushes_go_on(full: Queue) -> None:
    with pytest.raises(DatabaseFull):
        full.push("b", BIG)
    limit(full, 100_000)
    assert full.get(full.push("b", BIG)).name == "b"
    assert len(full.push_many([("c", BIG), ("d", BIG)])) == 2
    assert full.check() == []


def test_a_full_disk_ends_the_whole_transaction(full: Queue) -> None:
    before = full.find()

    def write() -> None:
        with full.store.database.transaction():
            full.cancel(1)
            full.push("b", BIG)

    with pytest.raises(DatabaseFull):
        write()
    assert full.find() == before
    limit(full, 100_000)
    with full.store.database.transaction():
        full.push("b", BIG)
    assert len(full.find()) == len(before) + 1


def test_after_a_full_disk_the_rest_of_the_transaction_does_not_count(full: Queue) -> None:
    before = full.find()

    def write() -> None:
        with full.store.database.transaction():
            with suppress(DatabaseFull):
                full.push("b", BIG)
            full.cancel(1)

    with pytest.raises(DatabaseError):
        write()
    assert full.find() == before


def test_a_full_disk_reaches_the_caller_through_their_own_connection(full: Queue) -> None:
    with closing(sqlite3.connect(full.path)) as connection:
        pages = connection.execute("pragma page_count").fetchone()[0]
        connection.execute(f"pragma max_page_count = {pages}")
        with pytest.raises(DatabaseFull):
            full.push("b", BIG, connection=connection)
    assert len(full.find()) == 10


# Checkpoints


def test_a_process_that_writes_in_transactions_alone_keeps_the_wal_short(
    make_queue: MakeQueue,
) -> None:
    queue = make_queue()
    longest = 0
    for _ in range(300):
        with queue.store.database.transaction():
            queue.push("job", {"text": "x" * 100_000})
        longest = max(longest, wal_bytes(queue))
    assert longest < 4 * CHECKPOINT_BYTES


def test_a_checkpoint_empties_the_wal(make_queue: MakeQueue) -> None:
    queue = make_queue()
    queue.push("a")
    assert wal_bytes(queue) > EMPTY_WAL
    assert queue.store.database.checkpoint()
    assert wal_bytes(queue) == EMPTY_WAL
    assert [row.name for row in make_queue().find()] == ["a"]


def test_one_process_at_a_time_checkpoints(make_queue: MakeQueue) -> None:
    queue = make_queue()
    queue.push("a")
    before = wal_bytes(queue)
    with locks.tried(Path(f"{queue.path}-checkpoint")) as ours:
        assert ours
        assert not queue.store.database.checkpoint()
        assert wal_bytes(queue) == before
    assert queue.store.database.checkpoint()
    assert wal_bytes(queue) == EMPTY_WAL


def test_a_checkpoint_waits_for_no_writer(make_queue: MakeQueue) -> None:
    queue = make_queue(sleep=never)
    queue.push("a")
    before = wal_bytes(queue)
    with closing(sqlite3.connect(queue.path, isolation_level=None)) as writer:
        writer.execute("begin immediate")
        assert not queue.store.database.checkpoint()
        assert wal_bytes(queue) == before
        writer.execute("rollback")
    assert queue.store.database.checkpoint()


def test_a_checkpoint_waits_for_no_reader_and_keeps_no_writer_out(make_queue: MakeQueue) -> None:
    queue = make_queue(sleep=never)
    queue.push("a")
    with reading(queue):
        queue.push("b")
        assert not queue.store.database.checkpoint()
        assert wal_bytes(queue) > EMPTY_WAL
        assert queue.push("c") == 3
    assert queue.store.database.checkpoint()
    assert wal_bytes(queue) == EMPTY_WAL
    assert len(queue.find()) == 3


def test_a_file_that_took_the_place_of_the_queues_is_not_touched(
    make_queue: MakeQueue, tmp_path: Path
) -> None:
    queue, other = make_queue(), make_queue("other.db")
    queue.push("a")
    other.close()
    os.replace(tmp_path / "other.db", queue.path)
    before = Path(queue.path).read_bytes()
    assert not queue.store.database.checkpoint()
    assert Path(queue.path).read_bytes() == before


def never(seconds: float) -> None:
    raise AssertionError("it waited")


@contextmanager
def reading(queue: Queue) -> Iterator[None]:
    """Another program has a read transaction open, which keeps the WAL as it is."""
    with closing(sqlite3.connect(queue.path, isolation_level=None)) as reader:
        reader.execute("begin")
        reader.execute("select * from litequeue_jobs").fetchall()
        yield


def test_a_wal_that_a_reader_pins_is_tried_again_ever_more_seldom(
    make_queue: MakeQueue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue()
    monkeypatch.setattr(queue.store.database._checkpoints, "_clock", clock)
    monkeypatch.setattr("litequeue.engine.checkpoint.IDLE_BYTES", EMPTY_WAL)
    with reading(queue):
        queue.push("a")
        tries = []
        for second in range(200):
            before = wal_bytes(queue)
            queue.store.database.checkpoint_while_idle()
            if wal_bytes(queue) != before:
                tries.append(second)
            clock.advance(1)
    assert tries == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    clock.advance(60)
    queue.store.database.checkpoint_while_idle()
    assert wal_bytes(queue) == EMPTY_WAL
    assert queue.push("b") == 2
    queue.store.database.checkpoint_while_idle()
    assert wal_bytes(queue) == EMPTY_WAL


def test_an_idle_worker_leaves_a_short_wal_alone(make_queue: MakeQueue) -> None:
    queue = make_queue()
    queue.push("a")
    before = wal_bytes(queue)
    queue.store.database.checkpoint_while_idle()
    assert wal_bytes(queue) == before


@pytest.fixture
def eager(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """A queue that looks at its WAL at every statement, and finds it too large."""
    monkeypatch.setattr("litequeue.engine.checkpoint.CHECKPOINT_BYTES", 0)
    monkeypatch.setattr("litequeue.engine.database.WAL_CHECK_STATEMENTS", 1)
    return make_queue()


def test_the_wal_is_checkpointed_as_it_grows(eager: Queue) -> None:
    eager.push("a")
    assert wal_bytes(eager) == EMPTY_WAL


def test_a_transaction_that_begins_beside_a_large_wal_goes_on(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr("litequeue.engine.checkpoint.CHECKPOINT_BYTES", 0)
    queue = make_queue()
    queue.push("a")
    assert wal_bytes(queue) > 0
    monkeypatch.setattr("litequeue.engine.database.WAL_CHECK_STATEMENTS", 1)
    started = clock.now
    assert queue.push_many([("b", {}), ("c", {})]) == [2, 3]
    assert clock.now - started < 1
    assert not queue.store.database.in_transaction()


@pytest.mark.parametrize("many", [False, True])
def test_a_job_that_is_on_disk_is_pushed_even_where_no_checkpoint_can_be_made(
    eager: Queue, many: bool
) -> None:
    lock = Path(f"{eager.path}-checkpoint")
    lock.unlink(missing_ok=True)
    lock.mkdir()
    pushed = eager.push_many([("a", {})]) if many else [eager.push("a")]
    assert [row.id for row in eager.find()] == pushed
