"""The fast path writes the same text as the slow path, or leaves the value to it."""

from __future__ import annotations

import dataclasses
import enum
import random
from collections import OrderedDict
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any, Literal, Optional

import pytest
from payload_types import Colour, Level, Price

from litequeue import Job
from litequeue.errors import PayloadError
from litequeue.jobs.job import Definition
from litequeue.payloads.codec import Codec, encode_plain
from litequeue.payloads.scalars import encode_fast

HINTS: list[Any] = [
    str, int, float, bool, None, object, Any, Literal["a", 1],
    Optional[int], str | None, float | None, bool | int, int | float, int | str | None,  # noqa: UP045
    float | bool | None, date | None, Colour | None,
]  # fmt: skip


class Wide(int):
    """An int whose repr is no JSON."""

    def __repr__(self) -> str:
        return "wide"


class Loud(str):
    """A text of a class of its own."""


class Numbered(enum.IntFlag):
    ONE = 1


VALUES: list[object] = [
    0, 1, -1, 2**70, 10**5000, True, False, None,
    0.0, -0.0, 1.5, 1e300, 5e-324, 1e16, float("nan"), float("inf"), float("-inf"),
    "", "a", 'say "x" \\ / \b\f\n\r\t', "\x00\x1f\x7f", "é☃😀", "\u2028", "\ud800", "\udcff end",
    Wide(7), Loud("loud"), Loud("\ud800"), Colour.RED, Level.HIGH, Numbered.ONE,
    b"x", [1], {"a": 1}, (1,), {1}, date(2030, 1, 2), object, Price,
]  # fmt: skip


@pytest.fixture
def slow_path() -> Callable[[Callable[[], str]], str]:
    """What a call gives where there is no fast path."""

    def ask(call: Callable[[], str]) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("litequeue.payloads.codec.encode_fast", lambda fields: None)
            patch.setattr(Codec, "_encode_fast", None)
            return outcome(call)

    return ask


def outcome(call: Callable[[], str]) -> str:
    """The text that the call returns, or its refusal."""
    try:
        return call()
    except PayloadError as error:
        return f"refused: {error}"


@pytest.mark.parametrize("hint", HINTS, ids=str)
def test_each_value_in_each_field_is_written_or_refused_as_by_the_slow_path(
    hint: object, slow_path: Callable[[Callable[[], str]], str]
) -> None:
    cls = dataclasses.make_dataclass("Task", [("x", hint)])
    codec = Codec(cls, "Task")
    for value in VALUES:
        job = cls(value)
        encode = partial(codec.encode, job)
        assert outcome(encode) == slow_path(encode), value


@pytest.mark.parametrize("seed", range(40))
def test_random_jobs_are_written_or_refused_as_by_the_slow_path(
    seed: int, slow_path: Callable[[Callable[[], str]], str]
) -> None:
    chance = random.Random(seed)
    names = [f"field_{place}" if chance.random() < 0.8 else f"fêld_{place}" for place in range(4)]
    fields = [(name, chance.choice(HINTS)) for name in names[: chance.randint(0, 4)]]
    cls = dataclasses.make_dataclass("Task", fields)
    codec = Codec(cls, "Task")
    written = 0
    for _ in range(60):
        job = cls(*(chance.choice(VALUES) for _ in fields))
        text = outcome(partial(codec.encode, job))
        assert text == slow_path(partial(codec.encode, job))
        written += text.startswith("{")
    assert written or len(fields) > 2


@pytest.mark.parametrize("seed", range(10))
def test_random_payloads_by_name_are_written_or_refused_as_by_the_slow_path(
    seed: int, slow_path: Callable[[Callable[[], str]], str]
) -> None:
    chance = random.Random(seed)
    keys = ["a", 'q"', "é", "", "\ud800", Loud("b"), Colour.RED, 1, None, True]
    for _ in range(100):
        count = chance.randint(0, 3)
        fields: Any = {chance.choice(keys): chance.choice(VALUES) for _ in range(count)}
        if chance.random() < 0.2:
            fields = OrderedDict(fields)
        encode = partial(encode_plain, fields, "task")
        assert outcome(encode) == slow_path(encode), fields


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "{}"),
        ({"a": 1, "b": "é", "c": None}, '{"a":1,"b":"é","c":null}'),
        ({"a": True, "b": 1.5, 'q"': ""}, '{"a":true,"b":1.5,"q\\"":""}'),
        ({"a": [1]}, None),
        ({"a": Wide(7)}, None),
        ({1: 1}, None),
        ({"a": "\ud800"}, None),
        ({"a": float("nan")}, None),
        (OrderedDict(a=1), None),
        ([1], None),
        (None, None),
    ],
)  # fmt: skip
def test_only_plain_fields_take_the_fast_path(fields: object, text: str | None) -> None:
    assert encode_fast(fields) == text


class Counted(Job):
    """A job one of whose fields is worked out."""

    user_id: int
    limit: int | None = None

    def __getattribute__(self, name: str) -> Any:
        if name == "limit":
            raise RuntimeError("no limit today")
        return super().__getattribute__(name)

    def handle(self) -> None: ...


def test_a_refusal_does_not_show_that_there_was_a_shorter_way() -> None:
    made: Definition = Counted.__litequeue__
    with pytest.raises(PayloadError, match=r"RuntimeError\('no limit today'\)") as caught:
        made.codec.encode(Counted(1))
    cause = caught.value.__cause__
    assert isinstance(cause, RuntimeError)
    assert cause.__context__ is None


def test_an_instance_of_another_class_is_not_written_by_its_fields(
    slow_path: Callable[[Callable[[], str]], str],
) -> None:
    cls = dataclasses.make_dataclass("Task", [("x", int)])
    other = dataclasses.make_dataclass("Other", [("y", int)], bases=(cls,))
    codec = Codec(cls, "Task")
    told = outcome(lambda: codec.encode(other(1, 2)))
    assert told == slow_path(lambda: codec.encode(other(1, 2)))
    assert told.startswith("refused: Task: the value must be Task, not Other")
