"""How long something takes: seconds, a ``timedelta``, or text such as "1h30m"; and how often
something may happen: text such as "100/minute"."""

# No "from __future__ import annotations": as in options, it would slow down the import.

import re
from datetime import timedelta
from typing import NamedTuple

from litequeue.errors import OptionError
from litequeue.messages import show

Duration = float | timedelta | str

EXAMPLES = 'text such as "30s" or "1h30m"'
FORMS = f"seconds, a timedelta or {EXAMPLES}"
LONGEST_SECONDS = 2**33 - 1

# Every spelling in full: a rule for plurals would make "500ms" five hundred minutes.
UNIT_SECONDS = {
    name: seconds
    for names, seconds in (
        ("s sec secs second seconds", 1),
        ("m min mins minute minutes", 60),
        ("h hr hrs hour hours", 3600),
        ("d day days", 86_400),
        ("w week weeks", 7 * 86_400),
    )
    for name in names.split()
}

# Not compiled here: most processes read no duration as text.
NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_TERM = rf"({NUMBER}) ?([a-z]+)"
_TEXT = rf"(?:in |\+ ?)?(?:({NUMBER})|(?:{NUMBER} ?[a-z]+ ?)+)"


def seconds_of(value: object) -> float:
    """Return a duration in seconds; raises ValueError for anything else.

    A day is 24 hours and a week seven days. A number is returned as it is.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        return _read(" ".join(value.lower().split()))
    raise ValueError("it is not a duration")


def checked_seconds(value: object, owner: str, word: str) -> float:
    """Return the seconds of a duration of 0 or more; raises OptionError, which names
    ``owner`` and ``word``."""
    try:
        seconds = seconds_of(value)
    except ValueError:
        seconds = -1
    if not is_seconds(seconds):
        problem = f"{word} must be {FORMS}, 0 or more, not {show(value)}{remark_on(value)}"
        raise OptionError(owner=owner, problem=problem)
    return seconds


def unbounded_seconds(value: object, owner: str, word: str) -> float:
    """As checked_seconds, but a number may be below zero or infinite."""
    return value if isinstance(value, int | float) else checked_seconds(value, owner, word)


def is_seconds(value: object) -> bool:
    """Whether a value is a number of seconds from 0 to LONGEST_SECONDS."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # The comparison is false for NaN, and works for an int too large for a float.
    return number and 0 <= value <= LONGEST_SECONDS  # type: ignore[operator]


def clipped(value: object) -> float | None:
    """Return the seconds of a wait that a job's code has asked for, from 0 to LONGEST_SECONDS.

    A shorter or longer wait is clipped; None stands for what is not a finite duration.
    """
    if isinstance(value, str | timedelta):
        try:
            value = seconds_of(value)
        except ValueError:
            return None
    if not isinstance(value, int | float) or not abs(value) < float("inf"):
        return None
    return float(min(max(value, 0), LONGEST_SECONDS))


def remark_on(value: object) -> str:
    """Return the end of the message about text in milliseconds, which have no unit."""
    if isinstance(value, str) and re.search(r"[0-9.] ?(?:ms|msecs?|millis\w*)\b", value.lower()):
        return "; there is no unit for milliseconds: write 0.5 for 500 ms"
    return ""


class Rate(NamedTuple):
    """How many starts a window of so many seconds may have."""

    starts: int
    seconds: float


RATE_FORMS = 'a text such as "100/minute" or "5/10s"'
MOST_STARTS = 2**31 - 1
LEAST_WINDOW_SECONDS = 0.001


def rate_of(value: object) -> Rate:
    """Return the rate that a text means; raises ValueError for what is none."""
    count, slash, window = str(value if isinstance(value, str) else "").partition("/")
    count, window = count.strip(), " ".join(window.lower().split())
    if not slash or not count.isascii() or not count.isdecimal():
        raise ValueError("a rate is a number, a slash and a duration")
    seconds = UNIT_SECONDS.get(window) or seconds_of(window)
    if not (1 <= int(count) <= MOST_STARTS and LEAST_WINDOW_SECONDS <= seconds <= LONGEST_SECONDS):
        raise ValueError("the number or the duration is out of range")
    return Rate(int(count), seconds)


def in_short(seconds: float) -> str:
    """Return a duration as a text of the same form as it is given: 1h30m, 45s, 0.5s."""
    words, left = "", round(seconds, 3)
    for letter, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        whole, left = divmod(left, length)
        words += f"{whole:.0f}{letter}" if whole else ""
    return words + (f"{round(left, 3):g}s" if left or not words else "")


def _read(text: str) -> float:
    found = re.fullmatch(_TEXT, text)
    terms = re.findall(_TERM, text) if found else ()
    if not found or any(unit not in UNIT_SECONDS for _, unit in terms):
        raise ValueError("a duration is made of seconds, minutes, hours, days and weeks")
    if found[1]:
        return float(found[1])
    return sum(float(number) * UNIT_SECONDS[unit] for number, unit in terms)
