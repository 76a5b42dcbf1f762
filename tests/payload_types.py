"""The types that the tests of payloads share, and codecs of one field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, NewType, Optional  # noqa: F401 (an annotation in quotes names Optional)
from uuid import UUID

import pytest

from litequeue.errors import PayloadError
from litequeue.payloads.codec import Codec

Slug = NewType("Slug", str)
EAST = timezone(timedelta(hours=5, minutes=30))
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


def codec_of(hint: object, **options: Any) -> Codec:
    """The codec of a class with one field, x; a hint in quotes is resolved in this file."""
    extra = [("x", hint, field(**options))] if options else [("x", hint)]
    cls = dataclasses.make_dataclass("Task", extra)
    cls.__module__ = __name__
    return Codec(cls, "Task")


def job_of(codec: Codec, value: object) -> Any:
    return codec.cls(x=value)


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
