"""Parses times that are given as text: "30s", "tomorrow 10:00", "@1893456000".

A wall clock time that is skipped in spring is read as PEP 495 reads it: with
the offset from before the change, so 02:30 becomes 03:30. A time that is repeated in autumn
is the first of the two.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone, tzinfo

from litequeue.durations import NUMBER, UNIT_SECONDS
from litequeue.messages import did_you_mean, show

_DAY_SECONDS = 86_400
_LARGEST = 1e15

# Months, days and seconds of each unit. Days and weeks are days of the calendar here.
_UNITS: dict[str, tuple[int, int, int]] = {
    name: (0, *divmod(seconds, _DAY_SECONDS)) for name, seconds in UNIT_SECONDS.items()
}
_UNITS |= dict.fromkeys(["mon", "mons", "month", "months"], (1, 0, 0))
_UNITS |= dict.fromkeys(["y", "yr", "yrs", "year", "years"], (12, 0, 0))
_SIGNS = {"+": 1, "-": -1}
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

# No part matches where its neighbour could, so that no text causes long backtracking.
_FLAGS = re.ASCII | re.IGNORECASE | re.VERBOSE
_SIGN = r"(?:[+-]\s?)?"
_EPOCH_TEXT = re.compile(rf"@\s?(-?{NUMBER})", _FLAGS)
_TERM = re.compile(rf"({_SIGN})({NUMBER})\s?([a-z]*)", _FLAGS)
_SPAN = re.compile(
    rf"(?:in\s)? {_SIGN}{NUMBER} (?:\s?[a-z]+ (?:\s?{_SIGN}{NUMBER}\s?[a-z]+)*)?", _FLAGS
)
_MOMENT = re.compile(
    r"""
    (?! $ )
    (?: (?P<date> \d{4}-\d\d-\d\d ) (?: T(?=\d) | \s | $ )
      | (?P<day> today | tomorrow
          | (?:next\s)? (?: mon(?:day)? | tue(?:s|sday)? | wed(?:nesday)?
                          | thu(?:r|rs|rsday)? | fri(?:day)? | sat(?:urday)? | sun(?:day)? )
        ) (?: \s | $ )
    )?
    (?: (?:at\s)?
      (?: (?P<noon> noon ) | midnight
        # The \b keeps "10:00 America/New_York" from being ten in the morning.
        | (?P<hour> \d\d? ) (?= : | \s?[ap]m\b )
          (?: : (?P<minute> \d\d ) (?: : (?P<second> \d\d ) (?: \. (?P<fraction> \d+ ) )? )? )?
          (?: \s? (?P<half> [ap] ) m\b )?
      )
    )?
    # The day includes the space after it, so an offset can only follow a time.
    (?: (?<=\S) \s? (?P<offset> [+-] (?:0\d|1[0-4]) (?: :?[0-5]\d )? )
      # A zone alone is not a time.
      | (?<=.) \s? (?P<zone> [a-z][\w+/-]* )
    )?
    """,
    _FLAGS,
)


def read(text: str, now: float) -> float:
    """Return the instant that a text means at `now`, both in seconds since the epoch.

    Words must be separated by single spaces. Raises ValueError, OverflowError and OSError.
    """
    if text.lower() == "now":
        return now
    if found := _EPOCH_TEXT.fullmatch(text):
        return float(found[1])
    if found := _MOMENT.fullmatch(text):
        return _moment(found, now)
    if _SPAN.fullmatch(text):
        return _after_span(text.lower(), now)
    raise ValueError("it is neither a duration nor a date or time of day")


def no_such_zone(name: str) -> str:
    """Return the reason why a time zone is not found, for a message."""
    from zoneinfo import available_timezones

    known = available_timezones()
    if not known:
        return "no time zone data is installed; install the package tzdata"
    return f"there is no such time zone{did_you_mean(name, known)}"


def _moment(found: re.Match[str], now: float) -> float:
    zone = _zone(found)
    today = datetime.fromtimestamp(now, zone).date()
    day, repeat_days = _day(found, today)
    instant = datetime.combine(day, _clock(found), zone).timestamp()
    if repeat_days and instant <= now:
        day += timedelta(days=repeat_days)
        instant = datetime.combine(day, _clock(found), zone).timestamp()
    return instant


def _day(found: re.Match[str], today: date) -> tuple[date, int]:
    """Return the day, and after how many days it recurs (0: never)."""
    if found["date"]:
        return date.fromisoformat(found["date"]), 0
    if not found["day"]:
        return today, 1
    name = found["day"].lower()
    if name in ("today", "tomorrow"):
        return today + timedelta(days=name == "tomorrow"), 0
    word = name.removeprefix("next ")
    ahead = (_WEEKDAYS.index(word[:3]) - today.weekday()) % 7
    if word == name:
        return today + timedelta(days=ahead), 7
    return today + timedelta(days=ahead or 7), 0


def _clock(found: re.Match[str]) -> time:
    if not found["hour"]:
        return time(12) if found["noon"] else time(0)
    micros = (found["fraction"] or "").ljust(6, "0")[:6]
    return time(_hour(found), int(found["minute"] or 0), int(found["second"] or 0), int(micros))


def _hour(found: re.Match[str]) -> int:
    hour = int(found["hour"])
    if not found["half"]:
        return hour
    if not 1 <= hour <= 12:
        raise ValueError(f"there is no {hour} am or pm")
    return hour % 12 + (12 if found["half"] in "pP" else 0)


def _zone(found: re.Match[str]) -> tzinfo | None:
    if found["offset"]:
        return _offset(found["offset"])
    if not found["zone"]:
        return None
    # UTC must work where no time zone data is installed.
    return timezone.utc if found["zone"].lower() in ("z", "utc") else _zone_named(found["zone"])


def _offset(text: str) -> timezone:
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    return timezone(_SIGNS[text[0]] * timedelta(hours=hours, minutes=minutes))


def _zone_named(name: str) -> tzinfo:
    # Imported here: a time without a zone does not need it.
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # Listing them all takes 20 ms, so only a name in another case pays for it.
        known = {each.lower(): each for each in available_timezones()}.get(name.lower(), name)
    try:
        return ZoneInfo(known)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(no_such_zone(name)) from error


def _after_span(text: str, now: float) -> float:
    months = days = seconds = 0.0
    sign = 1
    for mark, number, unit in _TERM.findall(text):
        # A sign holds until the next one: "-1h30m" is ninety minutes ago.
        sign = _SIGNS.get(mark.strip(), sign)
        amount = sign * float(number)
        if abs(amount) > _LARGEST:
            raise OverflowError  # infinity cannot be converted to months
        if unit and unit not in _UNITS:
            raise ValueError(f"there is no unit {show(unit)}{did_you_mean(unit, _UNITS)}")
        in_months, in_days, in_seconds = _UNITS[unit or "s"]
        months += amount * in_months
        days += amount * in_days
        seconds += amount * in_seconds
    if months % 1:
        raise ValueError("a part of a month has no fixed length")
    whole, part = divmod(days, 1)
    return _on_calendar(now, int(months), int(whole)) + part * _DAY_SECONDS + seconds


def _on_calendar(now: float, months: int, days: int) -> float:
    # The way through the wall clock would lose which of the two 02:30 in autumn it is.
    if not months and not days:
        return now
    from calendar import monthrange  # it loads locale, which other texts do not need

    start = datetime.fromtimestamp(now)
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, monthrange(year, month + 1)[1])
    moved = start.replace(year=year, month=month + 1, day=day) + timedelta(days=days)
    return moved.replace(fold=0).timestamp()
