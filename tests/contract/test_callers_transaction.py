"""push(connection=...): the job is part of the caller's own transaction."""

from __future__ import annotations

import sqlite3
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from worker_side import WorkerSide

from litequeue.errors import DatabaseError, LitequeueError, NoSuchJob, OtherDatabase
from litequeue.queue import Queue

Connect = Callable[..., sqlite3.Connection]
needs_autocommit = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="connect(autocommit=...) came with Python 3.12"
)

# How a caller may have come to a transaction: the arguments of connect, and the SQL.
TRANSACTIONS = [
    pytest.param({"isolation_level": None}, "begin", id="begin"),
    pytest.param({"isolation_level": None}, "begin immediate", id="begin-immediate"),
    pytest.param({}, "", id="implicit"),
    pytest.param({}, "insert into orders values ('before')", id="implicit-and-open"),
    pytest.param({"isolation_level": "IMMEDIATE"}, "", id="implicit-immediate"),
    pytest.param({"autocommit": False}, "", id="pep-249", marks=needs_autocommit),
    pytest.param({"autocommit": True}, "begin", id="autocommit-begin", marks=needs_autocommit),
]
AT_ONCE = [
    pytest.param({"isolation_level": None}, id="isolation-none"),
    pytest.param({"autocommit": True}, id="autocommit", marks=needs_autocommit),
]
in_a_transaction = pytest.mark.parametrize(("how", "begin"), TRANSACTIONS)


@pytest.fixture
def connect(queue: Queue) -> Iterator[Connect]:
    """Opens the application's own connections to the queue's file."""
    opened = []

    def connect(path: str | Path = queue.path, **how: Any) -> sqlite3.Connection:
        opened.append(sqlite3.connect(path, **how))
        return opened[-1]

    WorkerSide(queue).rows("create table orders (name text)")
    yield connect
    for connection in opened:
        connection.close()


def orders(queue: Queue) -> list[str]:
    return [name for (name,) in WorkerSide(queue).rows("select name from orders")]


def end(connection: sqlite3.Connection, word: str) -> None:
    # Where autocommit is on, commit() and rollback() do nothing.
    if connection.in_transaction:
        connection.execute(word)


@in_a_transaction
def test_a_commit_of_the_caller_brings_row_and_job_together(
    queue: Queue, connect: Connect, how: dict[str, Any], begin: str
) -> None:
    connection = connect(**how)
    connection.execute(begin)
    job_id = queue.push("ship", {"order": 1}, connection=connection)
    connection.execute("insert into orders values ('one')")
    assert (queue.find(), orders(queue)) == ([], [])
    end(connection, "commit")
    assert queue.get(job_id).name == "ship"
    assert "one" in orders(queue)


@in_a_transaction
def test_rolled_back_means_never_pushed(
    queue: Queue, connect: Connect, how: dict[str, Any], begin: str
) -> None:
    connection = connect(**how)
    connection.execute(begin)
    job_id = queue.push("ship", {}, connection=connection)
    queue.push_many([("ship", {}), ("bill", {})], connection=connection)
    assert connection.in_transaction
    end(connection, "rollback")
    assert (queue.find(), orders(queue)) == ([], [])
    with pytest.raises(NoSuchJob):
        queue.get(job_id)


@in_a_transaction
def test_push_many_joins_too(
    queue: Queue, connect: Connect, how: dict[str, Any], begin: str
) -> None:
    connection = connect(**how)
    connection.execute(begin)
    ids = queue.push_many([("a", {}), ("b", {})], connection=connection, priority=2)
    assert connection.in_transaction
    assert queue.find() == []
    end(connection, "commit")
    assert [(queue.get(id).name, queue.get(id).priority) for id in ids] == [("a", 2), ("b", 2)]


@pytest.mark.parametrize("how", AT_ONCE)
def test_on_a_connection_that_commits_by_itself_the_job_is_there_at_once(
    queue: Queue, connect: Connect, how: dict[str, Any]
) -> None:
    connection = connect(**how)
    pushed = [queue.push("a", {}, connection=connection)]
    pushed += queue.push_many([("b", {}), ("c", {})], connection=connection)
    assert not connection.in_transaction
    assert sorted(row.id for row in queue.find()) == pushed


def test_the_end_of_a_with_block_commits_or_rolls_back(queue: Queue, connect: Connect) -> None:
    connection = connect()
    with connection:
        kept = queue.push("a", {}, connection=connection)
    with suppress(ZeroDivisionError), connection:
        queue.push("b", {}, connection=connection)
        raise ZeroDivisionError
    assert [row.id for row in queue.find()] == [kept]


