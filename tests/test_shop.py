"""The shop: its jobs one by one, its mail server, and the whole story as a user starts it."""

from __future__ import annotations

import os
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from examples.shop import mail, store, supplier
from examples.shop.checkout import Checkout, check_out
from examples.shop.jobs import NightlyReport, confirmation
from examples.shop.mail import MailServer
from litequeue import Queue, State, Worker
from litequeue.jobs.discovery import discover
from litequeue.worker.periodic import Schedules
from litequeue.worker.worker import Limits

ROOT = Path(__file__).parents[1]
STORY_SECONDS = 90
PRICES = {"chair": 4_900, "lamp": 2_550}


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    """An open shop with prices, and the queue in its file."""
    monkeypatch.setenv("SHOP_DB", str(tmp_path / "shop.db"))
    monkeypatch.setenv("SHOP_PRICES", str(tmp_path / "prices.json"))
    store.open_shop({"chair": 10, "lamp": 1})
    supplier.publish(PRICES)
    with Queue(store.path()) as made:
        yield made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    """A mail server that is down until a test enters it."""
    made = MailServer()
    monkeypatch.setenv("SHOP_MAIL", made.address)
    yield made
    made.server_close()


def work(queue: Queue) -> None:
    """Run what is due, until nothing is."""
    Worker(queue, "examples.shop", limits=Limits(drain=True)).run()


def bought(queue: Queue, **cart: int) -> Checkout:
    return check_out(queue, "ada@example.org", cart)


def asked(sql: str) -> list[tuple[object, ...]]:
    with store.opened() as connection:
        return connection.execute(sql).fetchall()


def states(queue: Queue) -> dict[str, State]:
    return {row.name: row.state for row in queue.find()}


# The jobs


def test_discovery_finds_the_jobs_and_does_not_tell_the_story() -> None:
    found = discover(["examples.shop"], ROOT)
    assert not found.failures
    assert [cls.__name__ for cls in found.classes] == [
        "NightlyReport", "PlaceOrder", "QuoteItem", "SendConfirmation", "ValidateCart",
    ]  # fmt: skip


def test_a_checkout_ends_with_one_order_one_mail_and_less_in_stock(
    queue: Queue, server: MailServer
) -> None:
    bought(queue, chair=4, lamp=1)
    with server:
        work(queue)
    assert queue.find() == []
    assert asked("select cart_id, total_cents from orders") == [(1, 22_150)]
    assert asked("select sku, pieces, price_cents from order_lines order by sku") == [
        ("chair", 4, 4_900),
        ("lamp", 1, 2_550),
    ]
    assert asked("select pieces from stock order by sku") == [(6,), (0,)]
    (received,) = server.received
    assert (received.sender, received.recipients) == ("shop@example.org", ("ada@example.org",))
    assert "4 x chair, 49.00 EUR each" in received.message.get_content()


def test_a_missing_price_holds_the_flow_and_a_retry_lets_it_go_on(
    queue: Queue, server: MailServer
) -> None:
    supplier.publish({"chair": 4_900})
    flow = bought(queue, chair=1, lamp=1)
    with server:
        work(queue)
        assert states(queue) == {
            "QuoteItem": State.FAILED,
            "ValidateCart": State.WAITING,
            "PlaceOrder": State.WAITING,
            "SendConfirmation": State.WAITING,
        }
        supplier.publish(PRICES)
        queue.retry(flow.quotes[1])
        work(queue)
    assert queue.find() == []
    # What had succeeded was not done again.
    assert supplier.questions() == ["chair", "lamp", "lamp"]
    assert len(server.received) == 1


def test_a_mail_server_that_is_down_holds_up_the_mail_alone(
    queue: Queue, server: MailServer
) -> None:
    flow = bought(queue, chair=1)
    work(queue)
    assert asked("select count(*) from orders") == [(1,)]
    row = queue.get(flow.mail)
    assert (row.state, row.attempts) == (State.SCHEDULED, 1)
    assert "Connection refused" in row.reason
    with server:
        queue.retry(flow.mail)
        work(queue)
    assert len(server.received) == 1


def test_a_cart_that_cannot_be_filled_places_no_order(queue: Queue) -> None:
    flow = bought(queue, lamp=2)
    work(queue)
    row = queue.get(flow.validation)
    assert (row.state, row.reason) == (State.FAILED, "Fail: not enough in stock: lamp")
    assert asked("select count(*) from orders") == [(0,)]


def test_an_order_that_fails_halfway_leaves_nothing(queue: Queue, server: MailServer) -> None:
    first, second = bought(queue, lamp=1), bought(queue, lamp=1)
    with server:
        # Both carts are validated before either is ordered.
        for id in (*first.quotes, *second.quotes, first.validation, second.validation):
            Worker(queue, "examples.shop").run_job(id)
        work(queue)
    assert asked("select cart_id from orders") == [(first.cart_id,)]
    assert asked("select pieces from stock where sku = 'lamp'") == [(0,)]
    assert asked("select count(*) from order_lines") == [(1,)]
    assert "CHECK constraint failed" in queue.get(second.order).reason


