"""The commands doctor and backup, as a shell calls them."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from examining import by_hand

from litequeue import Job, Queue
from litequeue.cli.main import main


class Greet(Job):
    name: str

    def handle(self) -> str:
        return f"hello {self.name}"


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    monkeypatch.chdir(tmp_path)
    with Queue("jobs.db") as queue:
        queue.push(Greet(name="ann"), keep=3600)
        yield queue


# doctor


def test_doctor_prints_a_line_for_each_examination_and_exits_0(
    queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "jobs.db"]) == 0
    out, err = capsys.readouterr()
    assert "✔ integrity: every page of the file was read, and it is sound\n" in out
    assert "✖" not in out
    assert err == ""


def test_doctor_exits_1_and_indents_the_remedy_where_something_is_wrong(
    queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    by_hand(queue, "drop index litequeue_ready")
    assert main(["doctor", "jobs.db"]) == 1
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("✖ tables: the index litequeue_ready is missing")
    assert lines[at + 1].startswith("    stop all workers and run in the file: CREATE INDEX")


def test_a_note_is_no_reason_to_exit_1(queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    by_hand(queue, "create index mine on litequeue_jobs (name)")
    assert main(["doctor", "jobs.db"]) == 0
    assert "· tables: the index mine is not litequeue's" in capsys.readouterr().out


def test_doctor_prints_json_for_programs(queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    by_hand(queue, "drop index litequeue_ready")
    assert main(["doctor", "jobs.db", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["sound"] is False
    wrong = [each for each in answer["findings"] if each["level"] == "wrong"]
    assert [each["examined"] for each in wrong] == ["tables"]
    assert set(wrong[0]) == {"level", "examined", "sentence", "remedy"}


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_doctor_says_in_one_line_that_a_file_is_no_queue(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("remember the milk")
    for name in ("notes.txt", "jobs.db", "."):
        assert main(["doctor", name, *flags]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("litequeue: ")
        assert err.count("\n") == 1


def test_doctor_prints_no_control_characters_of_the_file(
    queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    by_hand(queue, 'create index "bell\x07\x1b[2J" on litequeue_jobs (name)')
    main(["doctor", "jobs.db"])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "bell\\x07" in out


# backup


def test_backup_copies_the_queue_and_prints_where_and_how_large(
    queue: Queue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", "jobs.db", "copy.db"]) == 0
    assert capsys.readouterr().out.startswith(f"✔ {tmp_path / 'copy.db'} (")
    with Queue("copy.db", create=False) as copy:
        assert [row.name for row in copy.find()] == ["Greet"]
        assert copy.check() == []
    assert main(["doctor", "copy.db"]) == 0


def test_backup_prints_json_for_programs(
    queue: Queue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", "jobs.db", "copy.db", "--json"]) == 0
    copy = tmp_path / "copy.db"
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"path": str(copy), "bytes": copy.stat().st_size}


@pytest.mark.parametrize(("database", "file"), [("jobs.db", "no/copy.db"), ("nope.db", "copy.db")])
def test_backup_says_in_one_line_what_it_cannot_do(
    queue: Queue, capsys: pytest.CaptureFixture[str], database: str, file: str
) -> None:
    assert main(["backup", database, file]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert (file if database == "jobs.db" else database) in err
    assert not os.path.exists(file)


def test_a_copy_that_fails_half_way_leaves_nothing(
    queue: Queue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(20):
        queue.push(Greet(name="x" * 10_000))
    queue.store.database.checkpoint()
    before = sorted(tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        status = main(["backup", "jobs.db", "copy.db"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 2
    assert "copy.db" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_a_copy_admits_whom_the_database_admits(queue: Queue) -> None:
    os.chmod("jobs.db", 0o600)
    assert main(["backup", "jobs.db", "copy.db"]) == 0
    assert os.stat("copy.db").st_mode & 0o777 == 0o600
