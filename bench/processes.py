"""Draining by several worker processes, beside one that was started in the same way."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.jobs import Tallied
from bench.measuring import Row, alternated, fresh
from bench.sizes import Sizes
from bench.workers import DRAIN_SECONDS, Crew, crew, wait_until
from litequeue import Queue

TARGET = 1.0
SHARE_TARGET = 0.4


def processes(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """The workers wait, idle, for one push of all the jobs; the time runs from the first
    start of a job to the last."""
    count = sizes.shared
    crews: dict[int, list[Crew]] = {number: [] for number in (1, *sizes.crews)}

    def drain(workers: int) -> float:
        with fresh(folder) as inside, Queue(inside / "jobs.db") as queue:
            with crew(queue, workers) as found:
                queue.push_many([Tallied(number) for number in range(count)])
                wait_until(lambda: not queue.find(limit=1), within=DRAIN_SECONDS)
            assert sum(found.counts) == count, f"{sum(found.counts)} runs of {count} jobs"
            crews[workers].append(found)
            return found.span

    sides = alternated(sizes.rounds, {str(number): partial(drain, number) for number in crews})
    for number in sizes.crews:
        yield sides.row(f"drain by {number} processes / by one", str(number), "1", count, TARGET)
        yield _shares(number, crews[number])
    yield _complaints([found for many in crews.values() for found in many])


def _shares(number: int, crews: list[Crew]) -> Row:
    shares = sorted(found.counts[0] / found.counts[-1] for found in crews)
    middle = shares[len(shares) // 2]
    counts = ", ".join(str(count) for count in crews[-1].counts)
    return Row(
        f"  the share of the slowest of {number}",
        f"({counts})",
        "",
        f"{middle:.2f}",
        f"{shares[-1]:.2f}",
        f">= {SHARE_TARGET:g}",
        middle >= SHARE_TARGET,
    )


def _complaints(crews: list[Crew]) -> Row:
    lines = sum(found.complaints.count("\n") for found in crews)
    return Row("  lines on standard error", str(lines), "", "", "", "0", lines == 0)
