"""For all messages: how a value is shown, and which known word was probably meant."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN_CHARACTERS = 60
# The longest line of a log or an error, in characters.
LONGEST_LINE = 2000


def printable(text: object) -> str:
    """The text in one line, with control characters escaped."""
    line = str(text)
    if line.isprintable():
        return line
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line
    )


def printable_lines(text: str) -> str:
    """The text with its line breaks, and with all other control characters escaped."""
    return "\n".join(map(printable, text.expandtabs().split("\n")))


def indented(text: str) -> str:
    """A printable traceback, with all lines but the first indented: its message may have
    several lines, and none of them must look like a line of the log."""
    first, *others = printable_lines(text).split("\n")
    return "\n".join([first, *(each if each[:1].isspace() else f"  {each}" for each in others)])


def one_line(text: object) -> str:
    """A text as one printable line of a bounded length."""
    line = str(text)
    line = printable(line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE])
    return line if len(line) < LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"


def show(value: object) -> str:
    """The value as a short text, whatever its repr() returns or raises."""
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        value = value[:SHOWN_CHARACTERS]  # its repr() is at least as long, and is cut below
        return cut(_readable(repr(value)) + "...")
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = object.__repr__(value)
    # A repr may return anything, and its text must fit into a log and a column.
    return cut(_readable(text))


def cut(text: str) -> str:
    """The text, or its beginning and three dots if it is too long."""
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean retry?)`` with the nearest known word; "" if none is near."""
    found = nearest(word, known)
    return f" (did you mean {found}?)" if found else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is nearest to a misspelt one, ignoring case; None if none is near."""
    import difflib  # needed only for a misspelt word

    # A long text is not a misspelt word, and comparing it would take long.
    spellings = {each.casefold(): each for each in known}
    if len(word) > SHOWN_CHARACTERS:
        return None
    close = difflib.get_close_matches(word.casefold(), spellings, n=1, cutoff=0.7)
    return spellings[close[0]] if close else None


def _readable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
