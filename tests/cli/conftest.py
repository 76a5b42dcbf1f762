"""What the tests of the commands share: a current folder, and a queue in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from litequeue import Queue


@pytest.fixture
def workplace(application: Callable[[Mapping[str, str]], Path]) -> Path:
    """An empty current folder."""
    return application({})


@pytest.fixture
def queue(workplace: Path) -> Iterator[Queue]:
    """The queue jobs.db in an empty current folder."""
    with Queue("jobs.db") as made:
        yield made
