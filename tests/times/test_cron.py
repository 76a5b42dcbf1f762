"""What cron expressions and periods mean, and what is refused."""

from __future__ import annotations

import math
import pickle
import random
from datetime import datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from litequeue.errors import ScheduleError
from litequeue.messages import show
from litequeue.times.cron import Cron, Every, Pattern, parse_cron, parse_every

UTC = timezone.utc
ALL = {
    "minutes": tuple(range(60)),
    "hours": tuple(range(24)),
    "days": tuple(range(1, 32)),
    "months": tuple(range(1, 13)),
    "weekdays": tuple(range(1, 8)),
}


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def shown(instant: float, tz: tzinfo = UTC) -> str:
    return datetime.fromtimestamp(instant, tz).strftime("%Y-%m-%d %H:%M")


# Reading


@pytest.mark.parametrize(
    ("text", "field", "numbers"),
    [
        ("5 * * * *", "minutes", (5,)),
        ("0,30 * * * *", "minutes", (0, 30)),
        ("30,0,30 * * * *", "minutes", (0, 30)),
        ("0-4,8-12 * * * *", "minutes", (0, 1, 2, 3, 4, 8, 9, 10, 11, 12)),
        ("*/15 * * * *", "minutes", (0, 15, 30, 45)),
        ("*/45 * * * *", "minutes", (0, 45)),
        ("*/90 * * * *", "minutes", (0,)),
        ("5-59/15 * * * *", "minutes", (5, 20, 35, 50)),
        ("1,*/30,50-52 * * * *", "minutes", (0, 1, 30, 50, 51, 52)),
        ("007 * * * *", "minutes", (7,)),
        ("* 9-17/2 * * *", "hours", (9, 11, 13, 15, 17)),
        ("* 9-18/2 * * *", "hours", (9, 11, 13, 15, 17)),
        ("* 23 * * *", "hours", (23,)),
        ("* * 1,15 * *", "days", (1, 15)),
        ("* * */10 * *", "days", (1, 11, 21, 31)),
        ("* * * feb *", "months", (2,)),
        ("* * * JAN,Dec *", "months", (1, 12)),
        ("* * * mar-6 *", "months", (3, 4, 5, 6)),
        ("* * * jan-dec/3 *", "months", (1, 4, 7, 10)),
        ("* * * * 0", "weekdays", (7,)),
        ("* * * * 7", "weekdays", (7,)),
        ("* * * * 0,7", "weekdays", (7,)),
        ("* * * * 0-6", "weekdays", (1, 2, 3, 4, 5, 6, 7)),
        ("* * * * 1-7", "weekdays", (1, 2, 3, 4, 5, 6, 7)),
        ("* * * * 0-2", "weekdays", (1, 2, 7)),
        ("* * * * 5-7", "weekdays", (5, 6, 7)),
        ("* * * * 5-0", "weekdays", (5, 6, 7)),
        ("* * * * fri-sun", "weekdays", (5, 6, 7)),
        ("* * * * SUN-Tue", "weekdays", (1, 2, 7)),
        ("* * * * sun-sun", "weekdays", (7,)),
        ("* * * * Mon,WED,fri", "weekdays", (1, 3, 5)),
        ("* * * * mon-fri/2", "weekdays", (1, 3, 5)),
        ("* * * * */2", "weekdays", (2, 4, 6, 7)),
    ],
)
def test_a_field_is_read(text: str, field: str, numbers: tuple[int, ...]) -> None:
    cron = parse_cron(text)
    found = {name: getattr(cron, name) for name in ALL}
    assert found == {**ALL, field: numbers}


@pytest.mark.parametrize(
    ("word", "fields"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        (" @Daily\n", "0 0 * * *"),
        ("\t0  2 * *\t* \n", "0 2 * * *"),
    ],
)
def test_words_and_white_space_change_nothing(word: str, fields: str) -> None:
    found, plain = parse_cron(word), parse_cron(fields)
    assert found.text == " ".join(word.split())
    assert [getattr(found, name) for name in ALL] == [getattr(plain, name) for name in ALL]
    assert (found.either_day, found.by_the_clock) == (plain.either_day, plain.by_the_clock)


