"""The checkout of one cart: a price is missing, the mail server is down, and in the end the
customer has one order and one mail."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.shop import store, supplier
from examples.shop.checkout import Checkout, check_out
from examples.shop.jobs import NightlyReport
from examples.shop.mail import MailServer
from litequeue import LitequeueError, Queue

ROOT = Path(__file__).parents[2]
STOCK = {"chair": 10, "desk": 3, "lamp": 5}
PRICES = {"chair": 4_900, "desk": 19_900}
LAMP_CENTS = 2_550
CART = {"chair": 4, "desk": 1, "lamp": 1}
# No step takes more than a second or two.
STEP_SECONDS = 20
ALL_SECONDS = 120
POLL_SECONDS = 0.02


def run(folder: Path) -> None:
    """Run the checkout, with real workers on real files in a folder."""
    server = MailServer()
    os.environ.update(
        SHOP_DB=str(folder / "shop.db"),
        SHOP_PRICES=str(folder / "prices.json"),
        SHOP_MAIL=server.address,
    )
    store.open_shop(STOCK)
    supplier.publish(PRICES)
    with Queue(store.path()) as queue, working(folder):
        flow = order_something(queue)
        price_is_missing(queue, flow, folder)
        price_comes(queue, flow, folder)
        with server:
            mail_server_comes_back(queue, flow, server)
        report(queue)
        say("What runs next:")
        command(folder, "status", "shop.db")


def order_something(queue: Queue) -> Checkout:
    flow = check_out(queue, "ada@example.org", CART)
    first, *_, last = flow.quotes
    say("Ada orders 4 chairs, a desk and a lamp. The whole checkout is pushed at once:")
    print(f"  jobs {first}-{last}  QuoteItem         one for each item, in parallel")
    print(f"  job  {flow.validation}    ValidateCart      after all the quotes")
    print(f"  job  {flow.order}    PlaceOrder        after the validation")
    print(f"  job  {flow.mail}    SendConfirmation  after the order")
    say("Two workers start:")
    return flow


def price_is_missing(queue: Queue, flow: Checkout, folder: Path) -> None:
    for quote in flow.quotes:
        queue.wait(quote, STEP_SECONDS)
    say("The supplier has no price for the lamp. The other jobs wait, and `show` says why:")
    command(folder, "show", "shop.db", str(flow.validation))


def price_comes(queue: Queue, flow: Checkout, folder: Path) -> None:
    supplier.publish({**PRICES, "lamp": LAMP_CENTS})
    say("The supplier corrects the list, and we retry that one job:")
    command(folder, "retry", "shop.db", str(flow.quotes[-1]))
    queue.wait(flow.order, STEP_SECONDS)
    until(lambda: queue.get(flow.mail).exception)
    asked = supplier.questions()
    say("The flow continued. The supplier was asked for these prices:")
    print("  " + ", ".join(f"{sku} {asked.count(sku)} x" for sku in CART))


def mail_server_comes_back(queue: Queue, flow: Checkout, server: MailServer) -> None:
    say("The mail server was down. Now it is up, and the job is retried:")
    queue.wait(flow.mail, STEP_SECONDS)
    (received,) = server.received
    say(f"What {received.recipients[0]} reads:")
    for line in [received.message["Subject"], *received.message.get_content().splitlines()]:
        print(f"  {line}")


def report(queue: Queue) -> None:
    say("The nightly report runs at 02:00. We do not wait for it, and push one now:")
    queue.wait(queue.push(NightlyReport()), STEP_SECONDS)
    with store.opened() as connection:
        for day, orders, cents in connection.execute("select * from reports"):
            print(f"  {day}: {orders} order, {store.euros(cents)}")


# The workers, and the commands


@contextmanager
def working(folder: Path) -> Iterator[None]:
    """Run two worker processes, whose output appears between our lines, until the block ends."""
    work = ["work", "shop.db", "--jobs", "examples.shop", "--workers", "2"]
    # If this process is killed, they still end.
    workers = subprocess.Popen(
        litequeue(*work, "--max-time", str(ALL_SECONDS)),
        cwd=folder,
        env=environment(),
        stderr=subprocess.STDOUT,
    )
    try:
        yield
    finally:
        workers.terminate()
        workers.wait()


def command(folder: Path, *words: str) -> None:
    """Run a command and print its output, as a user would see it."""
    print(f"  $ litequeue {' '.join(words)}", flush=True)
    done = subprocess.run(
        litequeue(*words), cwd=folder, env=environment(), capture_output=True, check=True
    )
    for line in done.stdout.decode().splitlines():
        print(f"  {line}".rstrip(), flush=True)


def litequeue(*words: str) -> list[str]:
    return [sys.executable, "-m", "litequeue", *words]


def environment() -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if "LITEQUEUE" not in name}
    return {**mine, "PYTHONPATH": str(ROOT)}


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition is true; raises TimeoutError."""
    deadline = time.monotonic() + STEP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a step took too long")
        time.sleep(POLL_SECONDS)


def say(line: str) -> None:
    print(f"\n{line}", flush=True)


def main() -> int:
    """Run the checkout in a temporary folder, or in the new folder that is named."""
    try:
        if len(sys.argv) > 1:
            folder = Path(sys.argv[1]).resolve()
            # An existing folder raises an error: the shop in it would have other jobs.
            folder.mkdir(parents=True)
            run(folder)
        else:
            with tempfile.TemporaryDirectory(prefix="litequeue-shop-") as made:
                run(Path(made))
    except (OSError, LitequeueError, subprocess.SubprocessError) as error:
        print(f"examples.shop: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
