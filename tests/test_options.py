from __future__ import annotations

import math
import typing
from datetime import timedelta

import pytest

from litequeue.errors import OptionError
from litequeue.options import DEFAULTS, STORED, Options, checked, merged


def five(attempt: int) -> float:
    return 5.0


@pytest.mark.parametrize(
    ("word", "value", "seconds"),
    [
        ("timeout", "30s", 30),
        ("timeout", timedelta(minutes=2), 120),
        ("keep", "1h30m", 5400),
        ("keep", timedelta(days=1), 86_400),
        ("backoff", "10s", 10),
        ("backoff", timedelta(seconds=5), 5),
        ("backoff", [1, "1 minute", timedelta(hours=1)], [1, 60, 3600]),
    ],
)
def test_a_duration_in_any_form_becomes_seconds(
    word: str, value: object, seconds: float | list[float]
) -> None:
    assert checked({word: value}, "push") == {word: seconds}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"queue": "emails"},
        {"queue": " with spaces and ☃ "},
        {"priority": 0},
        {"priority": -5},
        {"priority": 2**63 - 1},
        {"priority": -(2**63)},
        {"max_attempts": 1},
        {"max_attempts": 2**31 - 1},
        {"backoff": 0},
        {"backoff": 1.5},
        {"backoff": [10, 30.5, 0]},
        {"backoff": (1, 2)},
        {"backoff": five},
        {"timeout": 0.1},
        {"timeout": 30},
        {"delay": 30},
        {"delay": timedelta(days=1)},
        {"at": "tomorrow 10:00"},
        {"expires": 3600},
        {"expires": timedelta(hours=1)},
        {"expires": "tomorrow 10:00"},
        {"rate_limit": "100/minute"},
        {"rate_limit": "5 / 1h30m"},
        {"rate_key": "mails"},
        {"rate_key": False},
        {"keep": 0},
        {"keep": 3600.0},
        {"on_failure": "keep"},
        {"on_failure": "delete"},
    ],
    ids=repr,
)
def test_what_an_option_can_be_is_taken_as_it_is(given: dict[str, object]) -> None:
    assert checked(given, "push") == given


