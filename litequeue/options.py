"""The options of a job, as a class, the decorator and a push take them."""

# No "from __future__ import annotations": it would make the types of the fields texts, which
# are compiled at import.

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypedDict, cast

from litequeue.durations import FORMS, RATE_FORMS, Duration, is_seconds, rate_of, seconds_of
from litequeue.errors import OptionError
from litequeue.messages import nearest, show

Backoff = Duration | Sequence[Duration] | Callable[[int], Duration]


class Options(TypedDict, total=False):
    """The options of a job. The first of these that gives an option wins: the push, the class
    or decorator, the worker's flags, the environment, DEFAULTS."""

    queue: str
    """The name of the queue."""
    priority: int
    """Jobs of a higher priority run first; the default is 0."""
    max_attempts: int
    """How often the job may run; attempts are counted at their start, so a crash counts."""
    backoff: Backoff
    """How long to wait before the next attempt: a duration, a list of them whose last item
    repeats, or a callable that is given the number of the failed attempt and returns one."""
    timeout: Duration
    """How long one attempt may take."""
    delay: float | timedelta | datetime | str
    """How long to wait first: seconds, or another form that docs/delays.md lists."""
    at: float | timedelta | datetime | str
    """When to run first; the same forms as ``delay``, except that a number is an instant, in
    seconds since the epoch."""
    unique: bool | str | Callable[..., str]
    """While a job with this key is unfinished, a push returns its id and stores nothing.
    True stands for the name and payload, else a text, or a callable that is given the job."""
    without_overlapping: bool | str | Callable[..., str]
    """Jobs with this key never run at the same time. True stands for the name, else a text, or
    a callable that is given the job."""
    concurrency: int
    """How many jobs with the same key may run at once; without a key, of the same name."""
    expires: float | timedelta | datetime | str
    """How long after its push the job may still be started, or until when; the same forms as
    ``delay``. A job that was not started by then is cancelled."""
    rate_limit: str
    """How many jobs of the key may be started in any window of a length: "100/minute",
    "5/10s"."""
    rate_key: bool | str | Callable[..., str]
    """Jobs with this key share a rate limit. True, the default, stands for the name, else a
    text, or a callable that is given the job; False lifts the limit."""
    keep: Duration
    """How long the row and its result are kept after success; 0 deletes the row at once."""
    on_failure: Literal["keep", "delete"]
    """Whether the row is kept when the job has failed permanently."""


DEFAULTS: Options = {
    "queue": "default",
    "priority": 0,
    "max_attempts": 3,
    "keep": 0,
    "on_failure": "keep",
}

# The options that a row stores as JSON; the others are columns, or only used by the push.
STORED = ("backoff", "timeout", "rate_limit", "keep", "on_failure")


def checked(given: Mapping[str, object], owner: str) -> Options:
    """Return ``given`` as options, with durations as seconds; raises OptionError, with
    ``owner``, for an unknown option or a wrong value."""
    options = dict(given)
    for word, value in given.items():
        wanted = _CHECKS.get(word)
        if wanted is None:
            raise OptionError(owner=owner, problem=_unknown(word))
        fits, what = wanted
        if not fits(value):
            # Durations in seconds, which most are, are not converted.
            options[word] = _in_seconds(value) if word in _DURATIONS else None
            if not fits(options[word]):
                raise OptionError(owner=owner, problem=f"{word} must be {what}, not {show(value)}")
    if "delay" in given and "at" in given:
        raise OptionError(owner=owner, problem="give delay or at, not both")
    return cast(Options, options)


def _in_seconds(value: object) -> object:
    """Return a duration, or a list of durations, in seconds; None for anything else."""
    try:
        if isinstance(value, list | tuple):
            return [seconds_of(each) for each in value]
        return seconds_of(value)
    except ValueError:
        return None


def _unknown(word: str) -> str:
    meant = nearest(word, WORDS)
    advice = f"did you mean {meant}?" if meant else f"there are {', '.join(WORDS)}"
    return f"there is no option {show(word)}; {advice}"


def stored_options(found: object) -> Options:
    """Return the options that a row stores; raises TypeError or OptionError if they were
    edited."""
    if not isinstance(found, dict):
        raise TypeError(found)
    # A newer version may have stored options that this one does not know.
    stored = {word: found[word] for word in STORED if word in found}
    return checked(stored, "options") if stored else {}


