"""A bar with the time that is left, for loops whose number of steps is known."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def tracked(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """``items``, of which there are ``total``, with a bar on stderr where that is a terminal and there are several."""
    if total < 2 or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console  # not for a mistake, which is answered without it
    from rich.progress import track

    yield from track(items, what, total=total, console=Console(file=sys.stderr), transient=True)
