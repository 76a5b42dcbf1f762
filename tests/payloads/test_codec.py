"""Values go to JSON and come back as their annotations say."""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Flag
from pathlib import Path, PurePath, PurePosixPath
from typing import (  # noqa: UP035 (the old spellings are a user's to write)
    Annotated,
    Any,
    Dict,
    List,
    Literal,
    NewType,
    Optional,
    Union,
)
from uuid import UUID

import pytest
from payload_types import (
    CODE,
    DAY,
    EAST,
    Colour,
    Item,
    Level,
    Mixed,
    Node,
    Price,
    Slug,
    Tagged,
    codec_of,
    job_of,
    same,
)

UserId = NewType("UserId", int)
DAYS: object = list[date]
if sys.version_info >= (3, 12):
    DAYS = typing.TypeAliasType("DAYS", list[date])
LONG = timedelta(days=36524, hours=23, minutes=59, seconds=59, microseconds=999999)


class Access(Flag):
    READ = 1
    WRITE = 2


def there_and_back(hint: object, value: object) -> object:
    codec = codec_of(hint)
    job: Any = codec.decode(codec.encode(job_of(codec, value)))
    return job.x


def json_of(hint: object, value: object) -> object:
    codec = codec_of(hint)
    return json.loads(codec.encode(job_of(codec, value)))["x"]


