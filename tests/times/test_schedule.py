"""cron=, every= and tz= on a class and on a function: what they mean together, and what is
refused where the job is defined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from datetime import datetime, timedelta, timezone

import pytest

from litequeue import Batch, Job, job
from litequeue.errors import JobError, LitequeueError, ScheduleError
from litequeue.times.schedule import Schedule, read_schedule, schedule_of

NOON = datetime(2030, 6, 1, 12, tzinfo=timezone.utc).timestamp()


def defined(**keywords: object) -> Schedule | None:
    """What a class with these keywords says of its time."""

    class Made(Job, **keywords):  # type: ignore[arg-type]
        def handle(self) -> None: ...

    return Made.__litequeue__.schedule


def decorated(**keywords: object) -> Schedule | None:
    """The same for a function."""

    @job(**keywords)  # type: ignore[call-overload]
    def made() -> None: ...

    found: Schedule | None = made.__litequeue__.schedule
    return found


both = pytest.mark.parametrize("made", [defined, decorated])
Made = Callable[..., Schedule]


@both
def test_a_job_without_the_keywords_is_not_periodic(made: Made) -> None:
    assert made() is None


@both
def test_cron_is_kept_as_it_is_written(made: Made) -> None:
    found = made(cron=" 0  2 * * mon-fri ")
    assert (found.text, found.zone) == ("cron 0 2 * * mon-fri", None)
    assert found.words() == "at 02:00, Monday to Friday"


@both
def test_every_is_kept_in_seconds(made: Made) -> None:
    for value in ("15m", 900, 900.0, "900", timedelta(minutes=15)):
        assert made(every=value).text == "every 900"
    assert made(every="15m").next(NOON) == NOON + 900


@both
def test_tz_is_kept_by_its_name(made: Made) -> None:
    found = made(cron="0 9 * * *", tz="Asia/Kolkata")
    assert (found.text, found.zone) == ("cron 0 9 * * *", "Asia/Kolkata")
    assert found.words() == "at 09:00 every day, Asia/Kolkata time"
    assert found.next(NOON) == NOON + 15.5 * 3600
    assert found.previous(NOON) == NOON - 8.5 * 3600


@both
def test_a_tz_changes_nothing_about_a_period(made: Made) -> None:
    found = made(every="15m", tz="Asia/Kolkata")
    assert found.words() == "every 15 minutes"
    assert found.next(NOON) == NOON + 900


@both
@pytest.mark.parametrize(
    ("keywords", "problem"),
    [
        ({"cron": "0 2 * * *", "every": "1d"}, "cron or every, not both"),
        ({"tz": "Europe/Berlin"}, "tz needs cron or every"),
        ({"cron": "0 2 * * *", "tz": "Mars/Olympus"}, "no such time zone"),
        ({"cron": "0 2 * * *", "tz": ""}, "no such time zone"),
        ({"cron": "0 2 * * *", "tz": "/etc/passwd"}, "no such time zone"),
        ({"cron": "0 2 * * *", "tz": "../x\0"}, "no such time zone"),
        ({"cron": "0 2 * * *", "tz": timezone.utc}, "tz must be a name"),
        ({"cron": "0 2 * * *", "tz": 2}, "tz must be a name"),
        ({"cron": "61 2 * * *"}, "the minute takes 0-59"),
        ({"cron": "0 2 * *"}, "4 fields"),
        ({"cron": "@reboot"}, "not supported"),
        ({"cron": 5}, "not text"),
        ({"cron": ""}, "0 fields"),
        ({"every": "0s"}, "from 1 second"),
        ({"every": "often"}, "a duration is made of"),
        ({"every": True}, "not a duration"),
        ({"every": float("nan")}, "from 1 second"),
    ],
)
def test_what_is_no_schedule_is_refused_where_the_job_is_defined(
    made: Made, keywords: dict[str, object], problem: str
) -> None:
    with pytest.raises(ScheduleError, match=problem) as refused:
        made(**keywords)
    assert isinstance(refused.value, ValueError)
    assert isinstance(refused.value, LitequeueError)


# A stored schedule


@pytest.mark.parametrize(
    "period",
    [1, 1.5, 900, 1_000_001, 36_000_001.25, timedelta(seconds=10, microseconds=333), "3650 days"],
)
def test_a_row_keeps_every_digit_of_a_period(period: str | float | timedelta) -> None:
    made = schedule_of(None, period, None)
    assert made is not None
    assert read_schedule(made.text, made.zone) == made


@pytest.mark.parametrize("text", ["0 2 * * *", "@daily", "*/15 9-17 * * mon-fri"])
def test_a_row_keeps_an_expression_and_its_zone(text: str) -> None:
    made = schedule_of(text, None, "America/New_York")
    assert made is not None
    assert read_schedule(made.text, made.zone) == made


def test_utc_needs_no_time_zone_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoneinfo.ZoneInfo", None)
    found = schedule_of("0 2 * * *", None, "UTC")
    assert found is not None
    assert found.next(NOON) == NOON + 14 * 3600


# Fields


def test_a_field_that_nothing_gives_is_refused_by_its_name() -> None:
    with pytest.raises(JobError, match="field shop_id needs a default") as refused:

        class Refresh(Job, every="15m"):
            shop_id: int
            limit: int = 100

            def handle(self) -> None: ...

    assert "Refresh" in str(refused.value)


def test_a_parameter_that_nothing_gives_is_refused_by_its_name() -> None:
    with pytest.raises(JobError, match="field shop_id needs a default"):

        @job(cron="@daily")
        def refresh(shop_id: int) -> None: ...


def test_the_field_of_a_base_counts_too() -> None:
    class Base(Job):
        shop_id: int

    with pytest.raises(JobError, match="shop_id"):

        class Refresh(Base, every="15m"):
            def handle(self) -> None: ...


def test_fields_with_defaults_are_taken() -> None:
    class Refresh(Job, every="15m"):
        limit: int = 100
        shops: list[int] = field(default_factory=list)

        def handle(self) -> None: ...

    assert Refresh.__litequeue__.schedule is not None


def test_a_batch_may_be_periodic() -> None:
    class Nightly(Batch, cron="0 2 * * *"):
        def plan(self, cursor: object) -> tuple[list[Job], object]:
            return [], None

    assert Nightly.__litequeue__.schedule is not None
