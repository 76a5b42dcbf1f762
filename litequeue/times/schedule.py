"""When a periodic job comes: what ``cron=``, ``every=`` and ``tz=`` say together, and how
a row of the timetable keeps it."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from datetime import timezone, tzinfo

from litequeue.durations import Duration
from litequeue.errors import ScheduleError
from litequeue.messages import show
from litequeue.times.cron import Cron, Schedule, parse_cron, parse_every
from litequeue.times.phrases import no_such_zone


@dataclass(frozen=True, slots=True)
class Timing:
    """One expression, read: ``cron 0 2 * * *`` or ``every 900``, in a zone or in local
    time."""

    text: str
    zone: str | None
    _schedule: Schedule
    _tz: tzinfo | None

    def next(self, after: float) -> float:
        """The first instant after ``after``, both in seconds since the epoch."""
        return self._schedule.next(after, self._tz)

    def previous(self, before: float) -> float:
        """The last instant at or before ``before``."""
        return self._schedule.previous(before, self._tz)

    @property
    def at_fixed_times(self) -> bool:
        """Whether it comes at times of the day, of which each comes once, and not again and
        again by the clock or by a period."""
        return isinstance(self._schedule, Cron) and not self._schedule.by_the_clock

    def words(self) -> str:
        """The expression in words."""
        zone = f", {self.zone} time" if self.zone and isinstance(self._schedule, Cron) else ""
        return self._schedule.words() + zone


def timing(cron: str | None, every: Duration | None, tz: str | None) -> Timing | None:
    """Read the keywords of a job class; None where they name no time. Raises
    ScheduleError."""
    if cron is not None and every is not None:
        raise ScheduleError(value=show(cron), problem="give cron or every, not both")
    if cron is not None:
        by_the_clock = parse_cron(cron)
        return Timing(f"cron {by_the_clock.text}", tz, by_the_clock, _zone(tz))
    if every is not None:
        period = parse_every(every)
        # All digits: :g would write a million and one as 1e+06.
        seconds = str(period.seconds).removesuffix(".0")
        return Timing(f"every {seconds}", tz, period, _zone(tz))
    if tz is not None:
        raise ScheduleError(value=show(tz), problem="a tz goes with cron or every")
    return None


def read_timing(text: str, zone: str | None) -> Timing:
    """Read what a row of the timetable keeps; raises ScheduleError."""
    kind, _, expression = text.partition(" ")
    found = timing(expression, None, zone) if kind == "cron" else timing(None, expression, zone)
    assert found is not None
    return found


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    if not isinstance(name, str):
        raise ScheduleError(value=show(name), problem='a tz is a name, as in tz="Europe/Berlin"')
    if name == "UTC":
        # It must work where no time zone data is installed.
        return timezone.utc
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleError(value=show(name), problem=no_such_zone(name)) from error
