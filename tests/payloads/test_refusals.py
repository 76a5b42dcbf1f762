"""What no payload can hold is refused, and the message says where and why."""

from __future__ import annotations

import dataclasses
import math
import random
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from uuid import UUID

import pytest
from payload_types import (
    Colour,
    Guarded,
    Hostile,
    Item,
    Level,
    Node,
    Odd,
    Price,
    codec_of,
    job_of,
    problem,
)

from litequeue.errors import PayloadError
from litequeue.payloads.codec import Codec, encode_result


@dataclass
class DearPrice(Price):
    reason: str = ""


class Surrogate:
    def __repr__(self) -> str:
        return "bad \ud800\n   text"


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
    ("", "the value is not valid JSON: JSONDecodeError("),
    ("\ufeff{}", "the value is not valid JSON: JSONDecodeError("),
    ("\x00", "the value is not valid JSON"),
    ('{"x":1', "the value is not valid JSON"),
    ("{'x':1}", "the value is not valid JSON"),
    ('{"x":1} and more', "the value is not valid JSON"),
    ("\ud800", "the value is not valid JSON"),
    ("[" * 200_000, "the value is not valid JSON: RecursionError("),
    ('{"x":' * 200_000, "the value is not valid JSON: RecursionError("),
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
    assert "is not valid JSON: ValueError(" in problem(lambda: codec.decode(text))


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


def test_the_cause_of_a_refusal_is_kept():
    with pytest.raises(PayloadError) as caught:
        codec_of(Decimal).decode('{"x":"ten"}')
    causes = [caught.value.__cause__, caught.value.__cause__.__cause__]  # type: ignore[union-attr]
    assert [type(cause).__name__ for cause in causes] == ["_Refused", "InvalidOperation"]
