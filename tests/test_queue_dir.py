"""dir(queue) shows what there is to call, which is what docs/jobs.md tells of."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import create_autospec

from litequeue import Queue

ROOT = Path(__file__).parents[1]


def shown(queue: Queue) -> set[str]:
    return {name for name in dir(queue) if not name.startswith("__")}


def documented() -> set[str]:
    """The names in the first column of the table of methods."""
    text = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
    table = text.split("as `dir(queue)` shows it:", 1)[1]
    return {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)[(`]", line.split("|")[1])
    }


def test_a_queue_shows_what_is_documented(tmp_path: Path) -> None:
    with Queue(tmp_path / "jobs.db") as queue:
        assert shown(queue) == documented()
        assert all(getattr(Queue, name).__doc__ for name in shown(queue))


def test_what_the_pages_call_is_shown(tmp_path: Path) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    called = {
        name
        for page in pages
        for name in re.findall(r"\bqueue\.(\w+)\(", page.read_text(encoding="utf-8"))
    }
    with Queue(tmp_path / "jobs.db") as queue:
        # The module litequeue has some of its own.
        assert called - {"bind", "current", "testing"} <= shown(queue)


def test_a_double_of_a_queue_can_still_be_made(tmp_path: Path) -> None:
    with Queue(tmp_path / "jobs.db") as queue:
        double = create_autospec(queue)
    with double:
        double.push("greet", {"name": "Ada"})
    double.push.assert_called_once()
