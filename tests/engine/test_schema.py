"""The tables: made once, in any SQLite file, by whoever comes first."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from waiting import Child

from litequeue.engine import schema
from litequeue.errors import DatabaseError, ForeignTables, SchemaNewer
from litequeue.queue import Queue
from litequeue.records import State

MakeQueue = Callable[..., Queue]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The file that is to become a queue, as an application has it open."""
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as connection:
        yield connection


def master(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    sql = "select type, name, tbl_name, sql from sqlite_master order by type, name"
    return connection.execute(sql).fetchall()


def test_a_new_file_gets_the_tables_of_the_known_version(
    make_queue: MakeQueue, file: sqlite3.Connection
) -> None:
    make_queue()
    names = {name for kind, name, _, _ in master(file) if kind in ("table", "view")}
    assert {"litequeue_jobs", "litequeue_workers", "litequeue_paused", "litequeue_list"} <= names
    assert all(str(name).startswith(("litequeue_", "sqlite_")) for name in names)
    assert file.execute("select version from litequeue_schema").fetchall() == [(schema.KNOWN,)]


def test_an_applications_own_file_keeps_all_that_is_its_own(
    make_queue: MakeQueue, file: sqlite3.Connection
) -> None:
    file.execute("pragma user_version = 41")
    file.execute("pragma application_id = 4242")
    file.execute("create table orders (id integer primary key, name text)")
    file.execute("create index orders_name on orders (name)")
    file.execute("insert into orders (name) values ('one')")
    before = master(file)
    queue = make_queue()
    queue.push("a")
    assert [row for row in master(file) if "litequeue" not in str(row[2])][:2] == before
    assert file.execute("select * from orders").fetchall() == [(1, "one")]
    assert file.execute("pragma user_version").fetchone() == (41,)
    assert file.execute("pragma application_id").fetchone() == (4242,)


def test_a_table_whose_name_only_resembles_ours_is_left_alone(
    make_queue: MakeQueue, file: sqlite3.Connection
) -> None:
    file.execute("create table litequeuejobs (x)")
    file.execute("create table my_litequeue_jobs (x)")
    assert make_queue().push("a") == 1


def test_a_second_opening_does_nothing(make_queue: MakeQueue, file: sqlite3.Connection) -> None:
    job_id = make_queue().push("a")
    before, version = master(file), file.execute("pragma data_version").fetchone()
    again = make_queue()
    assert schema.upgrade(again.store.database) == 0
    assert again.get(job_id).state is State.READY
    assert master(file) == before
    assert file.execute("pragma data_version").fetchone() == version


def test_a_file_of_a_newer_litequeue_is_refused(
    make_queue: MakeQueue, file: sqlite3.Connection
) -> None:
    make_queue()
    file.execute("update litequeue_schema set version = 99")
    before = master(file)
    with pytest.raises(SchemaNewer, match=r"newer litequeue \(schema 99.*Update litequeue here"):
        make_queue()
    assert master(file) == before
    assert file.execute("select version from litequeue_schema").fetchall() == [(99,)]


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("create table litequeue_jobs (x)", "litequeue_jobs"),
        ("create table litequeue_anything (x)", "litequeue_anything"),
        ("create table LITEQUEUE_JOBS (x)", "LITEQUEUE_JOBS"),
        ("create table litequeue_schema (version integer)", "litequeue_schema"),
        ("create table litequeue_schema as select 'one' as version", "litequeue_schema"),
        ("create table litequeue_schema as select 1 as version, 2 as x", "litequeue_schema"),
        ("create table litequeue_schema as values (1), (1)", "litequeue_schema"),
    ],
)
def test_tables_with_our_names_that_are_not_ours_are_refused(
    make_queue: MakeQueue, file: sqlite3.Connection, sql: str, table: str
) -> None:
    file.execute(sql)
    before = master(file)
    with pytest.raises(ForeignTables, match=f"has a table {table} that litequeue did not make"):
        make_queue()
    assert master(file) == before


def test_a_step_that_fails_leaves_no_half_of_itself(
    make_queue: MakeQueue, file: sqlite3.Connection
) -> None:
    file.execute("create view litequeue_list as select 1")
    before = master(file)
    with pytest.raises(DatabaseError):
        make_queue()
    assert master(file) == before
    file.execute("drop view litequeue_list")
    assert make_queue().push("a") == 1


def test_the_printed_schema_makes_the_same_file(
    make_queue: MakeQueue, file: sqlite3.Connection
) -> None:
    make_queue()
    with closing(sqlite3.connect(":memory:")) as other:
        other.executescript(schema.sql())
        assert master(other) == master(file)
        versions = other.execute("select * from litequeue_schema").fetchall()
    assert versions == file.execute("select * from litequeue_schema").fetchall()


def test_the_view_shows_the_words_of_the_states(
    make_queue: MakeQueue, file: sqlite3.Connection
) -> None:
    make_queue().push("a")
    for state in State:
        file.execute("update litequeue_jobs set state = ?", (state.code,))
        assert file.execute("select state from litequeue_list").fetchone() == (state.value,)


def test_the_view_of_failed_jobs_has_them_and_why(
    make_queue: MakeQueue, file: sqlite3.Connection
) -> None:
    queue = make_queue()
    failed, other = queue.push("a", {"n": 1}, queue="q"), queue.push("b")
    row = queue.store.claims.claim_job(1 << 41, failed)
    assert row is not None
    queue.store.executions.fail(row, "ValueError: no")
    view = file.execute("select * from litequeue_failed")
    columns = [column[0] for column in view.description]
    assert columns == ["job_id", "name", "queue", "payload", "exception", "failed_at", "attempts"]
    found = dict(zip(columns, view.fetchone(), strict=True))
    assert (found.pop("failed_at") or "").startswith("20")
    assert found == {
        **{"job_id": failed, "name": "a", "queue": "q", "payload": '{"n":1}'},
        **{"exception": "ValueError: no", "attempts": 1},
    }
    assert view.fetchone() is None
    assert other != failed


@pytest.mark.parametrize("wrong", ["state = 1", "state = 10", "attempts = -1", "priority = 'x'"])
def test_the_table_refuses_what_no_verb_writes(
    make_queue: MakeQueue, file: sqlite3.Connection, wrong: str
) -> None:
    make_queue().push("a")
    with pytest.raises(sqlite3.IntegrityError):
        file.execute(f"update litequeue_jobs set {wrong}")


OPEN_AT_ONCE = """
import sys
from litequeue.queue import Queue
print("here", flush=True)
input()
for path in sys.argv[1:]:
    with Queue(path) as queue:
        print(queue.push("a"), flush=True)
"""


def test_eight_processes_may_open_a_new_file_at_once(
    start: Callable[..., Child], tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.db" for number in range(10)]
    children = [start(OPEN_AT_ONCE, *paths) for _ in range(8)]
    for child in children:
        assert child.line() == "here"
    for child in children:
        child.say()
    # Line by line, the ids that one process was given in the ten files.
    given = [child.finish().split() for child in children]
    for ids in zip(*given, strict=True):
        assert sorted(map(int, ids)) == list(range(1, 9))
