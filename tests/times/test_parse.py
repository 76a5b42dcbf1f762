"""Delay texts, read in several time zones."""

from __future__ import annotations

import math
import random
import re
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from litequeue import Job, Queue
from litequeue.errors import WhenError
from litequeue.times.parse import due, due_at

PAGE = Path(__file__).parents[2] / "docs" / "delays.md"
WEDNESDAY = "2030-01-16 14:00"

in_berlin = pytest.mark.parametrize("zone", ["Europe/Berlin"], indirect=True)


def instant(text: str, zone: ZoneInfo | timezone, *, fold: int = 0) -> float:
    """The instant of a wall clock time, computed without the code under test."""
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def wall(value: float, zone: ZoneInfo) -> str:
    return str(datetime.fromtimestamp(value, zone).replace(tzinfo=None, fold=0))


def utc(text: str) -> float:
    return instant(text, timezone.utc)


# Python values


@pytest.mark.parametrize("seconds", [0, 30, 0.5, -5, 10**9])
def test_a_number_is_seconds_from_now(seconds: float) -> None:
    assert due(seconds, 1000.0) == 1000.0 + seconds


def test_the_answer_is_a_float_even_for_ints() -> None:
    assert isinstance(due(1, 1000), float)
    assert isinstance(due("now", 1000), float)


def test_a_timedelta_is_elapsed_time_from_now() -> None:
    assert due(timedelta(days=1, seconds=1), 1000.0) == 1000.0 + 86_401


def test_a_naive_datetime_is_local(zone: ZoneInfo) -> None:
    assert due(datetime(2030, 7, 1, 10), 0.0) == instant("2030-07-01 10:00", zone)


def test_an_aware_datetime_is_its_own_instant(zone: ZoneInfo) -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    assert due(datetime(2030, 7, 1, 10, tzinfo=tokyo), 0.0) == utc("2030-07-01 01:00")


@pytest.mark.parametrize(
    "value",
    [
        *(True, False, None, b"30", [30], date(2030, 1, 1), math.nan, math.inf, -math.inf),
        *(1e300, -1e300, 10**400, -(10**400), 10**5000, 2**53, timedelta.max, timedelta.min),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(WhenError, match="is not a valid time"):
        due(value, 1000.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [datetime.min, datetime.max])
def test_the_ends_of_the_calendar_are_a_number_or_refused(zone: ZoneInfo, value: datetime) -> None:
    try:
        assert math.isfinite(due(value, 0.0))
    except WhenError:
        pass


def test_an_aware_datetime_that_utc_cannot_hold_is_refused() -> None:
    west = timezone(timedelta(hours=-5))
    with pytest.raises(WhenError):
        due(datetime(9999, 12, 31, 23, tzinfo=west), 0.0)


def test_the_error_names_the_value_and_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="'half past' is not a valid time"):
        due("half past", 0.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2030-02-30", "day.* range"),
        ("2030-13-01", "month must be in 1..12"),
        ("25:00", "hour must be in 0..23"),
        ("13pm", "there is no 13 am or pm"),
        ("500ms", "there is no unit 'ms'"),
        ("5 huors", r"there is no unit 'huors' \(did you mean hours\?\)"),
        ("10:00 Europe/Berln", r"there is no such time zone \(did you mean Europe/Berlin\?\)"),
        ("soon", "it is neither a duration nor a date or time of day"),
        ("9" * 400 + "h", "it lies outside the years 1 to 9999"),
    ],
)
def test_the_error_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(WhenError, match=f"is not a valid time: {reason}") as caught:
        due(text, 1000.0)
    assert len(str(caught.value)) < 400


def test_where_there_is_no_zone_data_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> ZoneInfo:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr("zoneinfo.ZoneInfo", absent)
    monkeypatch.setattr("zoneinfo.available_timezones", set)
    with pytest.raises(
        WhenError, match="no time zone data is installed; install the package tzdata"
    ):
        due("2030-07-01 10:00 Europe/Berlin", 1000.0)


