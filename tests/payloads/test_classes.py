"""Codecs of whole classes: their fields and names; and values written by their own types."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, ClassVar

import pytest
from payload_types import (
    CODE,
    DAY,
    Colour,
    Guarded,
    Hostile,
    Item,
    Level,
    Mixed,
    Node,
    Odd,
    Price,
    Tagged,
    problem,
    same,
)

from litequeue.payloads.codec import Codec, encode_plain, encode_result


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


WRONG_NAMES: list[tuple[dict[Any, object], str]] = [
    ({}, "Welcome: field 'user_id' is missing"),
    ({"template": "x"}, "Welcome: field 'user_id' is missing"),
    ({"user_idd": 1}, "Welcome: field 'user_idd' is unknown; did you mean 'user_id'?"),
    ({"user_id": 1, "Tags": []}, "Welcome: field 'Tags' is unknown; did you mean 'tags'?"),
    (
        {"user_id": 1, "zzz": 1},
        "Welcome: field 'zzz' is unknown; the fields are: user_id, template, tags",
    ),
]


@pytest.mark.parametrize(("fields", "message"), WRONG_NAMES)
def test_reading_wrong_names_says_which(fields, message):
    assert problem(lambda: WELCOME.decode(json.dumps(fields))) == message


def test_a_class_without_fields_has_an_empty_payload():
    codec = Codec(dataclasses.make_dataclass("Ping", []), "Ping")
    assert codec.encode(codec.cls()) == "{}"
    assert problem(lambda: codec.decode('{"a": 1}')) == (
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
