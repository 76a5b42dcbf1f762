"""The floors: what bare sqlite3 does at least for the same work, in a loop of some lines.

Each has a table of its own with one index, WAL and synchronous=NORMAL, and nothing else:
no types, no retries, no delays, no knowledge of who has died.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from bench.measuring import timed

TABLE = """
create table bare (
  id integer primary key autoincrement,
  state integer not null,
  name text not null,
  payload text not null
)"""
READY = "create index bare_ready on bare (id) where state = 3"
INSERT = "insert into bare (state, name, payload) values (3, 'nothing', ?)"

CLAIM = """
update bare set state = 5
where id = (select id from bare where state = 3 order by id limit 1)
returning id, name, payload"""
END = "delete from bare where id = ? and state = 5"

CLAIM_MANY = """
update bare set state = 5
where id in (select id from bare where state = 3 order by id limit 100)
returning id, name, payload"""


@contextmanager
def connected(folder: Path, synchronous: str = "normal") -> Iterator[sqlite3.Connection]:
    """A connection to a new table in a new file."""
    with closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute(f"pragma synchronous = {synchronous}")
        connection.execute(TABLE)
        connection.execute(READY)
        yield connection


def pushes(folder: Path, texts: Sequence[str], synchronous: str = "normal") -> float:
    """One insert a transaction."""
    with connected(folder, synchronous) as connection:

        def loop() -> None:
            for text in texts:
                connection.execute(INSERT, [text])

        return timed(loop)


def bulk(folder: Path, texts: Sequence[str], synchronous: str = "normal") -> float:
    """All in one executemany, in one transaction."""
    with connected(folder, synchronous) as connection:
        return timed(lambda: _filled(connection, texts))


def drain(folder: Path, texts: Sequence[str], synchronous: str = "normal") -> float:
    """Claim a row, commit, delete it, commit."""
    with connected(folder, synchronous) as connection:
        _filled(connection, texts)

        def loop() -> None:
            while found := connection.execute(CLAIM).fetchall():
                connection.execute(END, [found[0][0]])

        return timed(loop)


def drain_by_hundreds(folder: Path, texts: Sequence[str]) -> float:
    """A hundred rows a commit: how far one could go."""
    with connected(folder) as connection:
        _filled(connection, texts)

        def loop() -> None:
            found: list[tuple[int, str, str]] = []
            while True:
                connection.execute("begin immediate")
                connection.executemany(END, [[id] for id, _, _ in found])
                found = connection.execute(CLAIM_MANY).fetchall()
                connection.execute("commit")
                if not found:
                    return

        return timed(loop)


def _filled(connection: sqlite3.Connection, texts: Sequence[str]) -> None:
    connection.execute("begin immediate")
    connection.executemany(INSERT, ([text] for text in texts))
    connection.execute("commit")
