"""Another writer: a process that takes the write lock again and again, and tells how long
it had to wait at the longest."""

from __future__ import annotations

import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.workers import ROOT

# Between two times that it has the lock, and between two tries while it waits: with no pause
# at all it would take a processor for itself, and measure that.
PROBE_PAUSE_SECONDS = 0.001
TRY_SECONDS = 0.0001


@dataclass(slots=True)
class Wait:
    """What the other writer has told when the block is over."""

    longest: float = 0.0


@contextmanager
def another_writer(path: str) -> Iterator[Wait]:
    """Let another process write to the file for as long as the block lasts."""
    wait = Wait()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.prober", path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield wait
    finally:
        wait.longest = float(process.communicate()[0])


def _probe(path: Path) -> None:
    longest = 0.0
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        connection.execute("pragma wal_autocheckpoint = 0")
        print("ready", flush=True)
        while not _input_is_over():
            longest = max(longest, _wait(connection))
            time.sleep(PROBE_PAUSE_SECONDS)
    print(longest)


def _wait(connection: sqlite3.Connection) -> float:
    started = time.perf_counter()
    while True:
        try:
            connection.execute("begin immediate")
        except sqlite3.OperationalError:
            time.sleep(TRY_SECONDS)
            continue
        ended = time.perf_counter()
        connection.execute("commit")
        return ended - started


def _input_is_over() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


if __name__ == "__main__":
    _probe(Path(sys.argv[1]))
