"""What the tests of the doctor share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from litequeue.queue import Queue


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Queue:
    """A queue of one job."""
    queue = make_queue()
    queue.push("send", {"to": "ann"})
    return queue
