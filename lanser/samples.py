"""Samples of shards, decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Sample:
    """A sample: ``audio`` is float32 (samples,) at ``sample_rate`` Hz, mono.

    ``fields`` is the sample's JSON: text, times, scores and provenance, as docs/formats.md lists them.
    """

    key: str
    audio: np.ndarray
    sample_rate: int
    label: str
    label_index: int
    fields: dict[str, Any]


def load_shards(directory: str | PathLike[str], taxonomy: str | None = None, split: str = "train") -> Iterator[Sample]:
    """The samples in ``directory``, in the order of the tars, one in memory at a time.

    Args:
        directory: an output directory, a folder of shards, or a glob of tars; local or on an object store.
        taxonomy: which one, where an output directory has several.
        split: ``train`` or ``val``.

    Raises:
        InputError: no shards there, shards of several taxonomies, or audio that cannot be decoded.

    Examples:
        >>> import lanser
        >>> dataset = lanser.build("examples/audio/awb", "out", "ekman", num_shards=1, val_fraction=0, threads=1)
        >>> sample = next(lanser.load_shards("out", "ekman"))
        >>> sample.audio.dtype.name, sample.sample_rate
        ('float32', 16000)
        >>> sample.label == sample.fields["labels"][sample.label_index]
        True
    """
    import io

    import orjson

    from lanser_ops.audio.decode import SAMPLE_RATE, AudioError, read_all
    from lanser_ops.common.errors import InputError
    from training.dataset import stream_shards
    from training.shards import find_shards

    root = fspath(directory).rstrip("/")
    taxonomies: set[str] = set()
    for sample in stream_shards(find_shards([f"{root}/shards/{taxonomy}" if taxonomy else root], split)):
        fields = orjson.loads(sample["json"])
        taxonomies.add(fields["taxonomy"])
        if len(taxonomies) > 1:
            raise InputError(f"{root}: has shards of {' and '.join(sorted(taxonomies))}; give taxonomy")
        if "flac" not in sample:
            raise InputError(f"{root}: {sample['__key__']} has no audio; a sidecar is read beside its shards")
        try:
            audio = read_all(io.BytesIO(sample["flac"]))
        except AudioError as error:
            raise InputError(f"{root}: {sample['__key__']}.flac cannot be decoded ({error})") from None
        index = int(sample["cls"])
        yield Sample(sample["__key__"], audio, SAMPLE_RATE, fields["labels"][index], index, fields)
