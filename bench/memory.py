"""The memory of a worker over many payloads, at its highest."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench import footprint
from bench.jobs import Text
from bench.measuring import fresh, grouped, per_second
from bench.report import Table
from bench.sizes import Sizes
from bench.workers import ROOT
from litequeue import Queue

# A push_many of all would be one transaction, and its WAL as long as the file.
AT_ONCE = 5_000
LOOK_SECONDS = 0.01


def memory(sizes: Sizes, folder: Path) -> Iterator[Table]:
    """A worker that drains so many, beside one that has few, or small ones."""
    rows = []
    for name, length, count in sizes.memory:
        with fresh(folder) as inside, Queue(inside / "jobs.db") as queue:
            for start in range(0, count, AT_ONCE):
                many = min(AT_ONCE, count - start)
                queue.push_many(Text("x" * length) for _ in range(many))
            peak, seconds = _worked(queue)
            assert not queue.find(limit=1), "the worker has left jobs"
        rows.append([name, grouped(count), per_second(count, seconds), footprint.megabytes(peak)])
    yield Table(
        "The memory of a worker",
        ("payload", "jobs", "done", "at its highest"),
        rows,
        ("", "at its highest: the most resident memory that the process of the worker had."),
    )


def _worked(queue: Queue) -> tuple[int, float]:
    """Drain the queue by one `litequeue work`; returns its highest memory, and the seconds
    with its start and its end."""
    started, peak = time.perf_counter(), 0
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "litequeue", "work", queue.path),
            *("--jobs", "bench.jobs", "--quiet", "--drain"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None:
            peak = max(peak, footprint.peak(process.pid))
            time.sleep(LOOK_SECONDS)
    assert process.returncode == 0, process.returncode
    return peak, time.perf_counter() - started
