"""What messages share: how a value is shown, and which known word was likely meant."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN_CHARACTERS = 60


def show(value: object) -> str:
    """The value in a few words, whatever its repr() does."""
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        value = value[:SHOWN_CHARACTERS]  # its repr() is no shorter, and is cut below
        return cut(_readable(repr(value)) + "...")
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = object.__repr__(value)
    # A repr is anyone's code, and its text must still fit a log and a column.
    return cut(_readable(text))


def cut(text: str) -> str:
    """The text, or its beginning with three dots."""
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean retry?)``, for the known word that is nearest, or nothing."""
    found = nearest(word, known)
    return f" (did you mean {found}?)" if found else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is nearest to a misspelt one, in whatever case, if one is near."""
    import difflib  # a word that is right needs no advice

    # A long text is no misspelt word, and to compare it would take long.
    spellings = {each.casefold(): each for each in known}
    if len(word) > SHOWN_CHARACTERS:
        return None
    close = difflib.get_close_matches(word.casefold(), spellings, n=1, cutoff=0.7)
    return spellings[close[0]] if close else None


def _readable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
