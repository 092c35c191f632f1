"""What recognisers invent: loops, words over noise, subtitles. Text and numbers in, flags out."""

from __future__ import annotations

import re
from typing import Protocol

# Where the voice activity detector is not sure, Whisper's own no-speech probability decides: over noise, tones and
# music-like sound it was 0.75 and more, over RAVDESS at most 0.5.
SURE_SPEECH_PROBABILITY = 0.97
MAX_NO_SPEECH = 0.6
# Whisper's own limits, Radford et al. 2022, section 4.5.
MAX_COMPRESSION_RATIO = 2.4
MIN_AVG_LOGPROB = -1.0
# Fast speech reaches some five words a second; more is worth a second look, far more is no speech.
FAST_WORDS_PER_SECOND = 5.0
MAX_WORDS_PER_SECOND = 8.0
# A sentence of this many words is not said twice in a row by chance.
MIN_DOUBLED_WORDS = 5
# The same run of words this often in a row is a loop; single words may be said thrice ("no, no, no").
MAX_REPEATS = {1: 5, 2: 3, 3: 3, 4: 2, 5: 2, 6: 2, 7: 2, 8: 2}
# What Whisper learned from the ends of subtitled videos and says over non-speech.
SUBTITLE_PHRASES = frozenset(
    {
        "thanks for watching",
        "thank you for watching",
        "thank you so much for watching",
        "thanks for watching and dont forget to like and subscribe",
        "please subscribe",
        "please subscribe to my channel",
        "like and subscribe",
        "subscribe to my channel",
        "see you in the next video",
        "ill see you in the next video",
        "see you next time",
        "subtitles by the amara org community",
        "transcription by castingwords",
    }
)


class Heard(Protocol):
    """The part of a hypothesis that is judged here."""

    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return re.sub(r"[^\w\s]", "", text.lower().replace("-", " ").replace(".", " ")).split()


def repeats_itself(text: str) -> bool:
    """True where a run of one to eight words stands too often in a row (see MAX_REPEATS)."""
    words = words_of(text)
    for size, most in MAX_REPEATS.items():
        for first in range(len(words) - size * (most + 1) + 1):
            run = words[first : first + size]
            if all(words[first + size * i : first + size * (i + 1)] == run for i in range(1, most + 1)):
                return True
    return False


def says_all_twice(text: str) -> bool:
    """True where the second half of the words is the first half again."""
    words = words_of(text)
    half = len(words) // 2
    return half >= MIN_DOUBLED_WORDS and words[:half] == words[half:]


def looks_wrong(heard: Heard, seconds: float, unfinished: bool) -> bool:
    """True where decoding the utterance again, in the full window, is worth its time."""
    return (
        unfinished
        or heard.compression_ratio > MAX_COMPRESSION_RATIO
        or heard.avg_logprob < MIN_AVG_LOGPROB
        or len(words_of(heard.text)) > FAST_WORDS_PER_SECOND * max(seconds, 0.5)
        or repeats_itself(heard.text)
        or says_all_twice(heard.text)
        or not heard.text
    )


def flags_of(heard: Heard, seconds: float) -> tuple[str, ...]:
    """Doubts about a transcript, by the names in `schemas.records.REASONS`."""
    flags = []
    too_fast = len(words_of(heard.text)) > MAX_WORDS_PER_SECOND * max(seconds, 0.5)
    if heard.compression_ratio > MAX_COMPRESSION_RATIO or repeats_itself(heard.text) or too_fast:
        flags.append("repetition")
    if heard.avg_logprob < MIN_AVG_LOGPROB:
        flags.append("low_logprob")
    if " ".join(words_of(heard.text)) in SUBTITLE_PHRASES:
        flags.append("subtitle_phrase")
    return tuple(flags)


def is_words_over_noise(heard: Heard, speech_probability: float) -> bool:
    """True where neither the detector (``speech_probability``) nor the recogniser is sure that somebody speaks."""
    return speech_probability < SURE_SPEECH_PROBABILITY and heard.no_speech_prob > MAX_NO_SPEECH
