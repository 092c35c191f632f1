"""Signs that a transcript was made up: in literal texts, and in the sound."""

from __future__ import annotations

import numpy as np
import pytest

from lanser_ops.asr.quality import is_doubled, is_looped, level_ratio, noise_detail, repeats_itself
from lanser_ops.asr.whisper_quality import WhisperOutput, flags_of, looks_wrong


def output(
    text: str,
    seconds: float,
    avg_logprob: float = -0.3,
    compression_ratio: float = 1.0,
    no_speech_prob: float = 0.1,
    truncated: bool = False,
    unfinished: bool = False,
) -> WhisperOutput:
    return WhisperOutput(
        text, seconds, "en", False, avg_logprob, no_speech_prob, compression_ratio, truncated, unfinished
    )


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("No, no, no!", False),
        ("No, no, no, no, no!", False),
        ("No no no no no no", True),
        ("Come on, come on, come on!", False),
        ("Come on. Come on. Come on. Come on.", True),
        ("I don't know. I don't know.", False),
        ("I don't know what. I don't know what. I don't know what.", True),
        ("Kids are talking by the door", False),
        ("", False),
    ],
)
def test_a_loop_is_the_same_words_too_often_in_a_row(text, loops):
    assert repeats_itself(text) is loops


def test_doubled_is_a_whole_sentence_twice():
    assert is_doubled("Dogs are sitting by the door. Dogs are sitting by the door.")
    assert not is_doubled("I said no. I said no.")
    assert not is_doubled("Dogs are sitting by the door. Kids are sitting by the door.")


@pytest.mark.parametrize(
    ("text", "seconds", "looped"),
    [
        ("la la la la la la", 4.0, True),
        ("one two three four five six seven eight nine", 1.0, True),
        ("one two three four five six seven eight nine", 2.0, False),
        ("one two three four", 0.1, False),  # too short to count words per second
    ],
)
def test_looped_is_repeated_or_too_fast(text, seconds, looped):
    assert is_looped(text, seconds) is looped


@pytest.mark.parametrize(
    ("transcript", "flags"),
    [
        (output("I love you more than anything.", 2.5), ()),
        (output("Come on. " * 4, 4.0), ("repetition",)),
        (output("la la la", 4.0, compression_ratio=2.5), ("repetition",)),
        (output("one two three four five six seven eight nine", 1.0), ("repetition",)),
        (output("one two three four five six seven eight nine", 2.0), ()),
        (output("mumble", 2.0, avg_logprob=-1.01), ("low_logprob",)),
        (output("Thanks for watching!", 2.0), ("subtitle_phrase",)),
        (output("Thank you.", 2.0), ()),
        (output("He said thanks for watching the kids.", 2.0), ()),
        (output("Thank you for watching.", 2.0, avg_logprob=-1.2), ("low_logprob", "subtitle_phrase")),
        (output("I love you more than", 2.5, truncated=True), ("transcript_truncated",)),
        (output("I love you more than", 2.5, unfinished=True), ()),
    ],
)
def test_flags(transcript, flags):
    assert flags_of(transcript) == flags


@pytest.mark.parametrize(
    ("transcript", "doubted"),
    [
        (output("I love you more than anything.", 2.5), False),
        (output("I love you more than anything.", 2.5, unfinished=True), True),
        (output("I love you more than anything.", 1.0), True),  # six words in a second
        (output("", 2.5), True),
        (output("mumble", 2.0, avg_logprob=-1.01), True),
        (output("Dogs are sitting by the door. Dogs are sitting by the door.", 4.0), True),
    ],
)
def test_what_is_decoded_again(transcript, doubted):
    assert looks_wrong(transcript) is doubted


EVEN = np.tile(np.float32([0.1, -0.1]), 8000)
SYLLABLES = EVEN * np.repeat(np.float32([1, 0.1]), 2000)[np.arange(16000) % 4000]


def test_level_ratio():
    assert level_ratio(EVEN) == pytest.approx(0.0, abs=1e-6)
    assert level_ratio(SYLLABLES) == pytest.approx(0.70, abs=0.02)
    assert level_ratio(np.zeros(2000, np.float32)) == level_ratio(EVEN[:500]) == 0.0


@pytest.mark.parametrize(
    ("samples", "speech_probability", "no_speech_prob", "noise"),
    [
        (SYLLABLES, 0.96, 0.61, True),
        (SYLLABLES, 0.98, 0.61, False),
        (SYLLABLES, 0.96, 0.59, False),
        (EVEN, 0.96, 0.59, True),
        (EVEN, 0.96, 0.11, True),
        (EVEN, 0.96, 0.09, False),
        (EVEN, 0.98, 0.59, False),
        (EVEN, 0.5, None, False),
    ],
)
def test_noise_is_what_neither_takes_for_speech_for_certain(samples, speech_probability, no_speech_prob, noise):
    assert (noise_detail(samples, speech_probability, no_speech_prob) is not None) is noise