@pytest.mark.parametrize("value", ["x" * 10**6, 10**5000, ["x"] * 10**5, "1" * 10**5], ids=type)
def test_a_huge_value_is_cut_in_the_message(value: object) -> None:
    for read in (due, due_at):
        with pytest.raises(WhenError) as caught:
            read(value, 1000.0)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 500


# A bare number: a length under delay=, an instant under at=


@pytest.mark.parametrize(
    "value", [1e9, 1_893_456_000, 1_893_456_000.5, "1893456000", " 1893456000.5 "]
)
def test_under_at_a_bare_number_is_an_instant(value: float | str) -> None:
    assert due_at(value, 1_700_000_000.0) == float(value)


@pytest.mark.parametrize("value", [0, 30, 0.5, -5, 999_999_999, "30", "0.5", "20300101"])
def test_under_at_a_small_number_is_refused_with_the_way_out(value: float | str) -> None:
    with pytest.raises(WhenError, match="a duration goes in delay="):
        due_at(value, 1_700_000_000.0)


@pytest.mark.parametrize("value", [1_893_456_000_000, "203001011200", math.inf, 10**400])
def test_under_at_milliseconds_are_refused(value: float | str) -> None:
    with pytest.raises(WhenError, match="in seconds since the epoch"):
        due_at(value, 1_700_000_000.0)


@pytest.mark.parametrize("value", [1_893_456_000, 1.9e9, "1893456000", 10**400])
def test_under_delay_an_instant_is_refused_with_the_way_out(value: float | str) -> None:
    with pytest.raises(WhenError, match="an instant goes in at="):
        due(value, 1_700_000_000.0)


@pytest.mark.parametrize(
    "value", ["30s", "+30", "in 30", "tomorrow 10:00", timedelta(1), "@1893456000"]
)
def test_whatever_else_means_the_same_under_both(value: str | timedelta) -> None:
    assert due_at(value, 1_700_000_000.0) == due(value, 1_700_000_000.0)


def test_a_push_tells_at_from_delay(tmp_path: Path) -> None:
    class Greet(Job, at=1_893_456_000):
        def handle(self) -> None: ...

    with Queue(tmp_path / "jobs.db", clock=lambda: 1_700_000_000.0) as queue:
        ids = [
            queue.push("greet", at=1_893_456_000.0),
            queue.push(Greet()),
            *queue.push_many([Greet()], at="1893456000"),
            *queue.chain(Greet(), at=1_893_456_000),
        ]
        assert {queue.get(id).available_at.timestamp() for id in ids} == {1_893_456_000.0}
        for options in ({"at": 60}, {"delay": 1_893_456_000}):
            with pytest.raises(WhenError):
                queue.push("greet", **options)  # type: ignore[arg-type]
        # The nearer word wins, and says what the number is.
        assert queue.get(queue.push(Greet(), delay=60)).available_at.timestamp() == 1_700_000_060.0


# Lengths of time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("+30", 30),
        ("-30", -30),
        ("in 30", 30),
        ("0", 0),
        ("2.5 hours", 9000),
        (".5h", 1800),
        ("15m", 900),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1hour30minutes", 5400),
        ("+1 hour 30 minutes", 5400),
        ("+1 hour +30 minutes", 5400),
        ("30 MINUTES 1 Hour", 5400),
        ("  in   90 \t minutes\n", 5400),
        ("-5 minutes", -300),
        ("- 5 minutes", -300),
        ("-1h30m", -5400),
        ("1h -30m", 1800),
        ("-1h +30m", -1800),
        ("24 hours", 86_400),
        *[(f"2{unit}", 2) for unit in ("s", "sec", "secs", "second", "seconds")],
        *[(f"2{unit}", 120) for unit in ("m", "min", "mins", "minute", "minutes")],
        *[(f"2{unit}", 7200) for unit in ("h", "hr", "hrs", "hour", "hours")],
    ],
)
def test_seconds_minutes_and_hours_are_elapsed_time(
    zone: ZoneInfo, text: str, seconds: float
) -> None:
    # An hour before Berlin's clocks go forward.
    now = utc("2030-03-31 00:00")
    assert due(text, now) == now + seconds


