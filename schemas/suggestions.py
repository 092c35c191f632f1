"""What the user probably meant by a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# The lowest similarity (difflib's ratio, 0 to 1) of a name that is suggested, and of one with another first letter,
# which is seldom mistyped: "gpu" is not meant to be "cpu".
LIKENESS, LIKENESS_OF_OTHERS = 0.6, 0.75


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that is most like ``name``, whatever their case, or None if none is like it.

    >>> closest("ekmann", ["ekman", "goemotions"])
    'ekman'
    >>> closest("--num_shards", ["--num-shards", "--shards"])
    '--num-shards'
    >>> closest("gpu", ["auto", "cpu", "cuda"]) is None
    True
    """
    by_form: dict[str, str] = {}
    for candidate in candidates:
        by_form.setdefault(_form(candidate), candidate)
    form = _form(name)
    matches = [
        other
        for other in difflib.get_close_matches(form, by_form, len(by_form) or 1, LIKENESS)
        if _letters(other)[:1] == _letters(form)[:1]
        or difflib.SequenceMatcher(None, other, form).ratio() >= LIKENESS_OF_OTHERS
    ]
    starts = [other for other in by_form if _letters(form) and other.startswith(form)]
    best = matches or starts
    return by_form[best[0]] if best else None


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """``"; did you mean X?"`` for the end of a message, or nothing where no candidate is like ``name``."""
    best = closest(name, candidates)
    return f"; did you mean {best}?" if best else ""


def _letters(form: str) -> str:
    """``form`` without the dashes of an option."""
    return form.lstrip("-")


def _form(name: str) -> str:
    return name.casefold().replace("_", "-")
