"""Being woken, and asked to stop, from anywhere."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from waiting import wait_until

from litequeue.queue import Queue
from litequeue.worker.interrupt import run_job
from litequeue.worker.shutdown import ForcedShutdown, Shutdown

# Long enough to fail by the patience of whoever runs the tests.
FOR_EVER_SECONDS = 600.0


@pytest.fixture(params=["a pipe", "sockets, as on Windows"])
def stop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shutdown]:
    if request.param != "a pipe":
        monkeypatch.setattr(sys, "platform", "win32")
    with closing(Shutdown()) as stop:
        monkeypatch.undo()
        yield stop


def test_a_wake_ends_the_sleep_once(stop: Shutdown) -> None:
    stop.wake()
    assert stop.sleep(FOR_EVER_SECONDS) == []
    assert not stop.requested
    stop.request()
    stop.sleep(FOR_EVER_SECONDS)
    assert stop.requested
    assert stop.sleep(0) == []


def test_many_wakes_while_nobody_sleeps_block_nobody(stop: Shutdown) -> None:
    for _ in range(300_000):
        stop.wake()
    stop.sleep(FOR_EVER_SECONDS)


def test_a_sleep_says_which_descriptors_can_be_read(stop: Shutdown) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    assert stop.sleep(FOR_EVER_SECONDS, [reader]) == [reader]
    os.close(reader)
    os.close(writer)


def test_a_stop_that_was_closed_can_be_woken_and_closed_again(stop: Shutdown) -> None:
    stop.close()
    reader, writer = os.pipe()  # where the closed ends have been
    stop.wake()
    stop.close()
    os.close(reader)
    os.close(writer)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_signal_inside_the_handler_of_another_is_the_second(
    make_queue: Callable[..., Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue()
    row = queue.get(queue.push("hang"))
    said: list[str] = []
    wake = Shutdown.wake

    def interrupted(stop: Shutdown) -> None:
        wake(stop)
        if len(came) == 1:
            came.append(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    def hang() -> None:
        came.append(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        wait_until(lambda: False)

    came: list[int] = []
    monkeypatch.setattr(Shutdown, "wake", interrupted)
    with closing(Shutdown(say=said.append)) as stop, stop.on_signals():
        stop.begin_job(row)
        with pytest.raises(ForcedShutdown):
            run_job(hang)
        stop.end_job()
    assert said == [f"Releasing job {row.id} (hang); this attempt does not count"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_signal_at_the_end_of_the_grace_does_not_interrupt_the_job_twice(
    make_queue: Callable[..., Queue],
) -> None:
    queue = make_queue()
    row = queue.get(queue.push("hang"))
    ended: list[str] = []

    def interrupted(line: str) -> None:
        if line.startswith("Releasing"):
            signal.raise_signal(signal.SIGTERM)

    def hang() -> None:
        signal.raise_signal(signal.SIGTERM)
        try:
            wait_until(lambda: False)
        finally:
            # Long enough for a second exception, which would come after 2 ms.
            time.sleep(0.05)
            ended.append("cleaned up")

    with closing(Shutdown(grace=0.01, say=interrupted)) as stop, stop.on_signals():
        stop.begin_job(row)
        with pytest.raises(ForcedShutdown):
            run_job(hang)
        stop.end_job()
    assert ended == ["cleaned up"]
