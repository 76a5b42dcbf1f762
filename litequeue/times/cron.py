"""Parses `cron=` and `every=`, and computes the due times.

The fields are those of crontab(5), read as cronie reads them. The names `sun` and the
number 0 end a range as day 7, so that `fri-sun` is 5-7. A step needs a range or `*`
before it: `5/15` is refused, as cronie refuses it, though other crons read 5-59/15.

**The day rule.** Where both day fields are restricted, a day that matches either is
enough. A day field that starts with `*`, be it `*/2`, is not restricted in this sense:
then a day must match both.

**Clock changes** follow cronie's two kinds of schedule:

- *By the clock*, where the minute or the hour starts with `*`: it is due whenever the wall
  clock shows a time that matches. So it is due in both passes of a repeated hour, and a
  time that is skipped is not due.
- *At fixed times*, all others: each time is due once. A repeated time is due in its first
  pass, and a skipped time at the instant of the jump; several that one jump skips, or
  that match right after it, are due as one.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from calendar import monthrange
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, date, datetime, timedelta, tzinfo
from itertools import pairwise
from math import floor
from typing import TypeAlias

from litequeue.durations import Duration, seconds_of
from litequeue.errors import ScheduleError
from litequeue.messages import show

LONGEST_DAYS = 3650

_MONTH_NAMES = (
    "January February March April May June July August September October November December"
)
_WEEKDAY_NAMES = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_MONTHS = ("", *_MONTH_NAMES.split())
_WEEKDAYS = tuple(_WEEKDAY_NAMES.split())
_LEAP_YEAR = 2000
_DAY_SECONDS = 86_400
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_PART = re.compile(r"(?i)(?:\*|([0-9a-z]+)(?:-([0-9a-z]+))?)(?:/([0-9]{1,9}))?")
_ZONE = re.compile(r"(?:CRON_)?TZ=(\S+)|([A-Za-z_]+/[A-Za-z_/+-]+|UTC|GMT)")


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule by the wall clock and the calendar, as parse_cron reads it.

    Weekdays are 1 (Monday) to 7; what each field admits is in ascending order.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    either_day: bool
    by_the_clock: bool

    def next(self, after: float, tz: tzinfo | None = None) -> float:
        """Return the first instant after ``after``, by the wall clock of ``tz`` (None: local)."""
        wall = _wall(after, tz)
        start = wall + timedelta(minutes=1)
        # In the first pass of a repeated hour the next tick may show an earlier time.
        starts = {start, start - _repeated_time(wall, tz)}
        return min(self._nearest(start, 1, tz, lambda tick: tick > after) for start in starts)

    def previous(self, before: float, tz: tzinfo | None = None) -> float:
        """Return the last instant at or before ``before``."""
        wall = _wall(before, tz)
        starts = {wall, wall + _repeated_time(wall, tz)}
        return max(self._nearest(start, -1, tz, lambda tick: tick <= before) for start in starts)

    def words(self) -> str:
        """Return the schedule in English, as in "at 02:00 every day"."""
        all_day = _all_day(self.minutes, self.hours)
        time = all_day or _times_of_day(self.minutes, self.hours)
        months = "" if len(self.months) == 12 else _ranges(self.months, _MONTHS.__getitem__)
        dates = f" on the {_ranges(self.days, _ordinal)} of {months or 'every month'}"
        inside = f" in {months}" if months else ""
        full = [len(self.days) == 31, len(self.weekdays) == 7]
        if any(full) if self.either_day else all(full):
            return time + ("" if all_day else " every day") + inside
        if self.either_day:
            return f"{time}{dates}, and {_on_weekdays(self.weekdays).lstrip(', ')}{inside}"
        if full[0]:
            return time + _on_weekdays(self.weekdays) + inside
        if full[1]:
            return time + dates
        names = [_WEEKDAYS[weekday] for weekday in self.weekdays]
        return f"{time}{dates}, if that is a {_listed(names, 'or')}"

    def _nearest(
        self, start: datetime, step: int, tz: tzinfo | None, wanted: Callable[[float], bool]
    ) -> float:
        for wall in self._walls(start, step):
            for tick in self._ticks(wall, tz)[::step]:
                if wanted(tick):
                    return tick
        raise ScheduleError(
            value=show(self.text), problem="it is not due again before the year 10000"
        )

    def _walls(self, start: datetime, step: int) -> Iterator[datetime]:
        """Yield the wall clock times that match, from ``start`` on, or back where step is -1."""
        for day in self._days(start.date(), step):
            for hour in self.hours[::step]:
                if day == start.date() and (hour - start.hour) * step < 0:
                    continue
                for minute in self.minutes[::step]:
                    wall = datetime(day.year, day.month, day.day, hour, minute)
                    if wall >= start if step > 0 else wall <= start:
                        yield wall

    def _days(self, start: date, step: int) -> Iterator[date]:
        last = 12 * MAXYEAR + 12 if step > 0 else 11
        for index in range(12 * start.year + start.month - 1, last, step):
            year, month = index // 12, index % 12 + 1
            length = monthrange(year, month)[1] if month in self.months else 0
            for number in range(1, length + 1)[::step]:
                day = date(year, month, number)
                if (day >= start if step > 0 else day <= start) and self._matches_day(day):
                    yield day

    def _matches_day(self, day: date) -> bool:
        matches = day.day in self.days, day.isoweekday() in self.weekdays
        return any(matches) if self.either_day else all(matches)

    def _ticks(self, wall: datetime, tz: tzinfo | None) -> list[float]:
        """Return the instants at which a wall clock time is due: none, one or two."""
        first, second = _instants(wall, tz)
        if first > second:
            return [] if self.by_the_clock else [_jump(wall, tz)]
        return [first, second] if first < second and self.by_the_clock else [first]


@dataclass(frozen=True, slots=True)
class Every:
    """A fixed period, counted from the epoch, so that all workers agree on its instants."""

    seconds: float

    def next(self, after: float, tz: tzinfo | None = None) -> float:
        """Return the first instant after ``after``; the zone does not matter."""
        return min(tick for tick in self._ticks_near(after) if tick > after)

    def previous(self, before: float, tz: tzinfo | None = None) -> float:
        """Return the last instant at or before ``before``; the zone does not matter."""
        return max(tick for tick in self._ticks_near(before) if tick <= before)

    def words(self) -> str:
        """Return the period in English, as in "every 15 minutes"."""
        days, rest = divmod(self.seconds, _DAY_SECONDS)
        hours, rest = divmod(rest, 3600)
        minutes, seconds = divmod(rest, 60)
        units = {"day": days, "hour": hours, "minute": minutes, "second": seconds}
        counts = [(count, unit) for unit, count in units.items() if count]
        several = f"every {_listed(_counted(*count) for count in counts)}"
        return several if len(counts) > 1 else _every(*counts[0])

    def _ticks_near(self, instant: float) -> list[float]:
        # The quotient may be off by one if the period is not a whole number.
        about = instant // self.seconds
        return [(about + offset) * self.seconds for offset in (-1, 0, 1, 2)]


Pattern: TypeAlias = Cron | Every


def parse_cron(text: str) -> Cron:
    """Return the schedule that five fields of crontab(5), or a word such as @daily, mean."""
    try:
        return _read(text)
    except ValueError as error:
        raise ScheduleError(value=show(text), problem=str(error)) from None


def parse_every(value: Duration) -> Every:
    """Return the period that "15m", "1h30m", 900 or a timedelta means."""
    try:
        seconds = seconds_of(value)
        if not 1 <= seconds <= LONGEST_DAYS * _DAY_SECONDS:
            raise ValueError(f"a period is from 1 second to {LONGEST_DAYS} days long")
        return Every(float(seconds))
    except ValueError as error:
        raise ScheduleError(value=show(value), problem=str(error)) from None


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: Sequence[str] = ()

    def numbers(self, text: str) -> set[int]:
        return {number for part in text.split(",") for number in self._part(part)}

    def _part(self, text: str) -> range:
        found = _PART.fullmatch(text)
        if "~" in text:
            raise self._refused(text, "is a random time, and each worker would draw another one")
        if not found:
            raise self._refused(text, "cannot be read")
        first, last, step = found.groups()
        low = self._number(first) if first else self.low
        if step and first and not last:
            raise self._refused(text, f"has a step but no range, as in {first}-{self.high}/{step}")
        if step and not int(step):
            raise self._refused(text, "has a step of 0")
        high = self._number(last or first) if first else self.high
        # Only the day of week has both: fri-sun and 5-0 are 5-7.
        if (high, self.high) == (0, 7) and low:
            high = 7
        if low > high:
            raise self._refused(text, "runs backwards")
        return range(low, high + 1, int(step or 1))

    def _number(self, text: str) -> int:
        if text.lower() in self.names:
            return self.low + self.names.index(text.lower())
        # int() refuses thousands of digits.
        if not text.isdigit() or len(text) > 9 or not self.low <= int(text) <= self.high:
            raise self._refused(text, "is not allowed")
        return int(text)

    def _refused(self, text: str, why: str) -> ValueError:
        names = f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
        return ValueError(
            f"{show(text)} {why} (the {self.name} takes {self.low}-{self.high}{names})"
        )


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, [name[:3].lower() for name in _MONTHS[1:]]),
    _Field("day of week", 0, 7, [name[:3].lower() for name in _WEEKDAYS[:7]]),
)


def _read(text: str) -> Cron:
    fields = _fields(text)
    minutes, hours, days, months, weekdays = (
        tuple(sorted(field.numbers(part))) for field, part in zip(_FIELDS, fields, strict=True)
    )
    by_the_clock = any(part.startswith("*") for part in fields[:2])
    either_day = not any(fields[number].startswith("*") for number in (2, 4))
    if not either_day and days[0] > max(monthrange(_LEAP_YEAR, month)[1] for month in months):
        raise ValueError("it is never due: none of its months has such a day")
    weekdays = tuple(sorted({weekday or 7 for weekday in weekdays}))
    shown = " ".join(text.split())
    return Cron(shown, minutes, hours, days, months, weekdays, either_day, by_the_clock)


def _fields(text: str) -> list[str]:
    if not isinstance(text, str):
        raise ValueError("it is not text")
    word = text.strip().lower()
    if word == "@reboot":
        raise ValueError("@reboot is not supported: litequeue does not see the machine start")
    if word.startswith("@") and word not in _NICKNAMES:
        raise ValueError(f"the known words are {_listed(_NICKNAMES)}")
    fields = _NICKNAMES.get(word, text).split()
    if len(fields) != len(_FIELDS):
        raise ValueError(_wrong_count(fields))
    return fields


def _wrong_count(fields: Sequence[str]) -> str:
    names = _listed(field.name for field in _FIELDS)
    problem = f"it has {_counted(len(fields), 'field')} and needs five: {names}"
    if len(fields) < len(_FIELDS):
        return problem
    # Other crons take a zone before or behind the fields.
    found = _ZONE.fullmatch(fields[0]) or _ZONE.fullmatch(fields[-1])
    zone = show(found[1] or found[2] if found else "Europe/Berlin").replace("'", '"')
    return f'{problem}; there are no seconds (every="10s" has them), and a zone goes in tz={zone}'


def _wall(instant: float, tz: tzinfo | None) -> datetime:
    """Return the minute that the wall clock shows at an instant."""
    shown = datetime.fromtimestamp(floor(instant), tz)
    return shown.replace(tzinfo=None, fold=0, second=0, microsecond=0)


def _instants(wall: datetime, tz: tzinfo | None) -> tuple[float, float]:
    """Return both readings of PEP 495: ascending if repeated, descending if skipped."""
    first = wall.replace(tzinfo=tz, fold=0).timestamp()
    return first, wall.replace(tzinfo=tz, fold=1).timestamp()


def _repeated_time(wall: datetime, tz: tzinfo | None) -> timedelta:
    first, second = _instants(wall, tz)
    return timedelta(seconds=max(0.0, second - first))


def _jump(wall: datetime, tz: tzinfo | None) -> float:
    """Return the instant at which the wall clock jumps over ``wall``."""
    late, early = _instants(wall, tz)
    seconds = range(int(early), int(late) + 1)
    return float(seconds[bisect_left(seconds, True, key=lambda at: _wall(at, tz) > wall)])


def _all_day(minutes: Sequence[int], hours: Sequence[int]) -> str:
    """Return a schedule that is the same all day in English, or "" for another."""
    step = _cycle(minutes, 60)
    if len(hours) == 24:
        if step:
            return _every(step, "minute") if step < 60 else "every hour"
        return f"{_at_minutes(minutes)} of every hour"
    step = _cycle(hours, 24) if minutes == (0,) and len(hours) > 2 else 0
    return _every(step, "hour") if step else ""


def _times_of_day(minutes: Sequence[int], hours: Sequence[int]) -> str:
    step, spans = _cycle(minutes, 60), _runs(hours)
    if len(minutes) * len(hours) > 2 and 0 < step < 60:
        if len(spans) > 2:
            return f"{_every(step, 'minute')} in the hours {_ranges(hours, str)}"
        bounds = (f"from {low:02}:00 to {high:02}:59" for low, high in spans)
        return f"{_every(step, 'minute')} {_listed(bounds)}"
    times = [f"{hour:02}:{minute:02}" for hour in hours for minute in minutes]
    steps = {after - before for before, after in pairwise(hours)}
    if len(minutes) == 1 and len(hours) > 2 and len(steps) == 1:
        return f"{_every(steps.pop(), 'hour')} from {times[0]} to {times[-1]}"
    if len(times) <= 6:
        return f"at {_listed(times)}"
    return f"{_at_minutes(minutes)} of the hours {_ranges(hours, str)}"


def _at_minutes(minutes: Sequence[int]) -> str:
    return f"at minute{'s' if len(minutes) > 1 else ''} {_ranges(minutes, str)}"


def _cycle(values: Sequence[int], size: int) -> int:
    """Return the step of values that divide the whole hour or day evenly from 0 on, else 0."""
    step = size // len(values)
    return step if size % len(values) == 0 and tuple(range(0, size, step)) == values else 0


def _runs(values: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first and the last value of each run without a gap."""
    starts = [value for value in values if value - 1 not in values]
    return list(zip(starts, (value for value in values if value + 1 not in values), strict=True))


def _ranges(values: Sequence[int], name: Callable[[int], str]) -> str:
    parts: list[str] = []
    for low, high in _runs(values):
        names = [name(value) for value in range(low, high + 1)]
        parts += [f"{names[0]} to {names[-1]}"] if len(names) > 2 else names
    return _listed(parts)


def _on_weekdays(weekdays: Sequence[int]) -> str:
    if len(weekdays) > 2 and len(_runs(weekdays)) == 1:
        return f", {_ranges(weekdays, _WEEKDAYS.__getitem__)}"
    return f" on {_listed(f'{_WEEKDAYS[weekday]}s' for weekday in weekdays)}"


def _ordinal(day: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(day % 10 if day not in (11, 12, 13) else 0, "th")
    return f"{day}{ending}"


def _every(count: int | float, unit: str) -> str:
    return f"every {unit}" if count == 1 else f"every {_counted(count, unit)}"


def _counted(count: int | float, unit: str) -> str:
    return f"{count:g} {unit}{'' if count == 1 else 's'}"


def _listed(items: Iterable[str], last: str = "and") -> str:
    *others, final = items
    return f"{', '.join(others)} {last} {final}" if others else final
