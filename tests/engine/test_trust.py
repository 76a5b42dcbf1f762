"""What others may do beside a database, and what is made of a folder that they have made."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from examining import come_and_go, diagnosed
from waiting import Child

from litequeue.cli.main import main
from litequeue.engine import locks
from litequeue.engine.prefetch_log import PrefetchLog, read
from litequeue.engine.presence import trust_problem
from litequeue.errors import CannotOpen
from litequeue.queue import Queue

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no owners")
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away"
)
OWNER, STRANGER, GROUP = 1000, 2000, 3000


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Queue:
    queue = make_queue()
    queue.push("a")
    return queue


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user can reach and write, as /tmp is."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o1777)
        yield Path(name)


def mode_of(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


# The folder of the workers


def refused(queue: Queue, words: str) -> None:
    """Whatever reads in the folder says what is wrong with it, and the doctor does."""
    for use in (
        lambda: queue.store.presence.register(()),
        lambda: queue.store.presence.alive(),
        lambda: queue.store.presence.rescue(1).__enter__(),
        lambda: queue.store.presence.has_unstarted(1, 0),
        lambda: queue.store.reclaimer.reclaim(1),
    ):
        with pytest.raises(CannotOpen, match=words) as told:
            use()
        assert str(told.value).startswith(str(queue.store.presence.folder))
        assert len(str(told.value).splitlines()) == 1
    assert any(
        found.level == "wrong" and "cannot be used" in found.sentence and found.remedy
        for found in diagnosed(queue, "permissions")
    )


@as_root
def test_a_folder_that_a_stranger_has_made_is_refused_and_pushes_go_on(queue: Queue) -> None:
    queue.store.presence.folder.mkdir(0o755)
    os.chown(queue.store.presence.folder, STRANGER, STRANGER)
    refused(queue, f"user {STRANGER} owns it.*rm -r .*chown 0 ")
    assert queue.push("b") == 2


@pytest.mark.parametrize(
    ("file", "folder", "wanted"), [(0o644, 0o777, 0o755), (0o600, 0o770, 0o750)]
)
def test_a_folder_that_more_may_write_than_the_database_is_refused(
    queue: Queue, file: int, folder: int, wanted: int
) -> None:
    os.chmod(queue.path, file)
    come_and_go(queue).chmod(folder)
    refused(queue, f"more users may write there.*chmod {wanted:o} {queue.store.presence.folder}")
    queue.store.presence.folder.chmod(wanted)
    queue.store.presence.register(()).leave()


@as_root
def test_a_folder_that_another_group_may_write_is_refused(queue: Queue) -> None:
    os.chmod(queue.path, 0o660)
    come_and_go(queue)
    os.chown(queue.store.presence.folder, 0, GROUP)
    refused(queue, "more users may write there")


def test_a_folder_that_is_a_symbolic_link_is_refused(queue: Queue, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    queue.store.presence.folder.symlink_to(tmp_path / "elsewhere")
    refused(queue, "it is a symbolic link.*rm ")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@as_root
@pytest.mark.parametrize("owner", [0, OWNER])
def test_a_folder_of_the_databases_owner_or_of_root_is_good(queue: Queue, owner: int) -> None:
    come_and_go(queue)
    os.chown(queue.path, OWNER, OWNER)
    os.chown(queue.store.presence.folder, owner, OWNER)
    assert trust_problem(str(queue.store.presence.folder), os.stat(queue.path)) == ""


@as_root
@pytest.mark.parametrize(("around", "trusted"), [(0o2770, True), (0o3777, False)])
def test_in_a_folder_of_one_group_each_of_them_may_have_made_it(
    queue: Queue, around: int, trusted: bool
) -> None:
    come_and_go(queue).chmod(0o770)
    folder = queue.store.presence.folder
    os.chmod(queue.path, 0o660)
    for path, owner in ((queue.path, OWNER), (folder, STRANGER), (folder.parent, 0)):
        os.chown(path, owner, GROUP)
    folder.parent.chmod(around)
    assert (trust_problem(str(folder), os.stat(queue.path)) == "") is trusted
    folder.parent.chmod(0o700)


@as_root
def test_the_folder_that_root_makes_is_the_databases_owners(queue: Queue) -> None:
    os.chmod(queue.path, 0o660)
    os.chown(queue.path, OWNER, GROUP)
    found = os.stat(come_and_go(queue))
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (OWNER, GROUP, 0o770)


@as_root
def test_a_worker_beside_the_folder_of_a_stranger_ends_with_one_line(
    application: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    application({"jobs/__init__.py": "from litequeue import job\n\n@job\ndef a(): ...\n"})
    Queue("jobs.db").close()
    os.mkdir("jobs.db-workers")
    os.chown("jobs.db-workers", STRANGER, STRANGER)
    assert main(["work", "jobs.db", "--drain"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("litequeue: ")
    assert f"user {STRANGER} owns it" in said
    assert len(said.splitlines()) == 1


# Locks


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [(0o600, 0o600), (0o644, 0o600), (0o660, 0o660), (0o664, 0o660), (0o666, 0o666)],
)
def test_who_may_only_read_the_database_can_open_no_lock(
    queue: Queue, mode: int, wanted: int
) -> None:
    os.chmod(queue.path, mode)
    registration = queue.store.presence.register(())
    found = {mode_of(path) for path in queue.store.presence.folder.iterdir()}
    registration.leave()
    queue.store.database.checkpoint()
    assert found | {mode_of(f"{queue.path}-checkpoint")} == {wanted}


def test_a_lock_of_its_own_mode_is_for_those_who_may_write_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        for path in (tmp_path / "made", tmp_path / "found"):
            if path.name == "found":
                path.touch(0o644)
            descriptor = locks.acquire(path)
            assert descriptor is not None
            os.close(descriptor)
            assert mode_of(path) == 0o600
    finally:
        os.umask(before)


READER = """
import fcntl, os, sys
os.setgid(65534)
os.setuid(65534)
open(sys.argv[1], "rb").close()
held = []
for name in sys.argv[2:]:
    try:
        held.append(os.open(name, os.O_RDONLY))
        fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        print("held", name)
    except PermissionError:
        pass
