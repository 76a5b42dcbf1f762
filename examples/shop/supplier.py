"""The supplier, who is asked for today's price of each item."""

from __future__ import annotations

import json
import os
from pathlib import Path

Prices = dict[str, int]


def price_list() -> Path:
    """Where the supplier puts the prices, in cents."""
    return Path(os.environ.get("SHOP_PRICES", "prices.json"))


def publish(prices: Prices) -> None:
    """Be the supplier: give out a new list, whole or not at all."""
    unfinished = price_list().with_suffix(".part")
    unfinished.write_text(json.dumps(prices), encoding="utf-8")
    unfinished.replace(price_list())


def price_of(sku: str) -> int:
    """Ask for a price; raises LookupError where the list does not have it. The question is
    written down, since each one costs money."""
    with price_list().with_suffix(".log").open("a", encoding="utf-8") as log:
        log.write(f"{sku}\n")
    prices: Prices = json.loads(price_list().read_text(encoding="utf-8"))
    if sku not in prices:
        raise LookupError(f"the supplier has no price for {sku}")
    return prices[sku]


def questions() -> list[str]:
    """What the supplier was asked for so far, in order."""
    return price_list().with_suffix(".log").read_text(encoding="utf-8").splitlines()
