"""Draining a file that holds much else, beside draining one that is empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.drains import drained
from bench.filling import fill
from bench.jobs import Nothing
from bench.measuring import Row, alternated, fresh, grouped
from bench.sizes import Sizes
from litequeue import Queue, State

TARGET = 0.85
DRAINED_PART = 0.2


def backlog(sizes: Sizes, folder: Path) -> Iterator[Row]:
    """Each round pushes the same jobs to both files and drains them; what else is in the
    one file is in the way of the worker, which serves all queues, and stays."""
    with fresh(folder) as inside, Queue(inside / "empty.db") as empty:
        for number, (what, state, priority) in enumerate(
            (
                ("ready, of a lower priority", State.READY, -1),
                ("waiting for a job", State.WAITING, 9),
                ("scheduled for later", State.SCHEDULED, 9),
                ("done and kept", State.DONE, 9),
            )
        ):
            with Queue(inside / f"laden-{number}.db") as laden:
                name = "behind" if state is State.READY else "default"
                fill(laden, sizes.backlog, state, name=name, priority=priority)
                yield _beside(sizes, empty, laden, f"drain with {grouped(sizes.backlog)} {what}")


def _beside(sizes: Sizes, empty: Queue, laden: Queue, what: str) -> Row:
    count = max(1, int(sizes.drain * DRAINED_PART))

    def drain(queue: Queue) -> float:
        queue.push_many([Nothing(number) for number in range(count)])
        return drained(queue, count)

    sides = alternated(
        sizes.rounds + 2, {"empty": lambda: drain(empty), "laden": lambda: drain(laden)}
    )
    return sides.row(what, "laden", "empty", count, TARGET)
