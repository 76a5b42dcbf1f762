from __future__ import annotations

import base64
import dataclasses
import json
import math
import random
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from pathlib import Path, PurePath, PurePosixPath
from typing import (  # noqa: UP035 (the old spellings are a user's to write)
    Annotated,
    Any,
    ClassVar,
    Dict,
    List,
    Literal,
    NewType,
    Optional,
    Union,
)
from uuid import UUID

import pytest

from litequeue.errors import PayloadError
from litequeue.payload import Codec, encode_plain, encode_result

UserId = NewType("UserId", int)
Slug = NewType("Slug", str)
DAYS: object = list[date]
if sys.version_info >= (3, 12):
    DAYS = typing.TypeAliasType("DAYS", list[date])
EAST = timezone(timedelta(hours=5, minutes=30))
LONG = timedelta(days=36524, hours=23, minutes=59, seconds=59, microseconds=999999)
DAY = date(2030, 1, 2)
CODE = UUID("12345678-1234-5678-1234-567812345678")


class Colour(str, Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(Enum):
    ONE = 1
    WORD = "word"


class Access(Flag):
    READ = 1
    WRITE = 2


class Odd(Enum):
    PAIR = (1, 2)


class Tagged(str, Enum):
    """Is one text and has another as its value."""

    A = "a"

    def __new__(cls, text: str) -> Tagged:
        member = str.__new__(cls, text.upper())
        member._value_ = f"value-{text}"
        return member


@dataclass
class Price:
    amount: Decimal
    currency: str = "EUR"


@dataclass
class Item:
    name: str
    price: Price
    tags: set[str] = field(default_factory=set)


@dataclass
class DearPrice(Price):
    reason: str = ""


@dataclass
class Node:
    value: int
    children: list[Node] = field(default_factory=list)
    next: Node | None = None


@dataclass
class Guarded:
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("a size is not negative")


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr for you")


class Surrogate:
    def __repr__(self) -> str:
        return "bad \ud800\n   text"


def codec_of(hint: object, **options: Any) -> Codec:
    extra = [("x", hint, field(**options))] if options else [("x", hint)]
    cls = dataclasses.make_dataclass("Task", extra)
    cls.__module__ = __name__
    return Codec(cls, "Task")


def job_of(codec: Codec, value: object) -> Any:
    return codec.build({"x": value})


def there_and_back(hint: object, value: object) -> object:
    codec = codec_of(hint)
    job: Any = codec.decode(codec.encode(job_of(codec, value)))
    return job.x


def json_of(hint: object, value: object) -> object:
    codec = codec_of(hint)
    return json.loads(codec.encode(job_of(codec, value)))["x"]


def problem(of: Callable[[], object]) -> str:
    with pytest.raises(PayloadError) as caught:
        of()
    return str(caught.value)


def same(one: object, other: object) -> bool:
    """Equal, and of one type all the way down (True is not 1, 1 is not 1.0)."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))  # type: ignore[arg-type]
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)  # type: ignore
    if dataclasses.is_dataclass(one):
        return same(vars(one), vars(other))
    if isinstance(one, (datetime, time)):
        return one == other and one.utcoffset() == other.utcoffset()  # type: ignore[attr-defined]
    return one == other


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


REFUSED_VALUES: list[tuple[object, object, str]] = [
    (int, "x", "field 'x' must be int, not str ('x')"),
    (int, 1.0, "field 'x' must be int, not float (1.0)"),
    (int, None, "field 'x' must be int, not None"),
    (str, 1, "field 'x' must be str, not int (1)"),
    (str, b"a", "field 'x' must be str, not bytes (b'a')"),
    (bool, 1, "field 'x' must be bool, not int (1)"),
    (float, "1", "field 'x' must be float, not str ('1')"),
    (float, math.nan, "field 'x' must be a finite number, not nan"),
    (float, -math.inf, "field 'x' must be a finite number, not -inf"),
    (float, 10**400, "field 'x' cannot be converted: OverflowError("),
    (object, [1, {"a": math.inf}], "field 'x[1].a' must be a finite number, not inf"),
    (object, {"when": date(2030, 1, 2)}, "field 'x.when' must be plain JSON, not date ("),
    (object, (1, 2), "field 'x' must be plain JSON, not tuple ((1, 2))"),
    (list, [1, {2}], "field 'x[1]' must be plain JSON, not set ({2})"),
    (dict, {"a": {1: 2}}, "field 'x.a' must have keys of type str, not int (1)"),
    (dict[str, int], {1: 1}, "field 'x' must have keys of type str, not int (1)"),
    (dict[str, int], {"a": "b"}, "field 'x.a' must be int, not str ('b')"),
    (list[int], [1, 2, "c"], "field 'x[2]' must be int, not str ('c')"),
    (list[int], (1, 2), "field 'x' must be list[int], not tuple ((1, 2))"),
    (Sequence[str], "text", "field 'x' must be Sequence[str], not str ('text')"),
    (tuple[int, str], (1,), "must be tuple[int, str] with 2 items, not tuple ((1,))"),
    (tuple[int, str], (1, 2), "field 'x[1]' must be str, not int (2)"),
    (tuple[int, ...], [1], "field 'x' must be tuple[int], not list ([1])"),
    (set[int], [1], "field 'x' must be set[int], not list ([1])"),
    (date, datetime(2030, 1, 2), "field 'x' must be date, not datetime (datetime.datetime("),
    (datetime, date(2030, 1, 2), "field 'x' must be datetime, not date (datetime.date("),
    (datetime, "2030-01-02", "field 'x' must be datetime, not str ('2030-01-02')"),
    (timedelta, 30, "field 'x' must be timedelta, not int (30)"),
    (timedelta, timedelta.max, "field 'x' cannot be converted: OverflowError("),
    (timedelta, timedelta(days=10**8, microseconds=1), "too long to be written to the microsec"),
    (Decimal, 1.5, "field 'x' must be Decimal, not float (1.5)"),
    (UUID, "12", "field 'x' must be UUID, not str ('12')"),
    (Path, "a", "field 'x' must be Path, not str ('a')"),
    (Path, PurePosixPath("a"), "field 'x' must be Path, not PurePosixPath ("),
    (bytes, bytearray(b"a"), "field 'x' must be bytes, not bytearray ("),
    (Colour, "red", "field 'x' must be Colour, not str ('red')"),
    (Literal["a", "b"], "c", "field 'x' must be 'a' or 'b', not str ('c')"),
    (Literal[1], True, "field 'x' must be 1, not bool (True)"),
    (int | None, "a", "field 'x' must be int or None, not str ('a')"),
    (list[int] | str, [1, "a"], "field 'x[1]' must be int, not str ('a')"),
    (Price, {"amount": 1}, "field 'x' must be Price, not dict ("),
    (Price, DearPrice(Decimal(1)), "field 'x' must be Price, not DearPrice ("),
    (Price | None, DearPrice(Decimal(1)), "field 'x' must be Price, not DearPrice ("),
    (list[Price], [Price(Decimal(1)), Price(1.5)], "field 'x[1].amount' must be Decimal, not"),  # type: ignore[arg-type]
    (str, "\ud800", "field 'x' cannot be converted: UnicodeEncodeError("),
    (list[str], ["a", "\udfff"], "field 'x' cannot be converted: UnicodeEncodeError("),
    (Path, Path("\udcff"), "field 'x' cannot be converted: UnicodeEncodeError("),
    (dict[str, int], {"\ud800": 1}, "field 'x' cannot be converted: UnicodeEncodeError("),
    (int, Hostile(), "field 'x' must be int, not Hostile (<"),
    (int, Surrogate(), r"field 'x' must be int, not Surrogate (bad \ud800 text)"),
]


@pytest.mark.parametrize(("hint", "value", "message"), REFUSED_VALUES)
def test_a_value_that_does_not_fit_is_refused_at_push_and_named(hint, value, message):
    codec = codec_of(hint)
    job = job_of(codec, value)
    told = problem(lambda: codec.encode(job))
    assert told.startswith("Task: field 'x")
    assert message in told


UNREADABLE: list[tuple[object, str, str]] = [
    (int, '"1"', "field 'x' must be int, not str ('1')"),
    (int, "1.0", "field 'x' must be int, not float (1.0)"),
    (bool, "1", "field 'x' must be bool, not int (1)"),
    (float, "1e999", "must be a finite number, not 1e999"),
    (float, "NaN", "must be a finite number, not NaN"),
    (object, "-Infinity", "must be a finite number, not -Infinity"),
    (float, "1" + "0" * 400, "field 'x' cannot be converted: OverflowError("),
    (datetime, '"soon"', "field 'x' cannot be read as datetime ('soon')"),
    (datetime, "1", "field 'x' must be datetime, not int (1)"),
    (date, '"2030-02-30"', "field 'x' cannot be read as date ('2030-02-30')"),
    (time, '"25:00"', "field 'x' cannot be read as time ('25:00')"),
    (timedelta, "1e300", "field 'x' cannot be read as timedelta (1e+300)"),
    (timedelta, "true", "field 'x' must be timedelta, not bool (True)"),
    (Decimal, '"ten"', "field 'x' cannot be read as Decimal ('ten')"),
    (Decimal, "1.5", "field 'x' must be Decimal, not float (1.5)"),
    (UUID, '"12"', "field 'x' cannot be read as UUID ('12')"),
    (bytes, '"a"', "field 'x' cannot be read as bytes ('a')"),
    (bytes, '"AP*8="', "field 'x' cannot be read as bytes ('AP*8=')"),
    (bytes, '"é==="', "field 'x' cannot be read as bytes ("),
    (Path, "[]", "field 'x' must be Path, not list ([])"),
    (Colour, '"green"', "field 'x' cannot be read as Colour ('green')"),
    (Colour, "1", "field 'x' must be Colour, not int (1)"),
    (Level, "true", "field 'x' must be Level, not bool (True)"),
    (Level, "1.0", "field 'x' must be Level, not float (1.0)"),
    (Literal[1, "a"], "true", "field 'x' must be 1 or 'a', not bool (True)"),
    (int | None, '"a"', "field 'x' must be int or None, not str ('a')"),
    (set[object], "[[1]]", "field 'x' cannot be converted: TypeError("),
    (tuple[int, int], "[1]", "must be tuple[int, int] with 2 items, not list ([1])"),
    (list[int], "{}", "field 'x' must be list[int], not dict ({})"),
    (dict[str, int], "[]", "field 'x' must be dict[str, int], not list ([])"),
    (list[Price], '[{"amount": "x"}]', "field 'x[0].amount' cannot be read as Decimal ('x')"),
    (list[Price], "[{}]", "field 'x[0].amount' is missing"),
    (list[Price], '[{"amont": "1"}]', "field 'x[0].amont' is unknown; did you mean 'amount'?"),
    (Price, "[]", "field 'x' must be Price, not list ([])"),
    (Guarded, '{"size": -1}', "'x' cannot be converted: ValueError('a size is not negative')"),
]


@pytest.mark.parametrize(("hint", "text", "message"), UNREADABLE)
def test_a_field_that_cannot_be_read_is_named(hint, text, message):
    assert message in problem(lambda: codec_of(hint).decode(f'{{"x":{text}}}'))


NONSENSE: list[tuple[object, str]] = [
    (None, "the value must be JSON text, not None"),
    (b'{"x":1}', "the value must be JSON text, not bytes ("),
    (7, "the value must be JSON text, not int (7)"),
    (1.5, "the value must be JSON text, not float (1.5)"),
    ("", "the value is no JSON that can be read: JSONDecodeError("),
    ("\ufeff{}", "the value is no JSON that can be read: JSONDecodeError("),
    ("\x00", "the value is no JSON that can be read"),
    ('{"x":1', "the value is no JSON that can be read"),
    ("{'x':1}", "the value is no JSON that can be read"),
    ('{"x":1} and more', "the value is no JSON that can be read"),
    ("\ud800", "the value is no JSON that can be read"),
    ("[" * 200_000, "the value is no JSON that can be read: RecursionError("),
    ('{"x":' * 200_000, "the value is no JSON that can be read: RecursionError("),
    ("null", "the value must be a JSON object, not None"),
    ("[1]", "the value must be a JSON object, not list ([1])"),
    ('"x"', "the value must be a JSON object, not str ('x')"),
    ("1e999", "the value must be a finite number, not 1e999"),
    ("{}", "field 'x' is missing"),
    ('{"X":1}', "field 'X' is unknown; "),
    ('{"x":1,"y":2}', "field 'y' is unknown; the fields are: x"),
    ('{"x":1,"\\ud800":2}', r"field '\ud800' is unknown; the fields are: x"),
]


@pytest.mark.parametrize(("text", "message"), NONSENSE, ids=range(len(NONSENSE)))
def test_whatever_a_cell_holds_the_error_is_a_payload_error(text, message):
    told = problem(lambda: codec_of(int).decode(text))
    assert told.startswith(f"Task: {message}")
    assert len(told) < 250
    assert told.encode()


def test_an_int_of_too_many_digits_is_refused_both_ways():
    codec = codec_of(int)
    job = job_of(codec, 10**5000)
    assert "field 'x' cannot be converted: ValueError(" in problem(lambda: codec.encode(job))
    text = '{"x":1' + "0" * 5000 + "}"
    assert "is no JSON that can be read: ValueError(" in problem(lambda: codec.decode(text))


def test_broken_json_never_raises_another_error():
    chance = random.Random(8)
    codec = Codec(Item, "Item")
    good = codec.encode(Item("pen", Price(Decimal("1.5")), {"a", "b"}))
    refused = 0
    for _ in range(3000):
        text = list(good)
        for _ in range(chance.randint(1, 4)):
            text[chance.randrange(len(text))] = chance.choice('{}[]",:0e-ntu\\ ')
        try:
            read = codec.decode("".join(text))
        except PayloadError:
            refused += 1
        else:
            assert isinstance(read, Item)
    assert 1000 < refused < 3000


@pytest.mark.parametrize("hint", [object, list, "list[Any]", dict[str, Any]])
def test_a_value_that_contains_itself_is_refused_and_named(hint):
    circle: Any = {} if hint == dict[str, Any] else []
    circle.update(a=circle) if isinstance(circle, dict) else circle.append(circle)
    codec = codec_of(hint)
    job = job_of(codec, circle)
    told = problem(lambda: codec.encode(job))
    assert told.startswith("Task: field 'x")
    assert told.endswith("is nested too deeply, or contains itself")


def test_a_dataclass_that_contains_itself_is_refused_and_named():
    node = Node(1)
    node.next = node
    told = problem(lambda: Codec(Node, "Node").encode(node))
    assert told.startswith("Node: field 'next.next")
    assert told.endswith("is nested too deeply, or contains itself")


def test_a_result_that_contains_itself_is_refused():
    circle: list[object] = []
    circle.append(circle)
    assert "is nested too deeply, or contains itself" in problem(lambda: encode_result(circle))


UNSUPPORTED: list[tuple[object, str]] = [
    (complex, "field 'x' has a type that no payload can hold: complex"),
    (type, "field 'x' has a type that no payload can hold: type"),
    (Hostile, "field 'x' has a type that no payload can hold: Hostile"),
    (list[Hostile], "field 'x' has a type that no payload can hold: Hostile"),
    (Callable[[], int], "field 'x' has a type that no payload can hold: "),
    (typing.TypeVar("V"), "field 'x' has a type that no payload can hold: ~V"),
    (type[int], "field 'x' has a type that no payload can hold: "),
    (bytearray, "field 'x' has a type that no payload can hold: bytearray"),
    (Odd, "field 'x' has an Enum whose values are not all str or int: Odd"),
    (dict[int, str], "field 'x' must have keys of type str, not int"),
    (str | datetime, "has a type whose members look alike in JSON: str or datetime; keep one"),
    (date | datetime | None, "has a type whose members look alike in JSON: date or datetime"),
    (list[int] | tuple[int, ...], "has a type whose members look alike in JSON: list[int] or"),
    (Price | Node, "has a type whose members look alike in JSON: Price or Node"),
    (dict[str, int] | Price, "has a type whose members look alike in JSON: "),
    (Level | int, "has a type whose members look alike in JSON: Level or int"),
    (timedelta | float, "has a type whose members look alike in JSON: timedelta or float"),
    (Literal["a"] | Path, "has a type whose members look alike in JSON: 'a' or Path"),
    ("Missing", "field 'x' has an annotation that cannot be resolved: NameError("),
    ("list[Missing]", "field 'x' has an annotation that cannot be resolved: NameError("),
    ("1 +", "field 'x' has an annotation that cannot be resolved: SyntaxError("),
]


@pytest.mark.parametrize(("hint", "message"), UNSUPPORTED)
def test_an_annotation_that_no_payload_can_hold_is_refused_when_the_codec_is_made(hint, message):
    told = problem(lambda: codec_of(hint))
    assert told.startswith("Task: field 'x' ")
    assert message in told


def test_a_wrong_annotation_inside_a_nested_dataclass_is_named_by_its_path():
    inner = dataclasses.make_dataclass("Inner", [("good", int), ("bad", complex)])
    told = problem(lambda: codec_of(list[inner]))  # type: ignore[valid-type]
    assert told == "Task: field 'x.bad' has a type that no payload can hold: complex"


@dataclass
class Settings:
    """Everything that is not payload, beside one field that is."""

    kind: ClassVar[str] = "settings"
    scale: InitVar[int] = 2
    size: int = 1
    area: int = field(init=False, default=0)

    def __post_init__(self, scale: int) -> None:
        self.area = self.size * scale


def test_only_init_fields_are_payload():
    codec = Codec(Settings, "Settings")
    assert codec.encode(Settings(size=5)) == '{"size":5}'
    back: Any = codec.decode('{"size":5}')
    assert (back.size, back.area) == (5, 10)
    for name in ("kind", "scale", "area"):
        told = problem(lambda name=name: codec.decode(json.dumps({name: 1})))
        assert f"field '{name}' is unknown" in told


@dataclass
class NeedsMore:
    secret: InitVar[str]
    size: int = 1


def test_a_class_that_its_fields_alone_cannot_make_is_refused():
    told = problem(lambda: Codec(NeedsMore, "NeedsMore"))
    assert "(NeedsMore) cannot be made again from its fields: missing a required" in told
    assert "'secret'" in told


@dataclass
class Welcome:
    user_id: int
    template: str = "welcome"
    tags: list[str] = field(default_factory=list)


WELCOME = Codec(Welcome, "Welcome")


def test_every_field_is_written_defaults_too():
    assert WELCOME.encode(Welcome(1)) == '{"user_id":1,"template":"welcome","tags":[]}'


def test_a_field_with_a_default_may_be_missing_when_read():
    assert WELCOME.decode('{"user_id":1}') == Welcome(1, "welcome", [])


def test_text_is_compact_and_not_escaped():
    assert WELCOME.encode(Welcome(1, "é\x00")) == '{"user_id":1,"template":"é\\u0000","tags":[]}'


BUILD: list[tuple[dict[Any, object], str]] = [
    ({}, "Welcome: field 'user_id' is missing"),
    ({"template": "x"}, "Welcome: field 'user_id' is missing"),
    ({"user_idd": 1}, "Welcome: field 'user_idd' is unknown; did you mean 'user_id'?"),
    ({"user_id": 1, "Tags": []}, "Welcome: field 'Tags' is unknown; did you mean 'tags'?"),
    (
        {"user_id": 1, "zzz": 1},
        "Welcome: field 'zzz' is unknown; the fields are: user_id, template, tags",
    ),
    ({1: 1}, "Welcome: field '1' is unknown; the fields are: user_id, template, tags"),
]


@pytest.mark.parametrize(("fields", "message"), BUILD)
def test_building_from_wrong_names_says_which(fields, message):
    assert problem(lambda: WELCOME.build(fields)) == message


@pytest.mark.parametrize(("fields", "message"), BUILD[:-1])
def test_reading_wrong_names_says_the_same(fields, message):
    assert problem(lambda: WELCOME.decode(json.dumps(fields))) == message


def test_building_makes_an_instance_and_leaves_values_alone():
    assert WELCOME.build({"user_id": "not yet checked"}) == Welcome("not yet checked")  # type: ignore[arg-type]


def test_an_error_of_the_class_itself_passes_through_build():
    with pytest.raises(ValueError, match="a size is not negative"):
        Codec(Guarded, "Guarded").build({"size": -1})


def test_a_class_without_fields_has_an_empty_payload():
    codec = Codec(dataclasses.make_dataclass("Ping", []), "Ping")
    assert codec.encode(codec.build({})) == "{}"
    assert problem(lambda: codec.build({"a": 1})) == (
        "Ping: field 'a' is unknown; the fields are: none"
    )


def test_an_instance_of_another_class_is_refused():
    told = problem(lambda: WELCOME.encode(Guarded(1)))
    assert told == "Welcome: the value must be Welcome, not Guarded (Guarded(size=1))"


def test_a_field_that_was_deleted_is_a_payload_error():
    job = Welcome(1)
    del job.user_id
    assert "AttributeError" in problem(lambda: WELCOME.encode(job))


@dataclass
class Shadowed:
    """Its first field hides the name of a type; its second has a type of its own."""

    class Kind(Enum):
        A = "a"

    date: date = DAY
    kind: Kind = Kind.A
    other: date = DAY


def test_names_in_annotations_are_the_modules_before_the_class():
    codec = Codec(Shadowed, "Shadowed")
    text = codec.encode(Shadowed())
    assert text == '{"date":"2030-01-02","kind":"a","other":"2030-01-02"}'
    assert codec.decode(text) == Shadowed()


def test_a_class_made_in_a_function_may_name_itself():
    @dataclass
    class Tree:
        branches: list[Tree]

    codec = Codec(Tree, "Tree")
    assert codec.decode(codec.encode(Tree([Tree([])]))) == Tree([Tree([])])


@dataclass
class LateWelcome(Welcome):
    at: datetime | None = None


def test_inherited_fields_are_payload():
    codec = Codec(LateWelcome, "LateWelcome")
    job = LateWelcome(1, at=datetime(2030, 1, 2))
    assert codec.decode(codec.encode(job)) == job


def test_a_long_value_is_cut_in_the_message():
    job = Welcome("x" * 10_000)  # type: ignore[arg-type]
    told = problem(lambda: WELCOME.encode(job))
    assert told.startswith("Welcome: field 'user_id' must be int, not str ('xxxxx")
    assert len(told) < 120


def test_a_set_is_written_in_order_so_that_equal_sets_are_equal_text():
    texts = [f"item {number}" for number in range(50)]
    assert json_of(set[str], set(texts)) == sorted(texts)


OWN: list[tuple[object, object]] = [
    (None, None),
    (1, 1),
    (1.5, 1.5),
    ("é", "é"),
    (True, True),
    ([1, (2, 3)], [1, [2, 3]]),
    ({"a": {"b": datetime(2030, 1, 2)}}, {"a": {"b": "2030-01-02T00:00:00"}}),
    (date(2030, 1, 2), "2030-01-02"),
    (time(1, 2), "01:02:00"),
    (timedelta(minutes=1), 60.0),
    (Decimal("1.10"), "1.10"),
    (CODE, str(CODE)),
    (PurePosixPath("/a"), "/a"),
    (b"\x00", base64.b64encode(b"\x00").decode()),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"b", "a"}), ["a", "b"]),
    (Colour.RED, "red"),
    (Level.HIGH, 2),
    (Tagged.A, "value-a"),
    ([Mixed.WORD], ["word"]),
    (Price(Decimal("1")), {"amount": "1", "currency": "EUR"}),
    ([Node(1)], [{"value": 1, "children": [], "next": None}]),
    (Settings(size=3), {"size": 3}),
]


@pytest.mark.parametrize(("value", "plain"), OWN)
def test_a_result_is_written_by_its_own_type(value, plain):
    assert same(json.loads(encode_result(value)), plain)


@pytest.mark.parametrize(("value", "plain"), OWN)
def test_a_payload_by_name_is_written_by_the_types_of_its_values(value, plain):
    assert same(json.loads(encode_plain({"x": value}, "Task")), {"x": plain})


REFUSED_RESULTS: list[tuple[object, str]] = [
    (Hostile(), "result: the value must be plain JSON, not Hostile (<"),
    (object, "result: the value must be plain JSON, not type (<class 'object'>)"),
    (Price, "result: the value must be plain JSON, not type (<class '"),
    (math.nan, "result: the value must be a finite number, not nan"),
    ([1, {"a": 1j}], "result: field '[1].a' must be plain JSON, not complex (1j)"),
    ({1: 2}, "result: the value must have keys of type str, not int (1)"),
    ({"a": {None: 2}}, "result: field 'a' must have keys of type str, not NoneType (None)"),
    (Odd.PAIR, "result: the value has an Enum whose values are not all str or int: Odd"),
    ("\ud800", "result: the value cannot be converted: UnicodeEncodeError("),
    ({"a": 1, "b": "\ud800"}, "result: field 'b' cannot be converted: UnicodeEncodeError("),
    ((i for i in "ab"), "result: the value must be plain JSON, not generator ("),
]


@pytest.mark.parametrize(("value", "message"), REFUSED_RESULTS)
def test_a_result_that_json_cannot_hold_is_refused(value, message):
    assert problem(lambda: encode_result(value)).startswith(message)


def test_a_payload_by_name_that_json_cannot_hold_is_refused_and_named():
    told = problem(lambda: encode_plain({"a": 1, "b": [Hostile()]}, "send-mail"))
    assert told.startswith("send-mail: field 'b[0]' must be plain JSON, not Hostile (<")


@pytest.mark.parametrize("fields", [None, [1], "text", 5])
def test_a_payload_by_name_must_be_a_mapping(fields):
    told = problem(lambda: encode_plain(fields, "send-mail"))
    assert told.startswith("send-mail: the value must be a mapping of fields, not ")


def test_what_is_pushed_by_name_is_read_by_the_class():
    text = encode_plain({"name": "pen", "price": Price(Decimal("1")), "tags": {"a"}}, "Item")
    assert Codec(Item, "Item").decode(text) == Item("pen", Price(Decimal("1")), {"a"})


def test_the_cause_of_a_refusal_is_kept():
    with pytest.raises(PayloadError) as caught:
        codec_of(Decimal).decode('{"x":"ten"}')
    causes = [caught.value.__cause__, caught.value.__cause__.__cause__]  # type: ignore[union-attr]
    assert [type(cause).__name__ for cause in causes] == ["_Refused", "InvalidOperation"]


# A generator of annotations, each with a maker of its values.

Maker = Callable[[random.Random], object]
LETTERS = 'ab"\\/ é☃😀\x00\x1f\u2028'


def some_text(chance: random.Random) -> str:
    return "".join(chance.choices(LETTERS, k=chance.randint(0, 6)))


def some_datetime(chance: random.Random) -> datetime:
    zone = chance.choice([None, timezone.utc, EAST, timezone(timedelta(seconds=-3661))])
    moment = datetime(1900, 1, 1) + timedelta(microseconds=chance.randrange(10**16))
    return moment.replace(tzinfo=zone)


LEAVES: list[tuple[object, Maker]] = [
    (str, some_text),
    (int, lambda chance: chance.randint(-(2**70), 2**70)),
    (float, lambda chance: chance.choice([chance.uniform(-1, 1), chance.random() * 1e200, -0.0])),
    (bool, lambda chance: chance.random() < 0.5),
    (datetime, some_datetime),
    (date, lambda chance: some_datetime(chance).date()),
    (time, lambda chance: some_datetime(chance).timetz()),
    (timedelta, lambda chance: timedelta(microseconds=chance.randint(-(3 * 10**15), 3 * 10**15))),
    (Decimal, lambda chance: Decimal(chance.randint(-(10**30), 10**30)).scaleb(-9)),
    (UUID, lambda chance: UUID(int=chance.getrandbits(128))),
    (PurePosixPath, lambda chance: PurePosixPath(some_text(chance))),
    (bytes, lambda chance: bytes(chance.choices(range(256), k=chance.randint(0, 9)))),
    (Colour, lambda chance: chance.choice(list(Colour))),
    (Level, lambda chance: chance.choice(list(Level))),
    (Mixed, lambda chance: chance.choice(list(Mixed))),
    (Literal["a", 2], lambda chance: chance.choice(["a", 2])),
    (object, lambda chance: {"a": [chance.random(), None, some_text(chance)]}),
]


def listed(make: Maker) -> Callable[[random.Random], list[object]]:
    return lambda chance: [make(chance) for _ in range(chance.randint(0, 3))]


def some_annotation(chance: random.Random, depth: int) -> tuple[Any, Maker]:
    kind = chance.choice(["list", "dict", "set", "tuple", "pair", "optional", "record", "leaf"])
    if depth == 0 or kind == "leaf":
        return chance.choice(LEAVES)
    if kind == "set":
        hint, make = chance.choice(LEAVES[:-1])
        return set[hint], lambda chance: set(listed(make)(chance))  # type: ignore[valid-type]
    hint, make = some_annotation(chance, depth - 1)
    if kind == "list":
        return list[hint], listed(make)
    if kind == "tuple":
        return tuple[hint, ...], lambda chance: tuple(listed(make)(chance))
    if kind == "pair":
        return tuple[hint, int], lambda chance: (make(chance), chance.randint(0, 9))
    if kind == "dict":
        return dict[str, hint], lambda chance: {some_text(chance): v for v in listed(make)(chance)}
    if kind == "optional":
        return Optional[hint], lambda chance: make(chance) if chance.random() < 0.7 else None  # noqa: UP045
    return some_record(chance, depth - 1)


def some_record(chance: random.Random, depth: int) -> tuple[type, Maker]:
    parts = [some_annotation(chance, depth) for _ in range(chance.randint(0, 4))]
    fields = [(f"f{index}", hint) for index, (hint, _) in enumerate(parts)]
    cls = dataclasses.make_dataclass(f"Record{chance.randrange(1000)}", fields)
    cls.__module__ = __name__
    return cls, lambda chance: cls(*(make(chance) for _, make in parts))


@pytest.mark.parametrize("seed", range(150))
def test_random_values_of_random_dataclasses_come_back(seed):
    chance = random.Random(seed)
    cls, make = some_record(chance, depth=3)
    codec = Codec(cls, "Random")
    for _ in range(10):
        job = make(chance)
        text = codec.encode(job)
        assert same(codec.decode(text), job)
        assert codec.encode(codec.decode(text)) == text
