"""Counters and distributions that every runner shows, in the namespace ``lanser``.

Counters: ``utterances``, ``audio_milliseconds``, ``pairs``, ``samples``, and ``rejects/REASON``. Distributions over
units: ``transcribe_milliseconds``, ``score_milliseconds``, and so on for every stage. They count what this job did;
dataset.json counts the files, and so what earlier jobs did too.
"""

from __future__ import annotations

import time

from apache_beam.metrics import Metrics

from schemas.units import StageCounts, UnitRun

NAMESPACE = "lanser"


def record(run: UnitRun, stage: str, start: float, counts: StageCounts) -> UnitRun:
    """Add what ``stage`` did to the unit since ``start`` (of `time.monotonic`) to Beam's metrics, and the time to
    ``run``."""
    Metrics.distribution(NAMESPACE, f"{stage}_milliseconds").update(round((time.monotonic() - start) * 1000))
    numbers = {
        "utterances": counts.utterances,
        "audio_milliseconds": round(counts.audio_s * 1000),
        "pairs": counts.pairs,
        "samples": counts.samples,
        **{f"rejects/{reason}": count for reason, count in counts.rejects},
    }
    for name, number in numbers.items():
        if number:
            Metrics.counter(NAMESPACE, name).inc(number)
    return run.timed(stage, start)
