"""Workers of an earlier version and of this one on the same file, as during a deploy."""

from __future__ import annotations

import io
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

import pytest
from waiting import wait_until

from .harness import LONG, ROOT, World, is_stopped

# The first wrote files of schema version 1 and prefetch logs of another format; the second
# is the last before the modules moved into packages.
EARLIER = ("2ae000f", "5e08494")
# How many rounds of pushes each of the two producers makes.
ROUNDS = 40

JOBS = """
import os, time
from pathlib import Path
from litequeue import Batch, Job, current, job

def note():
    run = current()
    line = f"{run.id} {run.attempt} {os.getpid()}\\n".encode()
    log = os.open("runs", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(log, line)
    os.close(log)

@job(name="add")
def add(a: int, b: int):
    note()
    return a + b

@job(name="total", keep=3600)
def total():
    note()
    return sum(current().results)

@job(name="flaky", backoff=0)
def flaky():
    note()
    if current().attempt == 1:
        raise ValueError("the first attempt fails")

@job(name="gate", backoff=0)
def gate():
    note()
    while not Path("gate").exists():
        time.sleep(0.002)

class Sums(Batch, name="sums", keep=3600):
    def plan(self, cursor):
        note()
        start = cursor or 0
        return [add(i, i) for i in range(start, start + 5)], start + 5 if start < 10 else None

    def finished(self, counts):
        note()
        return counts.done
"""

PRODUCE = f"""
from litequeue import Queue
from mixed_jobs import Sums, add, flaky, total
queue = Queue("jobs.db")
print("open", flush=True)
input()
for i in range({ROUNDS}):
    first = queue.push(add(i, 1), keep=3600)
    second = queue.push(add(i, 2), without_overlapping="one at a time", keep=3600)
    last = queue.push(total(), after=[first, second])
    print(last, 2 * i + 3)
    queue.push(flaky())
    assert queue.push(add(i, 3), unique="a key") > 0
    queue.push_many([add(i, each) for each in range(10)])
    if i % 10 == 0:
        print(queue.push(Sums()), 15)
"""


class Deploy:
    """A file that an earlier version has made, and processes of both versions."""

    def __init__(self, folder: Path, earlier: Path) -> None:
        self.folder, self.earlier = folder, earlier
        (folder / "mixed_jobs.py").write_text(JOBS, encoding="utf-8")
        self.earlier_producer: subprocess.Popen[str]
        self._processes: list[subprocess.Popen[str]] = []

    def start(
        self, code: Path, *command: str, stdout: IO[bytes] | int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        with open(self.folder / "errors", "ab") as errors:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(code)},
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=errors,
                text=True,
            )
        self._processes.append(process)
        return process

    def work(self, code: Path, *flags: str) -> subprocess.Popen[str]:
        """Start a worker, and wait until it has opened the file."""
        words = ("work", "jobs.db", "--jobs", "mixed_jobs", *flags)
        # A file, since a pipe that nobody reads would stop the worker once it is full.
        path = self.folder / f"{len(self._processes)}.out"
        with open(path, "wb") as out:
            process = self.start(code, "-m", "litequeue", *words, stdout=out)
        wait_until(path.read_bytes, LONG)
        return process

    def produce(self, code: Path) -> subprocess.Popen[str]:
        """Start a producer that pushes as soon as it is told."""
        process = self.start(code, "-c", PRODUCE)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n", self.errors()
        return process

    def runs(self) -> list[tuple[int, int, int]]:
        """Each start of a run: the job, the attempt, and the process."""
        try:
            lines = (self.folder / "runs").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [tuple(map(int, line.split())) for line in lines]  # type: ignore[misc]

    def registered(self) -> None:
        """Wait until a worker is registered, without bringing the file up to date: a worker of
        the earlier version could not open it then."""
        with closing(sqlite3.connect(self.folder / "jobs.db")) as connection:
            sql = "select 1 from litequeue_workers"
            wait_until(lambda: connection.execute(sql).fetchall(), LONG)

    def open_gate(self) -> None:
        (self.folder / "gate").touch()

    def errors(self) -> str:
        return (self.folder / "errors").read_text()

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module", params=EARLIER)
def earlier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of an earlier version."""
    command = ["git", "archive", request.param, "litequeue"]
    try:
        made = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no git history with {request.param}")
    folder = tmp_path_factory.mktemp(request.param)
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def deploy(tmp_path: Path, earlier: Path) -> Iterator[Deploy]:
    made = Deploy(tmp_path, earlier)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def joined(deploy: Deploy) -> Iterator[tuple[Deploy, subprocess.Popen[str], World]]:
    """A worker of the earlier version, which made the file, and this version's view of it."""
    older = deploy.work(deploy.earlier)
    deploy.earlier_producer = deploy.produce(deploy.earlier)
    world = World(deploy.folder)
    try:
        yield deploy, older, world
        assert world.queue.check() == []
        assert "Traceback" not in deploy.errors()
    finally:
        world.close()


Joined = tuple[Deploy, subprocess.Popen[str], World]


