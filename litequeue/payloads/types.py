"""Converts the values of one annotation to JSON and back, by a type adapter for each.

A type adapter has a function for each direction, and a label for the messages of refusals.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from enum import Enum
from functools import cache, partial
from itertools import combinations
from typing import Literal, NamedTuple, NoReturn, Protocol, TypeVar, Union

from litequeue.messages import cut, show
from litequeue.payloads.scalars import JSON_TEXTS, Text, checked_utf8, fast_texts_of

Convert = Callable[..., object]
S = TypeVar("S")
T = TypeVar("T")

INFINITY = float("inf")
# It encodes a converted copy, in which a value that contains itself was refused before.
_ENCODER = json.JSONEncoder(
    allow_nan=False, ensure_ascii=False, separators=(",", ":"), check_circular=False
)


class _Refused(Exception):
    """A value that a payload cannot hold. Each level that it passes adds to its path."""

    def __init__(self, problem: str, path: str = "") -> None:
        self.problem = problem
        self.path = path

    def __str__(self) -> str:
        path = cut(self.path.removeprefix("."))
        return f"field {path!r} {self.problem}" if path else f"the value {self.problem}"


def refused(problem: str, path: str = "") -> Exception:
    """Return a refusal with this problem, to raise."""
    return _Refused(problem, path)


def refusal(error: Exception) -> _Refused:
    """Return the error itself if it is a refusal, else a refusal with the error as its cause."""
    if isinstance(error, _Refused):
        return error
    if isinstance(error, RecursionError):
        failure = _Refused("is nested too deeply, or contains itself")
    else:
        failure = _Refused(f"cannot be converted: {show(error)}")
    failure.__cause__ = error
    return failure


def refuse(wanted: str, value: object) -> NoReturn:
    """Raise a refusal for a value of the wrong type."""
    found = "None" if value is None else f"{type(value).__name__} ({show(value)})"
    raise _Refused(f"must be {wanted}, not {found}")


def finite(value: str | float) -> float:
    """Return the number as a float; raises a refusal for NaN and infinity."""
    number = float(value)
    if not abs(number) < INFINITY:  # false for a NaN, too
        raise _Refused(f"must be a finite number, not {value}")
    return number


def _convert_items(convert: Convert, values: Iterable[object]) -> list[object]:
    return [convert_at(index, convert, value) for index, value in enumerate(values)]


def convert_entries(convert: Convert, table: Mapping[object, object]) -> dict[object, object]:
    """Return the mapping with its values converted; raises a refusal for a key that is no str."""
    for key in table:
        if not isinstance(key, str):
            raise _Refused(f"must have keys of type str, not {type(key).__name__} ({show(key)})")
    return {key: convert_at(key, convert, value) for key, value in table.items()}


def convert_at(step: object, convert: Callable[[S], T], value: S) -> T:
    """Convert the value at ``step``, a field, key or index; a refusal includes it in its path."""
    try:
        return convert(value)
    except Exception as error:
        failure = refusal(error)
        failure.path = (f"[{step}]" if isinstance(step, int) else f".{step}") + failure.path
        raise failure from failure.__cause__


def dump(tree: object) -> str:
    """Return the compact JSON text of plain JSON values."""
    return checked_utf8(_ENCODER.encode(tree))


class TypeAdapter(NamedTuple):
    """Converts the values of one annotation to plain JSON and back."""

    label: str
    python_types: tuple[type, ...]  # the Python types that it writes
    json_types: tuple[type, ...]  # the JSON types that it reads
    write: Convert
    read: Convert
    # The fast path: functions from a value of this exact type straight to JSON text.
    fast_texts: Mapping[type, Text] = {}

    def encode(self, value: object) -> object:
        if not isinstance(value, self.python_types):
            refuse(self.label, value)
        return self.write(value)

    def decode(self, value: object) -> object:
        if type(value) not in self.json_types:
            refuse(self.label, value)
        return self.read(value)


class Resolver(Protocol):
    """Resolves what an annotation refers to, for the dataclass that has it."""

    def resolved(self, annotation: str) -> object: ...

    def nested(self, cls: type) -> TypeAdapter: ...


def adapter_for(hint: object, resolver: Resolver) -> TypeAdapter:
    """Return the type adapter of an annotation; raises a refusal for one that is not supported."""
    if isinstance(hint, str):  # list["Node"], which Python 3.10 leaves as it is
        return adapter_for(resolver.resolved(hint), resolver)
    if hint is typing.Any:
        return _scalar_adapters()[object]
    for alias in ("__supertype__", "__value__"):  # of a NewType, of a `type X = ...`
        if hasattr(hint, alias):
            return adapter_for(getattr(hint, alias), resolver)
    origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is Literal:
        return _literal_adapter(args)
    parts = [adapter_for(arg, resolver) for arg in args if arg is not ...]
    if origin is Union or origin is types.UnionType:
        return _union_adapter(parts)
    if origin is tuple and args and args[-1] is not ...:
        return _tuple_adapter(parts)
    if origin in (list, tuple, set, frozenset, Sequence):
        return _array_adapter(origin, *parts or [_scalar_adapters()[object]])
    if origin is dict or origin is Mapping:
        return _dict_adapter(*parts or [_scalar_adapters()[str], _scalar_adapters()[object]])
    return _class_adapter(hint, resolver)


def _class_adapter(hint: object, resolver: Resolver) -> TypeAdapter:
    cls = type(None) if hint is None else hint
    if isinstance(cls, type) and typing.get_origin(cls) is None:
        if cls in _scalar_adapters():
            return _scalar_adapters()[cls]
        if issubclass(cls, Enum):
            return _enum_adapter(cls)
        if cls in _text_types() or issubclass(cls, _loaded("pathlib", "PurePath")):
            return _value_adapter(cls, str, cls)
        if dataclasses.is_dataclass(cls):
            return resolver.nested(cls)
    name = cls.__name__ if isinstance(cls, type) else cls
    raise _Refused(f"has a type that no payload can hold: {name}")


@cache
def _scalar_adapters() -> dict[type, TypeAdapter]:
    none = type(None)
    plain = (none, bool, int, float, str, list, dict)
    # plain_json takes the first that matches: a datetime is a date too, anything is an object.
    return {
        none: TypeAdapter("None", (none,), (none,), _same, _same, fast_texts_of(none)),
        bool: TypeAdapter("bool", (bool,), (bool,), _same, _same, fast_texts_of(bool)),
        int: TypeAdapter("int", (int,), (int, bool), _same, _same, fast_texts_of(int, bool)),
        float: TypeAdapter(
            "float", (float, int), (float, int, bool), finite, finite, fast_texts_of(float)
        ),
        str: TypeAdapter("str", (str,), (str,), _same, _same, fast_texts_of(str)),
        datetime: _value_adapter(
            datetime, datetime.isoformat, lambda text: datetime.fromisoformat(_iso(text))
        ),
        date: _value_adapter(date, _write_date, date.fromisoformat),
        time: _value_adapter(time, time.isoformat, lambda text: time.fromisoformat(_iso(text))),
        timedelta: _value_adapter(timedelta, _write_timedelta, _read_timedelta, float, int),
        bytes: _value_adapter(bytes, _write_bytes, _read_bytes),
        object: TypeAdapter("plain JSON", plain, plain, _plain, _same, JSON_TEXTS),
    }


# Types that are written as text. Their modules are not imported here: most programs do not
# use them.
_TEXT_TYPES = (("decimal", "Decimal"), ("uuid", "UUID"), ("pathlib", "PurePath"))


def _text_types() -> tuple[type, ...]:
    return tuple(cls for module, name in _TEXT_TYPES for cls in _loaded(module, name))


def _loaded(module: str, name: str) -> tuple[type, ...]:
    """Return the class in a tuple, or an empty one where its module is not loaded.

    No annotation and no value can be of a class whose module is not loaded."""
    cls = getattr(sys.modules.get(module), name, None)
    return () if cls is None else (cls,)


def _same(value: object) -> object:
    return value


def _value_adapter(cls: type, write: Convert, read: Convert, *json_types: type) -> TypeAdapter:
    def try_to_read(value: object) -> object:
        try:
            return read(value)
        except Exception as error:
            raise _Refused(f"cannot be read as {cls.__name__} ({show(value)})") from error

    return TypeAdapter(cls.__name__, (cls,), json_types or (str,), write, try_to_read)


def _write_date(value: date) -> str:
    if isinstance(value, datetime):
        refuse("date", value)
    return value.isoformat()


def _iso(text: str) -> str:
    return text[:-1] + "+00:00" if text.endswith("Z") else text  # for Python 3.10


def _write_timedelta(value: timedelta) -> float:
    seconds = value.total_seconds()
    if _read_timedelta(seconds) != value:
        raise _Refused(f"is too long to be written to the microsecond ({show(value)})")
    return seconds


def _read_timedelta(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _write_bytes(value: bytes) -> str:
    import base64  # most payloads have no bytes

    return base64.b64encode(value).decode()


def _read_bytes(text: str) -> bytes:
    import base64

    return base64.b64decode(text, validate=True)


def _enum_adapter(cls: type[Enum]) -> TypeAdapter:
    json_types = {type(member.value) for member in cls.__members__.values()}
    if not json_types <= {str, int}:
        raise _Refused(f"has an Enum whose values are not all str or int: {cls.__name__}")
    return _value_adapter(cls, lambda member: member.value, cls, *json_types)


def _literal_adapter(options: tuple[object, ...]) -> TypeAdapter:
    pairs = [(option, plain_json(option)) for option in options]
    back = [(plain, option) for option, plain in pairs]
    label = " or ".join(show(option) for option in options)
    python_types = tuple(type(option) for option in options)
    json_types = tuple({type(plain) for plain, _ in back})
    return TypeAdapter(
        label,
        python_types,
        json_types,
        partial(_literal_value, label, pairs),
        partial(_literal_value, label, back),
    )


def _literal_value(label: str, pairs: list[tuple[object, object]], value: object) -> object:
    for option, other in pairs:
        if type(option) is type(value) and option == value:  # True == 1
            return other
    refuse(label, value)


def _union_adapter(members: list[TypeAdapter]) -> TypeAdapter:
    if _scalar_adapters()[object] in members:
        return _scalar_adapters()[object]
    label = " or ".join(member.label for member in members)
    if any(_ambiguous(one, other) for one, other in combinations(members, 2)):
        raise _Refused(f"has a type whose members look alike in JSON: {label}; keep one of them")
    # The wider types first, so that narrower ones replace them: float accepts int, int bool.
    members = sorted(members, key=lambda member: -len(member.json_types))
    by_type = {cls: member for member in members for cls in member.python_types}
    by_json_type = {json_type: member for member in members for json_type in member.json_types}

    def member(cls: type) -> TypeAdapter:
        return by_type[next(each for each in cls.__mro__ if each in by_type)]

    def write(value: object) -> object:
        return member(type(value)).encode(value)

    def read(value: object) -> object:
        return by_json_type[type(value)].decode(value)

    taken = [cls for cls in JSON_TEXTS if issubclass(cls, tuple(by_type))]
    fast_texts = {cls: JSON_TEXTS[cls] for cls in taken if cls in member(cls).fast_texts}
    return TypeAdapter(label, tuple(by_type), tuple(by_json_type), write, read, fast_texts)


def _ambiguous(one: TypeAdapter, other: TypeAdapter) -> bool:
    numbers = [_scalar_adapters()[cls] for cls in (bool, int, float)]
    if one in numbers and other in numbers:
        return False
    return not set(one.json_types).isdisjoint(other.json_types)


def _tuple_adapter(parts: list[TypeAdapter]) -> TypeAdapter:
    label = f"tuple[{', '.join(part.label for part in parts)}]"
    encoders, decoders = [part.encode for part in parts], [part.decode for part in parts]

    def convert(steps: list[Convert], values: Sequence[object]) -> list[object]:
        if len(values) != len(steps):
            refuse(f"{label} with {len(steps)} items", values)
        return [convert_at(index, steps[index], value) for index, value in enumerate(values)]

    write = partial(convert, encoders)
    return TypeAdapter(
        label, (tuple,), (list,), write, lambda value: tuple(convert(decoders, value))
    )


def _array_adapter(origin: type, item: TypeAdapter) -> TypeAdapter:
    python_types, make = ((list, tuple), list) if origin is Sequence else ((origin,), origin)

    def write(values: Iterable[object]) -> list[object]:
        items = _convert_items(item.encode, values)
        return _sorted(items) if isinstance(values, (set, frozenset)) else items

    def read(values: list[object]) -> object:
        return make(_convert_items(item.decode, values))

    return TypeAdapter(f"{origin.__name__}[{item.label}]", python_types, (list,), write, read)


def _sorted(items: list[object]) -> list[object]:
    # Equal sets give equal text, so that equal payloads can be found.
    return sorted(items, key=dump)


def _dict_adapter(key: TypeAdapter, value: TypeAdapter) -> TypeAdapter:
    if key is not _scalar_adapters()[str]:
        raise _Refused(f"must have keys of type str, not {key.label}")
    write, read = partial(convert_entries, value.encode), partial(convert_entries, value.decode)
    return TypeAdapter(f"dict[str, {value.label}]", (dict,), (dict,), write, read)


def _plain(value: object) -> object:
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, list):
        return _convert_items(_plain, value)
    if isinstance(value, dict):
        return convert_entries(_plain, value)
    refuse("plain JSON", value)


def plain_json(value: object) -> object:
    """Return the plain JSON of a value by its own type, without an annotation; raises a
    refusal."""
    if isinstance(value, Enum):  # before str and int, which it may be as well
        return _enum_adapter(type(value)).encode(value)
    if isinstance(value, (list, tuple)):
        return _convert_items(plain_json, value)
    if isinstance(value, (set, frozenset)):
        return _sorted(_convert_items(plain_json, value))
    if isinstance(value, dict):
        return convert_entries(plain_json, value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return convert_entries(plain_json, {name: getattr(value, name) for name in names})
    adapter = next(adapter for cls, adapter in _scalar_adapters().items() if isinstance(value, cls))
    if adapter is _scalar_adapters()[object] and isinstance(value, _text_types()):
        return str(value)
    return adapter.encode(value)
