"""What a job carries, as strict JSON text and back by its annotations.

An annotation becomes a ``_Form``: two functions between a Python value and plain
JSON, made once for each job class.
"""

from __future__ import annotations

import base64
import dataclasses
import difflib
import inspect
import json
import math
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache, partial
from itertools import combinations
from pathlib import PurePath
from typing import Literal, NoReturn, TypeVar, Union
from uuid import UUID

from litequeue.errors import PayloadError

Convert = Callable[..., object]
S = TypeVar("S")
T = TypeVar("T")

SHOWN_CHARACTERS = 60
# The tree that it is given is a copy: a circle in the value has been found by then.
_ENCODER = json.JSONEncoder(
    allow_nan=False, ensure_ascii=False, separators=(",", ":"), check_circular=False
)


class Codec:
    """Writes and reads the payload of one job class; raises PayloadError if a field
    has an annotation that cannot be resolved, or that no payload can hold."""

    def __init__(self, cls: type, name: str) -> None:
        self._name = name
        with _errors_of(name):
            self._record = _Record(cls, {})

    def encode(self, instance: object) -> str:
        """The JSON text of a job's fields; raises PayloadError."""
        with _errors_of(self._name):
            return _text(self._record.encode(instance))

    def build(self, fields: Mapping[str, object]) -> object:
        """A job made from keyword values; raises PayloadError if a name is wrong."""
        with _errors_of(self._name):
            self._record.check_names(fields)
        return self._record.cls(**fields)

    def decode(self, text: object) -> object:
        """The job that a JSON text describes; raises PayloadError, whatever it is given."""
        with _errors_of(self._name):
            return self._record.decode(_tree(text))


def encode_result(value: object) -> str:
    """The JSON text of what a job returned; raises PayloadError."""
    with _errors_of("result"):
        return _text(_own(value))


def encode_plain(fields: Mapping[str, object], name: str) -> str:
    """The JSON text of a payload whose class is not at hand; raises PayloadError."""
    with _errors_of(name):
        if not isinstance(fields, Mapping):
            _refuse("a mapping of fields", fields)
        return _text(_own(dict(fields)))


