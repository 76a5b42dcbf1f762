"""The JSON text of single values, by their exact type: what most payloads are made of.

This is the short way from a payload to its text. Of what it cannot take it says nothing:
the long way, through the forms, takes it or finds what is wrong with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring
from typing import Any

Text = Callable[[Any], str]


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(value)
    return float.__repr__(value)


TEXTS: Mapping[type, Text] = {
    type(None): {None: "null"}.__getitem__,
    bool: {True: "true", False: "false"}.__getitem__,
    int: int.__repr__,
    float: _number,
    str: encode_basestring,
}


def texts_of(*types: type) -> Mapping[type, Text]:
    """How the values of these types are written."""
    return {cls: TEXTS[cls] for cls in types}


def heads(names: Iterable[str]) -> list[str]:
    """What stands before each value in a JSON object: the name, and what parts it from
    the value before."""
    return [f"{',' if place else ''}{encode_basestring(name)}:" for place, name in enumerate(names)]


def storable(text: str) -> str:
    """The text itself; raises UnicodeEncodeError for lone surrogates, which SQLite does
    not take."""
    if not text.isascii():
        text.encode()
    return text


def flat(fields: object) -> str | None:
    """The JSON object of a dict that holds single values only; None for anything else."""
    if type(fields) is not dict:
        return None
    text, comma = "{", ""
    try:
        for name, value in fields.items():
            if type(name) is not str:
                return None
            text += f"{comma}{encode_basestring(name)}:{TEXTS[type(value)](value)}"
            comma = ","
        return storable(text + "}")
    except Exception:
        return None
