"""What the user probably meant by a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# The lowest similarity (difflib's ratio, 0 to 1) of a name that is suggested.
LIKENESS = 0.6


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that is most like ``name``, whatever their case, or None if none is like it.

    >>> closest("ekmann", ["ekman", "goemotions"])
    'ekman'
    >>> closest("--num_shards", ["--num-shards", "--shards"])
    '--num-shards'
    """
    by_form: dict[str, str] = {}
    for candidate in candidates:
        by_form.setdefault(_form(candidate), candidate)
    form = _form(name)
    matches = difflib.get_close_matches(form, by_form, 1, LIKENESS)
    starts = [other for other in by_form if form.strip("-") and other.startswith(form)]
    best = matches or starts[:1]
    return by_form[best[0]] if best else None


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """``"; did you mean X?"`` for the end of a message, or nothing where no candidate is like ``name``."""
    best = closest(name, candidates)
    return f"; did you mean {best}?" if best else ""


def _form(name: str) -> str:
    return name.casefold().replace("_", "-")