@pytest.mark.parametrize(
    ("start", "text", "expected"),
    [
        ("2030-01-31 10:00", "1 month", "2030-02-28 10:00:00"),
        ("2032-01-31 10:00", "1 month", "2032-02-29 10:00:00"),
        ("2030-03-31 10:00", "1 month", "2030-04-30 10:00:00"),
        ("2030-03-31 10:00", "-1 month", "2030-02-28 10:00:00"),
        ("2030-12-31 10:00", "2 months", "2031-02-28 10:00:00"),
        ("2032-02-29 10:00", "1 year", "2033-02-28 10:00:00"),
        ("2032-02-29 10:00", "4 years", "2036-02-29 10:00:00"),
    ],
)
def test_a_month_after_january_31_is_clipped_to_february(
    zone: ZoneInfo, start: str, text: str, expected: str
) -> None:
    assert wall(due(text, instant(start, zone)), zone) == expected


def test_months_are_counted_before_days(zone: ZoneInfo) -> None:
    now = instant("2030-01-31 10:00", zone)
    assert wall(due("1 day 1 month", now), zone) == "2030-03-01 10:00:00"


# Moments


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2030-01-16 14:00:00"),
        ("NOW ", "2030-01-16 14:00:00"),
        ("today", "2030-01-16 00:00:00"),
        ("today 18:00", "2030-01-16 18:00:00"),
        ("today 10:00", "2030-01-16 10:00:00"),
        ("tomorrow", "2030-01-17 00:00:00"),
        ("tomorrow 10:00", "2030-01-17 10:00:00"),
        ("Tomorrow  at 10:00:30", "2030-01-17 10:00:30"),
        ("tomorrow at noon", "2030-01-17 12:00:00"),
        ("noon", "2030-01-17 12:00:00"),
        ("midnight", "2030-01-17 00:00:00"),
        ("15:00", "2030-01-16 15:00:00"),
        ("at 15:00", "2030-01-16 15:00:00"),
        ("10:00", "2030-01-17 10:00:00"),
        ("14:00", "2030-01-17 14:00:00"),
        ("9:05", "2030-01-17 09:05:00"),
        ("10am", "2030-01-17 10:00:00"),
        ("5:30 pm", "2030-01-16 17:30:00"),
        ("5:30:15PM", "2030-01-16 17:30:15"),
        ("12am", "2030-01-17 00:00:00"),
        ("12:30 am", "2030-01-17 00:30:00"),
        ("12pm", "2030-01-17 12:00:00"),
        ("11 pm", "2030-01-16 23:00:00"),
    ],
)
def test_a_moment_is_read_in_local_time(zone: ZoneInfo, text: str, expected: str) -> None:
    assert wall(due(text, instant(WEDNESDAY, zone)), zone) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("next monday", "2030-01-21 00:00:00"),
        ("next monday 09:00", "2030-01-21 09:00:00"),
        ("monday", "2030-01-21 00:00:00"),
        ("mon", "2030-01-21 00:00:00"),
        ("friday 17:30", "2030-01-18 17:30:00"),
        ("wednesday", "2030-01-23 00:00:00"),
        ("wednesday 13:59", "2030-01-23 13:59:00"),
        ("wednesday 14:00", "2030-01-23 14:00:00"),
        ("wednesday 14:01", "2030-01-16 14:01:00"),
        ("next wednesday 14:01", "2030-01-23 14:01:00"),
        ("next friday", "2030-01-18 00:00:00"),
        *[(day, "2030-01-22 00:00:00") for day in ("tue", "tues", "TUESDAY")],
        *[(day, "2030-01-23 00:00:00") for day in ("wed", "next wed")],
        *[(day, "2030-01-17 00:00:00") for day in ("thu", "thur", "thurs", "Thursday")],
        *[(f"{day} noon", "2030-01-18 12:00:00") for day in ("fri", "friday", "next fri")],
        *[(f"{day} 10am", "2030-01-19 10:00:00") for day in ("sat", "saturday")],
        *[(f"{day} at 10:00", "2030-01-20 10:00:00") for day in ("sun", "next sunday")],
    ],
)
def test_a_weekday_is_its_next_occurrence(zone: ZoneInfo, text: str, expected: str) -> None:
    assert wall(due(text, instant(WEDNESDAY, zone)), zone) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2030-01-01", "2030-01-01 00:00:00"),
        ("2030-07-01 10:00", "2030-07-01 10:00:00"),
        ("2030-07-01 10:00:30", "2030-07-01 10:00:30"),
        ("2030-07-01t10:00", "2030-07-01 10:00:00"),
        ("2030-07-01 at 5pm", "2030-07-01 17:00:00"),
        ("2030-07-01 10:00:00.25", "2030-07-01 10:00:00.250000"),
        ("2030-07-01 10:00:00.123456789", "2030-07-01 10:00:00.123456"),
        ("2032-02-29 noon", "2032-02-29 12:00:00"),
        ("1999-12-31 23:59", "1999-12-31 23:59:00"),
    ],
)
def test_a_date_without_a_zone_is_local(zone: ZoneInfo, text: str, expected: str) -> None:
    assert wall(due(text, 1000.0), zone) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2030-07-01T10:00:00Z", "2030-07-01 10:00"),
        ("2030-07-01 10:00 z", "2030-07-01 10:00"),
        ("2030-07-01 10:00 UTC", "2030-07-01 10:00"),
        ("2030-07-01 utc", "2030-07-01 00:00"),
        ("2030-07-01T10:00:00+02:00", "2030-07-01 08:00"),
        ("2030-07-01 10:00:00.5 -0330", "2030-07-01 13:30:00.500"),
        ("2030-07-01 10:00+00", "2030-07-01 10:00"),
        ("2030-07-01 10am +02:00", "2030-07-01 08:00"),
        ("2030-07-01 10:00 Europe/Berlin", "2030-07-01 08:00"),
        ("2030-07-01 10:00 europe/berlin", "2030-07-01 08:00"),
        ("2030-07-01 Asia/Kolkata", "2030-06-30 18:30"),
        ("2030-07-01 10:00 America/New_York", "2030-07-01 14:00"),
        ("2030-07-01 10:00 am America/New_York", "2030-07-01 14:00"),
        ("2030-07-01 10:00 pm America/New_York", "2030-07-02 02:00"),
        ("@1893456000", "2030-01-01 00:00"),
        ("@ 1893456000.5", "2030-01-01 00:00:00.500"),
        ("@-1", "1969-12-31 23:59:59"),
    ],
)
def test_a_zone_or_the_epoch_names_an_instant_anywhere(
    zone: ZoneInfo, text: str, expected: str
) -> None:
    assert due(text, 1000.0) == utc(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today 23:00 Asia/Tokyo", "2030-01-17 14:00"),
        ("tomorrow 10:00 UTC", "2030-01-17 10:00"),
        ("tomorrow 10:00 Asia/Tokyo", "2030-01-18 01:00"),
        ("10:00 Asia/Tokyo", "2030-01-17 01:00"),
        ("thursday 04:30 Asia/Tokyo", "2030-01-23 19:30"),
        ("thursday 05:30 Asia/Tokyo", "2030-01-16 20:30"),
    ],
)
def test_a_day_with_a_zone_is_the_day_it_is_there(zone: ZoneInfo, text: str, expected: str) -> None:
    # In Tokyo it is already Thursday, five in the morning.
    assert due(text, utc("2030-01-16 20:00")) == utc(expected)


