"""Workers as threads of one process, beside workers as processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.jobs import Napping, Tallied
from bench.measuring import alternated, fresh, per_second
from bench.report import Table
from bench.sizes import Sizes
from bench.workers import DRAIN_SECONDS, crew, wait_until
from litequeue import Job, Queue

THREAD_NAP_SECONDS = 0.002


def threads(sizes: Sizes, folder: Path) -> Iterator[Table]:
    """The same jobs for both: some that do nothing, and some that wait for 2 ms."""
    naps: list[Job] = [Napping(THREAD_NAP_SECONDS) for _ in range(sizes.naps)]
    nothing: list[Job] = [Tallied(number) for number in range(4 * sizes.naps)]
    rows = []
    for what, jobs in (("nothing", nothing), ("wait for 2 ms", naps)):
        for count in (1, *sizes.crews):
            measures: dict[str, Callable[[], float]] = {
                "processes": partial(_span, folder, jobs, count, threads=False),
                "threads": partial(_span, folder, jobs, count, threads=True),
            }
            sides = alternated(sizes.rounds, measures)
            rates = [per_second(len(jobs), sides.middle(side)) for side in measures]
            rows.append([what, str(count), *rates, f"{sides.ratio('threads', 'processes'):.2f}"])
    yield Table(
        "Threads and processes",
        ("the jobs do", "workers", "processes", "threads", "ratio"),
        rows,
        ("", "ratio: how many times as fast threads are."),
    )


def _span(folder: Path, jobs: Sequence[Job], count: int, *, threads: bool) -> float:
    with fresh(folder) as inside, Queue(inside / "jobs.db") as queue:
        with crew(queue, count, threads=threads) as found:
            queue.push_many(jobs)
            wait_until(lambda: not queue.find(limit=1), within=DRAIN_SECONDS)
        assert sum(found.counts) == len(jobs)
        return found.span