def test_a_checkout_that_is_broken_off_leaves_neither_cart_nor_jobs(queue: Queue) -> None:
    with pytest.raises(ValueError, match="the customer's browser"), store.opened() as connection:
        connection.execute("insert into carts (customer) values ('ada')")
        queue.push(NightlyReport(), connection=connection)
        raise ValueError("the customer's browser is gone")
    assert asked("select * from carts") == []
    assert queue.find() == []


def test_the_report_sums_up_a_day_and_may_run_twice(queue: Queue, server: MailServer) -> None:
    bought(queue, chair=1)
    bought(queue, lamp=1)
    with server:
        work(queue)
    for _ in range(2):
        queue.push(NightlyReport())
        work(queue)
    assert asked("select orders, total_cents from reports") == [(2, 7_450)]


def test_a_worker_puts_the_report_on_the_timetable(queue: Queue) -> None:
    work(queue)
    (line,) = Schedules(queue.store).entries()
    assert (line.name, line.words) == ("NightlyReport", "at 02:00 every day, UTC time")


# The mail server


@pytest.mark.parametrize(
    "text", ["Hello\n", ".\n", "..\n.hidden\n", "no end of line", "\n\n", "ü€\n", "a" * 5000 + "\n"]
)
def test_a_message_comes_as_it_was_sent(server: MailServer, text: str) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@x.org", "b@x.org, c@x.org", "Grüße"
    message.set_content(text)
    with server:
        mail.send(message)
        mail.send(message)
    first, second = server.received
    assert first.recipients == second.recipients == ("b@x.org", "c@x.org")
    assert first.message["Subject"] == "Grüße"
    assert first.message.get_content().splitlines() == text.splitlines()


def test_a_server_that_is_down_refuses_and_one_that_is_up_answers(server: MailServer) -> None:
    message = confirmation(1, "ada@example.org", 0, [])
    with pytest.raises(ConnectionRefusedError):
        mail.send(message)
    with server:
        mail.send(message)
    assert [each.recipients for each in server.received] == [("ada@example.org",)]


def test_commands_out_of_order_are_refused_and_the_talk_goes_on(server: MailServer) -> None:
    host, _, port = server.address.partition(":")
    with server, smtplib.SMTP(host, int(port), timeout=10) as client:
        assert client.docmd("RCPT", "TO:<a@x.org>")[0] == 503
        assert client.docmd("DATA")[0] == 503
        assert client.docmd("VRFY", "ada")[0] == 502
        assert client.noop()[0] == 250
        assert client.docmd("MAIL", "FROM:<a@x.org>")[0] == 250
        assert client.docmd("DATA")[0] == 503
        assert client.rset()[0] == 250
    assert server.received == []


def test_a_message_whose_sender_vanishes_is_none(server: MailServer) -> None:
    host, _, port = server.address.partition(":")
    with server:
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(b"EHLO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nhalf a")
            client.shutdown(socket.SHUT_WR)
            while client.recv(1000):
                pass
        assert server.received == []


# The story


def story(*arguments: object) -> subprocess.CompletedProcess[str]:
    mine = {name: value for name, value in os.environ.items() if "LITEQUEUE" not in name}
    return subprocess.run(
        [sys.executable, "-m", "examples.shop", *map(str, arguments)],
        cwd=ROOT,
        env={**mine, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=STORY_SECONDS,
    )


def test_the_story_is_told_to_its_end(tmp_path: Path) -> None:
    told = story(tmp_path / "shop")
    assert (told.returncode, told.stderr) == (0, "")
    at = -1
    for line in (
        "Ada orders 4 chairs, a desk and a lamp.",
        "$ litequeue show shop.db 4",
        "run it again with `litequeue retry shop.db 3`",
        "$ litequeue retry shop.db 3",
        "  chair 1 x, desk 1 x, lamp 2 x",
        "What ada@example.org reads:",
        "  Total: 420.50 EUR",
        ": 1 order, 420.50 EUR",
        "  Next periodic: NightlyReport (at 02:00 every day, UTC time) in ",
    ):
        assert line in told.stdout[at + 1 :], f"{line!r} is not where it belongs in {told.stdout}"
        at = told.stdout.index(line, at + 1)
    # A worker writes its lines just after what they tell of, and so between the others.
    for line in (
        "Error dispatching job: 3 - the supplier has no price for lamp",
        "Job processed successfully: 3",
        "Retrying job: 6 (attempt 2/20 in 0.5 s)",
        "Job processed successfully: 6",
    ):
        assert line in told.stdout
    with Queue(tmp_path / "shop" / "shop.db", create=False) as queue:
        assert queue.find() == []
        assert queue.store.presence.alive() == []


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    told = story(tmp_path)
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