def test_utc_and_offsets_need_no_zone_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> ZoneInfo:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr("zoneinfo.ZoneInfo", absent)
    for text in ("10:00 UTC", "10:00Z", "10:00+00:00"):
        assert due(f"2030-07-01 {text}", 1000.0) == utc("2030-07-01 10:00")
    with pytest.raises(WhenError):
        due("2030-07-01 10:00 Europe/Berlin", 1000.0)


# What is refused


REFUSED = """
soon | in | at | utc | Europe/Berlin | + | - | @ | @now | @1e9 | inf | nan | 1e3 | 1_000 | 5.
1,5h | 500ms | 2 fortnights | 1h 30 | 30 1h | h | 1h, 30m | --1h | 0.5 months | 0.1 years
in tomorrow | in - | next | next week | next today | mondays | now UTC | 1 day UTC | todayT10:00
tomorrow 10 | tomorrow 25:00 | 10:60 | 10:00:60 | 24:00 | 1:2 | 13pm | 0am | pm | +02:00
tomorrow +02:00 | 10:00+15:00 | 09:00-17:00 | 10:00+02:00 UTC | 10:00 Europe/Atlantis
10:00 ../etc/passwd | 10:00 Europe | 2030-02-30 | 2030-13-01 | 2030-1-1 | 2030-01-01 10
2030-01-01T | 2030-01-01-05 | 01/02/2030 | 0000-01-01 | 10000-01-01 | 1½h | １h | 1\0h | \ud800
"""


