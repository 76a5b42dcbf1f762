"""Jobs that wait as for a network, many at once: in threads of one worker, in one event loop,
and in processes, with the memory that each takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import footprint
from bench.footprint import Footprint
from bench.jobs import Napping, NappingAsync
from bench.measuring import Sides, alternated, fresh, per_second
from bench.report import Table
from bench.sizes import Sizes
from bench.workers import NO_THREADS, emptied, has_threads, working
from litequeue import Queue

WAIT_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Way:
    """One way of running many jobs at once."""

    what: str
    flag: str
    job: type[Napping] | type[NappingAsync]


THREADS = (Way("threads", "--threads", Napping), Way("async def", "--threads", NappingAsync))
PROCESSES = (Way("processes", "--workers", Napping),)


@dataclass(slots=True)
class _Found:
    """The memory of one way, round by round."""

    idle: list[Footprint] = field(default_factory=list)
    busy: list[Footprint] = field(default_factory=list)


def waiting(sizes: Sizes, folder: Path) -> Iterator[Table]:
    """The workers sleep when all the jobs are pushed at once."""
    ways = (*THREADS, *PROCESSES) if has_threads() else PROCESSES
    rows = []
    for at_once in sizes.at_once:
        count = at_once * sizes.waits
        found = {way.what: _Found() for way in ways}
        sides = alternated(
            sizes.rounds,
            {
                way.what: partial(_drained, folder, way, at_once, count, found[way.what])
                for way in ways
            },
        )
        rows += [_row(way, at_once, count, sides, found[way.what]) for way in ways]
    yield Table(
        "Jobs that wait for 20 ms",
        ("at once", "as", "done", "of the most", "RSS / PSS idle", "RSS / PSS busy"),
        rows,
        (
            "",
            "at once: --threads or --workers. of the most: beside what waiting alone would allow.",
            "RSS / PSS: of all processes of the worker, its supervisor among them; in RSS each",
            "counts what it shares with others as its own, in PSS its part of it.",
            *(() if has_threads() else (NO_THREADS,)),
        ),
    )


def _row(way: Way, at_once: int, count: int, sides: Sides, found: _Found) -> list[str]:
    seconds = sides.middle(way.what)
    least = WAIT_SECONDS * count / at_once
    return [
        str(at_once),
        way.what,
        per_second(count, seconds),
        f"{100 * least / seconds:.0f} %",
        str(found.idle[0]),
        str(found.busy[0]),
    ]


def _drained(folder: Path, way: Way, at_once: int, count: int, found: _Found) -> float:
    jobs = [way.job(WAIT_SECONDS) for _ in range(count)]
    workers = at_once if way.flag == "--workers" else 1
    with fresh(folder) as inside, Queue(inside / "jobs.db") as queue:
        with working(queue, workers, way.flag, str(at_once)) as process:
            found.idle.append(footprint.of_tree(process.pid))
            seconds = emptied(queue, jobs)
            found.busy.append(footprint.of_tree(process.pid))
        return seconds
