"""A folder with a database, a journal and processes that work on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from waiting import wait_until

from litequeue import Queue, Worker
from litequeue.errors import NoSuchJob
from litequeue.records import JobRow
from litequeue.worker.shutdown import Shutdown
from litequeue.worker.worker import Limits

from .jobs_for_faults import ALONE, MODE, PREFETCH, THREADS, Scripted
from .journal import OK, START, Event, Journal

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# What a busy machine may take for what takes a tenth of a second on an idle one.
LONG = 30.0

# A trigger sees each end of a job in the transaction that makes it.
LEDGER = (
    "create table ends (job integer, state integer)",
    """
    create trigger deleted after delete on litequeue_jobs
    begin insert into ends values (old.id, 0); end""",
    """
    create trigger ended after update of state on litequeue_jobs
    when new.state in (6, 7, 8) and old.state not in (6, 7, 8)
    begin insert into ends values (new.id, new.state); end""",
    "create table effects (job integer)",
)


class Program:
    """A process of its own group, with what it says in files, so that it never waits
    for somebody to read it."""

    def __init__(self, command: list[str], folder: Path, number: int) -> None:
        self._out, self._err = (folder / f"{number}.{name}" for name in ("out", "err"))
        path = os.pathsep.join(map(str, (ROOT, HERE)))
        with open(self._out, "wb") as out, open(self._err, "wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path, "FAULTS_MODE": MODE},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def out(self) -> str:
        return self._out.read_text()

    def err(self) -> str:
        return self._err.read_text()

    def said(self, words: str, within: float = LONG) -> None:
        """Wait until it has said this, on either stream."""
        wait_until(lambda: self._said_or_over(words), within)
        assert words in self.out() + self.err(), self.out() + self.err()

    def signal(self, number: int) -> None:
        """Send a signal, and wait until it has arrived: two that are pending are one."""
        self.process.send_signal(number)
        wait_until(lambda: not self._pending(number), LONG)

    def _pending(self, number: int) -> bool:
        masks = _ps("pending", self.pid)
        stopped = _ps("stat", self.pid)[:1] in ("T", "Z", "")
        return not stopped and bool(masks) and bool(int(masks, 16) >> (number - 1) & 1)

    def status(self, within: float = LONG) -> int:
        """Wait for its end; the exit status as subprocess gives it."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end: {self.out()}{self.err()}") from None

    def ends_with(self, status: int, within: float = LONG) -> None:
        found = self.status(within)
        assert found == status, self.out() + self.err()

    def kill(self) -> None:
        """End it, and its children with it, if it has not ended."""
        children = children_of(self.pid) if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        for child in children:
            _kill_ours(child)

    def _said_or_over(self, words: str) -> bool:
        return self.process.poll() is not None or words in self.out() + self.err()


