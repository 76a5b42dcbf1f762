"""What messages share: how a value is shown, and which known word was likely meant."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN_CHARACTERS = 60
# Of a line of a log, or of an error.
LONGEST_LINE = 2000


def printable(text: object) -> str:
    """A text without what would move a terminal's cursor, or make a second line of it."""
    line = str(text)
    if line.isprintable():
        return line
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line
    )


def printable_lines(text: str) -> str:
    """The same for a text of several lines that are meant to be."""
    return "\n".join(map(printable, text.expandtabs().split("\n")))


def indented(text: str) -> str:
    """A traceback, printable, and indented behind its first line: the message in it may have
    lines of its own, and none of them is to look like one of a log."""
    first, *others = printable_lines(text).split("\n")
    return "\n".join([first, *(each if each[:1].isspace() else f"  {each}" for each in others)])


def one_line(text: object) -> str:
    """A text as one printable line of a bounded length."""
    line = str(text)
    line = printable(line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE])
    return line if len(line) < LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"


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
