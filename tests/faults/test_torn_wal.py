"""A database that lost the end of its WAL, as a machine does that loses power."""

from __future__ import annotations

import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from litequeue import Queue
from litequeue.engine.database import PAGE_BYTES
from litequeue.records import State

from . import jobs_for_faults
from .harness import drain, in_fork
from .jobs_for_faults import Scripted

JOBS = 60
CUTS = 60
FRAME_BYTES, HEADER_BYTES = PAGE_BYTES + 24, 32


@pytest.fixture
def torn_from(tmp_path: Path) -> Path:
    """A folder with a database whose only writer was killed before any checkpoint."""
    folder = tmp_path / "whole"
    folder.mkdir()

    def push_and_die() -> int:
        queue = Queue(folder / "jobs.db")
        for number in range(JOBS):
            queue.push(Scripted(endings=[f"ok+{number}" * 50]))
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert os.WTERMSIG(in_fork(push_and_die)) == signal.SIGKILL
    assert (folder / "jobs.db-wal").stat().st_size > JOBS * FRAME_BYTES
    return folder


def test_a_wal_that_is_cut_anywhere_opens_as_a_prefix_of_the_commits(
    torn_from: Path, tmp_path: Path
) -> None:
    found = []
    for number, length in enumerate(lengths(torn_from / "jobs.db-wal")):
        queue = Queue(cut(torn_from, tmp_path / str(number), length))
        ids = [row.id for row in reversed(queue.find(limit=2 * JOBS))]
        assert ids == list(range(1, len(ids) + 1)), f"cut at {length}"
        assert queue.check() == []
        assert queue.push(Scripted()) == len(ids) + 1
        found.append(len(ids))
        queue.close()
    assert found == sorted(found)
    assert (found[0], found[-1]) == (0, JOBS)
    assert len(set(found)) > CUTS / 4


def test_what_is_left_after_a_cut_is_run(
    torn_from: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (torn_from / "jobs.db-wal").stat().st_size
    monkeypatch.setattr(jobs_for_faults, "journal", jobs_for_faults.Journal(tmp_path / "journal"))
    queue = Queue(cut(torn_from, tmp_path / "cut", whole - whole // 3))
    pushed = queue.counts()["default"][State.READY]
    assert 0 < pushed < JOBS
    drain(queue, jobs_for_faults)
    assert queue.check() == []
    starts = [event.job for event in jobs_for_faults.journal.events() if event.name == "start"]
    assert sorted(set(starts)) == list(range(1, pushed + 1))
    queue.close()


def lengths(wal: Path) -> list[int]:
    """Where to cut: anywhere, and about the ends of frames."""
    whole = wal.stat().st_size
    frames = (whole - HEADER_BYTES) // FRAME_BYTES
    dice = random.Random(11)
    found = {0, 1, HEADER_BYTES, whole}
    for _ in range(CUTS // 2):
        found.add(dice.randrange(whole))
        end = HEADER_BYTES + FRAME_BYTES * dice.randrange(1, frames)
        found.add(end + dice.choice((-1, 0, 1)))
    return sorted(found)


def cut(source: Path, folder: Path, length: int) -> Path:
    """A copy of the database, of whose WAL only so many bytes are left. No process has
    the original open."""
    folder.mkdir()
    for name in ("jobs.db", "jobs.db-wal"):
        shutil.copy(source / name, folder / name)
    os.truncate(folder / "jobs.db-wal", length)
    return folder / "jobs.db"
