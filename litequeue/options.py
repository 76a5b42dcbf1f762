"""The options of a job: one spelling for the class, the decorator and the push."""

# No "from __future__ import annotations": as texts, the types of the fields would be compiled
# when this is imported.

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypedDict, cast

from litequeue.errors import OptionError
from litequeue.messages import nearest, show

Backoff = float | list[float] | Callable[[int], float]


class Options(TypedDict, total=False):
    """What may be said of a job beside its payload; the nearest word wins.

    Push, then class or decorator, then the worker's flags, the environment, DEFAULTS.
    """

    queue: str
    """The name of the queue."""
    priority: int
    """Higher runs first; 0 where nothing is said."""
    max_attempts: int
    """Runs in all, counted when they start, so that a crash counts."""
    backoff: Backoff
    """Seconds before the next attempt: a number, a list whose last item repeats, or a
    callable of the attempt that has failed."""
    timeout: float
    """Seconds that one attempt may take."""
    delay: float | timedelta | datetime | str
    """How long to wait first: seconds, or any form that litequeue.times.parse reads."""
    at: float | timedelta | datetime | str
    """When to run first; the same forms as ``delay``, but that a number is an instant, in
    seconds since the epoch."""
    unique: bool | str | Callable[..., str]
    """While a job with this key is unfinished, a push returns its id and stores no second
    one: True for one of this name and payload, a text, or a callable of the job."""
    without_overlapping: bool | str | Callable[..., str]
    """Jobs with this key never run two at once: True for all of this name, a text, or a
    callable of the job."""
    concurrency: int
    """How many jobs of the key may run at once; without a key, of this name."""
    keep: float
    """Seconds that the finished row and its result stay; 0 deletes it on success."""
    on_failure: Literal["keep", "delete"]
    """What becomes of the row when the job has failed for good."""


DEFAULTS: Options = {
    "queue": "default",
    "priority": 0,
    "max_attempts": 3,
    "keep": 0,
    "on_failure": "keep",
}

LONGEST_SECONDS = 2**33 - 1

# What a row keeps of its options as JSON; the others are columns or spent at push.
STORED = ("backoff", "timeout", "keep", "on_failure")


def checked(given: Mapping[str, object], owner: str) -> Options:
    """Return ``given`` as options; raises OptionError, naming ``owner``, for an unknown
    word or a value that the option cannot have."""
    for word, value in given.items():
        wanted = _CHECKS.get(word)
        if wanted is None:
            raise OptionError(owner=owner, problem=_unknown(word))
        fits, what = wanted
        if not fits(value):
            raise OptionError(owner=owner, problem=f"{word} must be {what}, not {show(value)}")
    if "delay" in given and "at" in given:
        raise OptionError(owner=owner, problem="give delay or at, not both")
    return cast(Options, dict(given))


def _unknown(word: str) -> str:
    meant = nearest(word, WORDS)
    advice = f"did you mean {meant}?" if meant else f"there are {', '.join(WORDS)}"
    return f"there is no option {show(word)}; {advice}"


def stored_options(found: object) -> Options:
    """What a row keeps of its options, read back; raises TypeError or OptionError for what
    was not stored by a push."""
    if not isinstance(found, dict):
        raise TypeError(found)
    # Words that are not known here are left alone.
    stored = {word: found[word] for word in STORED if word in found}
    return checked(stored, "options") if stored else {}


def merged(base: Options, over: Options) -> Options:
    """Return ``base`` with the words of ``over`` in place of its own."""
    kept = base
    if "delay" in over or "at" in over:
        # Two words for one thing: the nearer one wins, whichever it is.
        kept = Options(**base)
        kept.pop("delay", None)
        kept.pop("at", None)
    return {**kept, **over}


class Terms(NamedTuple):
    """What the options of a push come to, but for what depends on the moment or the job."""

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
    plain: bool
    """Whether the job is ready at once, and has no key; asked at each push."""

    @property
    def alike(self) -> bool:
        """Whether two rows of one name and moment differ in their payloads alone."""
        return not self.unique and not callable(self.overlap)


def terms_of(options: Options) -> Terms:
    """The terms of options; a job class works out its own once, for all its pushes."""
    stored = {
        word: value for word, value in options.items() if word in STORED and not callable(value)
    }
    delayed = "delay" in options or "at" in options
    unique = options.get("unique", False)
    limit = options.get("concurrency")
    overlap = options.get("without_overlapping", "concurrency" in options)
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
        plain=not (delayed or unique or overlap or limit),
    )


def _name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _attempts(value: object) -> bool:
    return _whole(value) and 1 <= value < 2**31  # type: ignore[operator]


def is_seconds(value: object) -> bool:
    """Whether a value is a length of time in seconds, of at most a few centuries."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # A comparison is false for a NaN, and works for an int that is no float.
    return number and 0 <= value <= LONGEST_SECONDS  # type: ignore[operator]


def clipped(value: object) -> float | None:
    """A wait that a job's own code has asked for, as seconds that can be stored: one
    below zero is none, and what is no finite number is None."""
    if not isinstance(value, int | float) or not abs(value) < float("inf"):
        return None
    return float(min(max(value, 0), LONGEST_SECONDS))


def _more_than_zero(value: object) -> bool:
    return is_seconds(value) and value != 0


def _backoff(value: object) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(is_seconds, value))
    return callable(value) or is_seconds(value)


def _key(value: object) -> bool:
    return isinstance(value, bool) or callable(value) or _name(value)


def _on_failure(value: object) -> bool:
    return value in ("keep", "delete")


def _anything(value: object) -> bool:
    # litequeue.times.parse reads these, and says itself what it cannot read.
    return True


_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "queue": (_name, "a name with at least one letter"),
    "priority": (_whole, "a whole number"),
    "max_attempts": (_attempts, "a whole number of at least 1"),
    "backoff": (_backoff, "seconds, a list of seconds or a callable of the attempt"),
    "timeout": (_more_than_zero, "seconds, more than 0"),
    "delay": (_anything, "a time"),
    "at": (_anything, "a time"),
    "unique": (_key, "true, a text or a callable of the job"),
    "without_overlapping": (_key, "true, a text or a callable of the job"),
    "concurrency": (_attempts, "a whole number of at least 1"),
    "keep": (is_seconds, "seconds, 0 or more"),
    "on_failure": (_on_failure, "'keep' or 'delete'"),
}

# All words that an option can be.
WORDS = tuple(_CHECKS)
