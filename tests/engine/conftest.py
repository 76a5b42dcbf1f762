"""What the tests of wake-ups share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from litequeue.engine.notifier import Listener


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db-workers"
    path.mkdir()
    return path


@pytest.fixture
def listen(folder: Path) -> Iterator[Callable[..., Listener]]:
    """Makes listeners for lists of queues; they are closed after the test."""
    listeners: list[Listener] = []

    def listen(*queues: str) -> Listener:
        listeners.append(Listener(folder, queues))
        return listeners[-1]

    yield listen
    for listener in listeners:
        listener.close()
