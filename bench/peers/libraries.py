"""The libraries, each as its documentation sets it up, and how its worker is started."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import litequeue

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


HUEY = _program("huey_consumer", "bench.peers.with_huey.huey", "-w", "1", "-q")
RQ = _program("rq", "worker", "--quiet", "--url", "{redis}")

LIBRARIES = (
    Library(
        "litequeue",
        "with_litequeue",
        (
            *(sys.executable, "-m", "litequeue", "work", "{folder}/jobs.db"),
            *("--jobs", "bench.peers.with_litequeue", "--quiet"),
        ),
    ),
    Library("litequeue", "with_litequeue", _python("with_litequeue"), "full"),
    Library("huey", "with_huey", HUEY),
    Library("huey", "with_huey", HUEY, "fsync=False"),
    Library("persist-queue", "with_persistqueue", _python("with_persistqueue")),
    Library(
        "tinyjobs",
        "with_tinyjobs",
        _program(
            *("tinyjobs", "worker", "--app", "bench.peers.with_tinyjobs:app"),
            *("--log-level", "ERROR"),
        ),
    ),
    Library(
        "potatoq",
        "with_potatoq",
        _program("potatoq", "-A", "bench.peers.with_potatoq", "worker", "-c", "1", "-l", "ERROR"),
    ),
    Library("rq", "with_rq", RQ, stamps=True, redis=True),
    Library("rq", "with_rq", (*RQ, "-w", "rq.worker.SimpleWorker"), "SimpleWorker", redis=True),
)
