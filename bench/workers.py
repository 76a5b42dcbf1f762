"""Worker processes, as `litequeue work` starts them, and what they tell when they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from bench.jobs import NOTES
from litequeue import Job, Queue
from litequeue.monitor.status import active_workers

ROOT = Path(__file__).parents[1]
START_SECONDS = 30.0
DRAIN_SECONDS = 300.0
LOOK_SECONDS = 0.01
NO_THREADS = "Not measured: --threads, which this litequeue does not have."


@cache
def has_threads() -> bool:
    """Whether `litequeue work` has the flag --threads."""
    command = [sys.executable, "-m", "litequeue", "work", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return "--threads" in done.stdout


@dataclass(slots=True)
class Crew:
    """Some worker processes on one file, and what they have told since they ended."""

    processes: list[subprocess.Popen[str]]
    complaints: str = ""
    tallies: list[dict[str, int]] = field(default_factory=list)

    @property
    def span(self) -> float:
        """The seconds from the first start of a job to the last."""
        ran = [tally for tally in self.tallies if tally["count"]]
        return (max(t["last"] for t in ran) - min(t["first"] for t in ran)) / 1e9

    @property
    def counts(self) -> list[int]:
        """How many jobs each has run, the least first."""
        return sorted(tally["count"] for tally in self.tallies)


@contextmanager
def crew(queue: Queue, count: int, *arguments: str, threads: bool = False) -> Iterator[Crew]:
    """Start ``count`` processes of `litequeue work`, or as many ``threads`` of one process,
    idle when the block begins; its end stops them and reads what they have told."""
    notes = Path(queue.path).with_suffix(".notes")
    notes.mkdir()
    command = ["litequeue", "work", queue.path, "--jobs", "bench.jobs", "--quiet", *arguments]
    if threads:
        command = ["bench.threaded", queue.path, str(count)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), NOTES: str(notes)}
    found = Crew([
        subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(1 if threads else count)
    ])  # fmt: skip
    try:
        wait_until(lambda: len(active_workers(queue.store)[0]) == count)
        yield found
    finally:
        _end(found, notes)


@contextmanager
def working(queue: Queue, workers: int, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run one `litequeue work` for the length of the block, which begins when so many
    ``workers`` of it are idle."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "litequeue", "work", queue.path),
            *("--jobs", "bench.jobs", "--quiet", *arguments),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: len(active_workers(queue.store)[0]) == workers)
        yield process
    finally:
        process.terminate()
        process.wait()


def emptied(queue: Queue, jobs: Sequence[Job]) -> float:
    """Push all jobs at once; returns the seconds until none is left."""
    started = time.perf_counter()
    queue.push_many(jobs)
    wait_until(lambda: not queue.find(limit=1), within=DRAIN_SECONDS)
    return time.perf_counter() - started


def _end(found: Crew, notes: Path) -> None:
    for process in found.processes:
        process.send_signal(signal.SIGTERM)
    for process in found.processes:
        found.complaints += process.communicate(timeout=START_SECONDS)[1]
    for path in notes.glob("tally-*"):
        found.tallies.append(json.loads(path.read_text(encoding="utf-8")))


def wait_until(condition: Callable[[], object], within: float = START_SECONDS) -> None:
    """Return as soon as ``condition()`` is true; raises TimeoutError after ``within``
    seconds."""
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"it did not come true within {within} s")
        time.sleep(LOOK_SECONDS)
