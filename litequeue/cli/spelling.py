"""Suggests a known queue or job name for one that is unknown."""

from __future__ import annotations

from collections.abc import Iterable

from litequeue.messages import did_you_mean, printable
from litequeue.queue import Queue
from litequeue.records import key

# How many jobs are read at most to find a name.
MOST_LISTED = 1_000_000


def misspelt(
    queue: Queue,
    queue_name: str | None,
    name: str | None = None,
    *,
    more_queues: Iterable[str] = (),
) -> str:
    """Return `` (did you mean emails?)`` for an unknown queue or job name that resembles a
    known one, else an empty text. ``more_queues`` are known besides those of the file."""
    queues = {str(each) for each in (*queue.counts(), *queue.paused(), *more_queues)}
    if queue_name is not None and queue_name not in queues:
        return printable(did_you_mean(queue_name, queues))
    names = {row.name for row in queue.find(limit=MOST_LISTED)} if name is not None else set()
    if name is not None and key(name) not in map(key, names):
        return printable(did_you_mean(name, names))
    return ""