def unfinished(world: World) -> int:
    by_state = world.queue.counts().values()
    return sum(
        count
        for states in by_state
        for state, count in states.items()
        if state not in ("done", "failed", "cancelled")
    )


def push_and_wait(world: World, count: int) -> None:
    """Have so many short jobs run, so that workers fetch several at a time afterwards."""
    world.queue.push_many([("add", {"a": 1, "b": 1})] * count)
    world.until(lambda: not unfinished(world))


def test_two_versions_work_side_by_side(joined: Joined) -> None:
    deploy, older, world = joined
    newer = deploy.work(ROOT)
    # The earlier one has to be open before this version makes the file newer than it.
    producers = [deploy.earlier_producer, deploy.produce(ROOT)]
    for each in producers:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    outputs = [each.communicate(timeout=LONG) for each in producers]
    assert [each.returncode for each in producers] == [0, 0], deploy.errors()
    world.until(lambda: not unfinished(world))
    expected = [tuple(map(int, line.split())) for out, _ in outputs for line in out.splitlines()]
    assert len(expected) == 2 * (ROUNDS + ROUNDS // 10)
    assert [world.queue.result(id) for id, _ in expected] == [value for _, value in expected]
    assert not world.queue.find(state="failed")
    assert not world.queue.find(state="cancelled")
    # Each job ends once; what is kept has ended with its row there.
    ends = world.queue.store.database.rows("select job from ends")
    assert max(Counter(ends).values()) == 1
    assert {id for id, *_ in deploy.runs()} == {id for (id,) in ends}
    assert {older.pid, newer.pid} <= {pid for _, _, pid in deploy.runs()}


def test_this_version_rescues_a_killed_worker_of_the_earlier_one(joined: Joined) -> None:
    deploy, older, world = joined
    push_and_wait(world, 500)
    gate = world.queue.push("gate")
    world.until(lambda: gate in [id for id, *_ in deploy.runs()])
    ids = world.queue.push_many([("add", {"a": 1, "b": 1})] * 20)
    newer = deploy.work(ROOT)
    older.kill()
    deploy.open_gate()
    world.gone(gate, *ids)
    assert [pid for id, _, pid in deploy.runs() if id == gate] == [older.pid, newer.pid]


def test_the_earlier_version_rescues_a_killed_worker_of_this_one(joined: Joined) -> None:
    deploy, older, world = joined
    older.send_signal(signal.SIGSTOP)
    world.until(lambda: is_stopped(older.pid))
    newer = deploy.work(ROOT)
    push_and_wait(world, 500)
    gate = world.queue.push("gate")
    world.until(lambda: gate in [id for id, *_ in deploy.runs()])
    ids = world.queue.push_many([("add", {"a": 1, "b": 1})] * 20)
    newer.kill()
    deploy.open_gate()
    older.send_signal(signal.SIGCONT)
    world.gone(gate, *ids)
    assert [pid for id, _, pid in deploy.runs() if id == gate] == [newer.pid, older.pid]


@pytest.mark.parametrize("killed_is_newer", [True, False])
def test_the_jobs_that_a_killed_worker_had_claimed_run_elsewhere(
    joined: Joined, killed_is_newer: bool
) -> None:
    """The gate stands in the middle of what one claim took."""
    deploy, older, world = joined
    if killed_is_newer:
        older.send_signal(signal.SIGSTOP)
        world.until(lambda: is_stopped(older.pid))
        killed = deploy.work(ROOT)
    else:
        killed = older
    push_and_wait(world, 500)
    add = ("add", {"a": 1, "b": 1})
    ids = world.queue.push_many([add] * 3 + [("gate", {})] + [add] * 20)
    world.until(lambda: ids[3] in [id for id, *_ in deploy.runs()])
    if not killed_is_newer:
        deploy.work(ROOT)
    killed.kill()
    deploy.open_gate()
    older.send_signal(signal.SIGCONT)
    world.gone(*ids)
    runs = Counter(id for id, *_ in deploy.runs() if id in ids)
    # Those behind the gate had not started, and run once.
    assert [runs[id] for id in ids[4:]] == [1] * 20
    assert runs[ids[3]] == 2


def test_a_supervisor_of_the_earlier_version_starts_workers_of_this_one(deploy: Deploy) -> None:
    """It goes on with the code that it has; what it starts finds what is installed."""
    installed = deploy.folder / "installed"
    installed.symlink_to(deploy.earlier)
    supervisor = deploy.work(installed, "--workers", "1")
    deploy.registered()
    world = World(deploy.folder)
    try:
        (first,) = world.registered(1)
        installed.unlink()
        installed.symlink_to(ROOT)
        os.kill(first, signal.SIGKILL)
        world.until(lambda: [pid for pid in world.registered(1) if pid != first])
        id = world.queue.push("add", {"a": 1, "b": 1}, keep=3600)
        assert world.queue.result(id, timeout=LONG) == 2
        (second,) = world.registered(1)
        assert "--leash" in Path(f"/proc/{second}/cmdline").read_text().split("\0")
        supervisor.terminate()
        supervisor.wait(LONG)
        world.until(lambda: not world.queue.store.presence.workers())
        assert world.queue.check() == []
    finally:
        world.close()