@pytest.mark.parametrize(
    ("word", "value", "wanted"),
    [
        *[("queue", value, "a name") for value in ("", " ", "\n", None, 5, b"q", ["q"])],
        *[("priority", value, "a whole number") for value in (1.0, "1", True, None, 2**63)],
        ("priority", -(2**63) - 1, "a whole number"),
        *[("max_attempts", value, "at least 1") for value in (0, -1, 1.5, "3", True, None, 2**31)],
        *[
            ("backoff", value, "a list of these")
            for value in (-1, math.nan, math.inf, "soon", True)
        ],
        *[("backoff", value, "a list of these") for value in ([], (), [1, -1], [1, "2x"], [None])],
        *[("backoff", value, "a list of these") for value in (None, {10, 30}, [[10]], 2**33)],
        *[
            ("timeout", value, "more than 0")
            for value in (0, 0.0, -1, math.inf, math.nan, "0s", "-5s", timedelta(0))
        ],
        *[("timeout", value, "more than 0") for value in (None, True, 2**33)],
        *[
            ("keep", value, "0 or more")
            for value in (-1, -0.1, math.nan, math.inf, "1 month", None)
        ],
        *[("keep", value, "0 or more") for value in (False, timedelta(-1), 10**400)],
        *[
            ("expires", value, "more than 0")
            for value in (0, -1, math.nan, timedelta(0), "0s", None)
        ],
        *[
            ("rate_limit", value, '"100/minute"')
            for value in ("", "100", "x/minute", "0/minute", "-1/s", "5/month", "5/0s", 5, None)
        ],
        *[("rate_key", value, "a callable") for value in ("", 5, None)],
        *[("on_failure", value, "'keep' or 'delete'") for value in ("drop", "", None, True)],
        ("on_failure", ["keep"], "'keep' or 'delete'"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_what_an_option_cannot_be_is_refused_by_owner_word_and_value(
    word: str, value: object, wanted: str
) -> None:
    with pytest.raises(OptionError) as caught:
        checked({word: value}, "app.SendMail")
    told = str(caught.value)
    assert told.startswith(f"app.SendMail: {word} must be ")
    assert wanted in told
    assert f"not {value!r}".replace("\n", " ")[:50] in told


def test_an_unknown_option_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(OptionError) as caught:
        checked({"retries": 3}, "push")
    told = str(caught.value)
    assert told.startswith("push: there is no option 'retries'; there are ")
    assert all(word in told for word in Options.__annotations__)


def test_a_wrong_option_is_also_a_value_error() -> None:
    with pytest.raises(ValueError, match="priority must be"):
        checked({"priority": "high"}, "push")


def test_delay_and_at_together_are_refused() -> None:
    with pytest.raises(OptionError, match=r"^push: give delay or at, not both$"):
        checked({"delay": 1, "at": "tomorrow"}, "push")


def test_checked_options_are_a_copy() -> None:
    given: dict[str, object] = {"queue": "a"}
    made = checked(given, "push")
    made["queue"] = "b"
    assert given == {"queue": "a"}


@pytest.mark.parametrize("word", Options.__annotations__)
def test_every_option_is_checked(word: str) -> None:
    # delay and at are read, and refused, by litequeue.times.parse.
    if word in ("delay", "at"):
        assert checked({word: object()}, "push").keys() == {word}
    else:
        with pytest.raises(OptionError, match=f"^push: {word} must be "):
            checked({word: object()}, "push")


def test_the_defaults_and_the_stored_words_are_options() -> None:
    assert checked(dict(DEFAULTS), "defaults") == DEFAULTS
    assert set(STORED) <= set(Options.__annotations__)


@pytest.mark.parametrize(
    ("base", "over", "expected"),
    [
        ({}, {}, {}),
        ({"queue": "a"}, {}, {"queue": "a"}),
        ({}, {"queue": "b"}, {"queue": "b"}),
        ({"queue": "a", "priority": 1}, {"queue": "b"}, {"queue": "b", "priority": 1}),
        ({"priority": 1}, {"priority": 0}, {"priority": 0}),
        ({"delay": 5}, {"at": "tomorrow"}, {"at": "tomorrow"}),
        ({"at": "tomorrow"}, {"delay": 0}, {"delay": 0}),
        ({"delay": 5}, {"delay": 0}, {"delay": 0}),
        ({"delay": 5, "queue": "a"}, {"keep": 1}, {"delay": 5, "queue": "a", "keep": 1}),
    ],
)
def test_the_nearer_word_wins(base: Options, over: Options, expected: Options) -> None:
    before = dict(base)
    assert merged(base, over) == expected
    assert dict(base) == before


def test_each_option_is_spelled_once_with_its_type() -> None:
    # What push, the class and the decorator take is this record, as Unpack[Options].
    hints = typing.get_type_hints(Options)
    assert list(hints) == [
        *("queue", "priority", "max_attempts", "backoff", "timeout"),
        *("delay", "at", "unique", "without_overlapping", "concurrency"),
        *("expires", "rate_limit", "rate_key", "keep", "on_failure"),
    ]


def test_a_misspelt_word_is_told_the_nearest_one() -> None:
    with pytest.raises(
        OptionError, match="there is no option 'qeue'; did you mean queue"
    ) as caught:
        checked({"qeue": "low"}, "push")
    assert "priority" not in str(caught.value)


def test_a_huge_value_is_cut_in_the_message() -> None:
    for value in ("x" * 10**6, ["x"] * 10**5, 10**5000):
        with pytest.raises(OptionError) as caught:
            checked({"priority": value}, "push")
        assert len(str(caught.value)) < 200
