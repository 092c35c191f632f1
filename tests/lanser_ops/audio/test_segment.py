"""Cutting recordings: what comes out tiles what went in, at pauses, within the limit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lanser_ops.audio import segment
from lanser_ops.audio.decode import SAMPLE_RATE, read_all
from lanser_ops.audio.recordings import between, cut_blocks

EXAMPLES = Path(__file__).parents[3] / "examples" / "audio"


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
    for stretch in stretches:
        if stretch.samples is not None:
            np.testing.assert_array_equal(stretch.samples, samples[stretch.start : stretch.end])


def test_up_to_30_s_stays_whole(talk):
    (only,) = segment.segment(blocks_of(talk[: 30 * SAMPLE_RATE]))
    assert (only.start, only.end) == (0, 30 * SAMPLE_RATE)


def seconds_of(stretches: list[segment.Stretch]) -> list[float]:
    """The duration of every utterance."""
    return [(stretch.end - stretch.start) / SAMPLE_RATE for stretch in stretches if stretch.samples is not None]


def test_a_long_recording_is_tiled_by_utterances_and_gaps(talk):
    stretches = list(segment.segment(blocks_of(talk)))
    check_tiles(stretches, talk)
    durations = seconds_of(stretches)
    assert 20 <= len(durations) <= 35
    assert max(durations) <= 20
    assert sorted(durations)[len(durations) // 2] >= 2


def test_longer_than_the_buffer_is_cut_in_a_stream(talk):
    silence = np.zeros(150 * SAMPLE_RATE, np.float32)
    recording = np.concatenate([talk, silence, talk, talk[: 40 * SAMPLE_RATE]])
    stretches = list(segment.segment(blocks_of(recording)))
    check_tiles(stretches, recording)
    assert max(seconds_of(stretches)) <= 20
    alone = sum(seconds_of(list(segment.segment(blocks_of(talk)))))
    assert sum(seconds_of(stretches)) == pytest.approx(2.325 * alone, rel=0.03)
    assert list(map(str, stretches)) == list(map(str, segment.segment(blocks_of(recording, 99_991))))


@pytest.mark.parametrize("start_s", [80, 93, 96, 98])
def test_the_first_utterance_of_a_buffer_is_whole_wherever_it_starts(talk, start_s):
    """The buffer used to be cut at 98.6 s where no utterance ended before that, even inside the first one."""
    speech = talk[round(25.3 * SAMPLE_RATE) : round(31.84 * SAMPLE_RATE)]
    silence = np.zeros(start_s * SAMPLE_RATE, np.float32), np.zeros(60 * SAMPLE_RATE, np.float32)
    recording = np.concatenate([silence[0], speech, silence[1]])
    stretches = list(segment.segment(blocks_of(recording)))
    check_tiles(stretches, recording)
    spans = [
        (stretch.start / SAMPLE_RATE, stretch.end / SAMPLE_RATE) for stretch in stretches if stretch.samples is not None
    ]
    assert spans == [(pytest.approx(start_s, abs=0.5), pytest.approx(start_s + 6.54, abs=0.5))]


@pytest.fixture(scope="module")
def packed(talk) -> np.ndarray:
    """Some 100 s of speech with hardly a pause."""
    utterances = [stretch.samples for stretch in segment.segment(blocks_of(talk)) if stretch.samples is not None]
    return np.concatenate([samples[3200:-3200] for samples in utterances])


def test_speech_without_a_pause_is_cut_at_the_limit(packed):
    stretches = list(segment.segment(blocks_of(packed), max_duration_s=5.0))
    check_tiles(stretches, packed)
    assert max(seconds_of(stretches)) <= 5


def test_endless_speech_is_not_held(packed):
    recording = np.tile(packed, 4)
    read_s = 0.0

    def blocks():
        nonlocal read_s
        for block in blocks_of(recording):
            read_s += len(block) / SAMPLE_RATE
            yield block

    held = [read_s - stretch.end / SAMPLE_RATE for stretch in segment.segment(blocks())]
    assert len(held) > 50
    assert max(held) < 135  # a buffer of 120 s and a block of 10 s


def test_silence_is_one_gap():
    stretches = list(segment.segment(blocks_of(np.zeros(400 * SAMPLE_RATE, np.float32))))
    assert [(stretch.start, stretch.end, stretch.samples) for stretch in stretches] == [(0, 400 * SAMPLE_RATE, None)]


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
