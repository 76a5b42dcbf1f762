"""Workers killed at random while they work: is a job lost, or run twice at once?

python -m tests.faults.storm --jobs 10000 --kills 300 --report bench/crash-report.txt
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from litequeue import Queue
from litequeue.engine.boot import file_mark
from litequeue.engine.prefetch_log import read
from litequeue.version import VERSION

from .jobs_for_faults import PREFETCH, Scripted, Swift
from .journal import Journal
from .verdict import Kill, Verdict, judge

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

KILL_PAUSE_SECONDS = (0.1, 0.3)
WORK_SECONDS = (0.002, 0.02)
# Of so many jobs, one is of that length; the others do next to nothing, so that a worker
# has claimed many of them.
LONG_ONES_TURN = 20
# Of so many kills, one goes to the supervisor.
SUPERVISORS_TURN = 25
# Of the jobs, so many are there before the first kill; the others come as it goes on,
# so that there is something to do, and nothing waits long, for as long as it lasts.
HEAD_START = 0.02
STORM_PATIENCE_SECONDS = 120


class Storm:
    """A supervisor with its workers, and someone who kills them."""

    def __init__(
        self, folder: Path, *, jobs: int, kills: int, workers: int, seed: int, threads: int = 1
    ) -> None:
        self.queue = Queue(folder / "jobs.db")
        self.journal = Journal(folder / "journal")
        self.kills: list[Kill] = []
        self._folder = folder
        self._wanted = (jobs, kills)
        self._workers = workers
        self._threads = threads
        self._random = random.Random(seed)
        self._pushed: list[int] = []
        self._supervisor: subprocess.Popen[bytes] | None = None

    def run(self) -> Verdict:
        """Let it rage, let it calm down, and judge what it has left."""
        started_at = time.monotonic()
        self._supervisor = self._start()
        try:
            self._rage()
            self._calm_down()
        finally:
            self._end()
        took = time.monotonic() - started_at
        events, violations = self.journal.events(), self._laws()
        return judge(self._pushed, events, self.kills, violations, took, self._threads)

    def _rage(self) -> None:
        jobs, kills = self._wanted
        self._push(int(jobs * HEAD_START))
        self._wait_for(lambda: len(self._alive()) == self._workers)
        for number in range(1, kills + 1):
            self._push(int(jobs * (HEAD_START + (1 - HEAD_START) * number / kills)))
            self._pause()
            if number % SUPERVISORS_TURN == SUPERVISORS_TURN // 2:
                self._kill_supervisor()
            else:
                self._kill_worker()

    def _push(self, up_to: int) -> None:
        count = up_to - len(self._pushed)
        many = [self._job() for _ in range(count)]
        self._pushed += self.queue.push_many(many, max_attempts=100)

    def _job(self) -> Scripted:
        if self._random.randrange(LONG_ONES_TURN):
            return Swift()
        return Scripted(seconds=self._random.uniform(*WORK_SECONDS))

    def _pause(self) -> None:
        """Wait for the next kill; nothing but a kill of ours may end the supervisor."""
        assert self._supervisor is not None
        try:
            status = self._supervisor.wait(self._random.uniform(*KILL_PAUSE_SECONDS))
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"the supervisor ended by itself: {status}\n{self.complaints()}")

    def _kill_worker(self) -> None:
        self._wait_for(self._alive)
        self._kill(self._random.choice(self._alive()), "worker")

    def _kill_supervisor(self) -> None:
        assert self._supervisor is not None
        self._kill(self._supervisor.pid, "supervisor")
        self._supervisor.wait()
        self._close()
        self._supervisor = self._start()

    def _kill(self, pid: int, whom: str) -> None:
        at = time.monotonic_ns()
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # a worker of a supervisor that was killed, and it has ended since
        self.kills.append(Kill(pid, whom, at, self._in_hand(pid)))

    def _in_hand(self, pid: int) -> int:
        """How many jobs a worker that was just killed had begun, and not written down, or
        only claimed, unless it is rescued already."""
        found = [row.name for row in self.queue.store.presence.workers() if row.pid == pid]
        folder, mark = self.queue.store.presence.folder, file_mark(self.queue.path)
        logs = [read(str(folder / f"{name}.hand"), mark) for name in found]
        notes = [note for log in logs for note in (log, *log.others)]
        return sum(len(note.finished) + len(note.unstarted) + bool(note.running) for note in notes)

    def _alive(self) -> list[int]:
        """The processes of the workers that are registered, as far as they are not known to
        be dead. Nobody's lock is tried: that would keep it from its rescuer."""
        killed = {kill.pid for kill in self.kills}
        return [
            row.pid
            for row in self.queue.store.presence.workers()
            if row.pid not in killed and row.pid
        ]

    def _calm_down(self) -> None:
        self._wait_for(lambda: not self.queue.counts())
        assert self._supervisor is not None
        self._supervisor.send_signal(signal.SIGTERM)
        status = self._supervisor.wait(STORM_PATIENCE_SECONDS)
        assert status == 0, f"exit {status}\n{self.complaints()}"
        self._wait_for(lambda: not self._alive())

    def _wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + STORM_PATIENCE_SECONDS
        while not condition():
            told = f"{self.queue.counts()}\n{self.complaints()}"
            assert time.monotonic() < deadline, told
            time.sleep(0.01)

    def _laws(self) -> list[str]:
        return [*self.queue.check(), *self._rows_left()]

    def _rows_left(self) -> list[str]:
        return [f"job {row.id} is {row.state}: {row.reason}" for row in self.queue.find()]

    def complaints(self) -> str:
        """The end of what the workers have said on standard error."""
        return (self._folder / "err").read_text()[-3000:]

    def _start(self) -> subprocess.Popen[bytes]:
        command = ["work", "jobs.db", "--jobs", "jobs_for_faults", "--quiet"]
        command += ["--prefetch", str(PREFETCH), "--threads", str(self._threads)]
        with open(self._folder / "err", "ab") as err:
            return subprocess.Popen(
                [sys.executable, "-m", "litequeue", *command, "--workers", str(self._workers)],
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
                start_new_session=True,
            )

    def _end(self) -> None:
        assert self._supervisor is not None
        self._supervisor.kill()  # its workers end by themselves
        self._supervisor.wait()
        self._close()

    def _close(self) -> None:
        self.queue.close()


def report(verdict: Verdict, command: str) -> str:
    """What happened, for people, with what it was measured on."""
    sqlite = f"SQLite {sqlite3.sqlite_version}"
    versions = f"litequeue {VERSION}, Python {platform.python_version()}, {sqlite}"
    facts = [
        ("command", command),
        ("date", f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"),
        ("machine", f"{_processor()}, {os.cpu_count()} cores, {platform.platform()}"),
        ("versions", versions),
    ]
    wide = max(len(word) for word, _ in [*facts, *verdict.lines()])
    lines = [f"{word:<{wide}}  {value}" for word, value in facts]
    lines += ["", *(f"{word:<{wide}}  {value}" for word, value in verdict.lines())]
    lines += [f"WRONG: {complaint}" for complaint in verdict.wrong]
    return "\n".join(lines) + "\n"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill workers at random, and count.")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="litequeue-storm-") as folder:
        size = {
            word: getattr(args, word) for word in ("jobs", "kills", "workers", "seed", "threads")
        }
        verdict = Storm(Path(folder), **size).run()
    text = report(verdict, f"python -m tests.faults.storm {' '.join(sys.argv[1:])}")
    print(text, end="")
    if args.report:
        args.report.write_text(text)
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
