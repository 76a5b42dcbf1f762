"""How long something takes: seconds, a ``timedelta``, or text such as "1h30m"."""

# No "from __future__ import annotations": as in options, it would slow down the import.

import re
from datetime import timedelta

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


def _read(text: str) -> float:
    found = re.fullmatch(_TEXT, text)
    terms = re.findall(_TERM, text) if found else ()
    if not found or any(unit not in UNIT_SECONDS for _, unit in terms):
        raise ValueError("a duration is made of seconds, minutes, hours, days and weeks")
    if found[1]:
        return float(found[1])
    return sum(float(number) * UNIT_SECONDS[unit] for number, unit in terms)
