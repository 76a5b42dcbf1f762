"""What the tests share."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from waiting import Child, Clock

from litequeue.queue import Queue


@pytest.fixture(params=["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"])
def zone(request: pytest.FixtureRequest) -> Iterator[ZoneInfo]:
    """Each test that asks for it runs with the process in each of these zones."""
    if not hasattr(time, "tzset"):
        pytest.skip("this system cannot change its zone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "TZ", request.param)
        time.tzset()
        yield ZoneInfo(request.param)
    time.tzset()


@pytest.fixture
def application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Mapping[str, str]], Path]]:
    """Writes files into an empty current folder, by their names; what a test imports from
    there is forgotten after it, and sys.path is as it was."""
    path, known = list(sys.path), set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LITEQUEUE_JOBS", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        return tmp_path

    yield write
    sys.path[:] = path
    for name in set(sys.modules) - known:
        # The spec's text names the file, or the folders of a namespace package.
        if str(tmp_path) in str(sys.modules[name].__spec__):
            del sys.modules[name]


@pytest.fixture
def clock() -> Clock:
    """A clock that only the test moves."""
    return Clock()


@pytest.fixture
def make_queue(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Queue]]:
    """Makes queues, by the name of the file, on the test's clock; closes them after it."""
    made: list[Queue] = []

    def make(name: str = "jobs.db", **options: Any) -> Queue:
        options = {"clock": clock, "sleep": clock.sleep, **options}
        made.append(Queue(tmp_path / name, **options))
        return made[-1]

    yield make
    for queue in made:
        queue.close()


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Queue:
    """The queue jobs.db, on the test's clock."""
    return make_queue()


@pytest.fixture
def start() -> Iterator[Callable[..., Child]]:
    """Starts scripts as children; those that still live are killed after the test."""
    started: list[Child] = []

    def start(script: str, *arguments: object, flags: tuple[str, ...] = ()) -> Child:
        started.append(Child(script, *arguments, flags=flags))
        return started[-1]

    yield start
    for child in started:
        child.kill()
