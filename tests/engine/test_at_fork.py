"""What a forked child lets go of, and what that costs a process that never forks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import Child

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

MANY_QUEUES = """
import gc, os, sys
hooks = []
os.register_at_fork = lambda **given: hooks.append(given)
from litequeue import Queue
from litequeue.engine import forks
from litequeue.engine.presence import Presence

for _ in range(300):
    with Queue(sys.argv[1]) as queue:
        queue.push("a")
        registration = queue.store.presence.register(())
        registration.leave()
        queue.store.presence.deregister(registration.worker)
del queue, registration
gc.collect()
ours = [given for given in hooks if "litequeue" in given["after_in_child"].__module__]
print(len(ours), len(forks._open))
"""


def test_queues_and_workers_that_are_gone_leave_nothing_for_a_fork_to_do(
    start: Callable[..., Child], tmp_path: Path
) -> None:
    assert start(MANY_QUEUES, tmp_path / "jobs.db").finish() == "1 0"


ONE_FAILS = """
import os
from litequeue.engine import forks

class Fails:
    def forked(self):
        raise OSError("closed already")

class Works:
    done = False
    def forked(self):
        self.done = True

owners = [Fails(), Works(), Fails(), Works()]
for owner in owners:
    forks.tell_child(owner)
child = os.fork()
if not child:
    os._exit(sum(getattr(owner, "done", 0) for owner in owners))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), owners[1].done)
"""


def test_one_that_fails_in_the_child_keeps_no_other_open(start: Callable[..., Child]) -> None:
    assert start(ONE_FAILS).finish() == "2 False"
