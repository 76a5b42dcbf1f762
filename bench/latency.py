"""How long after its push a job starts, in an idle worker of another process."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

from bench.jobs import Stamped
from bench.measuring import Row, brief, fresh, quantile
from bench.sizes import Sizes
from bench.workers import crew, wait_until
from litequeue import Queue

MEDIAN_MS, NINETY_FIVE_MS = 2, 10
# Long enough for the worker to sleep again.
PAUSE_SECONDS = (0.02, 0.08)


def latency(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """From the call of push to the first line of handle, with default settings."""
    found = _latencies(sizes.latency, folder)
    for what, share, target in (("median", 0.5, MEDIAN_MS), ("95 %", 0.95, NINETY_FIVE_MS)):
        value = quantile(found, share)
        yield Row(
            f"push to start, {what}",
            f"{value * 1000:.2f} ms",
            "",
            "",
            "",
            f"< {target} ms",
            value * 1000 < target,
        )
    yield Row("push to start, the longest", brief(max(found)), "", "", "", "", None)


def _latencies(count: int, folder: Path) -> list[float]:
    pushed: dict[int, int] = {}
    with fresh(folder) as inside, Queue(inside / "jobs.db") as queue:
        starts = inside / "jobs.notes" / "starts"
        with crew(queue, 1):
            for number in range(count):
                time.sleep(random.uniform(*PAUSE_SECONDS))
                pushed[number] = time.monotonic_ns()
                queue.push(Stamped(number))
            wait_until(lambda: not queue.find(limit=1))
        started = [line.split() for line in starts.read_text(encoding="utf-8").splitlines()]
    return [(int(at) - pushed[int(number)]) / 1e9 for number, at in started]
