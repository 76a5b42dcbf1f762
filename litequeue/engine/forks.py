"""Closes the parent's locks and open FIFOs in a forked child at once.

An flock lock is held as long as any process has its descriptor open, so a child that keeps
the descriptor makes a dead worker look alive. There is one hook for the whole process:
Python cannot unregister a hook, so one for each queue would never be freed.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from typing import Protocol


class Inherited(Protocol):
    """An object with descriptors that only its own process may use."""

    def forked(self) -> None:
        """Close them; called in the child, before anything else runs there."""


_open: weakref.WeakSet[Inherited] | None = None


def tell_child(owner: Inherited) -> None:
    """Call ``owner.forked()`` in every child that is forked while ``owner`` is alive."""
    global _open
    if _open is None:
        _open = weakref.WeakSet()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_report)
    _open.add(owner)


def _report() -> None:
    for owner in list(_open or ()):
        # If one cannot be closed, the others still must be.
        with suppress(OSError):
            owner.forked()
