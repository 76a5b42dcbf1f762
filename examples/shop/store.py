"""The shop's own tables. The queue is in the same file, so that an order and the end of
the job that places it are one transaction."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

TABLES = """
create table if not exists stock (
  sku text primary key, pieces integer not null check (pieces >= 0)
);
create table if not exists carts (id integer primary key, customer text not null);
create table if not exists orders (
  id integer primary key,
  cart_id integer not null unique references carts (id),
  total_cents integer not null,
  placed_at text not null default current_timestamp
);
create table if not exists order_lines (
  order_id integer not null references orders (id),
  sku text not null,
  pieces integer not null,
  price_cents integer not null
);
create table if not exists reports (
  day text primary key, orders integer not null, total_cents integer not null
);
"""


def path() -> str:
    """The path of the database, from the environment variable SHOP_DB."""
    return os.environ.get("SHOP_DB", "shop.db")


@contextmanager
def opened() -> Iterator[sqlite3.Connection]:
    """A connection with an open transaction: the end of the block commits it, an exception
    rolls it back."""
    connection = sqlite3.connect(path(), isolation_level=None, timeout=10)
    # litequeue makes the checkpoints of this file; see "Promises and limits" in the README.
    connection.execute("pragma wal_autocheckpoint = 0")
    connection.execute("pragma foreign_keys = on")
    try:
        connection.execute("begin immediate")
        yield connection
        connection.execute("commit")
    finally:
        # This rolls back a transaction that was not committed.
        connection.close()


def open_shop(stock: Mapping[str, int]) -> None:
    """Create the tables, and store the stock."""
    connection = sqlite3.connect(path())
    with connection:
        connection.executescript(TABLES)
        connection.executemany("insert into stock values (?, ?)", stock.items())
    connection.close()


def euros(cents: int) -> str:
    """Format a price."""
    return f"{cents // 100}.{cents % 100:02} EUR"
