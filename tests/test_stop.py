"""Being woken, and asked to stop, from anywhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from litequeue.stop import Stop

# Long enough to fail by the patience of whoever runs the tests.
FOR_EVER_SECONDS = 600.0


@pytest.fixture(params=["a pipe", "sockets, as on Windows"])
def stop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stop]:
    if request.param != "a pipe":
        monkeypatch.setattr(sys, "platform", "win32")
    with closing(Stop()) as stop:
        monkeypatch.undo()
        yield stop


def test_a_wake_ends_the_sleep_once(stop: Stop) -> None:
    stop.wake()
    assert stop.sleep(FOR_EVER_SECONDS) == []
    assert not stop.requested
    stop.request()
    stop.sleep(FOR_EVER_SECONDS)
    assert stop.requested
    assert stop.sleep(0) == []


def test_many_wakes_while_nobody_sleeps_block_nobody(stop: Stop) -> None:
    for _ in range(300_000):
        stop.wake()
    stop.sleep(FOR_EVER_SECONDS)


def test_a_sleep_says_which_descriptors_can_be_read(stop: Stop) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    assert stop.sleep(FOR_EVER_SECONDS, [reader]) == [reader]
    os.close(reader)
    os.close(writer)


def test_a_stop_that_was_closed_can_be_woken_and_closed_again(stop: Stop) -> None:
    stop.close()
    reader, writer = os.pipe()  # where the closed ends have been
    stop.wake()
    stop.close()
    os.close(reader)
    os.close(writer)