def test_a_schedule_is_a_value() -> None:
    assert parse_cron("0 2 * * *") == parse_cron(" 0 2 * * * ")
    assert len({parse_cron("0 2 * * *"), parse_cron("0 2  * * *"), parse_every(60)}) == 2
    assert pickle.loads(pickle.dumps(parse_cron("@daily"))) == parse_cron("@daily")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it has 0 fields and needs five: minute, hour, day of month, month and day of week"),
        ("*", "it has 1 field and needs five"),
        ("* * * *", "it has 4 fields and needs five"),
        ("0 * * * * *", "it has 6 fields and needs five"),
        ("60 * * * *", "'60' is not allowed (the minute takes 0-59)"),
        ("0,75 * * * *", "'75' is not allowed (the minute takes 0-59)"),
        ("5-64/30 * * * *", "'64' is not allowed (the minute takes 0-59)"),
        ("9" * 5000 + " * * * *", "is not allowed (the minute takes 0-59)"),
        ("٣ * * * *", "'٣' cannot be read (the minute takes 0-59)"),
        ("-5 * * * *", "'-5' cannot be read (the minute takes 0-59)"),
        ("1.5 * * * *", "'1.5' cannot be read (the minute takes 0-59)"),
        ("*/0 * * * *", "'*/0' has a step of 0 (the minute takes 0-59)"),
        ("*/ * * * *", "'*/' cannot be read"),
        ("*/-5 * * * *", "'*/-5' cannot be read"),
        ("*-5 * * * *", "'*-5' cannot be read"),
        ("** * * * *", "'**' cannot be read"),
        ("5/15 * * * *", "'5/15' has a step but no range, as in 5-59/15 (the minute takes 0-59)"),
        ("10~40 * * * *", "'10~40' is a random time, and each worker would draw another one"),
        ("~ * * * *", "'~' is a random time"),
        ("* 24 * * *", "'24' is not allowed (the hour takes 0-23)"),
        ("* 17-9 * * *", "'17-9' runs backwards (the hour takes 0-23)"),
        ("* 9- * * *", "'9-' cannot be read (the hour takes 0-23)"),
        ("* ,9 * * *", "'' cannot be read (the hour takes 0-23)"),
        ("* noon * * *", "'noon' is not allowed (the hour takes 0-23)"),
        ("* * 0 * *", "'0' is not allowed (the day of month takes 1-31)"),
        ("* * 32 * *", "'32' is not allowed (the day of month takes 1-31)"),
        ("* * L * *", "'L' is not allowed (the day of month takes 1-31)"),
        ("* * ? * *", "'?' cannot be read (the day of month takes 1-31)"),
        ("* * * 0 *", "'0' is not allowed (the month takes 1-12 or jan-dec)"),
        ("* * * 13 *", "'13' is not allowed (the month takes 1-12 or jan-dec)"),
        ("* * * March *", "'March' is not allowed (the month takes 1-12 or jan-dec)"),
        ("* * * nov-feb *", "'nov-feb' runs backwards (the month takes 1-12 or jan-dec)"),
        ("* * * * 8", "'8' is not allowed (the day of week takes 0-7 or sun-sat)"),
        ("* * * * jan", "'jan' is not allowed (the day of week takes 0-7 or sun-sat)"),
        ("* * * * mon#2", "'mon#2' cannot be read (the day of week takes 0-7 or sun-sat)"),
        ("* * * * sat-mon", "'sat-mon' runs backwards (the day of week takes 0-7 or sun-sat)"),
        ("* * 30 2 *", "it is never due: none of its months has such a day"),
        ("* * 31 feb,apr,jun,sep,nov *", "it is never due"),
        ("* * 30,31 2 */2", "it is never due"),
        ("0 2 L/2 * *", "'L' is not allowed (the day of month takes 1-31)"),
        ("0 2 * * 5L/2", "'5L' is not allowed (the day of week takes 0-7 or sun-sat)"),
        ("0 0 2 * * *", 'there are no seconds (every="10s" has them), and a zone goes in tz='),
        ("0 2 * * * 2030", 'and a zone goes in tz="Europe/Berlin"'),
        ("0 2 * * * America/New_York", 'and a zone goes in tz="America/New_York"'),
        ("CRON_TZ=Asia/Tokyo 0 2 * * *", 'and a zone goes in tz="Asia/Tokyo"'),
        ("TZ=UTC 0 2 * * *", 'and a zone goes in tz="UTC"'),
        ("0 " * 10**5, "it has 100000 fields and needs five"),
        ("@reboot", "@reboot is not supported: litequeue does not see the machine start"),
        (
            "@fortnightly",
            "the known words are @hourly, @daily, @midnight, @weekly, @monthly, @yearly",
        ),
        ("@daily 5", "the known words are @hourly"),
        (None, "it is not text"),
        (5, "it is not text"),
        (b"0 2 * * *", "it is not text"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_cron_expression_is_refused(text: object, problem: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse_cron(text)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith(f"{show(text)} is not a valid schedule: ")
    assert len(message) < 500
    assert problem in message
    assert message.endswith('a word such as cron="@daily", or a period, as in every="15m".')


def test_a_refusal_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="not a valid schedule"):
        parse_cron("never")


# Next and previous


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("* * * * *", "2030-01-16 14:00", "2030-01-16 14:01"),
        ("* * * * *", "2030-01-16 14:00:59.999", "2030-01-16 14:01"),
        ("* * * * *", "2030-12-31 23:59", "2031-01-01 00:00"),
        ("0 2 * * *", "2030-01-16 01:59:59", "2030-01-16 02:00"),
        ("0 2 * * *", "2030-01-16 02:00", "2030-01-17 02:00"),
        ("*/15 9-17 * * 1-5", "2030-01-18 17:45", "2030-01-21 09:00"),
        ("0 0 1 * *", "2030-01-01 00:00", "2030-02-01 00:00"),
        ("0 0 31 * *", "2030-01-31 00:00", "2030-03-31 00:00"),
        ("0 0 29 2 *", "2030-01-01 00:00", "2032-02-29 00:00"),
        ("0 0 29 2 *", "2096-03-01 00:00", "2104-02-29 00:00"),
        ("0 0 29 2 */8", "2005-01-01 00:00", "2032-02-29 00:00"),
        ("0 0 */29 2 mon", "2030-01-01 00:00", "2038-02-01 00:00"),
        ("59 23 31 12 *", "2029-12-31 23:59", "2030-12-31 23:59"),
        # The day rule
        ("0 0 13 * fri", "2030-01-01 00:00", "2030-01-04 00:00"),
        ("0 0 13 * fri", "2030-01-11 00:00", "2030-01-13 00:00"),
        ("0 0 30 2 mon", "2030-01-01 00:00", "2030-02-04 00:00"),
        ("0 0 * * fri", "2030-01-01 00:00", "2030-01-04 00:00"),
        ("0 0 13 * *", "2030-01-01 00:00", "2030-01-13 00:00"),
        ("0 0 */13 * fri", "2030-01-02 00:00", "2030-02-01 00:00"),
        ("0 0 13 * */5", "2030-01-14 00:00", "2030-09-13 00:00"),
        ("0 0 1-31 * fri", "2030-01-01 00:00", "2030-01-02 00:00"),
        ("0 0 2,* * fri", "2030-01-02 00:00", "2030-01-03 00:00"),
    ],
)
def test_the_next_time_is_found(text: str, after: str, expected: str) -> None:
    assert shown(parse_cron(text).next(utc(after), UTC)) == expected


