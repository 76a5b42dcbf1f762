"""litequeue: its own command is the worker; with synchronous="full", a worker from Python."""

from __future__ import annotations

from functools import cache

from bench.peers import work as works
from litequeue import Job, Queue, Worker


class Count(Job):
    """Counts itself."""

    def handle(self) -> None:
        works.count()


class Hang(Job, max_attempts=works.ATTEMPTS):
    """Hangs when it runs for the first time."""

    def handle(self) -> None:
        works.hang()


class Ordinary(
    Job, timeout=works.TIMEOUT_SECONDS, keep=works.KEEP_SECONDS, max_attempts=works.ATTEMPTS
):
    """Returns a result that is kept."""

    def handle(self) -> str:
        return works.ordinary()


class Nap(Job):
    """Sleeps."""

    def handle(self) -> None:
        works.nap()


@cache
def _queue() -> Queue:
    full = works.variant() == "full"
    return Queue(works.folder() / "jobs.db", synchronous="full" if full else "normal")


def push() -> None:
    _queue().push(Count())


def push_ordinary() -> None:
    _queue().push(Ordinary())


def push_nap() -> None:
    _queue().push(Nap())


def push_hanging() -> None:
    _queue().push(Hang())


def work() -> None:
    Worker(_queue(), [Count, Hang, Ordinary, Nap]).run()
