"""What the fault suite shares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import World

if sys.platform == "win32":
    collect_ignore_glob = ["test_*"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A queue, a journal and processes; what still lives of them is killed at the end,
    and the laws of the file have held."""
    made = World(tmp_path)
    try:
        yield made
        assert made.queue.check() == []
    finally:
        made.close()
