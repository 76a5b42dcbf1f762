"""Waiting in tests: on a condition, on a line from a child, or by a clock of their own."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent


def wait_until(condition: Callable[[], object], within: float = 5) -> None:
    """Return as soon as ``condition()`` is true; fail after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"it did not come true within {within} s"
        time.sleep(0.002)


class Clock:
    """A clock that stands still until a test moves it, and a sleep that moves it."""

    def __init__(self, now: float = 1_900_000_000.0) -> None:
        self.now = now
        self._events: list[tuple[float, Callable[[], object]]] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [event for event in self._events if event[0] <= self.now]
        self._events = [event for event in self._events if event[0] > self.now]
        for _, action in due:
            action()

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Call ``action`` when the clock has moved on by so many seconds."""
        self._events.append((self.now + seconds, action))


class Child:
    """A Python script in a process of its own: lines come from it, lines go to it."""

    def __init__(self, script: str, *arguments: object, flags: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *flags, "-c", script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))},
            bufsize=0,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self, within: float = 20) -> str:
        """The next line that the child prints."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], within)[0], "the child says nothing"
        found = self.process.stdout.readline().decode().strip()
        return found or self._failed()

    def say(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    def finish(self) -> str:
        """Wait for the end, which must be a success that complains of nothing; returns
        the rest of what it printed."""
        out, err = self.process.communicate(timeout=30)
        assert not err, err.decode()
        assert self.process.returncode == 0, f"it ended with {self.process.returncode}"
        return out.decode().strip()

    def kill(self) -> None:
        """End it by SIGKILL, if it has not ended, and let go of its pipes."""
        self.process.kill()
        self.process.communicate()

    def _failed(self) -> str:
        err = self.process.communicate(timeout=30)[1]
        raise AssertionError(f"the child ended: {err.decode()}")