ROUND_TRIPS: list[tuple[object, object, object]] = [
    # annotation, value, its JSON
    (str, "", ""),
    (str, 'a "quoted" ☃ \x00 \u2028 end', 'a "quoted" ☃ \x00 \u2028 end'),
    (int, 0, 0),
    (int, -(2**80), -(2**80)),
    (int, True, True),
    (float, 1.5, 1.5),
    (float, 1e300, 1e300),
    (bool, True, True),
    (bool, False, False),
    (None, None, None),
    (list, [1, "a", None, {"b": [2.5, True]}], [1, "a", None, {"b": [2.5, True]}]),
    (dict, {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
    (tuple, (1, "a"), [1, "a"]),
    (object, {"a": [1, 2.0, False, None]}, {"a": [1, 2.0, False, None]}),
    (Any, "text", "text"),
    (list[int], [1, 2], [1, 2]),
    (List[int], [1, 2], [1, 2]),  # noqa: UP006
    (List, [1, "a"], [1, "a"]),  # noqa: UP006
    (dict[str, float], {"a": 1.0}, {"a": 1.0}),
    (Dict[str, int], {"b": 2, "a": 1}, {"b": 2, "a": 1}),  # noqa: UP006
    (dict[Slug, int], {"a": 1}, {"a": 1}),
    (Sequence[int], [1, 2], [1, 2]),
    (Mapping[str, date], {"d": date(2030, 1, 2)}, {"d": "2030-01-02"}),
    (dict[str, Any], {"a": [None]}, {"a": [None]}),
    (Optional[dict[str, Any]], None, None),  # noqa: UP045
    (Literal["a", 1, True, None], True, True),
    (Literal["a", 1, True, None], 1, 1),
    (Literal["a", 1, True, None], None, None),
    (Literal[Colour.RED, "x"], Colour.RED, "red"),
    (Optional[int], None, None),  # noqa: UP045
    (Optional[int], 3, 3),  # noqa: UP045
    (int | None, 3, 3),
    ("int | None", True, True),
    ("Optional[date]", date(2030, 1, 2), "2030-01-02"),
    (int | str, 3, 3),
    (int | str, "3", "3"),
    (int | float, 3, 3),
    (float | int, 3, 3),
    (float | int, 3.0, 3.0),
    (bool | int, True, True),
    (Union[int, bool], True, True),  # noqa: UP007
    (Union[float, bool, int], 1, 1),  # noqa: UP007
    (list[date] | str, [date(2030, 1, 2)], ["2030-01-02"]),
    (list[date] | str, "none", "none"),
    (Price | list[Price] | None, [Price(Decimal("1"))], [{"amount": "1", "currency": "EUR"}]),
    (Price | None, Price(Decimal("1")), {"amount": "1", "currency": "EUR"}),
    (timedelta | str, timedelta(seconds=1), 1.0),
    (Literal["auto"] | int, "auto", "auto"),
    (Any | None if sys.version_info >= (3, 11) else Optional[Any], [1], [1]),  # noqa: UP045
    (datetime, datetime(2030, 1, 2, 3, 4, 5, 6), "2030-01-02T03:04:05.000006"),
    (datetime, datetime(2030, 1, 2, tzinfo=EAST), "2030-01-02T00:00:00+05:30"),
    (datetime, datetime(2030, 1, 2, tzinfo=timezone.utc), "2030-01-02T00:00:00+00:00"),
    (datetime, datetime.min, "0001-01-01T00:00:00"),
    (date, date(2030, 1, 2), "2030-01-02"),
    (time, time(1, 2, 3, 4), "01:02:03.000004"),
    (time, time(1, 2, tzinfo=EAST), "01:02:00+05:30"),
    (timedelta, timedelta(seconds=90), 90.0),
    (timedelta, -timedelta(microseconds=1), -1e-06),
    (timedelta, LONG, LONG.total_seconds()),
    (Decimal, Decimal("1.10"), "1.10"),
    (Decimal, Decimal("-0E+3"), "-0E+3"),
    (UUID, CODE, str(CODE)),
    (Path, Path("a/b c"), str(Path("a/b c"))),
    (PurePath, PurePath("a"), "a"),
    (PurePosixPath, PurePosixPath("/a/b"), "/a/b"),
    (bytes, b"\x00\xff", "AP8="),
    (bytes, b"", ""),
    (Colour, Colour.BLUE, "blue"),
    (Level, Level.HIGH, 2),
    (Mixed, Mixed.ONE, 1),
    (Mixed, Mixed.WORD, "word"),
    (Access, Access.READ | Access.WRITE, 3),
    (Tagged, Tagged.A, "value-a"),
    (tuple[int, ...], (1, 2, 3), [1, 2, 3]),
    (tuple[int, ...], (), []),
    (tuple[int, date], (1, date(2030, 1, 2)), [1, "2030-01-02"]),
    (set[int], {3, 1, 2}, [1, 2, 3]),
    (frozenset[str], frozenset("ba"), ["a", "b"]),
    (set[tuple[int, str]], {(1, "a")}, [[1, "a"]]),
    (UserId, UserId(5), 5),
    (list[UserId], [UserId(5)], [5]),
    (Annotated[int, "positive"], 5, 5),
    (list[Annotated[date, "a day"]], [date(2030, 1, 2)], ["2030-01-02"]),
    (Price, Price(Decimal("9.99")), {"amount": "9.99", "currency": "EUR"}),
    (
        list[Item],
        [Item("pen", Price(Decimal("1"), "USD"), {"b", "a"})],
        [{"name": "pen", "price": {"amount": "1", "currency": "USD"}, "tags": ["a", "b"]}],
    ),
    (
        "list[Node]",
        [Node(1, [Node(2)])],
        [{"value": 1, "children": [{"value": 2, "children": [], "next": None}], "next": None}],
    ),
    (list["Slug"], [Slug("a")], ["a"]),
    (DAYS, [DAY], ["2030-01-02"]),
]


@pytest.mark.parametrize(("hint", "value", "plain"), ROUND_TRIPS)
def test_a_value_comes_back_as_its_annotation_says(hint, value, plain):
    assert same(there_and_back(hint, value), value)


@pytest.mark.parametrize(("hint", "value", "plain"), ROUND_TRIPS)
def test_a_value_is_written_as_the_expected_json(hint, value, plain):
    assert same(json_of(hint, value), plain)


WIDENED: list[tuple[object, object, object]] = [
    (float, 3, 3.0),
    (float, True, 1.0),
    (float | None, 3, 3.0),
    (Sequence[int], (1, 2), [1, 2]),
    (str, Colour.RED, "red"),
    (int, Level.HIGH, 2),
    (PurePath, Path("a"), PurePath("a")),
]


@pytest.mark.parametrize(("hint", "value", "back"), WIDENED)
def test_a_value_that_the_annotation_allows_comes_back_as_the_annotation(hint, value, back):
    assert there_and_back(hint, value) == back
    assert json_of(hint, value) == json_of(hint, back)
    assert type(there_and_back(hint, value)) is type(back)


READ: list[tuple[object, str, object]] = [
    (datetime, '"2030-01-02T03:04:05Z"', datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)),
    (time, '"03:04:05Z"', time(3, 4, 5, tzinfo=timezone.utc)),
    (float, "3", 3.0),
    (float | None, "3", 3.0),
    (timedelta, "30", timedelta(seconds=30)),
    (timedelta, "0.1", timedelta(milliseconds=100)),
    (timedelta | None, "30", timedelta(seconds=30)),
    (set[int], "[1,1]", {1}),
    (str, r'"\u0000\ud83d\ude00"', "\x00😀"),
]


@pytest.mark.parametrize(("hint", "text", "value"), READ)
def test_json_of_another_producer_is_read(hint, text, value):
    job: Any = codec_of(hint).decode(f' {{ "x" : {text} }} ')
    assert same(job.x, value)


def test_a_set_is_written_in_order_so_that_equal_sets_are_equal_text():
    texts = [f"item {number}" for number in range(50)]
    assert json_of(set[str], set(texts)) == sorted(texts)
