"""Each examination of the doctor, with a queue made to have that fault."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from examining import MEGABYTE, by_hand, come_and_go, diagnosed, one
from waiting import Child, Clock
from worker_side import claim_one

from litequeue.engine import schema
from litequeue.errors import CannotOpen, ForeignTables, NotADatabase, SchemaNewer
from litequeue.monitor import doctor
from litequeue.monitor.doctor import examine, has_wal_reset_bug
from litequeue.monitor.environment import Target
from litequeue.queue import Queue

# A sound queue


def test_nothing_is_wrong_with_a_sound_queue(queue: Queue) -> None:
    found = diagnosed(queue)
    assert [each for each in found if each.level == "wrong"] == []
    assert [each.examined for each in found] == [
        *("file system", "free disk", "permissions", "SQLite", "journal mode", "WAL"),
        *("schema", "integrity", "tables", "invariants", "orphans", "clock"),
    ]


def test_what_is_in_order_needs_no_remedy_and_what_is_not_has_one(queue: Queue) -> None:
    by_hand(queue, "drop index litequeue_ready")
    assert all(bool(each.remedy) == (each.level != "ok") for each in diagnosed(queue))


def test_the_doctor_changes_nothing(queue: Queue, clock: Clock) -> None:
    queue.close()
    before = Path(queue.path).read_bytes(), sorted(os.listdir(Path(queue.path).parent))
    list(examine(queue.path, clock=clock))
    assert before == (Path(queue.path).read_bytes(), sorted(os.listdir(Path(queue.path).parent)))


def test_the_doctor_never_opens_the_file_itself(queue: Queue, start: Callable[..., Child]) -> None:
    script = """
import sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
from litequeue.monitor.doctor import examine
list(examine(sys.argv[1]))
print([path for path in opened if path.startswith(sys.argv[1])])
"""
    assert start(script, queue.path).finish() == "[]"


# What is no queue


def test_a_file_that_there_is_not_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match="no such file"):
        list(examine(tmp_path / "jobs.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_text_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("remember the milk")
    with pytest.raises(NotADatabase):
        list(examine(notes))
    assert notes.read_text() == "remember the milk"


def test_a_database_without_a_queue_is_refused_and_gets_none(queue: Queue, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "app.db") as connection:
        connection.execute("create table users (id integer)")
    connection.close()
    with pytest.raises(CannotOpen, match="no queue in it"):
        list(examine(tmp_path / "app.db"))
    with sqlite3.connect(tmp_path / "app.db") as connection:
        assert connection.execute("select name from sqlite_master").fetchall() == [("users",)]
    connection.close()


def test_an_empty_file_is_refused_and_stays_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    with pytest.raises(CannotOpen, match="no queue in it"):
        list(examine(tmp_path / "empty.db"))
    assert (tmp_path / "empty.db").stat().st_size == 0


def test_tables_that_are_not_ours_are_refused(queue: Queue, clock: Clock) -> None:
    by_hand(queue, "drop table litequeue_schema")
    with pytest.raises(ForeignTables):
        list(examine(queue.path, clock=clock))


def test_a_newer_schema_is_refused(queue: Queue, clock: Clock) -> None:
    by_hand(queue, "update litequeue_schema set version = 999")
    with pytest.raises(SchemaNewer):
        list(examine(queue.path, clock=clock))


def test_an_older_schema_is_a_note_and_stays_as_it_is(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "KNOWN", schema.KNOWN + 1)
    found = one(diagnosed(queue, "schema"))
    assert found.level == "note"
    assert "litequeue schema" in found.remedy
    assert diagnosed(queue, "invariants") == []
    assert by_hand(queue, "select version from litequeue_schema") == [(schema.KNOWN - 1,)]


# SQLite and the WAL


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        ("3.6.23", False),
        ("3.7.0", True),
        ("3.40.1", True),
        ("3.44.5", True),
        ("3.44.6", False),
        ("3.45.0", True),
        ("3.50.6", True),
        ("3.50.7", False),
        ("3.51.0", True),
        ("3.51.2", True),
        ("3.51.3", False),
        ("3.54.1", False),
        ("4.0.0", False),
    ],
)
def test_the_versions_that_can_lose_commits_are_known(version: str, has_it: bool) -> None:
    assert has_wal_reset_bug(version) is has_it


def patient_who_says(answer: str) -> Target:
    database = SimpleNamespace(rows=lambda sql: [(answer,)], path=Path("jobs.db"))
    return Target(database, "jobs.db", lambda: 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("version", "level"), [("3.45.1", "note"), ("3.53.1", "ok")])
def test_an_sqlite_that_can_lose_commits_is_a_note(version: str, level: str) -> None:
    found = one(list(doctor.sqlite_version(patient_who_says(version))))
    assert (found.level, version in found.sentence) == (level, True)


def test_another_journal_mode_than_wal_is_wrong_and_stays_as_it_is(queue: Queue) -> None:
    queue.close()
    by_hand(queue, "pragma journal_mode = delete")
    assert one(diagnosed(queue, "journal mode")).level == "wrong"
    assert by_hand(queue, "pragma journal_mode") == [("delete",)]


def grow_wal(queue: Queue) -> None:
    for _ in range(6):
        queue.push("send", {"text": "x" * MEGABYTE})
    assert os.path.getsize(queue.path + "-wal") > 6 * MEGABYTE


@pytest.fixture
def reader(queue: Queue) -> Iterator[sqlite3.Connection]:
    """A program that reads in a transaction that it does not end."""
    connection = sqlite3.connect(queue.path, isolation_level=None)
    connection.execute("begin")
    connection.execute("select count(*) from litequeue_jobs").fetchall()
    yield connection
    connection.close()


def test_a_large_wal_that_a_reader_pins_is_a_note(queue: Queue, reader: sqlite3.Connection) -> None:
    grow_wal(queue)
    found = one(diagnosed(queue, "WAL"))
    assert found.level == "note"
    assert "6." in found.sentence
    assert f"fuser -v {queue.path}-wal" in found.remedy


def test_a_large_wal_that_nobody_pins_is_emptied(queue: Queue) -> None:
    grow_wal(queue)
    assert one(diagnosed(queue, "WAL")).level == "ok"
    assert os.path.getsize(queue.path + "-wal") < 10_000


# Integrity and tables


def leave_rows_out_of_an_index(queue: Queue) -> None:
    kept = by_hand(queue, "select * from sqlite_master where name = 'litequeue_ready'")[0]
    by_hand(
        queue,
        "pragma writable_schema = on",
        "delete from sqlite_master where name = 'litequeue_ready'",
    )
    by_hand(
        queue,
        "insert into litequeue_jobs (id, state, queue, priority, attempts, worker, available_at, "
        "reserved_at, created_at, name, payload) select 99, 3, 'default', 0, 0, worker, 0, 0, 0, "
        "'send', '{}' from litequeue_jobs limit 1",
    )
    connection = sqlite3.connect(queue.path, isolation_level=None)
    connection.execute("pragma writable_schema = on")
    connection.execute("insert into sqlite_master values (?, ?, ?, ?, ?)", kept)
    connection.close()


def test_an_index_that_lacks_a_row_is_wrong_and_reindex_fixes_it(queue: Queue) -> None:
    queue.close()
    leave_rows_out_of_an_index(queue)
    found = one(diagnosed(queue, "integrity"))
    assert found.level == "wrong"
    assert "litequeue_ready" in found.sentence
    assert "`reindex;`" in found.remedy
    by_hand(queue, "reindex")
    assert one(diagnosed(queue, "integrity")).level == "ok"


def test_a_damaged_page_is_wrong_and_asks_for_a_backup(queue: Queue) -> None:
    for _ in range(50):
        queue.push("send", {"text": "x" * 1000})
    queue.store.database.checkpoint()
    queue.close()
    with open(queue.path, "r+b") as file:
        file.seek(-4096 * 4, os.SEEK_END)
        file.write(b"\xa5" * 4096)
    found = one(diagnosed(queue, "integrity"))
    assert found.level == "wrong"
    assert "restore a backup" in found.remedy or "malformed" in found.sentence


def test_a_missing_index_is_wrong_and_its_remedy_fixes_it(queue: Queue) -> None:
    by_hand(queue, "drop index litequeue_timer")
    found = one(diagnosed(queue, "tables"))
    assert (found.level, found.sentence) == ("wrong", "the index litequeue_timer is missing")
    statement = found.remedy.partition("in the file: ")[2]
    assert statement.lower().startswith("create index litequeue_timer on litequeue_jobs")
    by_hand(queue, statement)
    assert one(diagnosed(queue, "tables")).level == "ok"


def test_a_missing_view_is_wrong_and_its_remedy_fixes_it(queue: Queue) -> None:
    by_hand(queue, "drop view litequeue_list")
    by_hand(queue, one(diagnosed(queue, "tables")).remedy.partition("in the file: ")[2])
    assert one(diagnosed(queue, "tables")).level == "ok"


def test_an_index_over_other_columns_is_wrong_and_its_remedy_drops_it_first(queue: Queue) -> None:
    by_hand(
        queue,
        "drop index litequeue_ready",
        "create index litequeue_ready on litequeue_jobs (queue)",
    )
    found = one(diagnosed(queue, "tables"))
    assert found.level == "wrong"
    for statement in found.remedy.partition("in the file: ")[2].split(";")[:2]:
        by_hand(queue, statement)
    assert one(diagnosed(queue, "tables")).level == "ok"


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("index", "create index mine on litequeue_jobs (name)"),
        ("trigger", "create trigger mine after insert on litequeue_jobs begin select 1; end"),
        ("table", "create table litequeue_mine (id integer)"),
    ],
)
def test_what_others_have_put_on_our_tables_or_names_is_a_note(
    queue: Queue, kind: str, statement: str
) -> None:
    by_hand(queue, statement)
    notes = [each for each in diagnosed(queue, "tables") if each.level == "note"]
    assert "mine is not litequeue's" in one(notes).sentence
    assert f"drop {kind}" in one(notes).remedy


def test_the_tables_of_an_application_in_the_same_file_are_its_own(queue: Queue) -> None:
    by_hand(queue, "create table users (id integer)", "create index by_id on users (id)")
    assert one(diagnosed(queue, "tables")).level == "ok"


def test_a_missing_table_of_jobs_is_wrong_and_the_other_examinations_go_on(queue: Queue) -> None:
    by_hand(queue, "drop view litequeue_list", "drop table litequeue_jobs")
    found = diagnosed(queue)
    lost = [each for each in found if each.sentence == "the table litequeue_jobs is missing"]
    assert "restore a backup" in one(lost).remedy
    assert [each.examined for each in found][-3:] == ["invariants", "orphans", "clock"]
    assert {each.level for each in found[-3:]} == {"wrong"}


# Rows


def test_a_row_that_violates_an_invariant_is_wrong_and_named(queue: Queue) -> None:
    by_hand(queue, "update litequeue_jobs set finished_at = 1")
    found = one(diagnosed(queue, "invariants"))
    assert found.level == "wrong"
    assert found.sentence.endswith("violated by 1")


def test_a_living_worker_and_its_job_are_no_orphans(queue: Queue) -> None:
    registration = queue.store.presence.register(())
    assert claim_one(queue, registration.worker, ())
    assert one(diagnosed(queue, "orphans")).level == "ok"
    registration.leave()


def test_a_job_whose_worker_has_died_is_a_note(queue: Queue) -> None:
    registration = queue.store.presence.register(())
    assert claim_one(queue, registration.worker, ())
    registration.close()  # as the kernel does at its death
    found = one(diagnosed(queue, "orphans"))
    assert (found.level, found.sentence) == (
        "note",
        "1 dead worker listed, with 1 job left running",
    )
    assert "start a worker, which rescues the jobs: `litequeue work" in found.remedy


def test_a_worker_that_died_without_a_job_is_a_note(queue: Queue) -> None:
    queue.store.presence.register(()).close()
    found = one(diagnosed(queue, "orphans"))
    assert found.sentence == "1 dead worker listed, with no jobs left running"
    assert "start a worker, which removes the entries: `litequeue work" in found.remedy


def test_a_file_in_the_folder_of_workers_that_is_nobodys_is_a_note(queue: Queue) -> None:
    stray = come_and_go(queue) / "0123456789ab"
    stray.touch()
    found = one(diagnosed(queue, "orphans"))
    assert (found.level, str(stray) in found.remedy) == ("note", True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_fifos_that_wake_nobody_are_a_note(queue: Queue) -> None:
    folder = come_and_go(queue)
    for name in ("wake-for-a,b", "wake-for-c"):
        os.mkfifo(folder / name)
    found = one(diagnosed(queue, "orphans"))
    assert found.level == "note"
    assert found.sentence == f"no worker reads 2 FIFOs in {folder}, such as wake-for-a,b"
    assert found.remedy == f"when no worker is alive: rm {folder}/wake-*"


def test_a_clock_that_was_set_back_is_a_note(queue: Queue, clock: Clock) -> None:
    clock.now -= 5 * 3600
    found = one(diagnosed(queue, "clock"))
    assert found.level == "note"
    assert "5 h behind" in found.sentence


def test_a_clock_that_is_a_little_behind_is_as_usual(queue: Queue, clock: Clock) -> None:
    clock.now -= 59
    assert one(diagnosed(queue, "clock")).level == "ok"


def test_a_file_that_is_replaced_meanwhile_is_wrong(queue: Queue, clock: Clock) -> None:
    findings = examine(queue.path, clock=clock)
    next(findings)
    os.rename(queue.path, queue.path + "-old")
    found = list(findings)[-1]
    assert (found.level, found.examined) == ("wrong", "path")
