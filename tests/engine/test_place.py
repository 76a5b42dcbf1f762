"""Where a queue can be: the paths that are taken, and the names that a file may have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from examining import diagnosed, one

from litequeue.cli.main import main
from litequeue.engine import place
from litequeue.engine.database import Database
from litequeue.errors import CannotOpen, DatabaseMoved
from litequeue.queue import Queue

MakeQueue = Callable[..., Queue]


@pytest.fixture
def linked(make_queue: MakeQueue, tmp_path: Path) -> Path:
    """A queue of one job whose file has a second name, which is returned."""
    queue = make_queue()
    queue.push("a")
    queue.close()
    other = tmp_path / "other.db"
    os.link(queue.path, other)
    return other


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "file:x.db",
        "file:x.db?mode=ro",
        "FILE:///tmp/x.db",
        "sqlite:///x.db",
        "sqlite+aiosqlite:///x.db",
        "postgresql://host/name",
        Path("sqlite:///x.db"),
        Path("file:x.db"),
        b"file:x.db",
    ],
)
def test_a_uri_is_refused_and_makes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | bytes | Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CannotOpen, match=r"takes a file path, not a URI.* \./"):
        Queue(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["push", "file:x.db", "a"],
        ["work", "sqlite:///x.db", "--jobs", "json"],
        ["work", "sqlite:///x.db", "--single-id", "nightly"],
        ["recipe", "systemd", "sqlite:///x.db"],
        ["doctor", "file:x.db"],
        ["status", "file:x.db?mode=ro"],
    ],
)
def test_a_uri_is_refused_by_every_command_in_one_line(
    application: Callable[..., Path], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    folder = application({"jobs/__init__.py": "from litequeue import job\n\n@job\ndef a(): ...\n"})
    words = ["jobs" if word == "json" else word for word in words]
    assert main(words) == 2
    assert "not a URI" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["jobs"]


def test_a_file_of_such_a_name_is_named_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Queue("./file:x.db") as queue:
        assert queue.push("a") == 1
        assert queue.path == os.path.realpath(tmp_path / "file:x.db")


def test_a_path_of_bytes_is_a_path(tmp_path: Path) -> None:
    with Queue(os.fsencode(tmp_path / "ü.db")) as queue:
        assert queue.path == os.path.realpath(tmp_path / "ü.db")
    with pytest.raises(CannotOpen, match="a queue needs a file"):
        Queue(b":memory:")


def test_a_null_character_is_refused_with_a_sentence() -> None:
    with pytest.raises(CannotOpen, match="no null character"):
        Queue("jobs\0.db")


def test_a_backup_is_no_uri_either(
    make_queue: MakeQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    queue = make_queue()
    with pytest.raises(CannotOpen, match="not a URI"):
        queue.backup("file:copy.db")
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == []


# Hard links


@pytest.mark.parametrize("name", ["jobs.db", "other.db"])
def test_a_file_with_a_hard_link_is_refused_under_both_names(linked: Path, name: str) -> None:
    with pytest.raises(CannotOpen) as told:
        Queue(linked.with_name(name))
    said = str(told.value)
    assert "it has 2 names (hard links)" in said
    assert f"find {linked.parent} -samefile {linked.with_name(name)}" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [["push", "other.db", "a"], ["work", "other.db", "--drain"], ["cancel", "other.db", "1"]],
)
def test_each_command_that_writes_refuses_a_hard_link(
    linked: Path,
    application: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    application({"jobs/__init__.py": "from litequeue import job\n\n@job\ndef a(): ...\n"})
    assert main(words) == 2
    assert "2 names (hard links)" in capsys.readouterr().err


def test_a_hard_link_that_was_removed_is_no_more_in_the_way(
    linked: Path, make_queue: MakeQueue
) -> None:
    linked.unlink()
    assert make_queue().push("a") == 2


def test_doctor_looks_at_a_file_with_a_hard_link_and_names_it(
    linked: Path, make_queue: MakeQueue
) -> None:
    linked.unlink()
    queue = make_queue()
    os.link(queue.path, linked)
    found = one(diagnosed(queue, "names"))
    assert found.level == "wrong"
    assert "2 names (hard links)" in found.sentence


def test_a_hard_link_that_comes_later_is_noticed_where_one_looks(
    make_queue: MakeQueue, tmp_path: Path
) -> None:
    queue = make_queue()
    queue.store.database.check_place()
    os.link(queue.path, tmp_path / "other.db")
    with pytest.raises(CannotOpen, match="hard links"):
        queue.store.database.check_place()


# Mounts


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has the kernel say that there are mounts at these paths, in this order."""

    def mounts(*points: str) -> None:
        table = tmp_path / "mountinfo"
        lines = [
            f"{40 + number} 27 254:0 /src{number} {point} rw shared:7 - ext4 /dev/vda rw\n"
            for number, point in enumerate(("/", *points))
        ]
        table.write_text("".join(lines))
        monkeypatch.setattr(place, "MOUNTS", str(table))

    return mounts


@pytest.mark.parametrize(
    ("path", "points", "alone"),
    [
        ("/app/jobs.db", ["/app/jobs.db"], True),
        ("/app/jobs.db", ["/app", "/app/jobs.db"], True),
        ("/app/jobs.db", ["/app"], False),
        ("/app/jobs.db", ["/app/jobs.db", "/app"], False),
        ("/app/jobs.db", ["/app/jobs.db-wal", "/other/app/jobs.db", "/app/jobs"], False),
        ("/a b\\c/jobs.db", ["/a\\040b\\134c/jobs.db"], True),
        ("/app/ü.db", ["/app/ü.db"], True),
        ("/jobs.db", [], False),
    ],
)
def test_a_file_is_mounted_alone_if_the_last_mount_on_its_path_is_at_itself(
    mounts: Callable[..., None], path: str, points: list[str], alone: bool
) -> None:
    mounts(*points)
    assert place.mounted_alone(path) is alone


def test_where_there_is_no_table_of_mounts_nothing_is_mounted_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(place, "MOUNTS", "/no/such/table")
    assert not place.mounted_alone("/app/jobs.db")


def test_a_file_that_is_mounted_alone_is_refused_and_doctor_says_why(
    make_queue: MakeQueue, mounts: Callable[..., None]
) -> None:
    queue = make_queue()
    queue.push("a")
    mounts(queue.path)
    with pytest.raises(CannotOpen, match=r"bind mount of this file alone.*Mount the folder"):
        Queue(queue.path)
    found = one(diagnosed(queue, "names"))
    assert found.level == "wrong"
    assert "mounted by itself" in found.sentence


# Links that are turned


def test_a_link_that_is_turned_elsewhere_is_a_file_that_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        (tmp_path / f"releases/{number}").mkdir(parents=True)
        Queue(tmp_path / f"releases/{number}/jobs.db").close()
    (tmp_path / "current").symlink_to("releases/1")
    monkeypatch.chdir(tmp_path)
    database = Database("current/jobs.db")
    assert database.path == os.path.realpath("releases/1/jobs.db")
    database.check_place()
    assert not database.moved()
    (tmp_path / "new").symlink_to("releases/2")
    os.replace("new", "current")
    assert database.moved()
    with pytest.raises(DatabaseMoved) as told:
        database.check_place()
    assert str(told.value).startswith(f"{tmp_path}/current/jobs.db is no longer the file")
    database.close()
