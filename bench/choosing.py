"""Threads or processes: jobs that wait for an answer, and jobs that compute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.jobs import Fetching, Hashing, Looping
from bench.measuring import Measure, alternated, fresh, per_second
from bench.report import Table
from bench.sizes import Sizes
from bench.workers import NO_THREADS, emptied, has_threads, working
from litequeue import Job, Queue

AT_ONCE = 4
ANSWER_SECONDS = 0.02
# Each about 10 ms on one core.
HASH_ROUNDS, LOOP_ROUNDS = 15_000, 150_000
ONE, THREADS, PROCESSES = "one worker", f"--threads {AT_ONCE}", f"--workers {AT_ONCE}"


def choosing(sizes: Sizes, folder: Path) -> Iterator[Table]:
    """The same jobs by one worker, by its threads, and by several workers."""
    count = AT_ONCE * sizes.waits
    with _server() as url:
        kinds: dict[str, Callable[[], Job]] = {
            "get a page that takes 20 ms": lambda: Fetching(url),
            "hash a password, in C": lambda: Hashing(HASH_ROUNDS),
            "compute in Python": lambda: Looping(LOOP_ROUNDS),
        }
        rows = [
            [what, *_line([make() for _ in range(count)], sizes.rounds, folder)]
            for what, make in kinds.items()
        ]
    yield Table(
        "Threads or processes",
        ("the jobs", ONE, THREADS, "x", PROCESSES, "x"),
        rows,
        (
            "",
            "x: how many times as fast as one worker; there can be no more than the cores allow",
            "for jobs that compute.",
            *(() if has_threads() else (NO_THREADS,)),
        ),
    )


def _line(jobs: Sequence[Job], rounds: int, folder: Path) -> list[str]:
    ways: dict[str, tuple[int, list[str]]] = {
        ONE: (1, []),
        THREADS: (1, THREADS.split()),
        PROCESSES: (AT_ONCE, PROCESSES.split()),
    }
    if not has_threads():
        del ways[THREADS]
    measures: dict[str, Measure] = {
        way: partial(_drained, folder, jobs, workers, flags)
        for way, (workers, flags) in ways.items()
    }
    sides = alternated(rounds, measures)
    cells = [per_second(len(jobs), sides.middle(ONE))]
    for way in (THREADS, PROCESSES):
        if way in ways:
            cells += [per_second(len(jobs), sides.middle(way)), f"{sides.ratio(way, ONE):.2f}"]
        else:
            cells += ["", ""]
    return cells


def _drained(folder: Path, jobs: Sequence[Job], workers: int, flags: Sequence[str]) -> float:
    with (
        fresh(folder) as inside,
        Queue(inside / "jobs.db") as queue,
        working(queue, workers, *flags),
    ):
        return emptied(queue, jobs)


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        time.sleep(ANSWER_SECONDS)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None: ...


@contextmanager
def _server() -> Iterator[str]:
    """A server on loopback that takes its time; gives its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
