"""Audio that a page carries: short, mono, and small enough for a data: URI."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import soundfile

from lanser_ops import storage
from lanser_ops.audio.decode import SAMPLE_RATE, read_all
from lanser_ops.report.survey import Sample

MAX_SECONDS = 15.0
# Of base64 text in a page, which holds some 600 clips of 4 s.
MAX_BYTES = 10 << 20
# libsndfile's scale from the best (0) to the smallest (1): 24 kbit/s at 16 kHz. MP3 because every browser plays it, and
# because LAME writes the same bytes every time; an Ogg stream has a random serial number.
COMPRESSION = 0.9
# A recording is clipped where so many samples in a row are at full scale.
FULL_SCALE, CLIPPED_RUN = 0.999, 3


@dataclass
class Clips:
    """Base64 MP3 by key, up to MAX_BYTES in all; ``left_out`` counts the utterances for which there was no room."""

    audio: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    clipped: int = 0
    left_out: int = 0

    def add(self, key: str, samples: np.ndarray) -> None:
        """Add an utterance, float32 (samples,) at 16 kHz, unless it is there already."""
        if key in self.audio or not len(samples):
            return
        text = base64.b64encode(encode_mp3(samples)).decode()
        if self.bytes + len(text) > MAX_BYTES:
            self.left_out += 1
            return
        self.audio[key] = text
        self.bytes += len(text)
        self.clipped += is_clipped(samples)


def encode_mp3(samples: np.ndarray) -> bytes:
    """Constant bit rate MP3 of float32 ``samples`` (samples,) at 16 kHz; equal input gives equal bytes."""
    buffer = io.BytesIO()
    mode = {"bitrate_mode": "CONSTANT", "compression_level": COMPRESSION}
    soundfile.write(buffer, samples, SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III", **mode)
    return buffer.getvalue()


def is_clipped(samples: np.ndarray) -> bool:
    """Whether CLIPPED_RUN samples in a row are at full scale."""
    full = np.abs(samples) >= FULL_SCALE
    runs = full[: len(full) - CLIPPED_RUN + 1].copy()
    for shift in range(1, CLIPPED_RUN):
        runs &= full[shift : len(full) - CLIPPED_RUN + 1 + shift]
    return bool(runs.any())


def read_flac(samples: Iterable[Sample]) -> Iterator[tuple[str, np.ndarray]]:
    """(key, audio) of samples, the first MAX_SECONDS, float32 (samples,) at 16 kHz.

    Each of their shards is opened once, and only their bytes are read.
    """
    by_tar: dict[str, list[tuple[int, int, str]]] = {}
    for sample in samples:
        if sample.flac:
            path, offset, size = sample.flac
            by_tar.setdefault(path, []).append((offset, size, sample.key))
    for path, members in by_tar.items():
        with storage.open_read(path) as stream:
            for offset, size, key in sorted(members):
                yield key, read_member(stream, offset, size)


def read_member(stream: BinaryIO, offset: int, size: int) -> np.ndarray:
    """The first MAX_SECONDS of the FLAC at ``offset`` of a tar, float32 (samples,)."""
    stream.seek(offset)
    return read_all(io.BytesIO(stream.read(size)), MAX_SECONDS)
