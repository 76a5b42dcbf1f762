"""A file under two names: who would start a job a second time is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .harness import HERE, ROOT, World
from .journal import START

REFUSED_LINK = "names (hard links)"
REFUSED_MOUNT = "bind mount of this file alone"
PUSH = "import sys; from litequeue import Queue; print(Queue(sys.argv[1]).push('a'))"


def can_mount() -> bool:
    """Whether this process may have mounts of its own."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return False
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


mounting = pytest.mark.skipif(not can_mount(), reason="this user may not mount")


def beside_a_mount(
    world: World, source: Path, target: Path, *command: object
) -> subprocess.CompletedProcess[str]:
    """Run Python where ``source`` is mounted at ``target``, for it alone."""
    script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    words = ["unshare", "-m", "sh", "-c", script, "sh", source, target, sys.executable, *command]
    return subprocess.run(
        [str(word) for word in words],
        cwd=world.folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, HERE)))},
        capture_output=True,
        text=True,
        timeout=60,
    )


def work(path: Path) -> list[object]:
    return ["-m", "litequeue", "work", path, "--jobs", "jobs_for_faults", "--drain"]


def test_a_running_job_is_not_started_under_a_hard_link(world: World) -> None:
    id = world.push("gate")
    worker = world.work()
    world.started(id)
    os.link(world.path, world.folder / "other.db")
    second = world.start("-m", "litequeue", "work", "other.db", "--jobs", "jobs_for_faults")
    second.ends_with(2)
    assert REFUSED_LINK in second.err()
    push = world.start("-m", "litequeue", "push", "other.db", "a")
    push.ends_with(2)
    assert REFUSED_LINK in push.err()
    (world.folder / "other.db").unlink()
    world.open_gate(id)
    world.gone(id)
    assert len(world.journal.of(id, START)) == 1
    assert worker.process.poll() is None


def test_an_idle_worker_ends_when_its_file_gets_a_second_name(world: World) -> None:
    worker = world.work("--sleep", 3600)
    world.gone(world.push())
    os.link(world.path, world.folder / "other.db")
    worker.ends_with(2)
    assert REFUSED_LINK in worker.err()
    assert "Traceback" not in worker.err()
    (world.folder / "other.db").unlink()


def test_supervised_workers_end_when_their_file_gets_a_second_name(world: World) -> None:
    supervisor = world.work("--workers", 2)
    world.gone(world.push())
    os.link(world.path, world.folder / "other.db")
    supervisor.ends_with(2)
    assert "Traceback" not in supervisor.err()
    (world.folder / "other.db").unlink()


@mounting
def test_a_running_job_is_not_started_under_a_bind_mount_of_the_file(world: World) -> None:
    target = world.folder / "app" / "jobs.db"
    target.parent.mkdir()
    target.touch()
    id = world.push("gate")
    world.work()
    world.started(id)
    for command in (work(target), ["-c", PUSH, target]):
        done = beside_a_mount(world, world.path, target, *command)
        assert done.returncode != 0
        assert REFUSED_MOUNT in done.stderr
    doctor = beside_a_mount(world, world.path, target, "-m", "litequeue", "doctor", target)
    assert doctor.returncode == 1
    assert "mounted by itself" in doctor.stdout
    world.open_gate(id)
    world.gone(id)
    assert len(world.journal.of(id, START)) == 1


@mounting
def test_a_bind_mount_of_the_folder_leads_to_the_same_queue(world: World) -> None:
    target = world.folder.with_name(f"{world.folder.name}-mounted")
    target.mkdir()
    id = world.push()
    done = beside_a_mount(world, world.folder, target, *work(target / "jobs.db"))
    assert done.returncode == 0, done.stderr
    world.gone(id)


def release(world: World, number: int) -> None:
    """Turn the link ``current`` to a release with a queue of its own, as `ln -sfn` does."""
    folder = world.folder / "releases" / str(number)
    folder.mkdir(parents=True)
    world.start("-m", "litequeue", "schema", folder / "jobs.db").ends_with(0)
    (world.folder / "new").symlink_to(folder)
    os.replace(world.folder / "new", world.folder / "current")


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_a_worker_ends_when_the_link_on_its_path_is_turned(
    world: World, flags: tuple[str, ...]
) -> None:
    release(world, 1)
    words = ("work", "current/jobs.db", "--jobs", "jobs_for_faults", "--sleep", 3600, *flags)
    worker = world.start("-m", "litequeue", *words)
    worker.said("Jobs found")
    release(world, 2)
    worker.ends_with(2)
    assert "current/jobs.db is no longer the file that this worker has open" in worker.err()
    assert "a link on its path was changed" in worker.err()
