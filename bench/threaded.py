"""A process with several workers in threads: python -m bench.threaded DB COUNT."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from threading import Event

from bench import jobs
from litequeue import Queue, Worker


def main(path: str, count: int) -> None:
    """Work until SIGTERM."""
    over = Event()
    signal.signal(signal.SIGTERM, lambda number, frame: over.set())
    with Queue(path) as queue, ExitStack() as workers:
        for _ in range(count):
            workers.enter_context(Worker(queue, jobs).in_background())
        over.wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