class World:
    """What one test has: a queue with a ledger, a journal, and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "jobs.db"
        self.journal = Journal(folder / "journal")
        self.queue = Queue(self.path)
        for statement in LEDGER:
            self.queue.store.database.rows(statement)
        self._programs: list[Program] = []

    def push(self, *endings: str, seconds: float = 0.0, **options: object) -> int:
        job = Scripted(endings=list(endings or ("ok",)), seconds=seconds)
        return self.queue.push(job, **options)  # type: ignore[arg-type]

    def work(self, *flags: object) -> Program:
        """Start ``litequeue work`` on the database."""
        words = list(flags) if "--jobs" in flags else ["--jobs", "jobs_for_faults", *flags]
        if MODE == ALONE:
            words += ["--prefetch", PREFETCH]
        if MODE == THREADS:
            words += ["--threads", 4]
        return self.start("-m", "litequeue", "work", "jobs.db", *words)

    def start(self, *command: object) -> Program:
        program = Program([str(word) for word in command], self.folder, len(self._programs))
        self._programs.append(program)
        return program

    def script(self, text: str) -> Program:
        """Start Python with the text of a script."""
        return self.start("-c", text)

    def started(self, id: int, times: int = 1) -> Event:
        """Wait for the start of the n-th run of a job, and return it."""
        self.until(lambda: len(self.journal.of(id, START)) >= times)
        return self.journal.of(id, START)[times - 1]

    def noted(self, id: int, name: str, times: int = 1) -> Event:
        self.until(lambda: len(self.journal.of(id, name)) >= times)
        return self.journal.of(id, name)[times - 1]

    def open_gate(self, id: int) -> None:
        (self.folder / f"gate-{id}").touch()

    def gone(self, *ids: int) -> None:
        """Wait until these have succeeded, and their rows are deleted."""
        self.until(lambda: all(self.row(id) is None for id in ids))
        assert all(self.ends(id) == [0] for id in ids)

    def row(self, id: int) -> JobRow | None:
        try:
            return self.queue.get(id)
        except NoSuchJob:
            return None

    def ends(self, id: int) -> list[int]:
        """The states, 0 for deleted, in which a job has ended, each as often as it did."""
        found = self.queue.store.database.rows("select state from ends where job = :id", {"id": id})
        return [state for (state,) in found]

    def effects(self, id: int) -> int:
        """How many rows of the application's own a job has written."""
        sql = "select count(*) from effects where job = :id"
        return int(self.queue.store.database.rows(sql, {"id": id})[0][0])

    def registered(self, count: int = 1) -> list[int]:
        """Wait until so many workers are registered, and return their process ids."""
        self.until(lambda: len(self.queue.store.presence.workers()) >= count)
        return [row.pid for row in self.queue.store.presence.workers()]

    def until(self, condition: Callable[[], object]) -> None:
        try:
            wait_until(condition, within=LONG)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.told()}") from None

    def told(self) -> str:
        """All that can be known of it, for the message of a test that fails."""
        rows = self.queue.find()
        said = "".join(f"--- {p.pid}\n{p.out()}{p.err()}" for p in self._programs)
        return f"{self.journal.events()}\n{rows}\n{said}"

    def close(self) -> None:
        for program in self._programs:
            program.kill()
        for pid in {event.pid for event in self.journal.events()} - {os.getpid()}:
            if not ended(pid):
                _kill_ours(pid)
        self.queue.close()


class Row:
    """Jobs that one worker claims at once: two, then the one that it is about, then three."""

    def __init__(self, world: World, *endings: str, **options: object) -> None:
        self.world = world
        self.before = [world.push(max_attempts=1) for _ in range(2)]
        self.middle = world.push(*endings, **options)
        self.behind = [world.push(max_attempts=1) for _ in range(3)]

    @property
    def others(self) -> list[int]:
        return [*self.before, *self.behind]

    def ran_once(self, *ids: int) -> None:
        """Each of these was run once, to its end, and completed once."""
        self.world.gone(*ids)
        for id in ids:
            assert self.world.journal.names(id) == [START, OK], self.world.told()
            assert [event.attempt for event in self.world.journal.of(id, START)] == [1]

    def unstarted(self, *ids: int) -> None:
        """Each of these waits to be run, and has used no attempt."""
        for id in ids:
            row = self.world.queue.get(id)
            assert (row.state, row.attempts) == ("ready", 0), self.world.told()
            assert self.world.journal.names(id) == []


def drain(queue: Queue, jobs: ModuleType) -> None:
    """Run here and now all that is due."""
    stop = Shutdown()
    try:
        assert Worker(queue, jobs, limits=Limits(drain=True), stop=stop).run() == 0
    finally:
        stop.close()


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that have not been waited for."""
    command = ["ps", "-o", "pid=", "--ppid", str(pid)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def ended(pid: int) -> bool:
    """Whether a process is no more, or only waits to be waited for."""
    return _ps("stat", pid)[:1] in ("", "Z")


def is_stopped(pid: int) -> bool:
    """Whether a process stands still until it is told to go on."""
    return _ps("stat", pid)[:1] == "T"


def _ps(column: str, pid: int) -> str:
    command = ["ps", "-o", f"{column}=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def in_fork(work: Callable[[], int]) -> int:
    """Do the work in a forked child of this process, and return its wait status. It ends
    at once, without the clean-up of the test that it was forked in."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    status = 99
    try:
        signal.alarm(int(2 * LONG))
        status = work()
    except BaseException as error:
        os.write(2, "".join(traceback.format_exception(error)).encode())
    finally:
        os._exit(status)


def _kill_ours(pid: int) -> None:
    """Kill what a worker has left running, if it still is one of ours."""
    if "litequeue" in _ps("args", pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
