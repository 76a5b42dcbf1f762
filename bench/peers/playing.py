"""One library at work in a folder of its own: pushing, working, being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import footprint
from bench.footprint import Footprint
from bench.measuring import fresh
from bench.peers.libraries import Library
from bench.peers.server import redis_server
from bench.peers.work import FOLDER, JOBS, VARIANT
from bench.workers import ROOT, wait_until

PEER_DRAIN_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Field:
    """A folder with the library's database, and the environment of its processes."""

    library: Library
    folder: Path
    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        """What the adapter answers to a command, in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "bench.peers.run", self.library.adapter, *command],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    @contextmanager
    def worker(self, command: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
        """A worker in a session of its own, all of which is killed after the block."""
        names = {"folder": self.folder, "redis": self.environment["RQ_REDIS_URL"]}
        with open(self.folder / "worker.log", "ab") as log:
            process = subprocess.Popen(
                [word.format(**names) for word in command or self.library.worker],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            kill(process)

    def drained(self, count: int) -> float:
        """The seconds from the first start to the last of ``count`` jobs that are waiting."""
        with self.worker():
            wait_until(lambda: self._over(count), within=PEER_DRAIN_SECONDS)
        first, last = self._span()
        return (last - first) / 1e9

    def rested(self, count: int) -> tuple[float, Footprint]:
        """The seconds from the first start to the last end of ``count`` jobs that sleep, and
        the memory of the worker when all of them run."""
        with self.worker(self.library.crowd) as process:
            wait_until(lambda: len(self._naps()) >= count, within=PEER_DRAIN_SECONDS)
            memory = footprint.of_tree(process.pid)
            wait_until(lambda: len(self._naps()) >= 2 * count, within=PEER_DRAIN_SECONDS)
        naps = self._naps()
        return (max(naps) - min(naps)) / 1e9, memory

    def _naps(self) -> list[int]:
        with suppress(OSError):
            return [int(at) for at in (self.folder / "naps").read_text(encoding="utf-8").split()]
        return []

    def _over(self, count: int) -> bool:
        if not self.library.stamps:
            return (self.folder / "span").exists()
        with suppress(OSError):
            return (self.folder / "stamps").read_bytes().count(b"\n") >= count
        return False

    def _span(self) -> tuple[int, int]:
        if self.library.stamps:
            lines = (self.folder / "stamps").read_text(encoding="utf-8").split()
            return int(lines[0]), int(lines[-1])
        first, last = json.loads((self.folder / "span").read_text(encoding="utf-8"))
        return int(first), int(last)


@contextmanager
def field(library: Library, folder: Path, count: int = 0) -> Iterator[Field]:
    """An empty folder for the library, with a server where it needs one."""
    with fresh(folder) as inside, ExitStack() as stack:
        url = stack.enter_context(redis_server(inside)) if library.redis else ""
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            FOLDER: str(inside),
            JOBS: str(count),
            VARIANT: library.variant,
            "RQ_REDIS_URL": url,
        }
        yield Field(library, inside, environment)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a worker and all its children by SIGKILL."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
