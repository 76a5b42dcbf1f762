"""Waking idle workers: which FIFO serves which queue, and what one byte does."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from litequeue.engine import locks
from litequeue.engine.notifier import (
    LONGEST_FIFO_NAME,
    MOST_LISTENED,
    Listener,
    Notifier,
    remove_unused_fifos,
    unused_fifos,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")

LONG = [f"a-queue-with-quite-a-long-name-{number}" for number in range(20)]


def woken(listener: Listener) -> bool:
    """Whether a worker that waits on the listener would wake now."""
    return bool(select.select(listener.descriptors(), [], [], 0)[0])


@pytest.mark.parametrize(
    ("queues", "names"),
    [
        ([], ["wake-any"]),
        (["mail"], ["wake-for-mail"]),
        (["high", "low"], ["wake-for-high", "wake-for-low"]),
        (["a,b", "c/d", ".."], ["wake-for-..", "wake-for-a%2Cb", "wake-for-c%2Fd"]),
        (["ü 🦆~-_."], ["wake-for-%C3%BC%20%F0%9F%A6%86~-_."]),
        (["100%"], ["wake-for-100%25"]),
    ],
)
def test_each_queue_has_a_fifo_of_its_own(
    folder: Path, listen: Callable[..., Listener], queues: list[str], names: list[str]
) -> None:
    listen(*queues)
    listen(*reversed(queues))
    assert sorted(os.listdir(folder)) == names
    assert all(stat.S_ISFIFO(os.stat(folder / name).st_mode) for name in names)


@pytest.mark.parametrize("queue", ["q" * 300, "🦆" * 60])
def test_a_queue_whose_name_is_too_long_for_a_file_has_a_short_one(
    folder: Path, listen: Callable[..., Listener], queue: str
) -> None:
    listener = listen(queue)
    listen(queue[1:])
    names = os.listdir(folder)
    assert len(names) == 2
    assert all(len(name) <= LONGEST_FIFO_NAME for name in names)
    Notifier(folder).notify(queue)
    assert woken(listener)


def test_a_worker_of_very_many_queues_is_woken_for_the_first_of_them(
    folder: Path, listen: Callable[..., Listener]
) -> None:
    listener = listen(*(f"q{number}" for number in range(MOST_LISTENED + 5)))
    assert len(listener.descriptors()) == len(os.listdir(folder)) == MOST_LISTENED
    Notifier(folder).notify("q0")
    assert listener.take()


# Who removes them


def test_the_last_worker_that_leaves_a_fifo_removes_it(
    folder: Path, listen: Callable[..., Listener]
) -> None:
    first, second = listen("high", "low"), listen("low")
    notifier = Notifier(folder)
    notifier.notify("low")
    notifier.notify("high")
    first.close()
    assert os.listdir(folder) == ["wake-for-low"]
    notifier.notify("low")
    assert woken(second)
    second.close()
    assert os.listdir(folder) == []


def test_a_fifo_that_is_removed_while_a_worker_joins_is_made_anew(
    folder: Path, listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving, share = listen("mail"), locks.share

    def late(descriptor: int) -> bool:
        monkeypatch.setattr(locks, "share", share)
        leaving.close()
        return share(descriptor)

    monkeypatch.setattr(locks, "share", late)
    joining = listen("mail")
    assert os.listdir(folder) == ["wake-for-mail"]
    Notifier(folder).notify("mail")
    assert woken(joining)


def test_a_fifo_that_another_process_has_locked_is_done_without(
    folder: Path, listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litequeue.engine.notifier.OPEN_ATTEMPTS", 3)
    os.mkfifo(folder / "wake-any")
    stopped = os.open(folder / "wake-any", os.O_RDWR | os.O_NONBLOCK)
    assert locks.lock(stopped)
    assert listen().descriptors() == []
    os.close(stopped)
    assert len(listen().descriptors()) == 1


def test_where_fifos_cannot_be_locked_they_stay(
    folder: Path, listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> bool:
        raise OSError("not supported")

    monkeypatch.setattr(locks, "share", refuse)
    monkeypatch.setattr(locks, "lock", refuse)
    listener = listen("mail")
    Notifier(folder).notify("mail")
    assert listener.take()
    listener.close()
    assert os.listdir(folder) == ["wake-for-mail"]


def test_the_fifos_of_the_dead_are_removed_and_those_of_the_living_stay(
    folder: Path, listen: Callable[..., Listener]
) -> None:
    living = listen("low")
    for name in ("wake-for-high", "wake-any"):
        os.mkfifo(folder / name)
    assert unused_fifos(folder) == ["wake-any", "wake-for-high"]
    remove_unused_fifos(folder, ["high", "low", "none"])
    remove_unused_fifos(folder, [])
    assert os.listdir(folder) == ["wake-for-low"]
    Notifier(folder).notify("low")
    assert woken(living)


def test_a_link_at_the_name_of_a_fifo_is_not_followed(
    folder: Path, tmp_path: Path, listen: Callable[..., Listener]
) -> None:
    os.mkfifo(tmp_path / "victim", 0o600)
    (folder / "wake-any").symlink_to(tmp_path / "victim")
    sleeper = os.open(tmp_path / "victim", os.O_RDONLY | os.O_NONBLOCK)
    assert listen().descriptors() == []
    Notifier(folder).notify("mail")
    Notifier(folder).notify_all()
    remove_unused_fifos(folder, [])
    assert select.select([sleeper], [], [], 0)[0] == []
    os.close(sleeper)
    assert stat.S_IMODE(os.stat(tmp_path / "victim").st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o700, 0o770, 0o777])
def test_who_may_write_in_the_folder_may_notify(
    folder: Path, listen: Callable[..., Listener], mode: int
) -> None:
    folder.chmod(mode)
    listen()
    assert stat.S_IMODE(os.stat(folder / "wake-any").st_mode) == mode & 0o666


@pytest.mark.parametrize(
    ("queues", "notified", "wakes"),
    [
        ([], "mail", True),
        (["mail"], "mail", True),
        (["mail"], "mails", False),
        (["mail"], "Mail", False),
        (["high", "low"], "low", True),
        (["high", "low"], "high,low", False),
        (["a,b"], "a,b", True),
        (["a,b"], "a", False),
        (["a/b", "100%", "ü"], "100%", True),
        (["a/b", "100%", "ü"], "ü", True),
        (LONG, LONG[7], True),
    ],
)
def test_a_push_wakes_those_who_serve_its_queue(
    folder: Path, listen: Callable[..., Listener], queues: list[str], notified: str, wakes: bool
) -> None:
    listener = listen(*queues)
    Notifier(folder).notify(notified)
    assert woken(listener) is wakes
    assert listener.take() is wakes


def test_every_worker_that_serves_the_queue_can_be_woken(
    folder: Path, listen: Callable[..., Listener]
) -> None:
    listeners = [listen(), listen("mail"), listen("low", "mail"), listen("low")]
    Notifier(folder).notify("mail")
    assert [woken(listener) for listener in listeners] == [True, True, True, False]


def test_one_byte_wakes_one_of_those_that_share_a_fifo(
    folder: Path, listen: Callable[..., Listener]
) -> None:
    first, second = listen("mail"), listen("mail")
    Notifier(folder).notify("mail")
    assert woken(first)
    assert woken(second)
    assert [second.take(), first.take()] == [True, False]
    assert not woken(first)


def test_take_takes_one_byte_and_drain_all(folder: Path, listen: Callable[..., Listener]) -> None:
    listener, notifier = listen(), Notifier(folder)
    assert not listener.drain()
    for _ in range(3):
        notifier.notify("mail")
    assert listener.take()
    assert woken(listener)
    assert listener.drain()
    assert not woken(listener)
    assert not listener.take()
    assert not listener.drain()


def test_a_worker_can_notify_those_that_share_a_queue(
    listen: Callable[..., Listener],
) -> None:
    first, second, stranger = listen("high", "mail"), listen("mail"), listen("low")
    first.notify()
    assert woken(second)
    assert not woken(stranger)


def test_a_fifo_reports_nothing_after_its_last_writer_has_gone(
    folder: Path, listen: Callable[..., Listener]
) -> None:
    listener = listen()
    Notifier(folder).notify("mail")
    listener.take()
    # A FIFO that is open for reading alone would report an end of file for ever.
    assert not woken(listener)


def test_a_closed_listener_is_woken_no_more(folder: Path, listen: Callable[..., Listener]) -> None:
    listener = listen()
    listener.close()
    listener.close()
    assert listener.descriptors() == []
    Notifier(folder).notify("mail")
    listener.notify()
    assert (listener.take(), listener.drain()) == (False, False)
    assert not woken(listen())


def test_a_full_fifo_keeps_nobody_waiting(folder: Path, listen: Callable[..., Listener]) -> None:
    listener = listen()
    with suppress(BlockingIOError):
        while True:
            os.write(listener.descriptors()[0], b"\n" * 4096)
    Notifier(folder).notify("mail")
    listener.notify()
    while listener.drain():
        pass
    assert not woken(listener)


# Where there is no FIFO


def test_where_there_is_no_folder_there_is_no_fifo(tmp_path: Path) -> None:
    listener = Listener(tmp_path / "missing", ["mail"])
    assert listener.descriptors() == []
    assert (listener.take(), listener.drain()) == (False, False)
    listener.notify()
    listener.close()
    Notifier(tmp_path / "missing").notify("mail")
    assert not (tmp_path / "missing").exists()


def test_on_a_system_without_fifos_nothing_is_listened_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "mkfifo")
    listener = Listener(folder, [])
    assert listener.descriptors() == []
    assert not listener.take()


def test_a_plain_file_in_place_of_the_fifo_is_not_listened_to(folder: Path) -> None:
    (folder / "wake-any").write_text("a plain file can always be read")
    listener = Listener(folder, [])
    slept_on = listener.descriptors()
    listener.close()
    assert slept_on == []
