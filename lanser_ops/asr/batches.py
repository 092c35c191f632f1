"""Decoding in batches, of half the size where memory does not suffice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

Result = TypeVar("Result")

log = logging.getLogger(__name__)

# How CUDA and its libraries say that memory does not suffice, in lower case.
OUT_OF_MEMORY = ("out of memory", "alloc_failed")


class BatchSizer(Protocol):
    """``batch_seconds`` is how many seconds of audio, padding included, are decoded at once."""

    batch_seconds: float


def decode_in_batches(
    sizer: BatchSizer,
    count: int,
    split: Callable[[Sequence[int]], Iterable[list[int]]],
    decode: Callable[[list[int]], list[Result]],
    replicas: int = 1,
) -> list[Result]:
    """The results of ``decode`` for the items 0 to ``count`` - 1, in order, ``replicas`` batches at a time.

    ``split`` cuts the remaining items into batches of at most ``sizer.batch_seconds``, which is halved each time that
    a batch runs out of memory. Raises RuntimeError if that happens when every batch is a single item.
    """
    results: dict[int, Result] = {}
    with ThreadPoolExecutor(replicas) as pool:
        while len(results) < count:
            batches = list(split([item for item in range(count) if item not in results]))
            try:
                for batch, decoded in zip(batches, pool.map(decode, batches), strict=True):
                    results.update(zip(batch, decoded, strict=True))
            except RuntimeError as error:
                message = str(error).lower()
                if not any(words in message for words in OUT_OF_MEMORY) or all(len(batch) == 1 for batch in batches):
                    raise
                sizer.batch_seconds /= 2
                log.warning("out of memory: continuing with %.0f s of audio per batch", sizer.batch_seconds)
    return [results[item] for item in range(count)]
