"""Pushing and draining beside the bare loops that do the least that any queue has to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench import floors
from bench.drains import HAS_PREFETCH, filled_and_drained
from bench.jobs import Nothing
from bench.measuring import Row, Sides, alternated, fresh, inside, per_second, timed
from bench.sizes import Sizes
from bench.workers import crew
from litequeue import Queue
from litequeue.engine.database import Synchronous

PUSH_TARGET, BULK_TARGET, DRAIN_TARGET = 0.6, 0.5, 2.0


def texts(count: int) -> list[str]:
    """The payloads that the bare loops store: JSON, made ready beforehand."""
    return [f'{{"number":{number}}}' for number in range(count)]


def pushes(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """One durable commit for each job, alone and while a worker sleeps on the file."""
    count = sizes.pushes
    sides = alternated(
        sizes.rounds + 2,
        {
            "floor": inside(folder, partial(floors.pushes, texts=texts(count))),
            "alone": inside(folder, partial(pushed, count=count)),
        },
    )
    yield sides.row("push, one by one", "alone", "floor", count, PUSH_TARGET)
    for what, paused, arguments in (
        ("  a worker of another queue sleeps", False, ["--queue", "other"]),
        # Of a paused queue it finds none to run, and so it sleeps again after each.
        ("  a worker is woken by each", True, []),
    ):
        with fresh(folder) as place, Queue(place / "jobs.db") as queue:
            if paused:
                queue.pause("default")
            with crew(queue, 1, *arguments):
                sides = _beside_the_floor(sizes, folder, queue)
            yield sides.row(what, "ours", "floor", count, PUSH_TARGET)


def _beside_the_floor(sizes: Sizes, folder: Path, queue: Queue) -> Sides:
    count = sizes.pushes
    return alternated(
        sizes.rounds,
        {
            "floor": inside(folder, partial(floors.pushes, texts=texts(count))),
            "ours": lambda: timed(lambda: [queue.push(Nothing(n)) for n in range(count)]),
        },
    )


def pushed(folder: Path, count: int, synchronous: Synchronous = "normal") -> float:
    """The seconds that so many pushes take, each for itself, to a new file."""
    with Queue(folder / "jobs.db", synchronous=synchronous) as queue:
        return timed(lambda: [queue.push(Nothing(number)) for number in range(count)])


def bulk(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """All in one call and one transaction."""
    count = sizes.bulk
    sides = alternated(
        sizes.rounds + 2,
        {
            "floor": inside(folder, partial(floors.bulk, texts=texts(count))),
            "ready": inside(folder, partial(pushed_at_once, count=count)),
            "made": inside(folder, partial(pushed_at_once, count=count, made=False)),
        },
    )
    yield sides.row("push_many of jobs in a list", "ready", "floor", count, BULK_TARGET)
    yield sides.row("  the jobs made meanwhile", "made", "floor", count)


def pushed_at_once(
    folder: Path, count: int, *, made: bool = True, synchronous: Synchronous = "normal"
) -> float:
    """The seconds that one push_many takes; without ``made`` the jobs are made by it."""
    with Queue(folder / "jobs.db", synchronous=synchronous) as queue:
        jobs = map(Nothing, range(count))
        given = list(jobs) if made else jobs
        return timed(lambda: queue.push_many(given))


def drains(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """From the first start to the last end, with one worker."""
    count = sizes.drain
    sides = {
        "floor": inside(folder, partial(floors.drain, texts=texts(count))),
        "hundreds": inside(folder, partial(floors.drain_by_hundreds, texts=texts(count))),
        "ours": inside(folder, partial(filled_and_drained, count=count)),
    }
    if HAS_PREFETCH:
        sides["single"] = inside(folder, partial(filled_and_drained, count=count, prefetch=1))
    found = alternated(sizes.rounds, sides)
    yield found.row("drain by one worker", "ours", "floor", count, DRAIN_TARGET)
    if HAS_PREFETCH:
        yield found.row("  with prefetch=1", "single", "floor", count)
    far = found.middle("hundreds")
    yield Row(
        "  the far limit: bare, 100 a commit",
        "",
        per_second(count, far),
        f"{found.ratio('ours', 'hundreds'):.2f}",
        f"{found.best_ratio('ours', 'hundreds'):.2f}",
        "",
        None,
    )
