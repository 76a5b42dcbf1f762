"""The schedule of a periodic job: ``cron=`` or ``every=``, with ``tz=``."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from datetime import timezone, tzinfo

from litequeue.durations import Duration
from litequeue.errors import ScheduleError
from litequeue.messages import show
from litequeue.times.cron import Cron, Pattern, parse_cron, parse_every
from litequeue.times.phrases import no_such_zone


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a periodic job is due, in one time zone or in local time.

    ``text`` is what is stored: ``cron 0 2 * * *`` or ``every 900``.
    """

    text: str
    zone: str | None
    _pattern: Pattern
    _tz: tzinfo | None

    def next(self, after: float) -> float:
        """Return the first due time after ``after``, both in seconds since the epoch."""
        return self._pattern.next(after, self._tz)

    def previous(self, before: float) -> float:
        """Return the last due time at or before ``before``."""
        return self._pattern.previous(before, self._tz)

    @property
    def at_fixed_times(self) -> bool:
        """Whether its due times are fixed times of the day, each of which is due only once."""
        return isinstance(self._pattern, Cron) and not self._pattern.by_the_clock

    def words(self) -> str:
        """Return the schedule in English."""
        zone = f", {self.zone} time" if self.zone and isinstance(self._pattern, Cron) else ""
        return self._pattern.words() + zone


def schedule_of(cron: str | None, every: Duration | None, tz: str | None) -> Schedule | None:
    """Return the schedule of a job class with these keywords, or None; raises ScheduleError."""
    if cron is not None and every is not None:
        raise ScheduleError(value=show(cron), problem="give cron or every, not both")
    if cron is not None:
        pattern = parse_cron(cron)
        return Schedule(f"cron {pattern.text}", tz, pattern, _zone(tz))
    if every is not None:
        period = parse_every(every)
        # Not :g, which writes 1000001 as 1e+06.
        seconds = str(period.seconds).removesuffix(".0")
        return Schedule(f"every {seconds}", tz, period, _zone(tz))
    if tz is not None:
        raise ScheduleError(value=show(tz), problem="tz needs cron or every")
    return None


def read_schedule(text: str, zone: str | None) -> Schedule:
    """Return the schedule of a stored expression; raises ScheduleError."""
    kind, _, expression = text.partition(" ")
    found = (
        schedule_of(expression, None, zone)
        if kind == "cron"
        else schedule_of(None, expression, zone)
    )
    assert found is not None
    return found


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    if not isinstance(name, str):
        raise ScheduleError(value=show(name), problem='tz must be a name, as in tz="Europe/Berlin"')
    if name == "UTC":
        # UTC must work where no time zone data is installed.
        return timezone.utc
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleError(value=show(name), problem=no_such_zone(name)) from error
