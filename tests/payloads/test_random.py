"""Random values of random dataclasses come back: a generator of annotations, each with a
maker of its values."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, Literal, Optional
from uuid import UUID

import pytest
from payload_types import EAST, Colour, Level, Mixed, same

from litequeue.payloads.codec import Codec

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
