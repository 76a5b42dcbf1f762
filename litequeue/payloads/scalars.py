"""The fast path of encoding: scalars straight to JSON text, by their exact type.

It gives no reason for what it cannot encode: the slow path, through the type adapters,
encodes it or says what is wrong.
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


JSON_TEXTS: Mapping[type, Text] = {
    type(None): {None: "null"}.__getitem__,
    bool: {True: "true", False: "false"}.__getitem__,
    int: int.__repr__,
    float: _number,
    str: encode_basestring,
}


def fast_texts_of(*types: type) -> Mapping[type, Text]:
    """Return the functions that write values of these types as JSON."""
    return {cls: JSON_TEXTS[cls] for cls in types}


def field_prefixes(names: Iterable[str]) -> list[str]:
    """Return the text before each value of a JSON object: a comma, but for the first, and the
    name."""
    return [f"{',' if index else ''}{encode_basestring(name)}:" for index, name in enumerate(names)]


def checked_utf8(text: str) -> str:
    """Return ``text``; raises UnicodeEncodeError for lone surrogates, which SQLite refuses."""
    if not text.isascii():
        text.encode()
    return text


def encode_fast(fields: object) -> str | None:
    """Return the JSON object of a dict of scalars; None for anything else."""
    if type(fields) is not dict:
        return None
    text, comma = "{", ""
    try:
        for name, value in fields.items():
            if type(name) is not str:
                return None
            text += f"{comma}{encode_basestring(name)}:{JSON_TEXTS[type(value)](value)}"
            comma = ","
        return checked_utf8(text + "}")
    except Exception:
        return None
