#!/usr/bin/env python3
"""Rules for "this is noise", side by side: how much noise gets through each, and how much speech each costs.

    python benchmarks/noise_rules.py --noise sounds.parquet bytes.parquet --speech ravdess.parquet game.parquet

The files are those of benchmarks/noise.py. A rule is added to what rejects or flags an utterance anyway: the detector's
maximum, Whisper's no-speech probability, a minimum length, doubts about the text.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from lanser_ops.asr.quality import (
    MAX_EVEN_NO_SPEECH,
    MAX_NO_SPEECH,
    MIN_LEVEL_RATIO,
    MIN_SPEECH_PROBABILITY,
    SURE_SPEECH_PROBABILITY,
    words_of,
)
from schemas.specs import CutSpec

Row = dict[str, Any]  # of benchmarks.noise.Measures


def is_unsure(row: Row) -> bool:
    return row["vad_max"] < SURE_SPEECH_PROBABILITY


def disagrees(row: Row) -> bool:
    return row["second_text"] is not None and words_of(row["text"]) != words_of(row["second_text"])


RULES: dict[str, Callable[[Row], bool]] = {
    "none": lambda row: False,
    "detector's maximum < 0.5": lambda row: row["vad_max"] < 0.5,
    "detector's maximum < 0.97": is_unsure,
    "detector over a half in < 10 % of frames": lambda row: row["vad_share"] < 0.1,
    "detector over a half in < 30 % of frames": lambda row: row["vad_share"] < 0.3,
    "unsure, no-speech probability > 0.1": lambda row: is_unsure(row) and row["no_speech_prob"] > 0.1,
    "unsure, no-speech probability > 0.3": lambda row: is_unsure(row) and row["no_speech_prob"] > 0.3,
    "unsure, log probability < -0.5": lambda row: is_unsure(row) and row["avg_logprob"] < -0.5,
    "unsure, a second decode differs": lambda row: is_unsure(row) and disagrees(row),
    "level ratio < 0.4": lambda row: row["level_ratio"] < 0.4,
    "unsure, level ratio < 0.4": lambda row: is_unsure(row) and row["level_ratio"] < 0.4,
    "unsure, level ratio < 0.5": lambda row: is_unsure(row) and row["level_ratio"] < 0.5,
    "the rule of quality.py": lambda row: (
        is_unsure(row) and row["no_speech_prob"] >= MAX_EVEN_NO_SPEECH and row["level_ratio"] < MIN_LEVEL_RATIO
    ),
}


def is_sample(row: Row) -> bool:
    """Whether the utterance would be in the shards without a further rule."""
    if row["silent"] or row["vad_max"] < MIN_SPEECH_PROBABILITY or row["seconds"] < CutSpec.min_duration_s:
        return False
    if row["no_speech_prob"] is None:  # not recognised: the detector was sure
        return True
    over_noise = is_unsure(row) and row["no_speech_prob"] > MAX_NO_SPEECH
    return not over_noise and not row["flags"] and any(char.isalpha() for char in row["text"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--noise", nargs="+", default=[], help="measures of sound without speech")
    parser.add_argument("--speech", nargs="+", default=[], help="measures of speech")
    args = parser.parse_args()
    files = {Path(name).stem: pq.read_table(name).to_pylist() for name in [*args.noise, *args.speech]}
    samples = {name: [row for row in rows if is_sample(row)] for name, rows in files.items()}
    print(f"{'utterances':<42}" + "".join(f"{f'{name} {len(rows)}':>20}" for name, rows in files.items()))
    for rule, rejects in RULES.items():
        print(f"{rule:<42}", end="")
        for name, rows in samples.items():
            lost = sum(map(rejects, rows))
            count = len(rows) - lost if name in {Path(noise).stem for noise in args.noise} else lost
            print(f"{f'{count} ({100 * count / len(files[name]):.2f} %)':>20}", end="")
        print()
    rule = RULES["the rule of quality.py"]
    for name in [Path(noise).stem for noise in args.noise]:
        kinds = Counter(row["source"].split("/")[0] for row in samples[name] if not rule(row))
        print(f"{name}, samples by kind: {dict(kinds)}")


if __name__ == "__main__":
    main()
