"""Runs one adapter: python -m bench.peers.run ADAPTER push KIND COUNT | hang | settings | work."""

from __future__ import annotations

import importlib
import sqlite3
import sys
import time

from bench.peers.settings import pragmas, remembered

PUSHES = {"nothing": "push", "ordinary": "push_ordinary", "nap": "push_nap"}


def main(name: str, command: str, *arguments: str) -> None:
    """Do what the measuring process asks for, in the adapter of that name."""
    opened: list[sqlite3.Connection] = []
    with remembered(opened):
        adapter = importlib.import_module(f"bench.peers.{name}")
        if command == "settings":
            adapter.push()
    if command == "push":
        kind, count = arguments
        push = getattr(adapter, PUSHES[kind])
        started = time.perf_counter()
        for _ in range(int(count)):
            push()
        print(time.perf_counter() - started)
    elif command == "hang":
        adapter.push_hanging()
    elif command == "settings":
        print(pragmas(opened[-1]) if opened else adapter.settings())
    else:
        adapter.work()


if __name__ == "__main__":
    main(*sys.argv[1:])
