"""What each act costs as the file grows, and how long bulk verbs keep others waiting."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

from bench.filling import fill
from bench.jobs import Nothing
from bench.measuring import brief, fresh, grouped, timed
from bench.prober import another_writer
from bench.report import Table
from bench.sizes import Sizes
from bench.watched import watched
from litequeue import Queue, State
from litequeue.cli import main as cli

ACTS = 200
LOOKS = 3
HOLD_TARGET_SECONDS = 0.05


def growth(sizes: Sizes, folder: Path) -> Iterator[Table]:
    """Acts on one job, looks at all of them, and verbs that change all of them."""
    columns = [_acts(count, folder) for count in sizes.growth]
    yield Table(
        "One job among many that are ready",
        ("rows in the file", *map(grouped, sizes.growth)),
        [[act, *(brief(column[act]) for column in columns)] for act in columns[0]],
        (
            "",
            f"The median of {ACTS} acts, and of {LOOKS} runs of the command in this process.",
        ),
    )
    yield Table(
        "All at once",
        ("verb", "rows", "seconds", "a row", "a step", "a checkpoint", "another waited", "reached"),
        [row for count in sizes.growth for row in _bulk_verbs(count, folder)],
        (
            "",
            "a step, a checkpoint: the longest time for which one held the write lock. another",
            "waited: the longest that a process had to wait which writes every millisecond.",
            f"reached: all within {HOLD_TARGET_SECONDS * 1000:.0f} ms.",
        ),
    )


def _acts(count: int, folder: Path) -> dict[str, float]:
    with fresh(folder) as inside, Queue(inside / "jobs.db") as queue:
        fill(queue, count, State.READY)
        return {
            "push": _median(lambda: queue.push(Nothing(1)), ACTS),
            **_claims(queue, min(ACTS, count)),
            "status": _median(lambda: _command("status", queue.path), LOOKS),
            "list, the newest 20": _median(lambda: _command("list", queue.path), LOOKS),
        }


def _claims(queue: Queue, count: int) -> dict[str, float]:
    registration = queue.store.presence.register(())
    claims, ends = [], []
    for _ in range(count):
        started = time.perf_counter()
        (row,) = queue.store.claims.claim(registration.worker)
        claims.append(time.perf_counter() - started)
        ends.append(timed(partial(queue.store.executions.complete, row)))
    queue.store.presence.deregister(registration.worker)
    registration.leave()
    return {"claim": statistics.median(claims), "complete": statistics.median(ends)}


def _median(act: Callable[[], object], times: int) -> float:
    return statistics.median(timed(act) for _ in range(times))


def _command(*words: str) -> None:
    with redirect_stdout(io.StringIO()):
        assert cli.main(words) == 0


def _bulk_verbs(count: int, folder: Path) -> Iterator[list[str]]:
    for verb, state, act in (
        ("retry all failed", State.FAILED, _retry),
        ("prune", State.CANCELLED, _prune),
    ):
        with fresh(folder) as inside, watched() as watch, Queue(inside / "jobs.db") as queue:
            fill(queue, count, state)
            watch.clear()
            with another_writer(queue.path) as wait:
                seconds = timed(partial(act, queue))
        longest = [max(watch.holds), max(watch.checkpoints, default=0.0), wait.longest]
        within = max(longest) <= HOLD_TARGET_SECONDS
        yield [
            verb,
            grouped(count),
            f"{seconds:.2f}",
            brief(seconds / count),
            *map(brief, longest),
            "yes" if within else "NO",
        ]


def _retry(queue: Queue) -> int:
    return queue.retry(state=State.FAILED)


def _prune(queue: Queue) -> int:
    return queue.prune(older=60)
