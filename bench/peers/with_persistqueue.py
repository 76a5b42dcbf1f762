"""persist-queue, whose queue that acknowledges is the nearest thing: it stores values, and
the loop that works is the user's own, here as its documentation has it."""

from __future__ import annotations

import persistqueue

from bench.peers import work as works

queue = persistqueue.SQLiteAckQueue(str(works.folder()), auto_commit=True)
_DOES = {"count": works.count, "hang": works.hang}


def push() -> None:
    queue.put({"job": "count", "number": 1})


def push_hanging() -> None:
    queue.put({"job": "hang"})


def work() -> None:
    while True:
        item = queue.get()
        _DOES[item["job"]]()
        queue.ack(item)