def _as_dict(cursor: sqlite3.Cursor, row: tuple[object, ...]) -> dict[str, object]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


def _as_tuple(cursor: sqlite3.Cursor, row: tuple[object, ...]) -> object:
    names = [f"c{number}" for number in range(len(cursor.description))]
    return namedtuple("Found", names)(*row)


@pytest.mark.parametrize("factory", [sqlite3.Row, _as_dict, _as_tuple, lambda cursor, row: None])
def test_the_callers_row_factory_is_neither_in_the_way_nor_changed(
    queue: Queue, connect: Connect, factory: Any
) -> None:
    connection = connect()
    connection.row_factory = factory
    ids = [queue.push("a", {}, connection=connection)]
    ids += queue.push_many([("b", {}), ("c", {})], connection=connection)
    connection.commit()
    assert [queue.get(id).name for id in ids] == ["a", "b", "c"]
    assert connection.row_factory is factory


def test_the_callers_text_factory_is_neither_in_the_way_nor_changed(
    queue: Queue, connect: Connect
) -> None:
    connection = connect()
    connection.text_factory = bytes
    job_id = queue.push("a", {}, connection=connection)
    connection.commit()
    assert queue.get(job_id).queue == "default"
    assert connection.text_factory is bytes


@pytest.mark.parametrize("file", ["other.db", ":memory:", ""])
def test_a_connection_to_another_file_is_refused(
    queue: Queue, connect: Connect, tmp_path: Path, file: str
) -> None:
    other = connect(tmp_path / file if file.endswith(".db") else file)
    other.execute("create table mine (x)")
    with pytest.raises(OtherDatabase, match="Open it on the same file"):
        queue.push("a", {}, connection=other)
    with pytest.raises(OtherDatabase):
        queue.push_many([("a", {})], connection=other)
    assert queue.find() == []
    assert [name for (name,) in other.execute("select name from sqlite_master")] == ["mine"]


def test_a_connection_that_has_the_file_only_attached_is_refused(
    queue: Queue, connect: Connect
) -> None:
    other = connect(":memory:")
    other.execute("attach ? as jobs", (queue.path,))
    with pytest.raises(OtherDatabase):
        queue.push("a", {}, connection=other)
    assert queue.find() == []


def test_another_name_of_the_same_file_is_the_same_file(
    queue: Queue, connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "link.db").symlink_to(queue.path)
    with connect(tmp_path / "link.db") as connection:
        job_id = queue.push("a", {}, connection=connection)
    assert queue.get(job_id).name == "a"


def test_a_closed_connection_is_refused_with_a_sentence(queue: Queue, connect: Connect) -> None:
    connection = connect()
    connection.close()
    with pytest.raises(DatabaseError, match="closed"):
        queue.push("a", {}, connection=connection)
    with pytest.raises(DatabaseError, match="closed"):
        queue.push_many([("a", {})], connection=connection)
    assert queue.get(queue.push("a")).name == "a"


def test_the_connection_of_another_thread_is_refused_with_a_sentence(
    queue: Queue, connect: Connect
) -> None:
    connection = connect()
    with ThreadPoolExecutor() as pool:
        error = pool.submit(queue.push, "a", {}, connection=connection).exception()
    assert isinstance(error, DatabaseError)
    assert "thread" in str(error)
    assert queue.find() == []


def test_what_is_refused_at_push_is_not_in_the_callers_transaction(
    queue: Queue, connect: Connect
) -> None:
    with connect() as connection:
        connection.execute("insert into orders values ('one')")
        with pytest.raises(LitequeueError):
            queue.push("a", {"x": object()}, connection=connection)
        with pytest.raises(LitequeueError):
            queue.push_many([("a", {}), ("b", {"x": object()})], connection=connection)
    assert (queue.find(), orders(queue)) == ([], ["one"])


def test_push_many_that_fails_midway_leaves_none_of_them_in_the_callers_transaction(
    queue: Queue, connect: Connect
) -> None:
    WorkerSide(queue).rows(
        "create trigger refuse before insert on litequeue_jobs when new.name = 'c' "
        "begin select raise(abort, 'no c here'); end"
    )
    with connect() as connection:
        connection.execute("insert into orders values ('one')")
        with pytest.raises(LitequeueError, match="no c here"):
            queue.push_many([("a", {}), ("b", {}), ("c", {})], connection=connection)
    assert (queue.find(), orders(queue)) == ([], ["one"])