print("ready", flush=True)
input()
"""


@as_root
def test_a_reader_cannot_look_alive_and_keeps_nobody_from_the_checkpoint(
    make_queue: Callable[..., Queue], shared: Path, start: Callable[..., Child]
) -> None:
    queue = make_queue(shared / "jobs.db")
    os.chmod(queue.path, 0o644)
    queue.push("a")
    queue.store.database.checkpoint()
    registration = queue.store.presence.register(())
    lock = queue.store.presence.folder / f"{registration.worker:012x}"
    registration.close()
    reader = start(READER, queue.path, lock, f"{queue.path}-checkpoint")
    assert reader.line() == "ready"
    assert queue.store.presence.alive() == []
    queue.push("b")
    assert queue.store.database.checkpoint()


@pytest.mark.parametrize("there", [True, False])
def test_a_lock_is_no_link_to_another_file(tmp_path: Path, there: bool) -> None:
    victim, lock = tmp_path / "victim", tmp_path / "lock"
    if there:
        victim.write_text("mine")
        victim.chmod(0o644)
    lock.symlink_to(victim)
    with pytest.raises(OSError, match="is a symbolic link, and must be a file"):
        locks.acquire(lock, 0o600)
    assert victim.exists() is there
    assert not there or mode_of(victim) == 0o644


def test_a_single_id_behind_a_link_is_refused_in_one_line(
    application: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    application({"jobs/__init__.py": "from litequeue import job\n\n@job\ndef a(): ...\n"})
    work = ["work", "jobs.db", "--drain", "--single-id", "nightly"]
    assert main(work) == 0
    lock = next(Path().glob("*.lock"))
    lock.unlink()
    lock.symlink_to("victim")
    capsys.readouterr()
    assert main(work) == 2
    said = capsys.readouterr().err
    assert "is a symbolic link, and must be a file: remove it" in said
    assert len(said.splitlines()) == 1
    assert not Path("victim").exists()


def test_a_prefetch_log_is_neither_made_nor_read_through_a_link(tmp_path: Path) -> None:
    PrefetchLog(str(tmp_path / "victim"), 0o600).close()
    before = (tmp_path / "victim").read_bytes()
    (tmp_path / "hand").symlink_to("victim")
    with pytest.raises(OSError, match="symbolic links"):
        PrefetchLog(str(tmp_path / "hand"), 0o666)
    assert read(str(tmp_path / "victim")).running is not None
    assert read(str(tmp_path / "hand")).running is None
    assert (tmp_path / "victim").read_bytes() == before
    assert mode_of(tmp_path / "victim") == 0o600


# Backups


def test_a_backup_follows_no_link_of_a_predictable_name(queue: Queue, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f"copy.db.partial-{os.getpid()}").symlink_to(victim)
    queue.backup(tmp_path / "copy.db")
    assert victim.read_text() == "mine"
    with Queue(tmp_path / "copy.db") as copy:
        assert [row.name for row in copy.find()] == ["a"]


def test_a_backup_is_not_made_through_a_link(queue: Queue, tmp_path: Path) -> None:
    (tmp_path / "copy.db").symlink_to("victim")
    with pytest.raises(CannotOpen, match="not written over another file"):
        queue.backup(tmp_path / "copy.db")
    assert not (tmp_path / "victim").exists()


def test_nobody_else_reaches_a_backup_before_it_is_whole(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chmod(queue.path, 0o600)
    seen: list[int] = []

    def rename(source: str, target: str) -> None:
        seen.extend((mode_of(Path(source).parent), mode_of(source)))
        os.replace(source, target)

    monkeypatch.setattr("litequeue.engine.database.os.rename", rename)
    before = set(tmp_path.iterdir())
    queue.backup(tmp_path / "copy.db")
    assert seen == [0o700, 0o600]
    assert set(tmp_path.iterdir()) - before == {tmp_path / "copy.db"}
