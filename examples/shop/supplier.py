"""The supplier, which has today's price of each item."""

from __future__ import annotations

import json
import os
from pathlib import Path

Prices = dict[str, int]


def price_list() -> Path:
    """The path of the supplier's price list, in cents."""
    return Path(os.environ.get("SHOP_PRICES", "prices.json"))


def publish(prices: Prices) -> None:
    """Publish a new price list, as the supplier would. Readers see all of it or the old one."""
    unfinished = price_list().with_suffix(".part")
    unfinished.write_text(json.dumps(prices), encoding="utf-8")
    unfinished.replace(price_list())


def price_of(sku: str) -> int:
    """Ask for a price; raises LookupError if it is not in the list. Each request is logged,
    because each one costs money."""
    with price_list().with_suffix(".log").open("a", encoding="utf-8") as log:
        log.write(f"{sku}\n")
    prices: Prices = json.loads(price_list().read_text(encoding="utf-8"))
    if sku not in prices:
        raise LookupError(f"the supplier has no price for {sku}")
    return prices[sku]


def questions() -> list[str]:
    """The items that the supplier was asked for so far, in order."""
    return price_list().with_suffix(".log").read_text(encoding="utf-8").splitlines()
