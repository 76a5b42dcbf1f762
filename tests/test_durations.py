from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from litequeue import Job, Queue, Retry, Snooze, State
from litequeue.cli.main import main
from litequeue.cli.parser import seconds
from litequeue.durations import clipped, seconds_of
from litequeue.errors import OptionError, WaitTimeout
from litequeue.worker.worker import Limits, Worker

FORMS = [
    (30, 30),
    (0.5, 0.5),
    (timedelta(hours=1), 3600),
    ("30", 30),
    (".5", 0.5),
    ("30s", 30),
    ("  1H  30 Min ", 5400),
    ("1h30m", 5400),
    ("in 2h", 7200),
    ("+15 minutes", 900),
    ("7 days", 604_800),
    ("1w 1d", 691_200),
]


@pytest.mark.parametrize(("value", "expected"), FORMS, ids=repr)
def test_each_form_of_a_duration_is_read(value: object, expected: float) -> None:
    assert seconds_of(value) == expected
    if isinstance(value, str):
        assert seconds(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("", "soon", "-5", "m", "500ms", "1h 30", "1 month", "1y", "tomorrow", "@5", "٣m", "1.m"),
        *(None, True, b"30s", [30], "1m" * 5000 + "!", "1" * 5000 + "!"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds_of(value)


def test_the_wait_that_a_job_asks_for_takes_each_form() -> None:
    waits: list[object] = ["1m", timedelta(minutes=2), -1, timedelta(-1), "soon", math.nan, None]
    assert [clipped(wait) for wait in waits] == [60, 120, 0, 0, None, None, None]
    assert clipped(Retry(after="1h").after) == clipped(Snooze(after=timedelta(hours=1)).after)


class Quick(Job, keep="1h", timeout=timedelta(seconds=5), backoff=[1, "1m"]):
    def handle(self) -> int:
        return 1


class Later(Job, max_attempts=2):
    retry: bool

    def handle(self) -> None:
        raise Retry(after="1h") if self.retry else Snooze(after=timedelta(hours=1))


class Unusual(Job):
    snooze: bool
    after: ClassVar[Any] = 60

    def handle(self) -> None:
        raise Snooze(after=self.after) if self.snooze else Retry(after=self.after)


@pytest.mark.parametrize("snooze", [False, True])
@pytest.mark.parametrize("after", [1e300, math.inf, math.nan, 10**400, "x", [], -1e300])
def test_a_run_ends_in_order_whatever_wait_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: object, snooze: bool
) -> None:
    monkeypatch.setattr(Unusual, "after", after)
    with Queue(tmp_path / "jobs.db") as queue:
        id = queue.push(Unusual(snooze))
        Worker(queue, [Unusual], limits=Limits(jobs=1)).run()
        row = queue.get(id)
        # Ready again at once where it is negative, else later.
        assert row.state is (State.READY if after == -1e300 else State.SCHEDULED)
        assert row.attempts == (0 if snooze else 1)


def test_a_row_stores_seconds(tmp_path: Path) -> None:
    with Queue(tmp_path / "jobs.db", busy_timeout="2s") as queue:
        row = queue.get(queue.push(Quick()))
        assert row.options == {"keep": 3600, "timeout": 5, "backoff": [1, 60]}
        row = queue.get(queue.push(Quick(), keep="2 days"))
        assert row.options["keep"] == 172_800


def test_a_queue_and_a_worker_take_each_form(tmp_path: Path) -> None:
    with Queue(tmp_path / "jobs.db", busy_timeout=timedelta(seconds=2)) as queue:
        quick = queue.push(Quick())
        for timeout in ("0s", timedelta(0), 0, -1):
            with pytest.raises(WaitTimeout):
                queue.wait(quick, timeout=timeout)
            with pytest.raises(WaitTimeout):
                queue.result(quick, timeout=timeout)
        later = [queue.push(Later(retry=retry)) for retry in (True, False)]
        limits = Limits(drain=True, seconds="1 minute")
        Worker(queue, [Quick, Later], sleep="1s", grace=timedelta(seconds=5), limits=limits).run()
        assert queue.result(quick, timeout="1s") == 1
        for id in later:
            row = queue.get(id)
            waited = row.available_at - row.created_at
            assert timedelta(minutes=59) < waited < timedelta(minutes=61)
        assert queue.prune(older="1h") == 0
        assert queue.prune(older=timedelta(0)) == 1


def test_a_wrong_duration_is_refused_with_its_owner_name_value_and_forms(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    with pytest.raises(OptionError, match=r"^Queue: busy_timeout must be seconds, .*'soon'"):
        Queue(path, busy_timeout="soon")
    with Queue(path) as queue:
        with pytest.raises(OptionError, match=r"^prune: older must be seconds, .*, not -1"):
            queue.prune(older=-1)
        with pytest.raises(OptionError, match=r"^wait: timeout must be seconds, .*'soon'"):
            queue.wait(queue.push(Quick()), timeout="soon")
        with pytest.raises(OptionError, match=r"^Worker: grace must be seconds"):
            Worker(queue, [Quick], grace="1 month")
        with pytest.raises(OptionError, match=r"^Worker: sleep must be seconds"):
            Worker(queue, [Quick], sleep="")
        with pytest.raises(OptionError, match=r"^Limits: seconds must be seconds"):
            Worker(queue, [Quick], limits=Limits(seconds="x"))


def test_milliseconds_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remark = "there is no unit for milliseconds: write 0.5 for 500 ms"
    with pytest.raises(OptionError, match=remark):
        Queue(tmp_path / "jobs.db", busy_timeout="500ms")
    with pytest.raises(SystemExit):
        main(["work", str(tmp_path / "jobs.db"), "--sleep", "500ms"])
    assert remark in capsys.readouterr().err
    with pytest.raises(OptionError) as refused:
        Queue(tmp_path / "jobs.db", busy_timeout="5 months")
    assert remark not in str(refused.value)
