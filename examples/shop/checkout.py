"""What the shop's web page does when a customer checks out a cart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from examples.shop import store
from examples.shop.jobs import PlaceOrder, QuoteItem, SendConfirmation, ValidateCart
from litequeue import Queue


@dataclass(frozen=True, slots=True)
class Checkout:
    """The ids of a cart's jobs."""

    cart_id: int
    quotes: list[int]
    validation: int
    order: int
    mail: int


def check_out(queue: Queue, customer: str, cart: Mapping[str, int]) -> Checkout:
    """Store a cart, and push the flow that sells it.

    All of it is one transaction: a cart without all of its jobs is never stored.
    """
    with store.opened() as connection:
        (cart_id,) = connection.execute(
            "insert into carts (customer) values (?) returning id", [customer]
        ).fetchone()
        quotes = queue.push_many(
            [QuoteItem(sku, pieces) for sku, pieces in cart.items()], connection=connection
        )
        validation = queue.push(ValidateCart(cart_id), after=quotes, connection=connection)
        order = queue.push(PlaceOrder(cart_id), after=[validation], connection=connection)
        mail = queue.push(SendConfirmation(cart_id), after=[order], connection=connection)
    return Checkout(cart_id, quotes, validation, order, mail)
