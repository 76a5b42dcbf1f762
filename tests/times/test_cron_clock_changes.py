"""Cron expressions over clock changes, and against a scan of every minute."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from litequeue.times.cron import parse_cron

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
LORD_HOWE, UTC, CAIRO = "Australia/Lord_Howe", "UTC", "Africa/Cairo"
ZONES = {"DE": BERLIN, "US": NEW_YORK, "AU": LORD_HOWE, "UTC": UTC, "EG": CAIRO}


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def ticks(text: str, zone: str, begin: str, end: str) -> list[str]:
    """The times that the wall clock shows when the schedule comes, with the offset in hours."""
    cron, tz, found = parse_cron(text), ZoneInfo(zone), []
    instant = utc(begin)
    while (instant := cron.next(instant, tz)) <= utc(end):
        found.append(datetime.fromtimestamp(instant, tz))
    return [
        f"{at:%d %H:%M} {(at.utcoffset() or timedelta(0)) / timedelta(hours=1):+g}" for at in found
    ]


def changes(table: str) -> list[tuple[str, str, str, str, list[str]]]:
    """The rows of a table: zone, expression, begin, end, and the times that are shown."""
    lines = [line for line in table.strip().splitlines() if not line.startswith("#")]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    return [
        (ZONES[zone], text, f"2030-{begin}", f"2030-{end}", shown.split(", ") if shown else [])
        for zone, text, begin, end, shown in rows
    ]


# In spring Berlin goes from 02:00 to 03:00 (01:00 UTC), New York too (07:00 UTC), Lord Howe
# from 02:00 to 02:30 (15:30 UTC on the day before), and Cairo from 00:00 to 01:00 (22:00 UTC).


SPRING = """
# At fixed times: what is skipped comes at the jump
DE | 30 2 * * * | 03-30 12:00 | 04-01 12:00 | 31 03:00 +2, 01 02:30 +2
DE | 0 2 * * * | 03-30 12:00 | 03-31 12:00 | 31 03:00 +2
DE | 0 3 * * * | 03-30 12:00 | 03-31 12:00 | 31 03:00 +2
DE | 0,30 2,3 * * * | 03-30 12:00 | 03-31 12:00 | 31 03:00 +2, 31 03:30 +2
DE | 5-55/10 2 * * * | 03-30 12:00 | 03-31 12:00 | 31 03:00 +2
DE | 30 2 31 3 * | 01-01 12:00 | 12-31 12:00 | 31 03:00 +2
DE | 0 1,4 * * * | 03-30 12:00 | 03-31 12:00 | 31 01:00 +1, 31 04:00 +2
US | 30 2 * * * | 03-09 12:00 | 03-10 12:00 | 10 03:00 -4
AU | 15 2 * * * | 10-05 00:00 | 10-06 00:00 | 06 02:30 +11
AU | 45 2 * * * | 10-05 00:00 | 10-06 00:00 | 06 02:45 +11
EG | 0 0 * * * | 04-25 12:00 | 04-26 12:00 | 26 01:00 +3
EG | 0 0 26 4 * | 01-01 12:00 | 12-31 12:00 | 26 01:00 +3
UTC | 30 2 * * * | 03-30 12:00 | 03-31 12:00 | 31 02:30 +0
# By the clock: what is skipped does not come
DE | */30 2 * * * | 03-30 12:00 | 03-31 12:00 |
DE | */30 * * * * | 03-31 00:00 | 03-31 01:30 | 31 01:30 +1, 31 03:00 +2, 31 03:30 +2
DE | 0 */2 * * * | 03-30 22:00 | 03-31 04:00 | 31 00:00 +1, 31 04:00 +2, 31 06:00 +2
US | 15 * * * * | 03-10 06:00 | 03-10 07:59 | 10 01:15 -5, 10 03:15 -4
AU | */15 * * * * | 10-05 15:00 | 10-05 15:45 | 06 01:45 +10.5, 06 02:30 +11, 06 02:45 +11
UTC | 0 * * * * | 03-31 00:00 | 03-31 02:00 | 31 01:00 +0, 31 02:00 +0
"""


@pytest.mark.parametrize(("zone", "text", "begin", "end", "expected"), changes(SPRING))
def test_a_schedule_over_the_change_of_spring(
    zone: str, text: str, begin: str, end: str, expected: list[str]
) -> None:
    assert ticks(text, zone, begin, end) == expected


# In autumn Berlin goes from 03:00 to 02:00 (01:00 UTC), New York from 02:00 to 01:00 (06:00
# UTC), Lord Howe from 02:00 to 01:30 (15:00 UTC on the day before), and Cairo from 24:00 to 23:00.


AUTUMN = """
# At fixed times: what is repeated comes in the first pass
DE | 30 2 * * * | 10-26 12:00 | 10-28 12:00 | 27 02:30 +2, 28 02:30 +1
DE | 0,59 2 * * * | 10-26 12:00 | 10-27 12:00 | 27 02:00 +2, 27 02:59 +2
DE | 30 1-3 * * * | 10-26 12:00 | 10-27 12:00 | 27 01:30 +2, 27 02:30 +2, 27 03:30 +1
US | 30 1 * * * | 11-02 12:00 | 11-03 12:00 | 03 01:30 -4
AU | 0,45 1 * * * | 04-06 00:00 | 04-07 00:00 | 07 01:00 +11, 07 01:45 +11
EG | 30 23 31 10 * | 01-01 00:00 | 12-31 00:00 | 31 23:30 +3
UTC | 30 2 * * * | 10-26 12:00 | 10-27 12:00 | 27 02:30 +0
# By the clock: both passes
DE | */30 2 * * * | 10-26 12:00 | 10-27 12:00 | 27 02:00 +2, 27 02:30 +2, 27 02:00 +1, 27 02:30 +1
DE | 50 * * * * | 10-27 00:00 | 10-27 02:00 | 27 02:50 +2, 27 02:50 +1
DE | 0 */2 * * * | 10-26 22:30 | 10-27 03:00 | 27 02:00 +2, 27 02:00 +1, 27 04:00 +1
US | 30 * * * * | 11-03 05:00 | 11-03 07:00 | 03 01:30 -4, 03 01:30 -5
AU | */20 * * * * | 04-06 14:20 | 04-06 15:30 | 07 01:40 +11, 07 01:40 +10.5, 07 02:00 +10.5
UTC | 0 * * * * | 10-27 00:00 | 10-27 02:00 | 27 01:00 +0, 27 02:00 +0
"""


@pytest.mark.parametrize(("zone", "text", "begin", "end", "expected"), changes(AUTUMN))
def test_a_schedule_over_the_change_of_autumn(
    zone: str, text: str, begin: str, end: str, expected: list[str]
) -> None:
    assert ticks(text, zone, begin, end) == expected


def test_every_minute_comes_every_minute_whatever_the_clock_shows() -> None:
    cron = parse_cron("* * * * *")
    for zone, change in CHANGES:
        for minute in range(-75, 75):
            now = utc(change) + 60 * minute
            assert cron.next(now, ZoneInfo(zone)) == now + 60
            assert cron.previous(now + 59, ZoneInfo(zone)) == now


# Against a scan

CHANGES = [
    (BERLIN, "2030-03-31 01:00"),
    (BERLIN, "2030-10-27 01:00"),
    (NEW_YORK, "2030-03-10 07:00"),
    (NEW_YORK, "2030-11-03 06:00"),
    (LORD_HOWE, "2030-10-05 15:30"),
    (LORD_HOWE, "2030-04-06 15:00"),
    (CAIRO, "2030-04-25 22:00"),
    (UTC, "2030-02-28 12:00"),
]
DAYS = 8


class Minute(NamedTuple):
    """What a wall clock shows at an instant, or would have shown had it not jumped there."""

    at: float
    hour: int
    minute: int
    day: int
    month: int
    weekday: int
    skipped: bool
    second_pass: bool


def minute_of(at: float, wall: datetime, *, skipped: bool = False) -> Minute:
    weekday = wall.isoweekday() % 7
    return Minute(
        at, wall.hour, wall.minute, wall.day, wall.month, weekday, skipped, wall.fold == 1
    )


@cache
def minutes_around(zone: str, change: str) -> list[Minute]:
    found, tz = [], ZoneInfo(zone)
    before = datetime.fromtimestamp(utc(change) - DAYS * 86_400 - 60, tz)
    for _ in range(2 * DAYS * 1440):
        wall = datetime.fromtimestamp(before.timestamp() + 60, tz)
        at = wall.timestamp()
        jump = (wall.utcoffset() or timedelta(0)) - (before.utcoffset() or timedelta(0))
        gap = range(1, 1 + max(0, jump // timedelta(minutes=1)))
        found += [minute_of(at, before + timedelta(minutes=late), skipped=True) for late in gap]
        found.append(minute_of(at, wall))
        before = wall
    return found


LIMITS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]


def random_part(chance: random.Random, low: int, high: int) -> tuple[str, set[int]]:
    first, last = sorted(chance.choices(range(low, high + 1), k=2))
    step = chance.choice([1, 2, 3, 5, 7, 15, 20])
    return chance.choice(
        [
            (f"{first}", {first}),
            (f"{first}-{last}", set(range(first, last + 1))),
            (f"{first}-{last}/{step}", set(range(first, last + 1, step))),
            (f"*/{step}", set(range(low, high + 1, step))),
        ]
    )


def random_field(chance: random.Random, number: int) -> tuple[str, set[int]]:
    low, high = LIMITS[number]
    if chance.random() < [0.15, 0.4, 0.5, 0.8, 0.5][number]:
        return "*", set(range(low, high + 1))
    parts = [random_part(chance, low, high) for _ in range(chance.choice([1, 1, 1, 2, 3]))]
    return ",".join(text for text, _ in parts), set().union(*(numbers for _, numbers in parts))


def scanned(texts: list[str], fields: list[set[int]], minutes: list[Minute]) -> Iterator[float]:
    """The rule of crontab(5), minute by minute."""
    minute, hour, day, month, weekday = fields
    weekday = {number % 7 for number in weekday}
    wild = texts[0][0] == "*" or texts[1][0] == "*"
    both = texts[2][0] == "*" or texts[4][0] == "*"
    for now in minutes:
        if now.minute not in minute or now.hour not in hour or now.month not in month:
            continue
        if now.skipped if wild else now.second_pass:
            continue
        of_month, of_week = now.day in day, now.weekday in weekday
        if (of_month and of_week) if both else (of_month or of_week):
            yield now.at


@pytest.mark.parametrize("seed", range(300))
def test_a_random_expression_agrees_with_a_scan_of_every_minute(seed: int) -> None:
    chance = random.Random(seed)
    zone, change = chance.choice(CHANGES)
    minutes, tz = minutes_around(zone, change), ZoneInfo(zone)
    texts, fields = zip(*(random_field(chance, number) for number in range(5)), strict=True)
    if min(fields[2]) > 28:
        texts, fields = (*texts[:3], "*", texts[4]), (*fields[:3], set(range(1, 13)), fields[4])
    expected = sorted(set(scanned(list(texts), list(fields), minutes)))
    cron = parse_cron(" ".join(texts))
    near = [utc(change) + chance.randrange(-7200, 7200) for _ in range(10)]
    far = [chance.uniform(minutes[0].at, minutes[-1].at) for _ in range(8)]
    for moment in (*near, *far, utc(change), *chance.sample(expected, min(5, len(expected)))):
        index = bisect_right(expected, moment)
        following = expected[index] if index < len(expected) else None
        found = cron.next(moment, tz)
        assert found == following if following is not None else found > minutes[-1].at
        last = expected[index - 1] if index else None
        found = cron.previous(moment, tz)
        assert found == last if last is not None else found < minutes[0].at
        assert cron.previous(cron.next(moment, tz), tz) == cron.next(moment, tz)
    assert bisect_left(expected, minutes[0].at) == 0