@pytest.mark.parametrize(
    ("text", "before", "expected"),
    [
        ("* * * * *", "2030-01-16 14:00", "2030-01-16 14:00"),
        ("* * * * *", "2030-01-16 14:00:59.999", "2030-01-16 14:00"),
        ("0 2 * * *", "2030-01-16 01:59:59", "2030-01-15 02:00"),
        ("0 2 * * *", "2030-01-01 01:00", "2029-12-31 02:00"),
        ("*/15 9-17 * * 1-5", "2030-01-21 08:59", "2030-01-18 17:45"),
        ("0 0 31 * *", "2030-03-30 00:00", "2030-01-31 00:00"),
        ("0 0 29 2 *", "2104-02-28 00:00", "2096-02-29 00:00"),
        ("0 0 13 * fri", "2030-01-12 00:00", "2030-01-11 00:00"),
    ],
)
def test_the_last_time_is_found(text: str, before: str, expected: str) -> None:
    assert shown(parse_cron(text).previous(utc(before), UTC)) == expected


def test_the_fields_are_read_in_the_zone_that_is_given() -> None:
    cron = parse_cron("0 2 * * *")
    after = utc("2030-01-16 00:00")
    assert shown(cron.next(after, ZoneInfo("Asia/Kolkata"))) == "2030-01-16 20:30"
    assert shown(cron.next(after, timezone(timedelta(hours=-5)))) == "2030-01-16 07:00"


def test_no_zone_is_the_zone_of_the_process(zone: ZoneInfo) -> None:
    chance = random.Random(7)
    for text in ("0 2 * * *", "30 2 * 3,10,11 sun", "*/20 1-3 * * *", "0 0 29 2 *"):
        cron = parse_cron(text)
        for _ in range(40):
            moment = chance.uniform(utc("2029-01-01"), utc("2031-01-01"))
            assert cron.next(moment) == cron.next(moment, zone)
            assert cron.previous(moment) == cron.previous(moment, zone)


@pytest.mark.parametrize("text", ["* * * * *", "0 0 29 2 */7", "7 3 31 */5 *", "1 1 30 2 tue"])
def test_times_ascend_and_previous_undoes_next(text: str) -> None:
    check_order(parse_cron(text), random.Random(text))


