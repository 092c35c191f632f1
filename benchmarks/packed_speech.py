#!/usr/bin/env python3
"""Packed speech read as if it were 8-bit PCM: the noise for which Whisper writes down most, as a folder of WAV files.

    python benchmarks/packed_speech.py DEB_FOLDER/usr/share/scummvm/beneath-a-steel-sky --output /tmp/packed

The folder is that of Debian's package beneath-a-steel-sky (a game that may be redistributed), as `dpkg-deb -x` unpacks
it. Its index sky.dnr has a count (32 bits) and records of 8 bytes (number, offset, size and flags, little endian);
speech has numbers from 50,000 on, 11.025 kHz, and most of it is packed (RNC). With --plain the rest is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

RATE = 11_025
FIRST_SPEECH = 50_000
HEADER_BYTES = 64


def entries(folder: Path, is_plain: bool) -> Iterator[tuple[int, bytes]]:
    """(number, bytes without the header) of speech of 0.6 to 3 s."""
    index, content = (folder / "sky.dnr").read_bytes(), (folder / "sky.dsk").read_bytes()
    for record in range(4, 4 + 8 * int.from_bytes(index[:4], "little"), 8):
        number, offset, size = (
            int.from_bytes(index[record + first : record + last], "little") for first, last in ((0, 2), (2, 5), (5, 8))
        )
        start = (offset & 0x7FFFFF) * (16 if offset >> 23 else 1)
        entry = content[start : start + (size & 0x3FFFFF)]
        is_packed = b"RNC" in entry[:HEADER_BYTES]
        if number >= FIRST_SPEECH and 0.6 * RATE <= len(entry) <= 3 * RATE and is_packed != is_plain:
            yield number, entry[HEADER_BYTES:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="the folder to write")
    parser.add_argument("--plain", action="store_true", help="write the speech that is not packed")
    parser.add_argument("--clips", type=int, default=240, help="of the packed ones, a sample")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    speech = list(entries(args.folder, args.plain))
    chosen = np.random.default_rng(args.seed).permutation(len(speech))[: args.clips]
    args.output.mkdir(parents=True, exist_ok=True)
    for number, content in (speech[index] for index in sorted(chosen)):
        samples = np.frombuffer(content, np.uint8) / 128.0 - 1.0
        soundfile.write(args.output / f"{number}.wav", samples, RATE, subtype="PCM_U8")
    print(f"{args.output}: {len(chosen)} of {len(speech)} clips")


if __name__ == "__main__":
    main()
