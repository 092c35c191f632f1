"""Cutting recordings: what comes out tiles what went in, at pauses, within the limit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lanser_ops.audio import segment
from lanser_ops.audio.decode import SAMPLE_RATE, read_all
from lanser_ops.audio.recordings import between, cut_blocks

EXAMPLES = Path(__file__).parents[2] / "examples" / "audio"


def blocks_of(samples: np.ndarray, size: int = 160_000) -> list[np.ndarray]:
    return [samples[first : first + size] for first in range(0, len(samples), size)]


@pytest.fixture(scope="module")
def talk() -> np.ndarray:
    with (EXAMPLES / "long" / "two_minutes.opus").open("rb") as stream:
        return read_all(stream)


def check_tiles(stretches: list[segment.Stretch], samples: np.ndarray) -> None:
    assert stretches[0].start == 0 and stretches[-1].end == len(samples)
    for before, after in zip(stretches, stretches[1:], strict=False):
        assert before.end == after.start
    for one in stretches:
        if one.samples is not None:
            np.testing.assert_array_equal(one.samples, samples[one.start : one.end])


def test_up_to_30_s_stays_whole(talk):
    (only,) = segment.segment(blocks_of(talk[: 30 * SAMPLE_RATE]))
    assert (only.start, only.end) == (0, 30 * SAMPLE_RATE)


def test_a_long_recording_is_tiled_by_utterances_and_gaps(talk):
    stretches = list(segment.segment(blocks_of(talk)))
    check_tiles(stretches, talk)
    spoken = [(one.end - one.start) / SAMPLE_RATE for one in stretches if one.samples is not None]
    assert 20 <= len(spoken) <= 35
    assert max(spoken) <= 20
    assert sorted(spoken)[len(spoken) // 2] >= 2


def test_longer_than_the_buffer_is_cut_in_a_stream(talk):
    silence = np.zeros(150 * SAMPLE_RATE, np.float32)
    recording = np.concatenate([talk, silence, talk, talk[: 40 * SAMPLE_RATE]])
    stretches = list(segment.segment(blocks_of(recording)))
    check_tiles(stretches, recording)
    assert all(one.end - one.start <= 20 * SAMPLE_RATE for one in stretches if one.samples is not None)
    alone = sum(one.end - one.start for one in segment.segment(blocks_of(talk)) if one.samples is not None)
    spoken = sum(one.end - one.start for one in stretches if one.samples is not None)
    assert spoken == pytest.approx(2.325 * alone, rel=0.03)
    assert list(map(str, stretches)) == list(map(str, segment.segment(blocks_of(recording, 99_991))))


def test_speech_without_a_pause_is_cut_at_the_limit(talk):
    spoken = [one.samples for one in segment.segment(blocks_of(talk)) if one.samples is not None]
    packed = np.concatenate([one[3200:-3200] for one in spoken])
    stretches = list(segment.segment(blocks_of(packed), max_duration_s=5.0))
    check_tiles(stretches, packed)
    assert all(one.end - one.start <= 5 * SAMPLE_RATE for one in stretches if one.samples is not None)


def test_silence_is_one_gap():
    stretches = list(segment.segment(blocks_of(np.zeros(400 * SAMPLE_RATE, np.float32))))
    assert [(one.start, one.end, one.samples) for one in stretches] == [(0, 400 * SAMPLE_RATE, None)]


def test_nothing_gives_nothing():
    assert list(segment.segment([])) == []


def test_speech_probability_tells_speech_from_noise(talk):
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)
    assert segment.speech_probability(talk[: 3 * SAMPLE_RATE]) > 0.9
    assert segment.speech_probability(noise) < 0.3
    assert segment.speech_probability(np.zeros(0, np.float32)) == 0.0


def test_cut_blocks_gives_overlapping_and_short_ranges():
    samples = np.arange(1000, dtype=np.float32)
    ranges = [(900, 1200), (0, 10), (5, 500), (2000, 2100), (499, 501)]
    cut = dict(cut_blocks(blocks_of(samples, 100), ranges))
    assert {index: (part[0], part[-1], len(part)) if len(part) else 0 for index, part in cut.items()} == {
        0: (900.0, 999.0, 100),
        1: (0.0, 9.0, 10),
        2: (5.0, 499.0, 495),
        3: 0,
        4: (499.0, 500.0, 2),
    }


def test_between():
    samples = np.arange(1000, dtype=np.float32)
    np.testing.assert_array_equal(np.concatenate(list(between(blocks_of(samples, 64), 130, 700))), samples[130:700])
    np.testing.assert_array_equal(np.concatenate(list(between(blocks_of(samples, 64), 990, None))), samples[990:])
