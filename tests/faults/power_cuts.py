"""Power cuts: what is on the disk at any moment must be enough to lose nothing.

sudo python -m tests.faults.power_cuts --cuts 500

Workers and a producer work on a file system in an image, through a loop device. For each cut
they are stopped, and the image is copied as the device has it: what the kernel had not written
back is missing in the copy, as after a power cut. From the copy the queue is rescued, as after
another start of the machine, and worked until it is empty. Then each job that was committed
there has been completed, and each parent that has been completed has its follow-up.

To write back some pages sooner than others is the kernel's right, and here it is done on
purpose: the WAL is synced, and some milliseconds later what the workers have noted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from litequeue import Job, Queue, Worker, current
from litequeue.errors import LitequeueError
from litequeue.worker.prefetch_size import PrefetchSize
from litequeue.worker.worker import Limits

HERE = Path(__file__).parent
IMAGE_MB = 256
WORKERS = 2
BACKLOG = 300
# A cut comes so long after the last, and between the two syncs lies so much work.
BETWEEN_CUTS_SECONDS = (0.02, 0.2)
BETWEEN_SYNCS_SECONDS = (0.001, 0.02)
JOB_SECONDS = 0.0005
PATIENCE_SECONDS = 60

# Kept by SQLite itself, in the transaction in which a job comes or goes.
LEDGER = (
    "create table ended (job integer primary key, name text)",
    "create table followed (parent integer primary key)",
    """
    create trigger job_ended after delete on litequeue_jobs
    begin insert into ended values (old.id, old.name); end""",
    """
    create trigger job_followed after insert on litequeue_jobs when new.name = 'follower'
    begin insert or ignore into followed values (json_extract(new.payload, '$.parent')); end""",
)
LOST_FOLLOWERS = """
select count(*) from ended
where name = 'parent' and job not in (select parent from followed)"""
ENDED = "select job from ended where job in (select value from json_each(:ids))"
IDS = "select id from litequeue_jobs where name in ('parent', 'follower')"


class Follower(Job, name="follower"):
    parent: int

    def handle(self) -> None:
        pass


class Parent(Job, name="parent"):
    """Pushes its follow-up, as any job may, in a commit of its own."""

    def handle(self) -> None:
        run = current()
        run.push(Follower(run.id))
        time.sleep(JOB_SECONDS)


class Disk:
    """A file system in an image of its own, mounted through a loop device."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.image = image
        self.folder = folder
        self._device = ""

    def make(self) -> None:
        with open(self.image, "wb") as file:
            file.truncate(IMAGE_MB << 20)
        _command("mkfs.ext4", "-q", "-F", self.image)

    def mount(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self._device = _command("losetup", "--find", "--show", self.image).strip()
        try:
            # The device may have been another image's, whose blocks are still in memory.
            _command("blockdev", "--flushbufs", self._device)
            _command("mount", "-t", "ext4", self._device, self.folder)
        except BaseException:
            self._detach()
            raise

    def unmount(self) -> None:
        if self._device:
            _command("umount", self.folder)
            self._detach()

    def copy_to(self, image: Path) -> None:
        """Copy what the device has, as it is at one moment."""
        while True:
            before = self._writes()
            shutil.copyfile(self.image, image)
            # What was written meanwhile is in a part of the copy alone.
            if before == self._writes() and before[1] == "0":
                return

    def sound(self) -> bool:
        """Whether the kernel has found no error in the file system."""
        errors = Path(f"/sys/fs/ext4/{Path(self._device).name}/errors_count")
        return not errors.exists() or errors.read_text().strip() == "0"

    def _writes(self) -> list[str]:
        """How much was written to the device, and how much is on its way."""
        found = Path(f"/sys/block/{Path(self._device).name}/stat").read_text().split()
        return [found[4], found[8]]

    def _detach(self) -> None:
        _command("losetup", "--detach", self._device)
        self._device = ""


class Cuts:
    """Workers and a producer, whose power is cut again and again."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.found: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._disk = Disk(folder / "image", folder / "mounted")
        self._copy = Disk(folder / "copy", folder / "copied")
        self._random = random.Random(seed)
        self._programs: list[subprocess.Popen[bytes]] = []

    def run(self, cuts: int) -> None:
        self._disk.make()
        self._disk.mount()
        try:
            self._start()
            for number in range(1, cuts + 1):
                self._cut()
                with mounted(self._copy) as folder:
                    self._judge(folder, number)
        finally:
            self._shutdown()
            self._disk.unmount()

    def _start(self) -> None:
        with Queue(self._path) as queue:
            for statement in LEDGER:
                queue.store.database.rows(statement)
        for word in ["produce", *["work"] * WORKERS]:
            command = [sys.executable, str(HERE / "power_cuts.py"), f"--{word}", self._path]
            program = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": _python_path()})
            self._programs.append(program)
        self._wait_for(lambda: len(self._hands()) == WORKERS)

    def _cut(self) -> None:
        time.sleep(self._random.uniform(*BETWEEN_CUTS_SECONDS))
        self._sync(Path(f"{self._path}-wal"))
        time.sleep(self._random.uniform(*BETWEEN_SYNCS_SECONDS))
        for prefetch_log in self._hands():
            self._sync(prefetch_log)
        for program in self._programs:
            assert program.poll() is None, "a worker has ended"
            program.send_signal(signal.SIGSTOP)
        self._disk.copy_to(self._copy.image)
        for program in self._programs:
            program.send_signal(signal.SIGCONT)

    def _judge(self, folder: Path, number: int) -> None:
        complaints: list[str] = []
        try:
            with Queue(folder / "jobs.db") as queue:
                if queue.store.database.rows("select 1 from sqlite_master where name = 'followed'"):
                    complaints = self._broken_promises(queue)
        except LitequeueError as error:
            complaints = [str(error)]
        if not self._copy.sound():
            # What the device had was no file system: it was not of one moment.
            self.found["copies that were torn"] += 1
            return
        self.found["cuts"] += 1
        self.wrong += [f"cut {number}: {complaint}" for complaint in complaints]

    def _broken_promises(self, queue: Queue) -> list[str]:
        running = queue.store.database.rows(f"{IDS} and state = 5")
        there = {id for (id,) in queue.store.database.rows(IDS)}
        Worker(queue, [Parent, Follower], limits=Limits(drain=True)).run()
        found = queue.store.database.rows(ENDED, {"ids": json.dumps(list(there))})
        jobs = len(there) - len(found)
        followers = queue.store.database.rows(LOST_FOLLOWERS)[0][0]
        self.found["claimed jobs"] += len(running)
        self.found["jobs there"] += len(there)
        self.found["jobs lost"] += jobs
        self.found["follow-ups lost"] += followers
        self.found["cuts that lost some"] += bool(jobs or followers)
        complaints = [f"{jobs} jobs and {followers} follow-ups lost"] if jobs or followers else []
        complaints += [f"job {row.id} is {row.state}" for row in queue.find()]
        sound = queue.store.database.rows("pragma integrity_check")
        return [*complaints, *queue.check(), *(text for (text,) in sound if text != "ok")]

    def _sync(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR)
            os.fdatasync(descriptor)
            os.close(descriptor)

    def _hands(self) -> list[Path]:
        return list(Path(f"{self._path}-workers").glob("*.hand"))

    @property
    def _path(self) -> str:
        return str(self._disk.folder / "jobs.db")

    def _wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "the workers do not start"
            time.sleep(0.01)

    def _shutdown(self) -> None:
        for program in self._programs:
            program.kill()
            program.wait()


@contextmanager
def mounted(disk: Disk) -> Iterator[Path]:
    disk.mount()
    try:
        yield disk.folder
    finally:
        disk.unmount()


def produce(path: str) -> None:
    """Push parents for as long as this lives, and never too many."""
    with Queue(path) as queue:
        while True:
            if _waiting(queue) < BACKLOG:
                queue.push_many([Parent() for _ in range(20)])
            else:
                time.sleep(0.005)


def _waiting(queue: Queue) -> int:
    return sum(count for states in queue.counts().values() for count in states.values())


def work(path: str) -> None:
    """Work for as long as this lives, with as many claimed jobs as can be."""
    PrefetchSize.fits = lambda prefetch_size: lambda name: True  # type: ignore[method-assign]
    with Queue(path) as queue:
        Worker(queue, [Parent, Follower]).run()


def _after_another_start() -> None:
    """Let this process believe that it runs after another start of the machine."""
    from litequeue.engine import boot

    boot.boot_id = lambda: "after the power cut"  # type: ignore[assignment]


def _python_path() -> str:
    return os.pathsep.join(filter(None, [str(HERE.parent.parent), os.environ.get("PYTHONPATH")]))


def _command(*words: object) -> str:
    command = [str(word) for word in words]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        raise OSError(f"{' '.join(command)}: {found.stderr.strip()}")
    return found.stdout


def why_not() -> str:
    """Why no image can be mounted here; nothing where one can."""
    if not sys.platform.startswith("linux"):
        return "loop devices are Linux's"
    if os.geteuid() != 0:
        return "only root can mount an image"
    missing = [word for word in ("mkfs.ext4", "losetup", "mount") if not shutil.which(word)]
    return f"there is no {missing[0]}" if missing else ""


def main() -> int:
    parser = argparse.ArgumentParser(description="Cut the power off, and count what is lost.")
    parser.add_argument("--cuts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--produce", metavar="DB", help=argparse.SUPPRESS)
    parser.add_argument("--work", metavar="DB", help=argparse.SUPPRESS)
    args = parser.parse_args()
    for word, act in (("produce", produce), ("work", work)):
        if path := getattr(args, word):
            act(path)
    if reason := why_not():
        print(f"power cuts are not modelled here: {reason}")
        return 2
    _after_another_start()
    with tempfile.TemporaryDirectory(prefix="litequeue-power-") as folder:
        cuts = Cuts(Path(folder), args.seed)
        cuts.run(args.cuts)
    for word, count in cuts.found.items():
        print(f"{word:<24}  {count}")
    for complaint in cuts.wrong:
        print(f"WRONG: {complaint}")
    return 1 if cuts.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
