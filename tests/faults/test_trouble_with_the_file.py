"""A file that others hold, that may not be written, that is deleted or replaced."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from litequeue import Queue
from litequeue.cli.main import main
from litequeue.errors import CannotOpen

from .harness import World, in_fork
from .jobs_for_faults import Scripted
from .journal import OK, START

NOBODY_ELSE = 65534

# A worker that loses patience with a locked file after 0.3 s and not after 30.
IMPATIENT = """
import logging, sys
import jobs_for_faults
from jobs_for_faults import PREFETCH
from litequeue import Queue, Worker
from litequeue.worker import executor
from litequeue.worker import worker
from litequeue.worker.worker import Limits

logging.basicConfig(format="%(message)s")
executor.SETTLE_PAUSE_SECONDS = worker.TROUBLE_SECONDS = 0.05
sys.exit(Worker(Queue("jobs.db", busy_timeout=0.3), jobs_for_faults, prefetch=PREFETCH).run())
"""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the write lock of a database for a block, as a forgotten shell does."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        connection.execute("begin immediate")
        yield
        connection.execute("rollback")


@pytest.mark.parametrize("ending", ["ok", "raise", "snooze"])
def test_an_end_waits_for_as_long_as_another_process_holds_the_lock(
    ending: str, world: World
) -> None:
    id = world.push(f"gate+{ending}", "ok")
    worker = world.script(IMPATIENT)
    world.started(id)
    with held(world.path):
        world.open_gate(id)
        world.until(lambda: worker.err().count(f"the end of job {id} is not written yet") >= 2)
        assert world.queue.get(id).state == "running"
    world.gone(id)
    runs = 1 if ending == "ok" else 2
    assert len(world.journal.of(id, START)) == runs


def test_a_worker_whose_claim_finds_the_file_locked_claims_later(world: World) -> None:
    worker = world.script(IMPATIENT)
    world.gone(world.push())
    id = world.push(delay=0.3)
    with held(world.path):
        worker.said("stayed locked")
    world.gone(id)


@pytest.mark.parametrize("busy", [True, False])
def test_an_idle_worker_survives_a_lock_while_it_rescues_the_jobs_of_another(
    busy: bool, world: World
) -> None:
    id = world.push("gate", "ok") if busy else 0
    victim = world.work()
    if busy:
        world.started(id)
    world.registered(1)
    worker = world.script(IMPATIENT)
    world.registered(2)
    with held(world.path):
        victim.kill()
        worker.said("stayed locked")
    after = world.push()
    assert world.started(after).pid == worker.pid
    world.gone(*([id, after] if busy else [after]))
    world.until(lambda: [row.pid for row in world.queue.store.presence.workers()] == [worker.pid])


def test_a_stop_while_the_file_is_locked_ends_an_idle_worker_well(world: World) -> None:
    worker = world.script(IMPATIENT)
    world.gone(world.push())
    with held(world.path):
        worker.signal(signal.SIGTERM)
        worker.ends_with(0)
    world.work("--drain").ends_with(0)
    assert world.queue.store.presence.workers() == []


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder, with a queue in it, that every user may read."""
    folder = Path(tempfile.mkdtemp(prefix="litequeue-readable-"))
    with Queue(folder / "jobs.db") as queue:
        queue.push(Scripted())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def as_another(work: Callable[[], int]) -> int:
    """Do it in a fork as a user who owns nothing, where we may become one."""

    def changed() -> int:
        if os.geteuid() == 0:
            os.setgid(NOBODY_ELSE)
            os.setuid(NOBODY_ELSE)
        return work()

    return os.waitstatus_to_exitcode(in_fork(changed))


def lock_up(folder: Path) -> None:
    for file in folder.iterdir():
        if file.is_file():
            file.chmod(0o444)
    folder.chmod(0o555)


def test_a_worker_of_a_file_that_may_not_be_written_ends_with_one_sentence(
    readable: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lock_up(readable)
    work = ["work", str(readable / "jobs.db"), "--jobs", "faults.jobs_for_faults", "--drain"]
    assert as_another(lambda: main(work)) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"litequeue: {readable / 'jobs.db'} cannot be opened: ")
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1


def test_a_queue_in_a_folder_that_may_not_be_written_is_one_sentence(readable: Path) -> None:
    readable.chmod(0o555)

    def make() -> int:
        with pytest.raises(CannotOpen, match="forbid"):
            Queue(readable / "new.db")
        return 0

    assert as_another(make) == 0


def delete(world: World) -> None:
    for name in ("jobs.db", "jobs.db-wal", "jobs.db-shm"):
        (world.folder / name).unlink(missing_ok=True)


def delete_alone(world: World) -> None:
    world.path.unlink()


def replace(world: World) -> None:
    other = Queue(world.folder / "other.db")
    other.push(Scripted())
    other.close()
    os.replace(world.folder / "other.db", world.path)


def move(world: World) -> None:
    world.path.rename(world.folder / "moved.db")


@pytest.fixture
def old_queue(world: World) -> Iterator[World]:
    """The world, whose own queue is on the new file at the end, and not on the dead one."""
    yield world
    world.queue.close()
    world.queue = Queue(world.path)


@pytest.mark.parametrize("change", [delete, delete_alone, replace, move])
def test_an_idle_worker_ends_when_its_file_is_no_longer_there(
    change: Callable[[World], None], old_queue: World
) -> None:
    worker = old_queue.work("--sleep", 3600)
    old_queue.gone(old_queue.push())
    change(old_queue)
    worker.ends_with(2)
    assert "is no longer the file that this worker has open" in worker.err()
    assert "Traceback" not in worker.err()


@pytest.mark.parametrize("change", [delete, replace])
def test_a_busy_worker_ends_after_its_job_when_its_file_is_no_longer_there(
    change: Callable[[World], None], old_queue: World
) -> None:
    id = old_queue.push("gate")
    worker = old_queue.work()
    old_queue.started(id)
    change(old_queue)
    old_queue.open_gate(id)
    worker.ends_with(2)
    assert "is no longer the file that this worker has open" in worker.err()
    assert old_queue.journal.names(id) == [START, OK]


def test_supervised_workers_end_when_their_file_is_no_longer_there(old_queue: World) -> None:
    supervisor = old_queue.work("--workers", 2)
    old_queue.gone(old_queue.push())
    replace(old_queue)
    supervisor.ends_with(2)
    assert "is no longer the file that this worker has open" in supervisor.err()
