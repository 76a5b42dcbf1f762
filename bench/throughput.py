"""How fast a queue is pushed to and worked off, beside a bare sqlite3 loop in the same run.

    python bench/throughput.py [JOBS]

Microseconds differ from machine to machine and from minute to minute; the ratio to the
bare loop says more. Both sides write one row a commit, with WAL and synchronous=NORMAL.
"""

from __future__ import annotations

import datetime
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from litequeue import Job, Queue, Worker, __version__
from litequeue.worker import Limits

JOBS = 5_000
REPEATS = 3

TABLE = """
create table bare (
  id integer primary key autoincrement, state integer not null, name text, payload text
)"""


class Nothing(Job):
    """A job that does nothing: what remains is the queue's own work."""

    number: int

    def handle(self) -> None:
        return


class Silent:
    """A listener that does not even log."""

    def started(self, *arguments: object) -> None: ...

    def ended(self, *arguments: object) -> None: ...

    def lost(self, *arguments: object) -> None: ...


def bare_connection(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")
    connection.execute(TABLE)
    return connection


INSERT = "insert into bare (state, name, payload) values (3, 'Nothing', ?)"


def bare_pushes(folder: Path, count: int) -> float:
    connection = bare_connection(folder)

    def push() -> None:
        for number in range(count):
            connection.execute(INSERT, [f'{{"number":{number}}}'])

    return timed(push)


def bare_bulk(folder: Path, count: int) -> float:
    connection = bare_connection(folder)

    def push() -> None:
        connection.execute("begin immediate")
        rows = [[f'{{"number":{number}}}'] for number in range(count)]
        connection.executemany(INSERT, rows)
        connection.execute("commit")

    return timed(push)


def bare_drain(folder: Path, count: int) -> float:
    """Claim a row, commit, delete it, commit: what any queue on SQLite does at least."""
    bare_bulk(folder, count)
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("pragma synchronous = normal")
    claim = """update bare set state = 5
               where id = (select min(id) from bare where state = 3) returning id"""
    connection.execute("create index bare_ready on bare (id) where state = 3")

    def drain() -> None:
        while found := connection.execute(claim).fetchall():
            connection.execute("delete from bare where id = ? and state = 5", found[0])

    return timed(drain)


def pushes(folder: Path, count: int) -> float:
    queue = Queue(folder / "jobs.db")
    return timed(lambda: [queue.push(Nothing(number)) for number in range(count)])


def bulk(folder: Path, count: int) -> float:
    queue = Queue(folder / "jobs.db")
    return timed(lambda: queue.push_many(Nothing(number) for number in range(count)))


def drain(folder: Path, count: int) -> float:
    queue = Queue(folder / "jobs.db")
    queue.push_many(Nothing(number) for number in range(count))
    worker = Worker(queue, [Nothing], limits=Limits(drain=True), listener=Silent())
    seconds = timed(worker.run)
    assert not queue.counts(), "the worker has left jobs"
    return seconds


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def best(measure: Callable[[Path, int], float], count: int) -> float:
    """The least of some runs, each in a fresh folder: the rest is the machine's noise."""
    seconds = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            seconds.append(measure(Path(folder), count))
    return min(seconds)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    print(f"litequeue {__version__}, Python {platform.python_version()}, ", end="")
    print(f"SQLite {sqlite3.sqlite_version}, {platform.platform()}, {os.cpu_count()} cores")
    now = datetime.datetime.now(datetime.timezone.utc)
    print(f"{now:%Y-%m-%d %H:%M} UTC, {count} jobs, the best of {REPEATS} runs\n")
    print(f"{'':<22}{'jobs/s':>9}{'bare sqlite3':>14}{'times the bare time':>21}")
    for name, ours, bare in (
        ("push, one by one", pushes, bare_pushes),
        ("push_many, one call", bulk, bare_bulk),
        ("drain by one worker", drain, bare_drain),
    ):
        mine, theirs = best(ours, count), best(bare, count)
        print(f"{name:<22}{count / mine:>9.0f}{count / theirs:>14.0f}{mine / theirs:>21.1f}")


if __name__ == "__main__":
    main()
