"""Each examination of what a queue stands on and beside, with a fault made there."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from examining import MEGABYTE, come_and_go, diagnosed, one

from litequeue.monitor.doctor import examine
from litequeue.monitor.filesystem import filesystem, network_filesystem
from litequeue.queue import Queue

LOCAL_MOUNT = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Has the kernel say that a file system of this type is mounted there."""

    def mounted(kind: str, where: str) -> Path:
        table = tmp_path / "mountinfo"
        escaped = where.replace(" ", "\\040")
        table.write_text(
            f"{LOCAL_MOUNT}40 27 0:50 / {escaped} rw shared:7 master:1 - {kind} server:/x rw\n"
        )
        monkeypatch.setattr("litequeue.monitor.filesystem.MOUNT_TABLE", table)
        return table

    return mounted


# File system


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs"])
def test_a_network_mount_is_wrong_and_says_why(
    queue: Queue, mounted: Callable[[str, str], Path], kind: str
) -> None:
    mounted(kind, str(Path(queue.path).parent))
    found = one(diagnosed(queue, "file system"))
    assert found.level == "wrong"
    assert kind in found.sentence
    assert "one host" in found.sentence


def test_a_network_mount_elsewhere_does_no_harm(
    queue: Queue, mounted: Callable[[str, str], Path]
) -> None:
    mounted("nfs", "/somewhere/else")
    assert one(diagnosed(queue, "file system")).level == "ok"


def test_an_unknown_fuse_mount_is_a_note(queue: Queue, mounted: Callable[[str, str], Path]) -> None:
    mounted("fuse.homemade", str(Path(queue.path).parent))
    assert one(diagnosed(queue, "file system")).level == "note"


def test_a_system_without_a_table_of_mounts_is_a_note(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litequeue.monitor.filesystem.MOUNT_TABLE", Path("/no/such/table"))
    assert one(diagnosed(queue, "file system")).level == "note"


def test_a_file_that_a_network_mount_keeps_from_opening_is_a_finding_with_the_reason(
    tmp_path: Path, mounted: Callable[[str, str], Path]
) -> None:
    (tmp_path / "jobs.db").write_text("what SQLite cannot open")
    mounted("nfs4", str(tmp_path))
    assert one(list(examine(tmp_path / "jobs.db"))).level == "wrong"


def test_the_deepest_mount_point_counts_and_of_two_equal_ones_the_later(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        LOCAL_MOUNT
        + "30 27 0:50 / /data rw - nfs server:/x rw\n"
        + "31 27 0:51 / /data/fast rw - xfs /dev/vdb rw\n"
        + "32 27 0:52 / /over rw - nfs server:/y rw\n"
        + "33 27 0:53 / /over rw - tmpfs tmpfs rw\n"
        + "34 27 0:54 / /with\\040space rw master:2 propagate_from:1 - cifs //server/z rw\n"
    )
    kinds = {
        path: filesystem(path, table)
        for path in ("/data/jobs.db", "/database/jobs.db", "/data/fast/jobs.db", "/over/jobs.db")
    }
    assert list(kinds.values()) == ["nfs", "ext4", "xfs", "tmpfs"]
    assert network_filesystem("/with space/jobs.db", table) == "cifs"
    assert network_filesystem("/data/fast/jobs.db", table) is None


# Disk, permissions, names


def test_a_nearly_full_disk_is_wrong(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    full = SimpleNamespace(free=63 * MEGABYTE)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    found = one(diagnosed(queue, "free disk"))
    assert (found.level, found.sentence) == ("wrong", "63.0 MB are left")


def test_a_disk_with_less_than_a_tenth_of_the_file_left_is_a_note(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=90 * MEGABYTE))
    queue.close()
    os.truncate(queue.path, 1000 * MEGABYTE)  # with a hole, and only for its size
    assert one(diagnosed(queue, "free disk")).level == "note"


@pytest.mark.parametrize("ending", ["-wal", "-shm"])
def test_a_companion_that_admits_fewer_than_the_file_is_wrong(queue: Queue, ending: str) -> None:
    os.chmod(queue.path, 0o660)
    for each in ("-wal", "-shm"):
        os.chmod(queue.path + each, 0o660)
    os.chmod(queue.path + ending, 0o600)
    found = one(diagnosed(queue, "permissions"))
    assert found.level == "wrong"
    assert found.sentence == f"{queue.path}{ending} has mode 600, and needs 660"
    assert found.remedy == f"chmod 660 {queue.path}{ending}"


def test_a_lock_file_that_admits_fewer_than_the_file_is_a_note(queue: Queue) -> None:
    registration = queue.store.presence.register(())
    path = next(queue.store.presence.folder.iterdir())
    path.chmod(0o400)
    found = one(diagnosed(queue, "permissions"))
    registration.leave()
    assert found.level == "note"
    assert str(path) in found.sentence


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_of_workers_that_root_has_made_is_wrong(queue: Queue) -> None:
    folder = come_and_go(queue)
    queue.close()
    os.chown(queue.path, 1000, 1000)
    found = one(diagnosed(queue, "permissions"))
    assert found.level == "wrong"
    assert "is of user 0, and the database of user 1000" in found.sentence
    assert found.remedy == f"chown 1000:1000 {folder}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_shared_file_needs_companions_of_its_group_whoever_made_them(queue: Queue) -> None:
    os.chmod(queue.path, 0o660)
    os.chown(queue.path, 1000, 2000)
    for ending in ("-wal", "-shm"):
        os.chmod(queue.path + ending, 0o660)
        os.chown(queue.path + ending, 1001, 2000)
    assert one(diagnosed(queue, "permissions")).level == "ok"
    os.chown(queue.path + "-wal", 1001, 1001)
    assert one(diagnosed(queue, "permissions")).remedy == f"chgrp 2000 {queue.path}-wal"


def test_a_folder_of_workers_that_does_not_hand_its_group_on_is_wrong(queue: Queue) -> None:
    folder = come_and_go(queue)
    folder.parent.chmod(stat.S_ISGID | 0o755)
    folder.chmod(0o755)
    found = one(diagnosed(queue, "permissions"))
    assert (found.level, found.remedy) == ("wrong", f"chmod g+s {folder}")
    folder.chmod(stat.S_ISGID | 0o755)
    assert one(diagnosed(queue, "permissions")).level == "ok"


def test_a_folder_that_this_user_may_not_write_is_wrong(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(queue.path).parent
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder)
    found = one(diagnosed(queue, "permissions"))
    assert (found.level, found.sentence) == ("wrong", f"this user may not write {folder}")
