"""How one annotation becomes JSON: a form for each, made once for each job class.

A form is two functions between a Python value and plain JSON, and what it says of itself
where it refuses a value.
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
from litequeue.payloads.scalars import TEXTS, Text, storable, texts_of

Convert = Callable[..., object]
S = TypeVar("S")
T = TypeVar("T")

INFINITY = float("inf")
# The tree that it is given is a copy: a circle in the value has been found by then.
_ENCODER = json.JSONEncoder(
    allow_nan=False, ensure_ascii=False, separators=(",", ":"), check_circular=False
)


class _Refused(Exception):
    """A value that a payload cannot hold; its path grows on the way out."""

    def __init__(self, problem: str, path: str = "") -> None:
        self.problem = problem
        self.path = path

    def __str__(self) -> str:
        path = cut(self.path.removeprefix("."))
        return f"field {path!r} {self.problem}" if path else f"the value {self.problem}"


def refused(problem: str, path: str = "") -> Exception:
    """The refusal to raise where ``refuse`` would not say enough."""
    return _Refused(problem, path)


def refusal(error: Exception) -> _Refused:
    """What an error means for the payload: itself, or a refusal that it caused."""
    if isinstance(error, _Refused):
        return error
    if isinstance(error, RecursionError):
        made = _Refused("is nested too deeply, or contains itself")
    else:
        made = _Refused(f"cannot be converted: {show(error)}")
    made.__cause__ = error
    return made


def refuse(wanted: str, value: object) -> NoReturn:
    """Raise a refusal for a value of the wrong type."""
    found = "None" if value is None else f"{type(value).__name__} ({show(value)})"
    raise _Refused(f"must be {wanted}, not {found}")


def finite(value: str | float) -> float:
    """A number that JSON can hold; raises a refusal."""
    number = float(value)
    if not abs(number) < INFINITY:  # nor is a NaN less
        raise _Refused(f"must be a finite number, not {value}")
    return number


def _items(convert: Convert, values: Iterable[object]) -> list[object]:
    return [at(index, convert, value) for index, value in enumerate(values)]


def entries(convert: Convert, table: Mapping[object, object]) -> dict[object, object]:
    """The table with its values converted; raises a refusal for a key that is no text."""
    for key in table:
        if not isinstance(key, str):
            raise _Refused(f"must have keys of type str, not {type(key).__name__} ({show(key)})")
    return {key: at(key, convert, value) for key, value in table.items()}


def at(step: object, convert: Callable[[S], T], value: S) -> T:
    """Convert the value that is found at ``step``, which goes before the path of a refusal."""
    try:
        return convert(value)
    except Exception as error:
        made = refusal(error)
        made.path = (f"[{step}]" if isinstance(step, int) else f".{step}") + made.path
        raise made from made.__cause__


def dump(tree: object) -> str:
    """The shortest JSON text of a tree of plain values."""
    return storable(_ENCODER.encode(tree))


class Form(NamedTuple):
    """What an annotation takes, how it is written to plain JSON, and how it is read."""

    says: str
    takes: tuple[type, ...]  # the Python types that it writes
    kinds: tuple[type, ...]  # the JSON types that it reads
    write: Convert
    read: Convert
    # What it writes without a look at the value: by its exact type, straight to text.
    texts: Mapping[type, Text] = {}

    def encode(self, value: object) -> object:
        if not isinstance(value, self.takes):
            refuse(self.says, value)
        return self.write(value)

    def decode(self, value: object) -> object:
        if type(value) not in self.kinds:
            refuse(self.says, value)
        return self.read(value)


class Home(Protocol):
    """The dataclass whose field has the annotation."""

    def resolved(self, annotation: str) -> object: ...

    def nested(self, cls: type) -> Form: ...


def form_of(hint: object, home: Home) -> Form:
    """The form of an annotation; raises a refusal for one that no payload can hold."""
    if isinstance(hint, str):  # list["Node"], which Python 3.10 leaves as it is
        return form_of(home.resolved(hint), home)
    if hint is typing.Any:
        return _leaves()[object]
    for alias in ("__supertype__", "__value__"):  # of a NewType, of a `type X = ...`
        if hasattr(hint, alias):
            return form_of(getattr(hint, alias), home)
    origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is Literal:
        return _literal_form(args)
    parts = [form_of(arg, home) for arg in args if arg is not ...]
    if origin is Union or origin is types.UnionType:
        return _union_form(parts)
    if origin is tuple and args and args[-1] is not ...:
        return _tuple_form(parts)
    if origin in (list, tuple, set, frozenset, Sequence):
        return _array_form(origin, *parts or [_leaves()[object]])
    if origin is dict or origin is Mapping:
        return _dict_form(*parts or [_leaves()[str], _leaves()[object]])
    return _class_form(hint, home)


def _class_form(hint: object, home: Home) -> Form:
    cls = type(None) if hint is None else hint
    if isinstance(cls, type) and typing.get_origin(cls) is None:
        if cls in _leaves():
            return _leaves()[cls]
        if issubclass(cls, Enum):
            return _enum_form(cls)
        if cls in _textual() or issubclass(cls, _loaded("pathlib", "PurePath")):
            return _leaf(cls, str, cls)
        if dataclasses.is_dataclass(cls):
            return home.nested(cls)
    name = cls.__name__ if isinstance(cls, type) else cls
    raise _Refused(f"has a type that no payload can hold: {name}")


@cache
def _leaves() -> dict[type, Form]:
    none = type(None)
    plain = (none, bool, int, float, str, list, dict)
    # In the order in which own looks: a datetime is a date too, anything is an object.
    return {
        none: Form("None", (none,), (none,), _same, _same, texts_of(none)),
        bool: Form("bool", (bool,), (bool,), _same, _same, texts_of(bool)),
        int: Form("int", (int,), (int, bool), _same, _same, texts_of(int, bool)),
        float: Form("float", (float, int), (float, int, bool), finite, finite, texts_of(float)),
        str: Form("str", (str,), (str,), _same, _same, texts_of(str)),
        datetime: _leaf(
            datetime, datetime.isoformat, lambda text: datetime.fromisoformat(_iso(text))
        ),
        date: _leaf(date, _write_date, date.fromisoformat),
        time: _leaf(time, time.isoformat, lambda text: time.fromisoformat(_iso(text))),
        timedelta: _leaf(timedelta, _write_timedelta, _read_timedelta, float, int),
        bytes: _leaf(bytes, _write_bytes, _read_bytes),
        object: Form("plain JSON", plain, plain, _plain, _same, TEXTS),
    }


# Written as text, and read from it; in modules that most programs do without.
_TEXTUAL = (("decimal", "Decimal"), ("uuid", "UUID"), ("pathlib", "PurePath"))


def _textual() -> tuple[type, ...]:
    return tuple(cls for place in _TEXTUAL for cls in _loaded(*place))


def _loaded(module: str, name: str) -> tuple[type, ...]:
    """A class, or nothing where this process has not loaded its module: no annotation and
    no value can be of it then."""
    cls = getattr(sys.modules.get(module), name, None)
    return () if cls is None else (cls,)


def _same(value: object) -> object:
    return value


def _leaf(cls: type, write: Convert, read: Convert, *kinds: type) -> Form:
    def try_to_read(value: object) -> object:
        try:
            return read(value)
        except Exception as error:
            raise _Refused(f"cannot be read as {cls.__name__} ({show(value)})") from error

    return Form(cls.__name__, (cls,), kinds or (str,), write, try_to_read)


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


def _enum_form(cls: type[Enum]) -> Form:
    kinds = {type(member.value) for member in cls.__members__.values()}
    if not kinds <= {str, int}:
        raise _Refused(f"has an Enum whose values are not all str or int: {cls.__name__}")
    return _leaf(cls, lambda member: member.value, cls, *kinds)


def _literal_form(options: tuple[object, ...]) -> Form:
    pairs = [(option, own(option)) for option in options]
    back = [(plain, option) for option, plain in pairs]
    says = " or ".join(show(option) for option in options)
    takes = tuple(type(option) for option in options)
    kinds = tuple({type(plain) for plain, _ in back})
    return Form(says, takes, kinds, partial(_pick, says, pairs), partial(_pick, says, back))


def _pick(says: str, pairs: list[tuple[object, object]], value: object) -> object:
    for option, other in pairs:
        if type(option) is type(value) and option == value:  # True == 1
            return other
    refuse(says, value)


def _union_form(members: list[Form]) -> Form:
    if _leaves()[object] in members:
        return _leaves()[object]
    says = " or ".join(member.says for member in members)
    if any(_look_alike(one, other) for one, other in combinations(members, 2)):
        raise _Refused(f"has a type whose members look alike in JSON: {says}; keep one of them")
    # The wider first, for a closer one to replace: float takes an int, int a bool.
    members = sorted(members, key=lambda member: -len(member.kinds))
    by_type = {cls: member for member in members for cls in member.takes}
    by_kind = {kind: member for member in members for kind in member.kinds}

    def member(cls: type) -> Form:
        return by_type[next(each for each in cls.__mro__ if each in by_type)]

    def write(value: object) -> object:
        return member(type(value)).encode(value)

    def read(value: object) -> object:
        return by_kind[type(value)].decode(value)

    taken = [cls for cls in TEXTS if issubclass(cls, tuple(by_type))]
    texts = {cls: TEXTS[cls] for cls in taken if cls in member(cls).texts}
    return Form(says, tuple(by_type), tuple(by_kind), write, read, texts)


def _look_alike(one: Form, other: Form) -> bool:
    numbers = [_leaves()[cls] for cls in (bool, int, float)]
    if one in numbers and other in numbers:
        return False
    return not set(one.kinds).isdisjoint(other.kinds)


def _tuple_form(parts: list[Form]) -> Form:
    says = f"tuple[{', '.join(part.says for part in parts)}]"
    encoders, decoders = [part.encode for part in parts], [part.decode for part in parts]

    def convert(steps: list[Convert], values: Sequence[object]) -> list[object]:
        if len(values) != len(steps):
            refuse(f"{says} with {len(steps)} items", values)
        return [at(index, steps[index], value) for index, value in enumerate(values)]

    write = partial(convert, encoders)
    return Form(says, (tuple,), (list,), write, lambda value: tuple(convert(decoders, value)))


def _array_form(origin: type, item: Form) -> Form:
    takes, make = ((list, tuple), list) if origin is Sequence else ((origin,), origin)

    def write(values: Iterable[object]) -> list[object]:
        items = _items(item.encode, values)
        return _sorted(items) if isinstance(values, (set, frozenset)) else items

    def read(values: list[object]) -> object:
        return make(_items(item.decode, values))

    return Form(f"{origin.__name__}[{item.says}]", takes, (list,), write, read)


def _sorted(items: list[object]) -> list[object]:
    # Equal sets give equal text, so that equal payloads can be found.
    return sorted(items, key=dump)


def _dict_form(key: Form, value: Form) -> Form:
    if key is not _leaves()[str]:
        raise _Refused(f"must have keys of type str, not {key.says}")
    write, read = partial(entries, value.encode), partial(entries, value.decode)
    return Form(f"dict[str, {value.says}]", (dict,), (dict,), write, read)


def _plain(value: object) -> object:
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, list):
        return _items(_plain, value)
    if isinstance(value, dict):
        return entries(_plain, value)
    refuse("plain JSON", value)


def own(value: object) -> object:
    """The plain JSON of a value without an annotation, by its own type; raises a refusal."""
    if isinstance(value, Enum):  # before str and int, which it may be as well
        return _enum_form(type(value)).encode(value)
    if isinstance(value, (list, tuple)):
        return _items(own, value)
    if isinstance(value, (set, frozenset)):
        return _sorted(_items(own, value))
    if isinstance(value, dict):
        return entries(own, value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return entries(own, {name: getattr(value, name) for name in names})
    form = next(form for cls, form in _leaves().items() if isinstance(value, cls))
    if form is _leaves()[object] and isinstance(value, _textual()):
        return str(value)
    return form.encode(value)
