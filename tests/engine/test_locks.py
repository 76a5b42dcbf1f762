"""Locks on files: held by one process, and free when it is done with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import Child, wait_until

from litequeue.engine import locks

HOLDER = """
import os, sys
from litequeue.engine import locks

with locks.tried(sys.argv[1]) as ours:
    child = os.fork()
    if not child:
        sys.stdin.readline()
        os._exit(0)
print(ours, flush=True)
os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_keeps_no_lock_that_its_parent_held_for_a_block(
    tmp_path: Path, start: Callable[..., Child]
) -> None:
    path = tmp_path / "lock"
    holder = start(HOLDER, path)
    assert holder.line() == "True"

    def free() -> bool:
        with locks.tried(path) as ours:
            return ours

    # The child is still there, and has closed it as soon as it has run at all.
    wait_until(free)
    holder.say()
    holder.finish()


def test_a_lock_is_held_by_one_alone_and_free_after_the_block(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locks.tried(path) as first, locks.tried(path) as second:
        assert (first, second) == (True, False)
    with locks.tried(path) as third:
        assert third
