"""The interval timer of the main thread, which is set only if it would fire too late."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from litequeue.worker.interrupt import SAME_TIMER_SECONDS, Alarm

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers")

REAL = getattr(signal, "ITIMER_REAL", 0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each call of setitimer."""
    found: list[float] = []
    real = signal.setitimer

    def counted(which: int, seconds: float, interval: float = 0.0) -> object:
        found.append(seconds)
        return real(which, seconds, interval)

    monkeypatch.setattr(signal, "setitimer", counted)
    return found


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    made = Alarm()
    before = signal.signal(signal.SIGALRM, made.fire)
    made.begin()
    yield made
    made.end()
    signal.signal(signal.SIGALRM, before)


def left() -> float:
    return signal.getitimer(REAL)[0]


def note(fired: list[str], name: str) -> Callable[[FrameType | None], None]:
    return lambda frame: fired.append(name)


def wait_for(fired: list[str], count: int) -> None:
    until = time.monotonic() + 20
    while len(fired) < count and time.monotonic() < until:
        time.sleep(0.01)
    assert len(fired) == count


def test_equal_timeouts_one_after_the_other_set_the_timer_once(
    alarm: Alarm, calls: list[float]
) -> None:
    for _ in range(10):
        alarm.set("timeout", 60, note([], ""))
        alarm.cancel("timeout")
    assert len(calls) == 1
    assert 59 < left() <= 60


def test_an_earlier_moment_sets_the_timer_anew(alarm: Alarm, calls: list[float]) -> None:
    alarm.set("timeout", 60, note([], ""))
    alarm.set("grace", 5, note([], ""))
    assert len(calls) == 2
    assert 4 < left() <= 5


def test_a_timer_that_fires_for_something_cancelled_is_set_for_what_is_due(alarm: Alarm) -> None:
    fired: list[str] = []
    alarm.set("first", 0.03, note(fired, "first"))
    alarm.cancel("first")
    alarm.set("second", 0.08, note(fired, "second"))
    wait_for(fired, 1)
    assert fired == ["second"]


def test_two_moments_come_in_their_order(alarm: Alarm) -> None:
    fired: list[str] = []
    alarm.set("late", 0.06, note(fired, "late"))
    alarm.set("early", 0.02, note(fired, "early"))
    wait_for(fired, 2)
    assert fired == ["early", "late"]


def test_a_timer_that_a_job_has_stopped_runs_again_for_the_next(alarm: Alarm) -> None:
    alarm.set("timeout", 60, note([], ""))
    signal.setitimer(REAL, 0)
    alarm.cancel("timeout")
    alarm.set("timeout", 60, note([], ""))
    assert 59 < left() <= 60


@pytest.mark.parametrize("seconds", [0, 1000])
def test_what_a_job_does_to_the_timer_is_undone(alarm: Alarm, seconds: float) -> None:
    alarm.set("grace", 60, note([], ""))
    signal.setitimer(REAL, seconds)
    assert alarm.restore() == (seconds > 0)
    assert 59 < left() <= 60


def test_a_timer_that_a_job_has_left_is_stopped_and_reported(alarm: Alarm) -> None:
    assert not alarm.restore()
    signal.setitimer(REAL, 1000)
    assert alarm.restore()
    assert left() == 0
    signal.setitimer(REAL, 1000, 5)
    assert alarm.restore()


def test_its_own_timer_is_no_job_s(alarm: Alarm) -> None:
    alarm.set("timeout", 60, note([], ""))
    alarm.cancel("timeout")
    assert not alarm.restore()
    assert left() > 60 - 20 * SAME_TIMER_SECONDS


def test_the_timer_stops_when_nothing_is_due(alarm: Alarm) -> None:
    alarm.set("timeout", 60, note([], ""))
    alarm.stop()
    assert left() > 0
    alarm.cancel("timeout")
    alarm.stop()
    assert left() == 0
