"""The jobs that are measured; worker processes import them by ``--jobs bench.jobs``."""

from __future__ import annotations

import atexit
import json
import os
import threading
import time
from pathlib import Path

from litequeue import Job

# Where a worker process writes what it has counted: a folder.
NOTES = "LITEQUEUE_BENCH_NOTES"


class Nothing(Job):
    """Does nothing: what remains is the queue's own work."""

    number: int

    def handle(self) -> None:
        return


class Text(Job):
    """Does nothing with a text of any length."""

    text: str

    def handle(self) -> None:
        return


class Tallied(Job):
    """Counts itself in the memory of its process."""

    number: int

    def handle(self) -> None:
        _count()


class Napping(Job):
    """Waits, as for a network, and counts itself."""

    seconds: float

    def handle(self) -> None:
        time.sleep(self.seconds)
        _count()


class NappingAsync(Job):
    """Waits as a coroutine, and counts itself."""

    seconds: float

    async def handle(self) -> None:
        import asyncio  # an idle worker is measured with this module

        await asyncio.sleep(self.seconds)
        _count()


class Fetching(Job):
    """Gets a page, and counts itself."""

    url: str

    def handle(self) -> None:
        from urllib.request import urlopen

        with urlopen(self.url) as answer:
            answer.read()
        _count()


class Hashing(Job):
    """Hashes a password, in C that lets other threads run, and counts itself."""

    rounds: int

    def handle(self) -> None:
        import hashlib

        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", self.rounds)
        _count()


class Looping(Job):
    """Computes in Python, where one thread runs at a time, and counts itself."""

    rounds: int

    def handle(self) -> None:
        sum(number * number for number in range(self.rounds))
        _count()


class Stamped(Job):
    """Tells when it started, by the clock that all processes share."""

    number: int

    def handle(self) -> None:
        now = time.monotonic_ns()
        with open(Path(os.environ[NOTES]) / "starts", "a", encoding="utf-8") as starts:
            starts.write(f"{self.number} {now}\n")


# Jobs may count themselves in several threads.
_counting = threading.Lock()
_tally = {"pid": os.getpid(), "count": 0, "first": 0, "last": 0}


def _count() -> None:
    now = time.monotonic_ns()
    with _counting:
        if not _tally["count"]:
            _tally["first"] = now
        _tally["last"] = now
        _tally["count"] += 1


@atexit.register
def _write_tally() -> None:
    folder = os.environ.get(NOTES)
    if folder is not None and os.path.isdir(folder):
        path = Path(folder) / f"tally-{os.getpid()}"
        path.write_text(json.dumps(_tally), encoding="utf-8")
