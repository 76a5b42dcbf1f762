"""The jobs of the shop. In a clone, this worker finds them:

litequeue work shop.db --jobs examples.shop
"""

from __future__ import annotations

from email.message import EmailMessage
from typing import TypedDict, cast

from examples.shop import mail, store, supplier
from litequeue import Fail, Job, current


class Quote(TypedDict):
    """An item of a cart with its price, as QuoteItem returns it."""

    sku: str
    pieces: int
    price_cents: int


class QuoteItem(Job, queue="quotes", max_attempts=1, concurrency=2):
    """Ask the supplier for the price of one item. The items of a cart are asked for in parallel,
    but the supplier allows only two requests at a time."""

    sku: str
    pieces: int

    def handle(self) -> Quote:
        return {"sku": self.sku, "pieces": self.pieces, "price_cents": supplier.price_of(self.sku)}


class ValidateCart(Job):
    """Check that all items of a cart are in stock, and return their quotes."""

    cart_id: int

    def handle(self) -> list[Quote]:
        quotes = cast("list[Quote]", current().results)
        with store.opened() as connection:
            stock = dict(connection.execute("select sku, pieces from stock"))
        short = [each["sku"] for each in quotes if each["pieces"] > stock.get(each["sku"], 0)]
        if short:
            # Another attempt would find the same stock.
            raise Fail(f"not enough in stock: {', '.join(short)}")
        return quotes


class PlaceOrder(Job):
    """Write the order, exactly once, even if a process is killed: the order and the end
    of this job are one transaction in the shop's own file."""

    cart_id: int

    def handle(self) -> None:
        quotes = cast("list[Quote]", current().results[0])
        total = sum(each["pieces"] * each["price_cents"] for each in quotes)
        with current().transaction() as connection:
            order = connection.execute(
                "insert into orders (cart_id, total_cents) values (?, ?)", [self.cart_id, total]
            )
            for each in quotes:
                connection.execute(
                    "insert into order_lines values (?, ?, ?, ?)",
                    [order.lastrowid, each["sku"], each["pieces"], each["price_cents"]],
                )
                connection.execute(
                    "update stock set pieces = pieces - ? where sku = ?",
                    [each["pieces"], each["sku"]],
                )


class SendConfirmation(Job, queue="mail", max_attempts=20, backoff=[0.5, 1, 2, 60], timeout=30):
    """Mail the order to the customer. If its worker is killed at the wrong moment, the mail is
    sent twice, with the same Message-ID, so that a mail server can drop the second."""

    cart_id: int

    def handle(self) -> None:
        with store.opened() as connection:
            ((order_id, customer, total),) = connection.execute(
                """
                select orders.id, customer, total_cents
                from orders
                join carts on carts.id = cart_id
                where cart_id = ?""",
                [self.cart_id],
            )
            lines = connection.execute(
                "select pieces, sku, price_cents from order_lines where order_id = ?", [order_id]
            ).fetchall()
        mail.send(confirmation(order_id, customer, total, lines))


def confirmation(
    order_id: int, customer: str, total_cents: int, lines: list[tuple[int, str, int]]
) -> EmailMessage:
    """The message about an order."""
    message = EmailMessage()
    message["From"] = "shop@example.org"
    message["To"] = customer
    message["Subject"] = f"Your order {order_id}"
    message["Message-ID"] = f"<order-{order_id}@example.org>"
    rows = [f"{pieces} x {sku}, {store.euros(price)} each" for pieces, sku, price in lines]
    message.set_content("\n".join([*rows, f"Total: {store.euros(total_cents)}", ""]))
    return message


class NightlyReport(Job, cron="0 2 * * *", tz="UTC"):
    """Sum up the orders of each day. It replaces its earlier results, so it is safe to run
    twice."""

    def handle(self) -> None:
        with store.opened() as connection:
            connection.execute(
                """
                insert or replace into reports
                select date(placed_at), count(*), sum(total_cents)
                from orders
                group by date(placed_at)"""
            )
