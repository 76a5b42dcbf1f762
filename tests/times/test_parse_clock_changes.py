"""Delay texts over clock changes, in spring and in autumn, and the wall clock that they keep."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from test_parse import WEDNESDAY, in_berlin, instant, utc, wall

from litequeue.times.parse import due

in_new_york = pytest.mark.parametrize("zone", ["America/New_York"], indirect=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[(f"2 {unit}", "2030-01-18 14:00:00") for unit in ("d", "day", "days")],
        *[(f"2 {unit}", "2030-01-30 14:00:00") for unit in ("w", "week", "weeks")],
        *[(f"2 {unit}", "2030-03-16 14:00:00") for unit in ("mon", "mons", "month", "months")],
        *[(f"2 {unit}", "2032-01-16 14:00:00") for unit in ("y", "yr", "yrs", "year", "years")],
        ("in 3 days", "2030-01-19 14:00:00"),
        ("-1 day", "2030-01-15 14:00:00"),
        ("-13 months", "2028-12-16 14:00:00"),
        ("1 day 2 hours", "2030-01-17 16:00:00"),
        ("1.5 days", "2030-01-18 02:00:00"),
        ("0.5 weeks", "2030-01-20 02:00:00"),
        ("1.5 years", "2031-07-16 14:00:00"),
        ("1y2mon3d", "2031-03-19 14:00:00"),
    ],
)
def test_days_and_longer_keep_the_wall_clock(zone: ZoneInfo, text: str, expected: str) -> None:
    # By July the hour may differ in UTC: it does not on the wall.
    assert wall(due(text, instant(WEDNESDAY, zone)), zone) == expected


@in_berlin
def test_a_timedelta_of_a_day_is_24_hours_over_a_clock_change(zone: ZoneInfo) -> None:
    now = instant("2030-03-30 10:00", zone)
    assert due(timedelta(days=1), now) == now + 86_400


@in_berlin
@pytest.mark.parametrize("fold", [0, 1])
def test_the_fold_of_a_datetime_is_respected(zone: ZoneInfo, fold: int) -> None:
    value = datetime(2030, 10, 27, 2, 30, fold=fold)
    assert due(value, 0.0) == utc(f"2030-10-27 0{fold}:30")


# Clock changes: Berlin's clocks change at 01:00 UTC, New York's at 02:00 local time.


@in_berlin
@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        ("2030-03-30 09:00", "1 day", "2030-03-31 08:00"),
        ("2030-03-30 09:00", "24 hours", "2030-03-31 09:00"),
        ("2030-03-30 09:00", "tomorrow 10:00", "2030-03-31 08:00"),
        ("2030-03-30 01:30", "1 day", "2030-03-31 01:30"),
        ("2030-02-28 01:30", "1 month 3 days", "2030-03-31 01:30"),
        ("2030-03-30 09:00", "tomorrow 02:30", "2030-03-31 01:30"),
        ("2030-03-31 00:30", "02:30", "2030-03-31 01:30"),
        ("2030-03-31 00:30", "1 hour", "2030-03-31 01:30"),
        ("2030-10-26 08:00", "1 day", "2030-10-27 09:00"),
        ("2030-10-26 08:00", "24 hours", "2030-10-27 08:00"),
        ("2030-10-26 08:00", "1 day 1 hour", "2030-10-27 10:00"),
        ("2030-10-26 00:30", "1 day", "2030-10-27 00:30"),
        ("2030-10-26 08:00", "sunday 02:30", "2030-10-27 00:30"),
        ("2030-10-27 00:15", "02:30", "2030-10-27 00:30"),
        ("2030-10-27 01:15", "02:30", "2030-10-28 01:30"),
        ("2030-10-27 01:15", "0 days 5 minutes", "2030-10-27 01:20"),
        ("2030-10-27 01:15", "1 day", "2030-10-28 01:15"),
    ],
)
def test_the_clock_changes_are_right_in_berlin(
    zone: ZoneInfo, now: str, text: str, expected: str
) -> None:
    assert due(text, utc(now)) == utc(expected)


@in_new_york
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2030-03-10 01:59", "2030-03-10 06:59"),
        ("2030-03-10 02:30", "2030-03-10 07:30"),
        ("2030-03-10 03:00", "2030-03-10 07:00"),
        ("2030-11-03 01:30", "2030-11-03 05:30"),
        ("2030-11-03 01:30-05:00", "2030-11-03 06:30"),
        ("2030-11-03 02:00", "2030-11-03 07:00"),
    ],
)
def test_the_clock_changes_are_right_in_new_york(zone: ZoneInfo, text: str, expected: str) -> None:
    assert due(text, 1000.0) == utc(expected)
    if "-05:00" not in text:
        assert due(f"{text} America/New_York", 1000.0) == utc(expected)
        assert due(datetime.fromisoformat(text), 1000.0) == utc(expected)


@in_berlin
def test_the_zone_is_asked_for_at_each_call(
    zone: ZoneInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = due("2030-07-01 10:00", 0.0)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert due("2030-07-01 10:00", 0.0) - before == 7200
