"""Encodes the payload of a job as strict JSON text, and decodes it by the annotations."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from litequeue.errors import PayloadError
from litequeue.messages import nearest, show
from litequeue.payloads.scalars import checked_utf8, encode_fast, field_prefixes
from litequeue.payloads.types import (
    TypeAdapter,
    adapter_for,
    convert_at,
    convert_entries,
    dump,
    finite,
    plain_json,
    refusal,
    refuse,
    refused,
)


class Codec:
    """Writes and reads the payload of one job class; raises PayloadError if a field
    has an annotation that cannot be resolved, or that no payload can hold."""

    def __init__(self, cls: type, name: str) -> None:
        self._name = name
        with _errors_of(name):
            self._record = _Record(cls, {})
        self.cls, adapters = cls, self._record.adapters
        fast_texts = [adapter.fast_texts for adapter in adapters.values()]
        self._parts = list(zip(adapters, field_prefixes(adapters), fast_texts, strict=True))

    def encode(self, instance: object) -> str:
        """Return the JSON text of a job's fields; raises PayloadError."""
        if type(instance) is self.cls:
            try:
                return self._encode_fast(instance)
            except Exception:
                pass  # the slow path finds what is wrong, if anything is
        with _errors_of(self._name):
            return _json_text(self._record.encode(instance))

    def _encode_fast(self, instance: object) -> str:
        """Return the JSON text of fields that are all scalars; raises where one is not."""
        text = "{"
        for name, head, fast_texts in self._parts:
            field = getattr(instance, name)
            text += head + fast_texts[type(field)](field)
        text += "}"
        return text if text.isascii() else checked_utf8(text)

    def decode(self, text: object) -> object:
        """Return the job of a JSON text; raises nothing but PayloadError."""
        # Every run calls this; a context manager would take a tenth of its time.
        try:
            return self._record.decode(_parsed(text))
        except Exception as error:
            raise PayloadError(job=self._name, problem=str(refusal(error))) from error


def encode_result(value: object) -> str:
    """Return the JSON text of what a job returned; raises PayloadError."""
    with _errors_of("result"):
        return _json_text(plain_json(value))


def encode_plain(fields: Mapping[str, object], name: str) -> str:
    """Return the JSON text of a payload whose class is not known here; raises PayloadError."""
    text = encode_fast(fields)
    if text is not None:
        return text
    with _errors_of(name):
        if not isinstance(fields, Mapping):
            refuse("a mapping of fields", fields)
        return _json_text(plain_json(dict(fields)))


@contextmanager
def _errors_of(job: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise PayloadError(job=job, problem=str(refusal(error))) from error


def _json_text(tree: object) -> str:
    try:
        return dump(tree)
    except Exception:
        if isinstance(tree, dict):
            convert_entries(dump, tree)  # raises again, and names the field
        raise


_DECODER = json.JSONDecoder(parse_float=finite, parse_constant=finite)


def _parsed(text: object) -> object:
    if not isinstance(text, str):
        refuse("JSON text", text)
    try:
        tree, end = _DECODER.raw_decode(text)
        if end == len(text):
            return tree
    except (ValueError, RecursionError):
        pass
    try:
        # White space around the value is allowed; anything else raises here.
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise refused(f"is not valid JSON: {show(error)}") from error


class _Record:
    """The fields of a dataclass, with a type adapter for each."""

    def __init__(self, cls: type, known: dict[type, _Record]) -> None:
        self.known = known
        known[cls] = self  # before its fields, which may be of this class again
        self.cls = cls
        fields = [field for field in dataclasses.fields(cls) if field.init]
        self.required = [field.name for field in fields if _has_no_default(field)]
        self.adapters = {
            field.name: convert_at(field.name, self._adapter, field.name) for field in fields
        }
        self._check_signature()

    def _adapter(self, name: str) -> TypeAdapter:
        return adapter_for(_hint(self.cls, name), self)

    def _check_signature(self) -> None:
        try:
            inspect.signature(self.cls).bind(**dict.fromkeys(self.adapters))
        except TypeError as error:
            name = self.cls.__name__
            raise refused(f"({name}) cannot be made again from its fields: {error}") from error

    def encode(self, value: object) -> object:
        # A subclass may have more fields, which would be lost.
        if type(value) is not self.cls:
            refuse(self.cls.__name__, value)
        adapters = self.adapters.items()
        return {
            name: convert_at(name, adapter.encode, getattr(value, name))
            for name, adapter in adapters
        }

    def decode(self, value: object) -> object:
        if not isinstance(value, dict):
            refuse("a JSON object", value)
        adapters = self.adapters
        if value.keys() != adapters.keys():
            self.check_names(value)
        try:
            fields = {name: adapters[name].decode(part) for name, part in value.items()}
        except Exception:
            for name, part in value.items():
                convert_at(name, adapters[name].decode, part)  # raises again, and names the field
            raise
        return self.cls(**fields)

    def resolved(self, annotation: str) -> object:
        return _resolved(self.cls, annotation)

    def nested(self, cls: type) -> TypeAdapter:
        record = self.known.get(cls) or _Record(cls, self.known)
        return TypeAdapter(cls.__name__, (cls,), (dict,), record.encode, record.decode)

    def check_names(self, fields: Mapping[str, object]) -> None:
        for name in fields:
            if name not in self.adapters:
                raise refused(f"is unknown; {self._advice(str(name))}", f".{name}")
        for name in self.required:
            if name not in fields:
                raise refused("is missing", f".{name}")

    def _advice(self, name: str) -> str:
        meant = nearest(name, self.adapters)
        if meant:
            return f"did you mean {meant!r}?"
        return f"the fields are: {', '.join(self.adapters) or 'none'}"


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
        raise refused(f"has an annotation that cannot be resolved: {show(error)}") from error
