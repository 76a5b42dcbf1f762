"""The libraries, each as its documentation sets it up, and how its worker is started."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import litequeue
from bench.workers import has_threads

BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Library:
    """One library, in one way of setting it up."""

    package: str
    adapter: str
    worker: Sequence[str]
    """The command of one worker; {folder} is where the database is."""
    variant: str = ""
    stamps: bool = False
    """Whether its jobs count themselves in a file, each in a process of its own."""
    redis: bool = False
    crowd: Sequence[str] = ()
    """The command of a worker that runs ten jobs at a time, by threads where it has them."""
    ordinary: bool = True
    """Whether it has timeouts, results and attempts."""

    @property
    def title(self) -> str:
        """Its name with its version, and what is set."""
        words = [self.package, self.version, f"({self.variant})" if self.variant else None]
        return " ".join(word for word in words if word)

    @property
    def version(self) -> str | None:
        """The version that is installed, if any is."""
        if self.package == "litequeue":
            return litequeue.__version__
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None


def _python(adapter: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "bench.peers.run", adapter, "work")


def _program(name: str, *arguments: str) -> tuple[str, ...]:
    return (str(BIN / name), *arguments)


LITEQUEUE = (
    *(sys.executable, "-m", "litequeue", "work", "{folder}/jobs.db"),
    *("--jobs", "bench.peers.with_litequeue", "--quiet"),
)
LITEQUEUE_CROWD = (*LITEQUEUE, "--threads" if has_threads() else "--workers", "10")
HUEY = _program("huey_consumer", "bench.peers.with_huey.huey", "-q", "-w")
TINYJOBS = _program(
    *("tinyjobs", "worker", "--app", "bench.peers.with_tinyjobs:app", "--log-level", "ERROR"),
)
POTATOQ = _program("potatoq", "-A", "bench.peers.with_potatoq", "worker", "-l", "ERROR", "-c", "1")
RQ = _program("rq", "worker", "--quiet", "--url", "{redis}")
RQ_POOL = _program("rq", "worker-pool", "--quiet", "--url", "{redis}", "-n", "10")
SIMPLE = ("-w", "rq.worker.SimpleWorker")
CELERY = _program("celery", "-A", "bench.peers.with_celery", "worker", "-l", "ERROR")

LIBRARIES = (
    Library("litequeue", "with_litequeue", LITEQUEUE, crowd=LITEQUEUE_CROWD),
    Library("litequeue", "with_litequeue", _python("with_litequeue"), "full"),
    Library("huey", "with_huey", (*HUEY, "1"), crowd=(*HUEY, "10")),
    Library("huey", "with_huey", (*HUEY, "1"), "fsync=False"),
    Library("persist-queue", "with_persistqueue", _python("with_persistqueue"), ordinary=False),
    Library("tinyjobs", "with_tinyjobs", TINYJOBS, crowd=(*TINYJOBS, "--concurrency", "10")),
    Library("potatoq", "with_potatoq", POTATOQ, crowd=(*POTATOQ, "-t", "10")),
    Library("rq", "with_rq", RQ, stamps=True, redis=True, crowd=RQ_POOL),
    Library(
        *("rq", "with_rq", (*RQ, *SIMPLE), "SimpleWorker"),
        redis=True,
        crowd=(*RQ_POOL, *SIMPLE),
    ),
    Library(
        *("celery", "with_celery", (*CELERY, "-c", "1")),
        redis=True,
        crowd=(*CELERY, "-P", "threads", "-c", "10"),
    ),
)