@contextmanager
def _errors_of(job: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise PayloadError(job=job, problem=str(_refused(error))) from error


class _Refused(Exception):
    """A value that a payload cannot hold; its path grows on the way out."""

    def __init__(self, problem: str, path: str = "") -> None:
        self.problem = problem
        self.path = path

    def __str__(self) -> str:
        path = _cut(self.path.removeprefix("."))
        return f"field {path!r} {self.problem}" if path else f"the value {self.problem}"


def _refused(error: Exception) -> _Refused:
    if isinstance(error, _Refused):
        return error
    if isinstance(error, RecursionError):
        refused = _Refused("is nested too deeply, or contains itself")
    else:
        refused = _Refused(f"cannot be converted: {_show(error)}")
    refused.__cause__ = error
    return refused


def _refuse(wanted: str, value: object) -> NoReturn:
    found = "None" if value is None else f"{type(value).__name__} ({_show(value)})"
    raise _Refused(f"must be {wanted}, not {found}")


def _show(value: object) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = object.__repr__(value)
    # A repr is anyone's code, and its text must still fit a log and a column.
    return _cut(text.encode("utf-8", "backslashreplace").decode())


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def _text(tree: object) -> str:
    try:
        return _dump(tree)
    except Exception:
        if isinstance(tree, dict):
            _entries(_dump, tree)  # raises again, and names the field
        raise


def _dump(tree: object) -> str:
    text = _ENCODER.encode(tree)
    if not text.isascii():
        text.encode()  # SQLite takes no lone surrogates
    return text


def _tree(text: object) -> object:
    if not isinstance(text, str):
        _refuse("JSON text", text)
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise _Refused(f"is no JSON that can be read: {_show(error)}") from error


def _finite(value: str | float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise _Refused(f"must be a finite number, not {value}")
    return number


def _items(convert: Convert, values: Iterable[object]) -> list[object]:
    return [_at(index, convert, value) for index, value in enumerate(values)]


def _entries(convert: Convert, table: Mapping[object, object]) -> dict[object, object]:
    for key in table:
        if not isinstance(key, str):
            raise _Refused(f"must have keys of type str, not {type(key).__name__} ({_show(key)})")
    return {key: _at(key, convert, value) for key, value in table.items()}


def _at(step: object, convert: Callable[[S], T], value: S) -> T:
    try:
        return convert(value)
    except Exception as error:
        refused = _refused(error)
        refused.path = (f"[{step}]" if isinstance(step, int) else f".{step}") + refused.path
        raise refused from refused.__cause__


@dataclasses.dataclass(frozen=True)
class _Form:
    says: str
    takes: tuple[type, ...]  # the Python types that it writes
    kinds: tuple[type, ...]  # the JSON types that it reads
    write: Convert
    read: Convert

    def encode(self, value: object) -> object:
        if not isinstance(value, self.takes):
            _refuse(self.says, value)
        return self.write(value)

    def decode(self, value: object) -> object:
        if type(value) not in self.kinds:
            _refuse(self.says, value)
        return self.read(value)


class _Record:
    """The fields of a dataclass, and a form for each."""

    def __init__(self, cls: type, known: dict[type, _Record]) -> None:
        self.known = known
        known[cls] = self  # before its fields, which may be of this class again
        self.cls = cls
        fields = [field for field in dataclasses.fields(cls) if field.init]
        self.required = [field.name for field in fields if _has_no_default(field)]
        self.forms = {
            field.name: _at(field.name, lambda name: _form(_hint(cls, name), self), field.name)
            for field in fields
        }
        self._check_signature()

    def _check_signature(self) -> None:
        try:
            inspect.signature(self.cls).bind(**dict.fromkeys(self.forms))
        except TypeError as error:
            name = self.cls.__name__
            raise _Refused(f"({name}) cannot be made again from its fields: {error}") from error

    def encode(self, value: object) -> object:
        # A subclass may have more fields, which would be lost.
        if type(value) is not self.cls:
            _refuse(self.cls.__name__, value)
        forms = self.forms.items()
        return {name: _at(name, form.encode, getattr(value, name)) for name, form in forms}

    def decode(self, value: object) -> object:
        if not isinstance(value, dict):
            _refuse("a JSON object", value)
        self.check_names(value)
        fields = {name: _at(name, self.forms[name].decode, part) for name, part in value.items()}
        return self.cls(**fields)

    def check_names(self, fields: Mapping[str, object]) -> None:
        for name in fields:
            if name not in self.forms:
                raise _Refused(f"is unknown; {self._advice(str(name))}", f".{name}")
        for name in self.required:
            if name not in fields:
                raise _Refused("is missing", f".{name}")

    def _advice(self, name: str) -> str:
        nearest = difflib.get_close_matches(name, self.forms, n=1)
        if nearest:
            return f"did you mean {nearest[0]!r}?"
        return f"the fields are: {', '.join(self.forms) or 'none'}"


def _has_no_default(field: dataclasses.Field[object]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _hint(cls: type, name: str) -> object:
    owners = (base for base in cls.__mro__ if name in inspect.get_annotations(base))
    owner = next(owners)
    return _resolved(owner, inspect.get_annotations(owner)[name])


def _resolved(owner: type, annotation: object) -> object:
    # One at a time: the error names the field, and an InitVar elsewhere, which
    # Python 3.10 cannot resolve from a string, does no harm.
    alone = type("alone", (), {"__annotations__": {"hint": annotation}})
    inner = {owner.__name__: owner, **vars(owner)}
    try:
        # As get_type_hints does for a class: the module's names before the class's.
        return typing.get_type_hints(alone, inner, vars(sys.modules[owner.__module__]))["hint"]
    except Exception as error:
        raise _Refused(f"has an annotation that cannot be resolved: {_show(error)}") from error


def _form(hint: object, home: _Record) -> _Form:
    if isinstance(hint, str):  # list["Node"], which Python 3.10 leaves as it is
        return _form(_resolved(home.cls, hint), home)
    if hint is typing.Any:
        return _leaves()[object]
    for alias in ("__supertype__", "__value__"):  # of a NewType, of a `type X = ...`
        if hasattr(hint, alias):
            return _form(getattr(hint, alias), home)
    origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is Literal:
        return _literal_form(args)
    parts = [_form(arg, home) for arg in args if arg is not ...]
    if origin is Union or origin is types.UnionType:
        return _union_form(parts)
    if origin is tuple and args and args[-1] is not ...:
        return _tuple_form(parts)
    if origin in (list, tuple, set, frozenset, Sequence):
        return _array_form(origin, *parts or [_leaves()[object]])
    if origin is dict or origin is Mapping:
        return _dict_form(*parts or [_leaves()[str], _leaves()[object]])
    return _class_form(hint, home)


def _class_form(hint: object, home: _Record) -> _Form:
    cls = type(None) if hint is None else hint
    if isinstance(cls, type) and typing.get_origin(cls) is None:
        if cls in _leaves():
            return _leaves()[cls]
        if issubclass(cls, Enum):
            return _enum_form(cls)
        if issubclass(cls, PurePath):
            return _leaf(cls, str, cls)
        if dataclasses.is_dataclass(cls):
            record = home.known.get(cls) or _Record(cls, home.known)
            return _Form(cls.__name__, (cls,), (dict,), record.encode, record.decode)
    name = cls.__name__ if isinstance(cls, type) else cls
    raise _Refused(f"has a type that no payload can hold: {name}")


@cache
def _leaves() -> dict[type, _Form]:
    plain = (type(None), bool, int, float, str, list, dict)
    # In the order in which _own looks: a datetime is a date too, anything is an object.
    return {
        type(None): _Form("None", (type(None),), (type(None),), _same, _same),
        bool: _Form("bool", (bool,), (bool,), _same, _same),
        int: _Form("int", (int,), (int, bool), _same, _same),
        float: _Form("float", (float, int), (float, int, bool), _finite, _finite),
        str: _Form("str", (str,), (str,), _same, _same),
        datetime: _leaf(
            datetime, datetime.isoformat, lambda text: datetime.fromisoformat(_iso(text))
        ),
        date: _leaf(date, _write_date, date.fromisoformat),
        time: _leaf(time, time.isoformat, lambda text: time.fromisoformat(_iso(text))),
        timedelta: _leaf(timedelta, _write_timedelta, _read_timedelta, float, int),
        Decimal: _leaf(Decimal, str, Decimal),
        UUID: _leaf(UUID, str, UUID),
        bytes: _leaf(bytes, _write_bytes, partial(base64.b64decode, validate=True)),
        object: _Form("plain JSON", plain, plain, _plain, _same),
    }


def _same(value: object) -> object:
    return value


def _leaf(cls: type, write: Convert, read: Convert, *kinds: type) -> _Form:
    def try_to_read(value: object) -> object:
        try:
            return read(value)
        except Exception as error:
            raise _Refused(f"cannot be read as {cls.__name__} ({_show(value)})") from error

    return _Form(cls.__name__, (cls,), kinds or (str,), write, try_to_read)


def _write_date(value: date) -> str:
    if isinstance(value, datetime):
        _refuse("date", value)
    return value.isoformat()


def _iso(text: str) -> str:
    return text[:-1] + "+00:00" if text.endswith("Z") else text  # for Python 3.10


def _write_timedelta(value: timedelta) -> float:
    seconds = value.total_seconds()
    if _read_timedelta(seconds) != value:
        raise _Refused(f"is too long to be written to the microsecond ({_show(value)})")
    return seconds


def _read_timedelta(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _write_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _enum_form(cls: type[Enum]) -> _Form:
    kinds = {type(member.value) for member in cls.__members__.values()}
    if not kinds <= {str, int}:
        raise _Refused(f"has an Enum whose values are not all str or int: {cls.__name__}")
    return _leaf(cls, lambda member: member.value, cls, *kinds)


def _literal_form(options: tuple[object, ...]) -> _Form:
    pairs = [(option, _own(option)) for option in options]
    back = [(plain, option) for option, plain in pairs]
    says = " or ".join(_show(option) for option in options)
    takes = tuple(type(option) for option in options)
    kinds = tuple({type(plain) for plain, _ in back})
    return _Form(says, takes, kinds, partial(_pick, says, pairs), partial(_pick, says, back))


def _pick(says: str, pairs: list[tuple[object, object]], value: object) -> object:
    for option, other in pairs:
        if type(option) is type(value) and option == value:  # True == 1
            return other
    _refuse(says, value)


def _union_form(members: list[_Form]) -> _Form:
    if _leaves()[object] in members:
        return _leaves()[object]
    says = " or ".join(member.says for member in members)
    if any(_look_alike(one, other) for one, other in combinations(members, 2)):
        raise _Refused(f"has a type whose members look alike in JSON: {says}; keep one of them")
    # The wider first, for a closer one to replace: float takes an int, int a bool.
    members = sorted(members, key=lambda member: -len(member.kinds))
    by_type = {cls: member for member in members for cls in member.takes}
    by_kind = {kind: member for member in members for kind in member.kinds}

    def write(value: object) -> object:
        cls = next(cls for cls in type(value).__mro__ if cls in by_type)
        return by_type[cls].encode(value)

    def read(value: object) -> object:
        return by_kind[type(value)].decode(value)

    return _Form(says, tuple(by_type), tuple(by_kind), write, read)


def _look_alike(one: _Form, other: _Form) -> bool:
    numbers = [_leaves()[cls] for cls in (bool, int, float)]
    if one in numbers and other in numbers:
        return False
    return not set(one.kinds).isdisjoint(other.kinds)


def _tuple_form(parts: list[_Form]) -> _Form:
    says = f"tuple[{', '.join(part.says for part in parts)}]"
    encoders, decoders = [part.encode for part in parts], [part.decode for part in parts]

    def convert(steps: list[Convert], values: Sequence[object]) -> list[object]:
        if len(values) != len(steps):
            _refuse(f"{says} with {len(steps)} items", values)
        return [_at(index, steps[index], value) for index, value in enumerate(values)]

    write = partial(convert, encoders)
    return _Form(says, (tuple,), (list,), write, lambda value: tuple(convert(decoders, value)))


def _array_form(origin: type, item: _Form) -> _Form:
    takes, make = ((list, tuple), list) if origin is Sequence else ((origin,), origin)

    def write(values: Iterable[object]) -> list[object]:
        items = _items(item.encode, values)
        return _sorted(items) if isinstance(values, (set, frozenset)) else items

    def read(values: list[object]) -> object:
        return make(_items(item.decode, values))

    return _Form(f"{origin.__name__}[{item.says}]", takes, (list,), write, read)


def _sorted(items: list[object]) -> list[object]:
    # Equal sets give equal text, so that equal payloads can be found.
    return sorted(items, key=_dump)


def _dict_form(key: _Form, value: _Form) -> _Form:
    if key is not _leaves()[str]:
        raise _Refused(f"must have keys of type str, not {key.says}")
    write, read = partial(_entries, value.encode), partial(_entries, value.decode)
    return _Form(f"dict[str, {value.says}]", (dict,), (dict,), write, read)


def _plain(value: object) -> object:
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, list):
        return _items(_plain, value)
    if isinstance(value, dict):
        return _entries(_plain, value)
    _refuse("plain JSON", value)


def _own(value: object) -> object:
    if isinstance(value, Enum):  # before str and int, which it may be as well
        return _enum_form(type(value)).encode(value)
    if isinstance(value, (list, tuple)):
        return _items(_own, value)
    if isinstance(value, (set, frozenset)):
        return _sorted(_items(_own, value))
    if isinstance(value, dict):
        return _entries(_own, value)
    if isinstance(value, PurePath):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return _entries(_own, {name: getattr(value, name) for name in names})
    return next(form for cls, form in _leaves().items() if isinstance(value, cls)).encode(value)