def merged(base: Options, over: Options) -> Options:
    """Return the options of both; those of ``over`` replace those of ``base``."""
    kept = base
    if "delay" in over or "at" in over:
        # Both set the start of the job, so either replaces the other.
        kept = Options(**base)
        kept.pop("delay", None)
        kept.pop("at", None)
    return {**kept, **over}


class Terms(NamedTuple):
    """The resolved options of a push, without what depends on the time or the payload."""

    queue: str
    priority: int
    max_attempts: int | None
    limit: int | None
    stored: str | None
    delayed: bool
    when: float | timedelta | datetime | str
    at: bool
    """Whether ``when`` was given as ``at``."""
    unique: bool | str | Callable[..., str]
    overlap: bool | str | Callable[..., str]
    expires: float | timedelta | datetime | str | None
    rate: bool | str | Callable[..., str]
    """The key of the rate limit; False without one."""
    plain: bool
    """Whether the job is ready at once, and has no key and no limit."""

    @property
    def alike(self) -> bool:
        """Whether two rows of one name and one time differ only in their payloads."""
        return not (self.unique or callable(self.overlap) or callable(self.rate))


def terms_of(options: Options) -> Terms:
    """Resolve options; a job class does so once for all its pushes. Raises OptionError."""
    stored = {
        word: value for word, value in options.items() if word in STORED and not callable(value)
    }
    delayed = "delay" in options or "at" in options
    unique = options.get("unique", False)
    limit = options.get("concurrency")
    overlap = options.get("without_overlapping", "concurrency" in options)
    expires = options.get("expires")
    rate = options.get("rate_key", "rate_limit" in options)
    if rate and "rate_limit" not in options:
        raise OptionError(owner="push", problem="rate_key needs a rate_limit")
    return Terms(
        queue=options.get("queue", DEFAULTS["queue"]),
        priority=options.get("priority", DEFAULTS["priority"]),
        max_attempts=options.get("max_attempts"),
        limit=limit,
        stored=json.dumps(stored) if stored else None,
        delayed=delayed,
        when=options.get("at", options.get("delay", 0)),
        at="at" in options,
        unique=unique,
        overlap=overlap,
        expires=expires,
        rate=rate,
        plain=not (delayed or unique or overlap or limit or rate or expires is not None),
    )


def _name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _attempts(value: object) -> bool:
    return _whole(value) and 1 <= value < 2**31  # type: ignore[operator]


def _more_than_zero(value: object) -> bool:
    return is_seconds(value) and value != 0


def _backoff(value: object) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(is_seconds, value))
    return callable(value) or is_seconds(value)


def _key(value: object) -> bool:
    return isinstance(value, bool) or callable(value) or _name(value)


def _expires(value: object) -> bool:
    try:
        return isinstance(value, datetime) or _more_than_zero(seconds_of(value))
    except ValueError:
        # Another text is an instant, which litequeue.times.parse reads.
        return isinstance(value, str)


def _rate(value: object) -> bool:
    try:
        return bool(rate_of(value))
    except ValueError:
        return False


def _on_failure(value: object) -> bool:
    return value in ("keep", "delete")


def _any_value(value: object) -> bool:
    # litequeue.times.parse checks these values, and raises WhenError.
    return True


_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "queue": (_name, "a name with at least one letter"),
    "priority": (_whole, "a whole number"),
    "max_attempts": (_attempts, "a whole number of at least 1"),
    "backoff": (_backoff, f"{FORMS}, a list of these, or a callable of the attempt"),
    "timeout": (_more_than_zero, f"{FORMS}, more than 0"),
    "delay": (_any_value, "a time"),
    "at": (_any_value, "a time"),
    "unique": (_key, "true, a text or a callable of the job"),
    "without_overlapping": (_key, "true, a text or a callable of the job"),
    "concurrency": (_attempts, "a whole number of at least 1"),
    "expires": (_expires, "a duration of more than 0, a datetime or a text"),
    "rate_limit": (_rate, RATE_FORMS),
    "rate_key": (_key, "true, a text or a callable of the job"),
    "keep": (is_seconds, f"{FORMS}, 0 or more"),
    "on_failure": (_on_failure, "'keep' or 'delete'"),
}

_DURATIONS = ("backoff", "timeout", "keep")

# The names of all options.
WORDS = tuple(_CHECKS)
