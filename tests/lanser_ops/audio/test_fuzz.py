"""Damaged files of every container: audio or a reject, never a crash; benchmarks/fuzz.py makes them."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

from lanser_ops.audio import guarded

PROGRAM = Path(__file__).parents[3] / "benchmarks" / "fuzz.py"
REJECTS = {"audio", "not_audio", "truncated", "empty", "not_finite", "no_audio_track", "decode_error", "too_large"}


def test_mutants_are_audio_or_rejects_in_one_process():
    spec = importlib.util.spec_from_file_location("fuzz", PROGRAM)
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    contents = {kind: fuzz.encoded(kind, 0.5) for kind in fuzz.CONTAINERS}
    assert {fuzz.outcome(content) for content in contents.values()} == {"audio"}
    (decoder,) = guarded._idle
    outcomes = Counter(fuzz.outcome(fuzz.mutant(index, 7, contents)[1]) for index in range(120))
    assert set(outcomes) <= REJECTS
    assert outcomes["audio"] > 10 and outcomes["truncated"] > 10 and outcomes["decode_error"] > 5
    assert guarded._idle == [decoder]  # none of them ended the process
    guarded.close_idle()
