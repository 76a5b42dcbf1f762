"""The thread that calls functions at their time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from waiting import wait_until

from litequeue.errors import DatabaseBusy
from litequeue.worker.timeout import Timekeeper

WITHIN_SECONDS = 20.0


@pytest.fixture
def timekeeper() -> Iterator[Timekeeper]:
    made = Timekeeper()
    yield made
    made.close()


def test_functions_are_called_in_the_order_of_their_times(timekeeper: Timekeeper) -> None:
    called: list[str] = []
    timekeeper.call_later(0.1, lambda: called.append("late"))
    timekeeper.call_later(0.02, lambda: called.append("early"))
    wait_until(lambda: len(called) == 2, WITHIN_SECONDS)
    assert called == ["early", "late"]


def test_what_was_cancelled_is_not_called(timekeeper: Timekeeper) -> None:
    called: list[str] = []
    cancel = timekeeper.call_later(0.02, lambda: called.append("cancelled"))
    cancel()
    cancel()
    timekeeper.call_later(0.05, lambda: called.append("kept"))
    wait_until(lambda: called, WITHIN_SECONDS)
    assert called == ["kept"]


@pytest.mark.parametrize("used", [False, True])
def test_after_a_close_it_can_be_used_again(used: bool, timekeeper: Timekeeper) -> None:
    if used:
        timekeeper.call_later(3600, time.monotonic)
    timekeeper.close()
    called = threading.Event()
    timekeeper.call_later(0.01, called.set)
    assert called.wait(WITHIN_SECONDS)


def test_a_function_that_waits_or_fails_holds_up_no_other(timekeeper: Timekeeper) -> None:
    gate, called = threading.Event(), threading.Event()

    def wait() -> None:
        assert gate.wait(WITHIN_SECONDS)

    def fail() -> None:
        raise DatabaseBusy(path="jobs.db", waited=30)

    timekeeper.call_later(0, wait)
    timekeeper.call_later(0.01, fail)
    timekeeper.call_later(0.02, called.set)
    assert called.wait(WITHIN_SECONDS)
    gate.set()