@pytest.mark.parametrize(
    "text",
    ["", " ", "10:00 " + "x" * 5000, *re.split(r" \| |\n", REFUSED.strip())],
    ids=lambda text: ascii(text[:30]),
)
def test_text_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(WhenError):
        due(text, 1000.0)


@pytest.mark.parametrize("unit", ["", "s", "hours", "days", "weeks", "months", "years"])
@pytest.mark.parametrize("number", ["9" * 15, "9" * 30, "9" * 400, "9" * 5000, "-" + "9" * 400])
def test_a_huge_number_of_anything_is_refused(number: str, unit: str) -> None:
    for text in (f"{number}{unit}", f"@{number}"):
        with pytest.raises(WhenError):
            due(text, 1000.0)


@pytest.mark.parametrize("text", ["8000 years", "96000 months", "2930000 days", "420000 weeks"])
def test_a_length_that_ends_after_the_year_9999_is_refused(zone: ZoneInfo, text: str) -> None:
    with pytest.raises(WhenError):
        due(text, instant(WEDNESDAY, zone))


@pytest.mark.parametrize("piece", ["1h ", "1h", "1", ".1", "+ ", " ", "a", "1.", "in ", "10:00 "])
def test_a_long_text_is_refused_without_backtracking(piece: str) -> None:
    with pytest.raises(WhenError):
        due(piece * 10_000 + "!", 1000.0)


PIECES = """
now today tomorrow noon midnight next at in mon monday thurs am pm T Z UTC Europe/Berlin America/
+ - : . @ 0 1 5 12 30 60 99 999999999999 2030-01-01 2030-03-31 0001-01-01 9999-12-31 10:00 02:30
23:59:59 +02:00 .25 s m h d w hours days months years é ٣ ½ /
"""


def random_text(chance: random.Random) -> str:
    text = chance.choice(["", " ", " "]).join(
        chance.choices(PIECES.split(), k=chance.randint(1, 5))
    )
    for _ in range(chance.randint(0, 2)):
        place = chance.randrange(len(text) + 1)
        stray = chance.choice(["", " ", "1", "x", "-", ":", chr(chance.randrange(0x11_0000))])
        text = text[:place] + stray + text[place + 1 :]
    return text


def test_random_text_gives_a_finite_float_or_a_when_error(zone: ZoneInfo) -> None:
    chance = random.Random(20300116)
    read = 0
    for _ in range(5000):
        text = random_text(chance)
        try:
            value = due(text, instant(WEDNESDAY, zone))
        except WhenError:
            continue
        assert isinstance(value, float), text
        assert math.isfinite(value), text
        read += 1
    assert read > 200


# The page for users


def rows(heading: str) -> list[list[str]]:
    """The rows of the first table under a line of the page that starts so."""
    table = PAGE.read_text(encoding="utf-8").split(f"\n{heading}", 1)[1].split("|---|", 1)[1]
    lines = table.split("\n\n", 1)[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@in_berlin
@pytest.mark.parametrize("row", rows("## Text"), ids=lambda row: row[0])
def test_the_page_tells_the_truth(zone: ZoneInfo, row: list[str]) -> None:
    for text in re.findall("`([^`]+)`", row[0]):
        assert wall(due(text, instant(WEDNESDAY, zone)), zone) == row[2]


@pytest.mark.parametrize("row", rows("Refused"), ids=lambda row: row[0])
def test_what_the_page_says_is_refused_is_refused(row: list[str]) -> None:
    for text in re.findall("`([^`]+)`", row[0]):
        with pytest.raises(WhenError):
            due(text, 1000.0)