@pytest.mark.parametrize("seconds", [1, 60, 90, 7 * 86_400, 1.1, 3.3, 1 + 1e-9, math.pi, 86_399.9])
def test_periods_ascend_and_previous_undoes_next(seconds: float) -> None:
    check_order(parse_every(seconds), random.Random(seconds))


def check_order(schedule: Pattern, chance: random.Random) -> None:
    for _ in range(20):
        moment = chance.uniform(0, 4e9)
        ticks = [schedule.next(moment, UTC)]
        for _ in range(3):
            ticks.append(schedule.next(ticks[-1], UTC))
        assert schedule.previous(moment, UTC) <= moment < ticks[0]
        assert schedule.next(schedule.previous(moment, UTC), UTC) == ticks[0]
        for before, after in pairwise(ticks):
            assert before < after
            assert schedule.previous(before, UTC) == before
            assert schedule.previous(math.nextafter(after, 0), UTC) == before


def test_the_end_of_the_calendar_is_refused() -> None:
    with pytest.raises(ScheduleError, match="it is not due again before the year 10000"):
        parse_cron("0 0 1 1 *").next(utc("9999-06-01"), UTC)


def test_a_rare_day_is_found_without_a_look_at_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[datetime] = []
    whole = Cron._ticks
    monkeypatch.setattr(
        Cron, "_ticks", lambda cron, wall, tz: looked.append(wall) or whole(cron, wall, tz)
    )
    assert shown(parse_cron("0 0 29 2 */7").next(utc("2088-03-01"), UTC)) == "2128-02-29 00:00"
    assert len(looked) == 1


# Periods


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *((900, 900), (1, 1), (1.5, 1.5), (timedelta(minutes=15), 900), (timedelta(1), 86_400)),
        *(("900", 900), ("1.5", 1.5), ("15m", 900), ("1h30m", 5400), ("1h 30m", 5400)),
        *((" 1 H 30 Min ", 5400), ("1.5h", 5400), (".5h", 1800), ("90 seconds", 90)),
        *((f"2{unit}", 2) for unit in ("s", "sec", "secs", "second", "seconds")),
        *((f"2 {unit}", 120) for unit in ("m", "min", "mins", "minute", "minutes")),
        *((f"2 {unit}", 7200) for unit in ("h", "hr", "hrs", "hour", "hours")),
        *((f"2 {unit}", 172_800) for unit in ("d", "day", "days")),
        *((f"2 {unit}", 1_209_600) for unit in ("w", "week", "weeks")),
        ("3650 days", 3650 * 86_400),
    ],
)
def test_a_period_is_read(value: str | float | timedelta, seconds: float) -> None:
    assert parse_every(value) == Every(seconds)
    assert type(parse_every(value).seconds) is float


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        *((value, "a period is from 1 second to 3650 days long") for value in (0, -5, 0.5, "0")),
        *((value, "a period is from") for value in ("0.5s", timedelta(0), timedelta.max, 1e300)),
        *((value, "a period is from") for value in (math.nan, math.inf, 10**400, 10**6000)),
        *((value, "a period is from") for value in ("9" * 5000, "9" * 5000 + "h", "3651d")),
        *((value, "a duration is made of seconds") for value in ("", "abc", "-5", "m", "1 month")),
        *((value, "a duration is made of") for value in ("500ms", "1h 30", "1y", "15m!", "٣m")),
        *((value, "a duration is made of") for value in ("1" * 5000 + "!", "1m" * 5000 + "!")),
        *((value, "it is not a duration") for value in (None, True, b"15m", [15])),
    ],
    ids=lambda value: str(value)[:20] if not isinstance(value, int) else "int",
)
def test_what_is_no_period_is_refused(value: object, problem: str) -> None:
    with pytest.raises(ScheduleError, match=problem):
        parse_every(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "after", "expected"),
    [
        ("15m", "2030-01-16 14:00", "2030-01-16 14:15"),
        ("15m", "2030-01-16 14:14:59.900", "2030-01-16 14:15"),
        ("1 day", "2030-01-16 14:00", "2030-01-17 00:00"),
        ("1 week", "2030-01-16 14:00", "2030-01-17 00:00"),
        ("7m", "1970-01-01 00:07", "1970-01-01 00:14"),
        ("1h", "1969-12-31 23:30", "1970-01-01 00:00"),
    ],
)
def test_periods_are_counted_from_the_epoch(value: str, after: str, expected: str) -> None:
    every = parse_every(value)
    assert shown(every.next(utc(after))) == expected
    assert every.next(utc(after), ZoneInfo("Asia/Kolkata")) == every.next(utc(after))
