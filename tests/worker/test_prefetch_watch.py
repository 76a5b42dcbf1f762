"""The thread that has prefetched jobs reclaimed when one takes longer than expected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from litequeue.engine.prefetch_log import PrefetchLog, read
from litequeue.errors import DatabaseBusy
from litequeue.worker.prefetch import PrefetchWatch


class Watched:
    """A prefetch log that is watched, and how often it was reclaimed."""

    def __init__(self, path: Path) -> None:
        self.prefetch_log = PrefetchLog(path, 0o600)
        self.reclaims = 0
        self.error: DatabaseBusy | None = None
        self.watch = PrefetchWatch([self.prefetch_log], self.reclaim)

    def reclaim(self) -> None:
        self.reclaims += 1
        if self.error:
            raise self.error


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path / "watched.hand")
    yield made
    made.watch.end()
    made.prefetch_log.close()


def test_a_prefetch_log_that_does_not_move_is_reclaimed_once(watched: Watched) -> None:
    watched.prefetch_log.begin([1, 2, 3])
    watched.prefetch_log.start()
    watched.watch.begin()
    wait_until(lambda: watched.reclaims == 1)
    assert read(watched.prefetch_log.path).unstarted == (2, 3)


def test_a_prefetch_log_that_has_moved_is_still_watched(watched: Watched) -> None:
    watched.prefetch_log.begin([1, 2, 3])
    watched.prefetch_log.start()
    watched.watch.begin()
    watched.prefetch_log.finish()
    assert watched.prefetch_log.start()
    wait_until(lambda: watched.reclaims == 1)


def test_a_failed_reclaim_is_tried_again(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litequeue.worker.prefetch.WATCH_STOP_SECONDS", 0.01)
    watched.error = DatabaseBusy(path="jobs.db", waited=1)
    watched.prefetch_log.begin([1, 2])
    watched.prefetch_log.start()
    watched.watch.begin()
    wait_until(lambda: watched.reclaims >= 3)


def test_a_watch_that_never_began_ends(watched: Watched) -> None:
    watched.watch.end()
    assert watched.reclaims == 0
